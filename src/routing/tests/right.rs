//! Five hundred correct folders, each of other parts, and no warning.

use super::load_with;

/// Conditions beside `event_type`: every operator, every place, `$or`, anchors.
const CONDITIONS: [&str; 34] = [
    "source: [AIRFLOW]",
    "source: [LANGGRAPH, FASTAPI]",
    "workflow_id: [etl_daily]",
    "workflow_id: [{prefix: etl_}]",
    "workflow_id: [{prefix: {equals-ignore-case: ETL_}}]",
    "workflow_id: [{suffix: _eu}, {suffix: {equals-ignore-case: _US}}]",
    "workflow_id: [{wildcard: 'etl_*_eu'}]",
    "workflow_id: [{wildcard: 'a\\*b'}]",
    "workflow_id: [{equals-ignore-case: Orders}]",
    "workflow_id: [{anything-but: test}]",
    "workflow_id: [{anything-but: [dev, test]}]",
    "workflow_id: [{anything-but: {prefix: [tmp_, test_]}}]",
    "workflow_id: [{anything-but: {wildcard: '*/tmp/*'}}]",
    "workflow_id: [{anything-but: {equals-ignore-case: [dev, test]}}]",
    "workflow_id: [{exactly: 'etl_*'}]",
    "workflow_run_id: [{prefix: scheduled__}]",
    "timestamp: [{prefix: '2026-01-31T'}]",
    "payload: {data: {status: [success]}}",
    "payload: {data: {rows: [{numeric: ['>', 0]}]}}",
    "payload: {data: {rows: [{numeric: ['>=', 0, '<', 100]}, 7]}}",
    "payload: {data: {rows: [{anything-but: [404, 410]}]}}",
    "payload: {data: {flag: [true, null]}}",
    "payload: {data: {error: [{exists: true}]}}",
    "payload: {data: {error: [{exists: false}]}}",
    "payload: {data: {host: [{cidr: 10.0.0.0/24}]}}",
    "payload: {data: {host: [{cidr: '2001:db8::1/128'}, {exactly: '2001:db8::1'}]}}",
    "payload: {data: {list: [a, b], inner: {deep: {deeper: [{exists: true}]}}}}",
    "metadata: {environment: [prod, staging]}",
    "metadata: {version: ['1.0'], team: [core]}",
    "metadata: {task_id: [load], environment: [{anything-but: dev}]}",
    "$or: [{metadata: {environment: [prod]}}, {payload: {data: {severity: [{numeric: ['>=', 3]}]}}}]",
    "$or: [{source: [AIRFLOW]}, {workflow_id: [{prefix: a_}]}], payload: {data: {status: [failed]}}",
    "$or: [{metadata: {a: &b [b]}}, {payload: {data: {c: *b}}}]",
    "payload: {<<: {data: {status: [ok]}}}",
];

const TYPES: [&str; 4] = [
    "[WORKFLOW_COMPLETED]",
    "[WORKFLOW_FAILED, WORKFLOW_TRIGGERED]",
    "[{prefix: WORKFLOW_}]",
    "[{anything-but: WORKFLOW_TRIGGERED}]",
];

const HTTP: [&str; 14] = [
    "{url: 'http://127.0.0.1:8181/'}",
    "{url: 'https://hooks.example/a/b?c=d', method: PUT}",
    "{url: '${HOST:-https://h}/events'}",
    "{url: '${SET}/events', headers: {x-team: '${TEAM:-data}'}}",
    "{url: 'http://h', auth: {bearer: {env: KEY}}}",
    "{url: 'http://h', auth: {api_key: {env: KEY}}}",
    "{url: 'http://h', auth: {api_key: {env: KEY}, header: x-own}}",
    "{url: 'http://h', sign: {secret: {env: KEY}}}",
    "{url: 'http://h', headers: {content-type: application/vnd.x+json}}",
    "{url: 'http://h', headers: {authorization: {env: KEY}, cookie: {env: KEY}}}",
    "{url: 'http://[::1]:80/x', auth: {bearer: {env: KEY}}, sign: {secret: {env: KEY}}}",
    "{url: 'http://h', headers: {x-a: b, x-c: {env: KEY}}, method: POST}",
    "{url: 'http://h/$${x}'}",
    "{<<: {url: 'http://h'}, method: PUT}",
];

const SETTINGS: [&str; 13] = [
    "",
    ", concurrency: 1",
    ", concurrency: '${COUNT:-16}'",
    ", rate: 50/s",
    ", rate: 600/m, timeout: 500ms",
    ", rate: 1000/h",
    ", timeout: 30s",
    ", retry: {initial: 1s, max: 5m}",
    ", retry: {give_up_after: 2d, max_attempts: 50}",
    ", retry: {max: '1h 30m'}",
    ", classify: {409: accepted, 422: agent_fault, 418: busy}",
    ", classify: {599: event_fault, 100: ambiguous}",
    ", retry: &slow {initial: 1s}, classify: {}",
];

