use serde_json::{Value, json};

use crate::routing::{
    Routing, TemplateError,
    tests::{assert_problems, event, load, problems},
};

fn with_input(input: &str) -> String {
    let indented = input.replace('\n', "\n      ");
    format!(
        "agents: {{a: {{langgraph: {{url: 'http://h', assistant: a}}}}}}
rules:
  - name: r
    when: {{event_type: [WORKFLOW_COMPLETED], tenant: [{{exists: true}}, {{exists: false}}]}}
    to: [a]
    input:
      {indented}
"
    )
}

fn render(routing: &Routing, document: &Value) -> Result<Value, TemplateError> {
    routing.rule("r").unwrap().render_input(&event(document).into()).map(Option::unwrap)
}

fn rendered(input: &str, document: &Value) -> Value {
    render(&load(&with_input(input)), document).unwrap_or_else(|error| panic!("{input}: {error}"))
}

fn failure(input: &str, document: &Value) -> TemplateError {
    render(&load(&with_input(input)), document).unwrap_err()
}

#[test]
fn a_leaf_that_is_one_expression_keeps_its_type() {
    let data = json!({
        "null": null, "yes": true, "int": -7, "big": u64::MAX, "float": 1.0, "text": "7", "list": [1, [], {"z": 1, "a": null}]
    });
    for (key, value) in data.as_object().unwrap() {
        for leaf in [format!("{{{{ payload.data.{key} }}}}"), format!("{{{{- event['payload'].data['{key}'] -}}}}")] {
            let found = rendered(&format!("{{x: \"{leaf}\"}}"), &json!({"payload": {"data": data}}));
            assert_eq!(found["x"].to_string(), value.to_string(), "{leaf}");
        }
    }
    let document = json!({"payload": {"data": data}});
    let whole = rendered("'{{ event }}'", &document);
    assert_eq!(whole.to_string(), event(&document).document().to_string());
    assert_eq!(
        rendered("['{{ {\"a\": {}} }}', '{{ 1 + 1 }}', '{{ [1, none] }}', '{{ \"}}\" }}']", &json!({})),
        json!([
            {"a": {}}, 2, [1, null], "}}"
        ])
    );
}

#[test]
fn any_other_leaf_with_a_template_is_a_text() {
    assert_eq!(
        rendered(
            "[' {{ 7 }}', '{{ 7 }}{{ 8 }}', '{% if true %}x{% endif %}', 'plain', 7, 'a { b', null, '# {# kept #}']",
            &json!({})
        ),
        json!([" 7", "78", "x", "plain", 7, "a { b", null, "# {# kept #}"])
    );
    assert_eq!(
        rendered("text: |\n  {% for key in payload.data %}{{ key }};{% endfor %}\n  end", &json!({})),
        json!({"text": "status;rows;\nend"})
    );
}

#[test]
fn json_in_a_text_is_not_escaped_for_html() {
    let nasty = json!({"z": "<a href='x'>\"&\" \\ é \u{2028}", "a": [1, 2.5, null]});
    let document = json!({"payload": {"data": nasty}});
    let found = rendered("{x: '{{ payload.data | tojson }}!', y: '{{ payload.data.z }}!'}", &document);
    assert_eq!(found["x"].as_str().unwrap(), format!("{nasty}!"));
    assert_eq!(found["y"].as_str().unwrap(), format!("{}!", nasty["z"].as_str().unwrap()));
    let pretty = rendered("'{{ payload.data | tojson(true) }}!'", &json!({"payload": {"data": {"a": 1}}}));
    assert_eq!(pretty, json!("{\n  \"a\": 1\n}!"));
}

#[test]
fn an_undefined_name_is_an_error_that_says_where() {
    for (input, leaf) in [
        ("{a: [0, '{{ payload.data.nope }}']}", "input.a[1]"),
        ("{a.b: 'x {{ payload.data.nope }}'}", "input[\"a.b\"]"),
        ("'{{ payload.nope.deeper }}'", "input"),
        ("'{{ [payload.nope] }}'", "input"),
        ("'{{ payload.nope | tojson }}'", "input"),
        ("'{{ {\"a\": payload.nope} | tojson }} '", "input"),
        ("'{% for x in payload.nope %}{% endfor %}'", "input"),
        ("'{% if payload.nope %}{% endif %}'", "input"),
        ("'{{ tenant }}'", "input"),
    ] {
        let error = failure(input, &json!({}));
        assert_eq!(error.kind(), "template_failed");
        let text = error.to_string();
        assert!(text.starts_with(&format!("rule `r`, {leaf}: cannot render \"")), "{text}");
        assert!(text.contains("undefined value"), "{text}");
    }
    assert_eq!(rendered("'{{ payload.nope | default(none) }}'", &json!({})), json!(null));
    assert_eq!(rendered("'{{ payload.nope is defined }}'", &json!({})), json!(false));
    assert_eq!(rendered("'{{ tenant }}'", &json!({"tenant": {"id": 7}})), json!({"id": 7}));
}

