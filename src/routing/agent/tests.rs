mod secrets;
mod settings;

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use crate::{
    agents::{Auth, Class, Endpoint, HeaderText, Secret, Ttl, TtlStrategy},
    routing::tests::{assert_problems, load, load_with, problems_of},
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
      max_request_lifetime: 2m
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
    assert_eq!((endpoint.url.as_str(), endpoint.max_request_lifetime), ("http://h:1/base", Duration::from_secs(60)));

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
        ("{http: {url: h}}", &["expected a URL that begins with http:// or https://, found another text (not shown)"]),
        (
            "{http: {url: 'http:h'}}",
            &["expected a URL that begins with http:// or https://, found another text (not shown)"],
        ),
        ("{http: {url: 'http:///x'}}", &["expected a host after http:// or https://, found none in \"http://\""]),
        ("{http: {url: 'HTTPS://:80/x'}}", &["expected a host after http:// or https://"]),
        ("{http: {url: 'http://h:99999/'}}", &["expected a URL, found \"http://h:99999\": invalid port number"]),
        ("{http: {url: 'http://u:hunter2@h/'}}", &["expected a URL without credentials, found some (not shown)"]),
        ("{http: {url: 'http//u:hunter2@h/'}}", &["found another text"]),
        ("{http: {url: 'http://h/#x'}}", &["expected a URL without `#`"]),
        // The path of a hook is its secret.
        ("{http: {url: 'https://h/services/hunter2#x'}}", &["expected a URL without `#`, found \"https://h\": cut"]),
        ("{http: {url: 'hooks.slack.com/services/hunter2'}}", &["https://, found \"hooks.slack.com\""]),
        ("{http: {url: 'https:/hooks/hunter2'}}", &["https://, found \"https:\""]),
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
            "{langgraph: {url: 'http://h', assistant: a, max_request_lifetime: 15s}}",
            &["max_request_lifetime: expected at least 20s, twice the timeout of 10s, found 15s"],
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
                "expected the name of a header, found ` ` as its character 2 (the rest is not shown)",
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

/// A folder whose agent has this setting.
fn with_lifetime(setting: &str) -> String {
    format!(
        "agents:
  x:
    langgraph:
      url: http://h
      assistant: a
      {setting}
rules: [{{name: r, when: {{event_type: [WORKFLOW_FAILED]}}, to: [x]}}]
"
    )
}

#[test]
fn the_former_name_of_max_request_lifetime_is_accepted_with_a_warning() {
    for (setting, warnings) in [
        (
            "settle: 2m",
            &["a.yaml:6:7: agent `x`, langgraph: the key `settle` is now called `max_request_lifetime`: rename it"][..],
        ),
        ("max_request_lifetime: 2m", &[]),
    ] {
        let routing = load(&with_lifetime(setting));
        let Endpoint::LangGraph(endpoint) = &routing.agent("x").unwrap().endpoint else { panic!() };
        assert_eq!(endpoint.max_request_lifetime, Duration::from_secs(120));
        let found: Vec<_> = routing.warnings().iter().map(ToString::to_string).collect();
        assert_problems(&found, warnings);
    }
}

#[test]
fn a_mistake_in_max_request_lifetime_is_reported_under_the_name_that_the_file_has() {
    for (setting, expected) in [
        (
            "settle: 15s",
            "a.yaml:6:15: agent `x`, langgraph, settle: expected at least 20s, twice the timeout of 10s, found 15s: raise settle",
        ),
        (
            "max_request_lifetime: 2m\n      settle: 2m",
            "a.yaml:7:7: agent `x`, langgraph: expected `max_request_lifetime`, found it and its former name `settle`: remove `settle`",
        ),
        (
            "setle: 15s",
            "a.yaml:6:7: agent `x`, langgraph: unknown key \"setle\": it has api_key, assistant, auth, config, context, headers, langsmith_tracer, max_request_lifetime, metadata,",
        ),
    ] {
        assert_problems(&problems_of(&[("a.yaml", &with_lifetime(setting))], &[]), &[expected]);
    }
}