const LANGGRAPH: [&str; 16] = [
    "",
    ", api_key: {env: KEY}",
    ", auth: {bearer: {env: KEY}}",
    ", api_key: {env: KEY}, auth: {bearer: {env: KEY}}",
    ", auth: {api_key: {env: KEY}, header: x-gateway}",
    ", headers: {x-team: core}",
    ", max_request_lifetime: 2m",
    ", config: {recursion_limit: 50, tags: [a]}",
    ", config: {configurable: {tenant: '{{ metadata.team | default(\"x\") }}', key: '${SET}'}}",
    ", context: {tenant: '{{ workflow_id }}'}",
    ", metadata: {team: '${TEAM:-data}', kind: '{{ event_type }}'}",
    ", server: crm, ttl: 30d",
    ", ttl: {after: 30d, strategy: delete}",
    ", ttl: {after: 1d, strategy: keep_latest}",
    ", langsmith_tracer: {project_name: events}",
    ", context: {n: 1}, metadata: {a: b}, ttl: 14d",
];

const TEMPLATES: [&str; 12] = [
    "",
    ", description: what it is for",
    ", body: '{{ event }}'",
    ", body: {run: '{{ workflow_run_id }}', rows: '{{ payload.data.rows | default(0) }}'}",
    ", body: [1, null, true, '{{ timestamp }}']",
    ", input: {messages: [{role: user, content: '{{ payload | tojson }}'}]}",
    ", input: {text: 'of {{ workflow_id }}: {% if source == \"AIRFLOW\" %}dag{% else %}other{% endif %}'}",
    ", input: {list: '{% for k in payload %}{{ k }},{% endfor %}'}, body: {a: b}",
    ", input: {short: '{{ workflow_id | upper | replace(\"_\", \"-\") }}'}",
    ", body: {plain: text, n: 7, deep: {er: ['{{ event_id }}']}}",
    ", input: {all: '{{ event }}', meta: '{{ metadata }}'}",
    ", body: {braces: '{% raw %}{{ }}{% endraw %}'}",
];

const ENV: [(&str, &str); 2] = [("KEY", "whsec_aHVudGVyMg=="), ("SET", "https://set.example")];

/// One of a list, so that each stands beside many of the others.
fn pick<'a>(list: &[&'a str], number: usize, step: usize) -> &'a str {
    list[(number * step + number / list.len()) % list.len()]
}

fn folder(number: usize) -> Vec<(&'static str, String)> {
    let condition = pick(&CONDITIONS, number, 1);
    let event_types = pick(&TYPES, number, 1);
    let http = format!("  audit: {{http: {}{}}}\n", pick(&HTTP, number, 3), pick(&SETTINGS, number, 5));
    let langgraph = format!(
        "  analyst.1: {{langgraph: {{url: 'http://127.0.0.1:2024', assistant: analyst{}}}}}\n",
        pick(&LANGGRAPH, number, 7)
    );
    let first = format!(
        "  - {{name: first_{number}, when: {{event_type: {event_types}, {condition}}}, to: [audit, analyst.1]{}}}\n",
        pick(&TEMPLATES, number, 5)
    );
    let second = "  - name: second-rule\n    when:\n      event_type: [WORKFLOW_FAILED]\n      workflow_id: [other]\n    to:\n      - audit\n";
    let (agents, rules) = (format!("agents:\n{http}{langgraph}"), format!("rules:\n{first}"));
    match number % 3 {
        0 => vec![("all.yaml", format!("{agents}{rules}{second}"))],
        1 => vec![("a.yml", format!("rules:\n{second}")), ("b.yaml", format!("# A comment.\n{rules}{agents}"))],
        _ => vec![
            ("agents.yaml", format!("\u{feff}{agents}")),
            ("rules.yaml", format!("{rules}{second}")),
            ("notes.txt", "{".into()),
        ],
    }
}

#[test]
fn five_hundred_correct_folders_have_no_problem_and_no_warning() {
    let mut problems = Vec::new();
    for number in 0..500 {
        let files = folder(number);
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let (_folder, routing) = load_with(&files, &ENV);
        match routing {
            Err(found) => problems.push(format!("{files:#?}\n{found}")),
            Ok(routing) if !routing.warnings().is_empty() => {
                problems.push(format!("{files:#?}\n{:#?}", routing.warnings()));
            }
            Ok(routing) => assert_eq!((routing.rules().count(), routing.agents().count()), (2, 2), "{files:#?}"),
        }
    }
    assert!(problems.is_empty(), "{} folders\n{}", problems.len(), problems[..problems.len().min(5)].join("\n"));
}

#[test]
fn each_part_stands_in_some_folder() {
    let all: String = (0..500).flat_map(folder).map(|(_, text)| text).collect();
    for part in CONDITIONS.iter().chain(&TYPES).chain(&HTTP).chain(&SETTINGS).chain(&LANGGRAPH).chain(&TEMPLATES) {
        assert!(all.contains(part), "{part}");
    }
}