#[test]
fn a_template_cannot_run_or_grow_for_ever() {
    let forever = "'{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}{% endfor %}{% endfor %}{% endfor %}'";
    assert!(failure(forever, &json!({})).to_string().contains("200000 instructions"));
    for large in [
        "'{% for a in range(100) %}{{ \"x\" * 99999 }}{% endfor %}'",
        "['{{ \"x\" * 99999 }}', '{{ [[\"x\" * 99999] * 30, [\"x\" * 99999] * 30] }}']",
    ] {
        let error = failure(large, &json!({}));
        assert_eq!(error.kind(), "template_too_large", "{error}");
    }
}

#[test]
fn a_number_in_an_event_cannot_make_a_template_take_all_memory() {
    let event = |n: u64| json!({"event_id": "e", "payload": {"data": {"n": n, "text": "a\nb"}}});
    for input in [
        "a: '{{ payload.data.text | indent(payload.data.n) }}'",
        "a: '{{ \"x\" * payload.data.n }}'",
        "a: '{{ [1] * payload.data.n }}'",
        "a: '{{ range(payload.data.n) | list }}'",
        "a: '{{ \"%*d\" | format(payload.data.n, 1) }}'",
        "a: '{{ \"x\" | center(payload.data.n) }}'",
    ] {
        for n in [1_000_000_000_000, u64::MAX / 2] {
            let began = std::time::Instant::now();
            let loaded = std::panic::catch_unwind(|| render(&load(&with_input(input)), &event(n)).is_err());
            // A filter that the engine lacks is refused when the folder is loaded.
            assert!(loaded.unwrap_or(true), "{input} with {n} gave a value");
            assert!(began.elapsed() < std::time::Duration::from_secs(5), "{input} with {n}");
        }
    }
    assert_eq!(rendered("a: '{{ payload.data.text | indent(2) }}'", &event(1)), json!({"a": "a\n  b"}));
    assert_eq!(rendered("a: '{{ payload.data.text | indent(2, true) }}'", &event(1)), json!({"a": "  a\n  b"}));
}

#[test]
fn mistakes_that_can_be_seen_before_any_event_are_reported_at_their_place() {
    let input = "a: '{{ workflow_Id }}'
b: ['{{ payload.data | tojsn }}', '{{ 1 + }}', '{{ x }} {% endif %}']
c: \"{{ nope() }}\"
d: '{{ payload is weird }}{{ tenant }}'
e: '{{ payload | tojson(1, 2, 3) }}'
f: '{% set own = 1 %}{{ own }}{% for i in [1] %}{{ i }}{{ loop.index }}{% endfor %}{{ range(3) }}{{ dict(a=1) }}'
g: |
  one
  {{ two three }}
h: '{{ debug() }}{% set n = namespace(x=1) %}'";
    assert_problems(
        &problems(&with_input(input)),
        &[
            "a.yaml:7:10: rule `r`, input.a: unknown name `workflow_Id`: did you mean `workflow_id`?",
            "a.yaml:8:11: rule `r`, input.b[0]: unknown filter: filter tojsn is unknown",
            "a.yaml:8:41: rule `r`, input.b[1]: expected a template, found \"{{ 1 + }}\": syntax error: unexpected",
            "a.yaml:8:54: rule `r`, input.b[2]: expected a template, found \"{{ x }} {% endif %}\": syntax error",
            "a.yaml:9:10: rule `r`, input.c: unknown name `nope`",
            "a.yaml:10:10: rule `r`, input.d: unknown test: test weird is unknown",
            "a.yaml:11:10: rule `r`, input.e: too many arguments",
            "a.yaml:14:9: rule `r`, input.g: expected a template, found \"one\\n{{ two three }}\\n\": syntax error: unexpected identifier, expected end of variable block (in line 2 of the template)",
            "a.yaml:16:10: rule `r`, input.h: unknown name `debug`",
            "a.yaml:16:10: rule `r`, input.h: unknown name `namespace`",
        ],
    );
}
