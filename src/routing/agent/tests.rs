use std::{collections::BTreeMap, fs, time::Duration};

use serde_json::json;

use crate::{
    agents::{Auth, Class, Endpoint, HeaderText, RunSettings, Secret, Ttl, TtlStrategy},
    routing::tests::{assert_problems, event, load, load_with, problems_of},
};

#[test]
fn agents_have_the_defaults_of_the_docs_and_what_the_file_says() {
    let text = "agents:
  plain: {langgraph: {url: 'http://h:1/base/', assistant: a}}
  full:
    langgraph:
      url: ${BASE:-http://h}:2024
      assistant: '${ASSISTANT}'
      api_key: {env: KEY}
      headers: {X-Team: '$${core}', authorization: {env: KEY}}
      settle: 2m
      config: {recursion_limit: 9, tags: ['${ASSISTANT}']}
      context: {tenant: 1}
      ttl: 30d
    concurrency: '${N:-16}'
    rate: 600/m
    timeout: 30s
    retry: {initial: 1s, max: 5m, give_up_after: 2h, max_attempts: 9}
    classify: {409: accepted, 422: agent_fault}
  web:
    http:
      url: https://h/events?x=1
      method: PUT
      auth: {api_key: {env: KEY}, header: X-Token}
      headers: {content-type: application/vnd.event+json}
      sign: {secret: {env: KEY}}
rules:
  - {name: r, when: {event_type: [WORKFLOW_FAILED]}, to: [plain, full, web]}
";
    let (_folder, routing) = load_with(&[("a.yaml", text)], &[("ASSISTANT", "graph"), ("KEY", "sesame")]);
    let routing = routing.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(routing.agents().map(|agent| agent.name.as_ref()).collect::<Vec<_>>(), ["full", "plain", "web"]);

    let plain = routing.agent("plain").unwrap();
    assert_eq!((plain.concurrency, plain.rate, plain.timeout), (8, None, Duration::from_secs(10)));
    assert_eq!(plain.retry.initial, Duration::from_millis(500));
    assert_eq!(plain.retry.max, Duration::from_secs(60));
    assert_eq!(plain.retry.give_up_after, Duration::from_secs(86_400));
    assert_eq!(plain.retry.max_attempts, None);
    let Endpoint::LangGraph(endpoint) = &plain.endpoint else { panic!("{plain:?}") };
    assert_eq!((endpoint.url.as_str(), endpoint.settle), ("http://h:1/base", Duration::from_secs(60)));

    let full = routing.agent("full").unwrap();
    let rate = full.rate.unwrap();
    assert_eq!((full.concurrency, rate.count.get(), rate.per), (16, 600, Duration::from_secs(60)));
    assert_eq!(full.retry.max_attempts, Some(9));
    assert_eq!(full.classify, BTreeMap::from([(409, Class::Accepted), (422, Class::AgentFault)]));
    let Endpoint::LangGraph(endpoint) = &full.endpoint else { panic!("{full:?}") };
    assert_eq!((endpoint.url.as_str(), &*endpoint.assistant), ("http://h:2024/", "graph"));
    assert_eq!(endpoint.config, Some(json!({"recursion_limit": 9, "tags": ["graph"]})));
    assert_eq!(endpoint.context, Some(json!({"tenant": 1})));
    assert_eq!(endpoint.ttl, Some(Ttl { after: Duration::from_secs(30 * 86_400), strategy: TtlStrategy::KeepLatest }));
    assert_eq!(&*endpoint.api_key.as_ref().unwrap().reveal().unwrap(), "sesame");
    let [(team, HeaderText::Plain(value)), (_, HeaderText::Secret(Secret::Env { name, .. }))] = &endpoint.headers[..]
    else {
        panic!("{:?}", endpoint.headers)
    };
    assert_eq!((team.as_str(), value.to_str().unwrap(), name.as_str()), ("x-team", "${core}", "KEY"));

    let Endpoint::Http(endpoint) = &routing.agent("web").unwrap().endpoint else { panic!() };
    assert_eq!((endpoint.url.as_str(), endpoint.method.as_str()), ("https://h/events?x=1", "PUT"));
    let Some(Auth::ApiKey { header, .. }) = &endpoint.auth else { panic!("{:?}", endpoint.auth) };
    assert_eq!(header.as_str(), "x-token");
    assert!(endpoint.sign.is_some());
    assert!(!format!("{routing:?}").contains("sesame"));
}

/// The mistakes of one agent, all in one line of YAML, from the message on.
fn agent_problems(agent: &str, env: &[(&str, &str)]) -> Vec<String> {
    let text =
        format!("agents: {{x: {agent}}}\nrules: [{{name: r, when: {{event_type: [WORKFLOW_FAILED]}}, to: [x]}}]\n");
    problems_of(&[("a.yaml", &text)], env)
        .iter()
        .map(|line| line.splitn(4, ':').nth(3).unwrap_or(line).trim().to_owned())
        .collect()
}

#[test]
fn the_mistakes_of_an_agent_are_named() {
    let cases: &[(&str, &[&str])] = &[
        ("{}", &["expected langgraph or http, found neither"]),
        ("7", &["expected a map, found a number"]),
        (
            "{langgraph: {url: 'http://h', assistant: a}, http: {url: 'http://h'}}",
            &["expected langgraph or http, found both"],
        ),
        ("{http: {}}", &["expected the key `url`"]),
        ("{http: {url: h}}", &["expected a URL that begins with http:// or https://, found \"h\""]),
        ("{http: {url: 'http://u:hunter2@h/'}}", &["expected a URL without credentials, found some (not shown)"]),
        ("{http: {url: 'http//u:hunter2@h/'}}", &["found another text"]),
        ("{http: {url: 'http://h/#x'}}", &["expected a URL without `#`"]),
        ("{langgraph: {url: 'http://h/?x', assistant: a}}", &["expected the server's base URL without `?`"]),
        ("{http: {url: '${NOPE}'}}", &["expected the environment variable NOPE, found it unset"]),
        ("{http: {url: '${NO PE}'}}", &["expected ${NAME} or ${NAME:-default}"]),
        ("{http: {url: 'http://${NOPE'}}", &["expected `}` after `${`"]),
        ("{http: {url: 'http://h', method: GET}}", &["expected POST or PUT, found the string \"GET\""]),
        (
            "{http: {url: 'http://h'}, timeout: 10}",
            &["expected a duration with its unit, such as 10s, found the number 10"],
        ),
        ("{http: {url: 'http://h'}, timeout: 3d}", &["expected 10ms to 1h, found 3days"]),
        ("{http: {url: 'http://h'}, rate: 50}", &["expected a count per s, m or h, such as 50/s"]),
        ("{http: {url: 'http://h'}, rate: 0/s}", &["expected a count per s, m or h"]),
        ("{http: {url: 'http://h'}, retry: {initial: 2m, max: 1m}}", &["expected initial <= max"]),
        ("{http: {url: 'http://h'}, retry: {max_attempts: 0}}", &["expected a whole number from 1"]),
        (
            "{http: {url: 'http://h'}, classify: {99: accepted, 409: acepted}}",
            &[
                "expected an HTTP status, 100 to 599, found \"99\"",
                "found the string \"acepted\": did you mean `accepted`?",
            ],
        ),
        (
            "{langgraph: {url: 'http://h', assistant: a, settle: 15s}}",
            &["expected at least 20s, twice the timeout of 10s, found 15s"],
        ),
        (
            "{langgraph: {url: 'http://h', assistant: a}, timeout: 40s}",
            &["expected at least 1m 20s, twice the timeout of 40s, found 1m"],
        ),
        (
            "{langgraph: {url: 'http://h', assistant: a, ttl: {after: 7d, strategy: delete}}}",
            &["ttl, after: expected more than the dedup window of 7days with strategy delete, found 7days"],
        ),
        (
            "{langgraph: {url: 'http://h', assistant: a, config: {configurable: {}}, context: {}}}",
            &["expected config.configurable or context, found both"],
        ),
        ("{langgraph: {url: 'http://h', assistant: a, context: 7}}", &["expected a map, found a number"]),
        (
            "{http: {url: 'http://h', headers: {Idempotency-Key: x, Webhook-Id: y, 'a b': z, X-A: 1, x-b: \"\\u0001\", x-B: q}}}",
            &[
                "the header `idempotency-key` cannot be set here",
                "the header `webhook-id` cannot be set here",
                "expected the name of a header, found \"a b\"",
                "headers, x-a: expected a string, found a number",
                "headers, x-b: expected visible characters",
            ],
        ),
        (
            "{langgraph: {url: 'http://h', assistant: a, api_key: {env: K}, headers: {x-api-key: {env: K}, content-type: q}}}",
            &[
                "the header `x-api-key` cannot be set here: api_key sets it",
                "the header `content-type` cannot be set here",
            ],
        ),
        (
            "{http: {url: 'http://h', auth: {bearer: {env: K}, header: x}, headers: {Authorization: {env: K}}}}",
            &[
                "a bearer token goes into `authorization`",
                "the header `authorization` cannot be set here: auth sets it",
            ],
        ),
        ("{http: {url: 'http://h', auth: {}}}", &["expected either {bearer: SECRET} or {api_key: SECRET"]),
        ("{http: {url: 'http://h', sign: {}}}", &["expected the key `secret`"]),
        (
            "{langgraph: {url: 'http://h', assistant: a, ttl: {after: 30d, strategy: prune}}}",
            &["ttl, strategy: expected keep_latest or delete, found the string \"prune\""],
        ),
        ("{langgraph: {url: 'http://h', assistant: a, ttl: {strategy: delete}}}", &["expected the key `after`"]),
        ("{langgraph: {url: 'http://h', assistant: a, ttl: 30}}", &["expected a duration with its unit, such as 14d"]),
        (
            "{langgraph: {url: 'http://h', assistant: a, langsmith_tracer: {}}}",
            &["langsmith_tracer: expected the key `project_name`"],
        ),
        (
            "{langgraph: {url: 'http://h', assistant: a, api_key: {env: K}, auth: {api_key: {env: K}}}}",
            &["expected the header `x-api-key` from api_key or from auth, found both"],
        ),
        (
            "{langgraph: {url: 'http://h', assistant: a, auth: {bearer: {env: K}}, headers: {authorization: {env: K}}}}",
            &["the header `authorization` cannot be set here: auth sets it"],
        ),
        ("{http: {url: 'http://h', tls: {}}}", &["tls: expected the key `ca_file`"]),
        (
            "{http: {url: 'http://h', tls: {ca_file: /nonexistent/ca.pem}}}",
            &["tls, ca_file: CA file /nonexistent/ca.pem: No such file"],
        ),
        (
            "{langgraph: {url: 'http://h', assistant: a, tls: {ca_file: Cargo.toml}}}",
            &[
                "tls, ca_file: CA file Cargo.toml: expected certificates in PEM (-----BEGIN CERTIFICATE-----), found none",
            ],
        ),
    ];
    for (agent, expected) in cases {
        let found = agent_problems(agent, &[("K", "v")]);
        assert_problems(&found, expected);
        assert!(!found.join("\n").contains("hunter2"), "{found:?}");
    }
}

#[test]
fn a_secret_is_named_and_found_and_never_shown() {
    let missing = "{env: NOPE}";
    for (secret, expected) in [
        ("hunter2", "expected {env: NAME} or {file: PATH}, found something else (not shown)"),
        ("'${K}'", "expected {env: NAME} or {file: PATH}"),
        ("{env: 'hunter2!'}", "expected the name of an environment variable, found something else (not shown)"),
        ("{value: hunter2}", "expected {env: NAME} or {file: PATH}"),
        ("[hunter2]", "expected {env: NAME} or {file: PATH}"),
        (missing, "expected a secret in the environment variable NOPE, found it unset: set it"),
        ("{env: EMPTY}", "environment variable EMPTY, found it empty"),
        ("{env: BLANK}", "environment variable BLANK, found it blank"),
        ("{env: BOM}", "expected visible characters, found a byte order mark, U+FEFF, as character 1 of 8"),
        ("{env: BROKEN}", "expected visible characters, found a line feed, U+000A, as character 8 of 8"),
        ("{file: /nonexistent/secret}", "secret file /nonexistent/secret"),
    ] {
        for place in [
            format!("{{langgraph: {{url: 'http://h', assistant: a, api_key: {secret}}}}}"),
            format!("{{http: {{url: 'http://h', auth: {{bearer: {secret}}}}}}}"),
            format!("{{http: {{url: 'http://h', auth: {{api_key: {secret}}}}}}}"),
            format!("{{http: {{url: 'http://h', sign: {{secret: {secret}}}}}}}"),
            format!("{{http: {{url: 'http://h', headers: {{Authorization: {secret}}}}}}}"),
        ] {
            let found = agent_problems(
                &place,
                &[
                    ("K", "hunter2"),
                    ("EMPTY", ""),
                    ("BLANK", " \n"),
                    ("BOM", "\u{feff}hunter2"),
                    ("BROKEN", "hunter2\n"),
                ],
            );
            assert_problems(&found, &[expected]);
            assert!(!found.join("\n").contains("hunter2"), "{found:?}");
        }
    }
}

#[test]
fn a_secret_file_is_read_at_load_and_at_use() {
    let secrets = tempfile::tempdir().unwrap();
    let path = secrets.path().join("key");
    fs::write(&path, "sesame\n").unwrap();
    let text = format!(
        "agents: {{x: {{http: {{url: 'http://h', auth: {{bearer: {{file: '{}'}}}}}}}}}}
rules: [{{name: r, when: {{event_type: [WORKFLOW_FAILED]}}, to: [x]}}]\n",
        path.display()
    );
    let routing = load(&text);
    let Endpoint::Http(endpoint) = &routing.agent("x").unwrap().endpoint else { panic!() };
    let Some(Auth::Bearer(secret)) = &endpoint.auth else { panic!() };
    fs::write(&path, "rotated\n").unwrap();
    assert_eq!(&*secret.reveal().unwrap(), "rotated");
}

#[test]
fn a_signing_secret_that_cannot_sign_is_found_when_the_folder_is_loaded() {
    let secrets = tempfile::tempdir().unwrap();
    let path = secrets.path().join("key");
    for (value, expected) in [
        ("whsec_", "sign, secret: expected a key in the signing secret, found none after whsec_"),
        ("whsec_hunter2!", "sign, secret: expected base64 (A-Z, a-z, 0-9, + and /, padded with =) after whsec_"),
        ("whsec_aHVudGVyMg", "sign, secret: expected base64"),
    ] {
        fs::write(&path, format!("{value}\n")).unwrap();
        for secret in ["{env: S}".to_owned(), format!("{{file: '{}'}}", path.display())] {
            let place = format!("{{http: {{url: 'http://h', sign: {{secret: {secret}}}}}}}");
            let found = agent_problems(&place, &[("S", value)]);
            assert_problems(&found, &[expected]);
            assert!(!found.join("\n").contains("hunter2") && !found.join("\n").contains("aHVud"), "{found:?}");
        }
    }
    for value in ["whsec_aHVudGVyMg==", "hunter2"] {
        fs::write(&path, value).unwrap();
        let agent = format!("{{http: {{url: 'http://h', sign: {{secret: {{file: '{}'}}}}}}}}", path.display());
        load(&format!(
            "agents: {{x: {agent}}}\nrules: [{{name: r, when: {{event_type: [WORKFLOW_FAILED]}}, to: [x]}}]\n"
        ));
    }
    for blank in ["", "\n", " \t\n"] {
        fs::write(&path, blank).unwrap();
        let place = format!("{{http: {{url: 'http://h', sign: {{secret: {{file: '{}'}}}}}}}}", path.display());
        assert_problems(&agent_problems(&place, &[]), &["is empty: write the secret into it"]);
    }
}

#[test]
fn what_is_cleared_of_a_claim_and_when() {
    let ttl = |text: &str| {
        let agent = format!("{{langgraph: {{url: 'http://h', assistant: a, ttl: {text}}}}}");
        let routing = load(&format!(
            "agents: {{x: {agent}}}\nrules: [{{name: r, when: {{event_type: [WORKFLOW_FAILED]}}, to: [x]}}]\n"
        ));
        let Endpoint::LangGraph(endpoint) = &routing.agent("x").unwrap().endpoint else { panic!() };
        endpoint.ttl.unwrap()
    };
    let of = |days: u64, strategy| Ttl { after: Duration::from_secs(days * 86_400), strategy };
    assert_eq!(ttl("30d"), of(30, TtlStrategy::KeepLatest));
    assert_eq!(ttl("1d"), of(1, TtlStrategy::KeepLatest), "the claim stays, whatever is cleared");
    assert_eq!(ttl("{after: 30d}"), of(30, TtlStrategy::KeepLatest));
    assert_eq!(ttl("{after: 30d, strategy: delete}"), of(30, TtlStrategy::Delete));
}

#[test]
fn a_private_ca_is_for_https_and_read_when_the_folder_is_loaded() {
    let ca = "-----BEGIN CERTIFICATE-----
MIIBcTCCARegAwIBAgIBATAKBggqhkjOPQQDAjAAMB4XDTI2MDEwMTAwMDAwMFoX
-----END CERTIFICATE-----
";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    fs::write(&path, ca).unwrap();
    let place = format!("{{http: {{url: 'https://h', tls: {{ca_file: '{}'}}}}}}", path.display());
    assert_problems(&agent_problems(&place, &[]), &["expected certificates in PEM"]);

    // Any certificate will do: nothing is verified here.
    fs::write(&path, include_str!("testdata/ca.pem")).unwrap();
    for (kind, more) in [("http", ""), ("langgraph", ", assistant: a")] {
        let place =
            |scheme: &str| format!("{{{kind}: {{url: '{scheme}://h', tls: {{ca_file: '{}'}}{more}}}}}", path.display());
        let text = format!(
            "agents: {{x: {}}}\nrules: [{{name: r, when: {{event_type: [WORKFLOW_FAILED]}}, to: [x]}}]\n",
            place("https")
        );
        assert!(load(&text).agent("x").unwrap().endpoint.tls().is_some());
        assert_problems(
            &agent_problems(&place("http"), &[]),
            &["tls: expected a URL with https:// beside tls, found http://"],
        );
    }
}

#[test]
fn config_context_and_metadata_are_templates_that_keep_their_types() {
    let text = "agents:
  a:
    langgraph:
      url: http://h
      assistant: a
      config: {recursion_limit: '{{ payload.data.rows + 1 }}', tags: ['{{ workflow_id }}', '${TEAM}', plain]}
      metadata: {dag: '{{ workflow_id }}', tenant: '{{ event.tenant | default(none) }}', team: '${TEAM}', level: 3}
  b: {langgraph: {url: 'http://h', assistant: a, context: {run: 'run {{ workflow_run_id }}', n: 1}}}
  c: {langgraph: {url: 'http://h', assistant: a, config: {tags: [x]}, context: {n: 1}}}
  d: {langgraph: {url: 'http://h', assistant: a, metadata: {n: 1}}}
rules:
  - {name: r, when: {event_type: [WORKFLOW_COMPLETED]}, to: [a, b, c, d]}
";
    let (_folder, routing) = load_with(&[("a.yaml", text)], &[("TEAM", "data")]);
    let routing = routing.unwrap_or_else(|problems| panic!("{problems}"));
    let event = std::sync::Arc::new(event(&json!({"tenant": {"id": 7}})));
    let settings = |agent: &str| routing.render_settings("r", agent, &event).unwrap();
    let a = settings("a");
    assert_eq!(a.config, Some(json!({"recursion_limit": 8, "tags": ["etl_daily", "data", "plain"]})));
    assert_eq!(a.context, None);
    let metadata = json!({"dag": "etl_daily", "tenant": {"id": 7}, "team": "data", "level": 3});
    assert_eq!(serde_json::Value::Object(a.metadata), metadata);
    assert_eq!(settings("b").context, Some(json!({"run": "run r-1", "n": 1})));
    // What depends on no event is part of the agent, as before.
    assert_eq!(settings("c"), RunSettings::default());
    let Endpoint::LangGraph(c) = &routing.agent("c").unwrap().endpoint else { panic!() };
    assert_eq!((c.config.clone(), c.context.clone()), (Some(json!({"tags": ["x"]})), Some(json!({"n": 1}))));
    assert_eq!(settings("d").metadata["n"], 1);
    let templates: Vec<_> = ["a", "b", "c", "d"].into_iter().filter(|agent| routing.has_templates(agent)).collect();
    assert_eq!(templates, ["a", "b"]);
}

#[test]
fn a_setting_that_an_event_cannot_fill_in_names_the_rule_the_agent_and_the_path() {
    let text = "agents: {a: {langgraph: {url: 'http://h', assistant: a, config: {configurable: {rows: '{{ payload.data.nope }}'}}}}}
rules: [{name: r, when: {event_type: [WORKFLOW_COMPLETED]}, to: [a]}]
";
    let error = load(text).render_settings("r", "a", &std::sync::Arc::new(event(&json!({})))).unwrap_err();
    assert!(
        error.to_string().starts_with(
            "rule `r`, agent `a`, config.configurable.rows: cannot render \"{{ payload.data.nope }}\": undefined value"
        ),
        "{error}"
    );
}

#[test]
fn mistakes_in_the_templates_of_an_agent_are_reported_at_their_place() {
    let text = "agents:
  a:
    langgraph:
      url: http://h
      assistant: a
      config: {tags: ['{{ workflow_Id }}']}
      context: {x: '{{ 1 + }}', y: '{{ payload | nope }}'}
      metadata:
        event_id: x
        nonce: '{{ event_id }}'
        ok: '{{ tenant }}'
  b: {langgraph: {url: 'http://h', assistant: a, metadata: '{{ event }}'}}
rules:
  - {name: r, when: {event_type: [WORKFLOW_COMPLETED]}, to: [a, b]}
";
    assert_problems(
        &problems_of(&[("a.yaml", text)], &[]),
        &[
            "a.yaml:6:23: agent `a`, langgraph, config.tags[0]: unknown name `workflow_Id`: did you mean `workflow_id`?",
            "a.yaml:7:20: agent `a`, langgraph, context.x: expected a template, found \"{{ 1 + }}\": syntax error",
            "a.yaml:7:36: agent `a`, langgraph, context.y: unknown filter",
            "a.yaml:9:9: agent `a`, langgraph, metadata: the key \"event_id\" is set by the bridge or the server",
            "a.yaml:10:9: agent `a`, langgraph, metadata: the key \"nonce\" is set by",
            "a.yaml:11:13: agent `a`, langgraph, metadata.ok: unknown name `tenant`",
            "a.yaml:12:60: agent `b`, langgraph, metadata: expected a map, found a string",
        ],
    );
}

#[test]
fn the_value_of_a_variable_is_a_text_that_is_never_executed_and_never_shown() {
    let routing = |settings: &str, token: &str| {
        let text = format!(
            "agents: {{a: {{langgraph: {{url: 'http://h', assistant: a, {settings}}}}}}}
rules: [{{name: r, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [a]}}]
"
        );
        load_with(&[("a.yaml", &text)], &[("TOK", token)]).1
    };
    let event = std::sync::Arc::new(event(&json!({})));
    for token in
        ["hunter2{{hunter3", "{{ hunter2 }}", "{% hunter2", "'}}{{ hunter2 ~ \"", "variable_0_", "\\x \"hunter2\n"]
    {
        for (written, expected) in [
            ("${TOK}", token.to_owned()),
            ("${TOK} {{ workflow_id }}${NOPE:-{%}", format!("{token} etl_daily{{%")),
            ("{{ '${TOK}' ~ workflow_id }}", format!("{token}etl_daily")),
            ("{{ ${TOK} }}", token.to_owned()),
            ("{{ {'k': \"${TOK}\"}['k'] | trim('!') }}{% raw %}${TOK}{% endraw %}", format!("{token}{token}")),
            ("{% if ${TOK} == '${TOK}' %}variable_0_ v${TOK}{% endif %}$${", format!("variable_0_ v{token}${{")),
        ] {
            let settings = format!("metadata: {{k: {}}}", json!(written));
            let routing = routing(&settings, token).unwrap_or_else(|problems| panic!("{settings}: {problems}"));
            let found = routing.render_settings("r", "a", &event).unwrap_or_else(|error| panic!("{settings}: {error}"));
            assert_eq!(found.metadata["k"], expected, "{settings}");
        }
        let settings = "config: {configurable: {token: '${TOK}'}}";
        let routing = routing(settings, token).unwrap();
        let Endpoint::LangGraph(endpoint) = &routing.agent("a").unwrap().endpoint else { panic!() };
        assert_eq!(endpoint.config, Some(json!({"configurable": {"token": token}})));
    }
    for (written, expected) in [
        ("${TOK} {{ payload.x }}", "cannot render \"${TOK} {{ payload.x }}\": undefined value"),
        ("{{ '${TOK}' | int }}", "cannot render \"{{ '${TOK}' | int }}\": invalid operation"),
        ("{% if true %}{{ payload[${TOK}] }}{% endif %}", "{{ payload[${TOK}] }}{% endif %}\": undefined value"),
    ] {
        let routing = routing(&format!("context: {{k: {}}}", json!(written)), "hunter2").unwrap();
        let error = routing.render_settings("r", "a", &event).unwrap_err();
        for shown in [error.to_string(), format!("{error:?}"), format!("{routing:?}")] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert!(error.to_string().contains(expected), "{error}");
    }
    for (written, expected) in [
        ("{{ [1] | map('${TOK}') | list }}", "unknown filter"),
        ("{{ payload.${TOK} }}", "a variable in a name, `${TOK}` (a variable is a text: `x['${NAME}']`)"),
        ("{{ payload | ${TOK} }}", "a variable in a name, `${TOK}`"),
        ("{{ payload.${TOK}() }}", "the method `${TOK}`"),
        ("{{ 1 + }} ${TOK}", "expected a template, found \"{{ 1 + }} ${TOK}\": syntax error"),
        ("{% ${TOK} %}", "expected a template, found \"{% ${TOK} %}\": syntax error: unknown statement ${TOK}"),
    ] {
        let problems = routing(&format!("metadata: {{k: {}}}", json!(written)), "hunter2").unwrap_err().to_string();
        assert!(problems.contains(expected) && !problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn what_a_variable_holds_is_not_shown_where_a_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("hunter2");
    fs::write(&empty, "").unwrap();
    let empty = empty.display().to_string();
    for (agent, expected) in [
        ("{langgraph: {url: 'http://h', assistant: a, api_key: {file: '${TOK}'}}}", "secret file ${TOK}: No such file"),
        ("{http: {url: 'http://h', auth: {bearer: {file: '/${TOK}'}}}}", "secret file /${TOK}: No such file"),
        ("{http: {url: 'http://h', auth: {bearer: {file: '${EMPTY}'}}}}", "secret file ${EMPTY} is empty"),
        ("{http: {url: 'http://h', sign: {secret: {file: '${TOK}'}}}}", "secret file ${TOK}: No such file"),
        ("{http: {url: 'http://h', headers: {x-a: {file: '${TOK}'}}}}", "secret file ${TOK}: No such file"),
        ("{http: {url: 'http://h', auth: {api_key: {env: K}, header: '${TOK} x'}}}", "found \"${TOK} x\""),
        (
            "{http: {url: 'http://h', auth: {api_key: {env: K}, header: 'webhook-${TOK}'}}}",
            "the header `webhook-${TOK}` cannot be set here",
        ),
        ("{http: {url: 'http://h', headers: {x-a: \"${TOK}\\x01\"}}}", "found \"${TOK}\\u{1}\""),
        ("{http: {url: 'https://h', tls: {ca_file: '${TOK}'}}}", "CA file ${TOK}: No such file"),
        ("{http: {url: 'https://h', tls: {ca_file: '${EMPTY}'}}}", "CA file ${EMPTY}: expected certificates"),
        ("{http: {url: '${TOK}'}}", "found \"${TOK}\""),
        ("{http: {url: 'http://h', method: '${TOK}'}}", "found the string \"${TOK}\""),
        ("{http: {url: 'http://h'}, timeout: '${TOK}'}", "found the string \"${TOK}\""),
        ("{http: {url: 'http://h'}, timeout: '${LONG}'}", "expected 10ms to 1h, found the string \"${LONG}\""),
        ("{http: {url: 'http://h'}, rate: '${TOK}'}", "found the string \"${TOK}\""),
        ("{http: {url: 'http://h'}, concurrency: '${TOK}'}", "found the string \"${TOK}\""),
        ("{http: {url: 'http://h'}, classify: {409: '${TOK}'}}", "found the string \"${TOK}\""),
    ] {
        let env = [("TOK", "hunter2"), ("EMPTY", empty.as_str()), ("LONG", "7331h"), ("K", "v")];
        let found = agent_problems(agent, &env);
        assert_problems(&found, &[expected]);
        assert!(!found[0].contains("hunter2") && !found[0].contains("305days"), "{found:?}");
    }
}
