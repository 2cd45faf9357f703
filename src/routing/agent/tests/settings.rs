use serde_json::json;

use crate::{
    agents::{Endpoint, RunSettings},
    routing::tests::{assert_problems, event, load, load_with, problems_of},
};

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
        ("${TOK} {{ payload.x }}", "cannot render \"{{ payload.x }}\": undefined value"),
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
        ("{{ 1 + }} ${TOK}", "expected a template, found \"{{ 1 + }}\": syntax error"),
        ("{% ${TOK} %}", "expected a template, found \"{% ${TOK} %}\": syntax error: unknown statement ${TOK}"),
    ] {
        let problems = routing(&format!("metadata: {{k: {}}}", json!(written)), "hunter2").unwrap_err().to_string();
        assert!(problems.contains(expected) && !problems.contains("hunter2"), "{problems}");
    }
}
