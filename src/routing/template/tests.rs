use serde_json::{Value, json};

use crate::routing::{
    Routing,
    template::TemplateError,
    tests::{assert_problems, cpu_time, event, load, problems},
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
        assert!(matches!(error, TemplateError::Failed { .. }));
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
        assert!(matches!(error, TemplateError::TooLarge { .. }), "{error}");
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
            let began = cpu_time();
            let loaded = std::panic::catch_unwind(|| render(&load(&with_input(input)), &event(n)).is_err());
            // A filter that the engine lacks is refused when the folder is loaded.
            assert!(loaded.unwrap_or(true), "{input} with {n} gave a value");
            let took = cpu_time().saturating_sub(began);
            assert!(took < std::time::Duration::from_secs(5), "{input} with {n}: {took:?}");
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
            "a.yaml:14:9: rule `r`, input.g: expected a template, found \"{{ two three }}\": syntax error: unexpected identifier, expected end of variable block (in line 2 of the template)",
            "a.yaml:16:10: rule `r`, input.h: unknown name `debug`",
            "a.yaml:16:10: rule `r`, input.h: unknown name `namespace`",
        ],
    );
}

#[test]
fn what_is_rewritten_with_guards_renders_as_by_the_engine_alone() {
    let document = json!({"payload": {"data": {
        "rows": [3, 1, 2], "name": "Übung", "map": {"b": 1, "a": [1, 2]}, "pairs": [[1, 2], [3, 4]], "x": 7
    }}});
    for template in [
        "{{ 2 * 3 }}|{{ 2.5 * 2 }}|{{ 'ab' * 2 }}|{{ [1] * 3 }}|{{ -2 * 3 }}",
        "{{ 1 + 2 * 3 - 4 / 2 }}|{{ 7 // 2 }}|{{ 7 % 4 }}|{{ 2 ** 3 ** 2 }}|{{ -2 ** 2 }}",
        "{{ 'a' ~ 1 ~ none }}|{{ 'a' + 'b' }}|{{ [1] + [2] }}",
        "{{ not true or true and false }}|{{ not (true and false) }}",
        "{{ 1 < 2 < 3 }}|{{ 1 < 3 < 2 }}|{{ 1 == 1.0 }}|{{ 'a' != 'b' }}",
        "{{ 3 in D.rows }}|{{ 9 not in D.rows }}|{{ 'b' in D.map }}|{{ 'bun' in D.name }}",
        "{{ D.rows[0] }}{{ D.rows[-1] }}{{ D['rows'][1:] }}{{ D.name[1:3] }}{{ D.name[::-1] }}{{ D.name[0] }}",
        "{{ D.rows | sort | join('-') }}|{{ D.rows | sum }}|{{ D.rows | map('string') | list }}",
        "{% for a, b in D.pairs %}{{ a }}{{ b }}{{ loop.index }}{% if not loop.last %},{% endif %}{% endfor %}",
        "{% for k, v in D.map | dictsort %}{{ k }}={{ v }};{% else %}none{% endfor %}",
        "{% for r in D.rows if r > 1 %}{{ r }}{% else %}x{% endfor %}{% for r in [] %}{% else %}e{% endfor %}",
        "{% set a, b = [1, 2] %}{{ a + b }}{% set c %}<{{ a }}>{% endset %}{{ c }}{% with d = 5 %}{{ d }}{% endwith %}",
        "{% filter upper | replace('A', 'o') %}abc{% endfilter %}{% set s | upper %}q{% endset %}{{ s }}",
        "{% if D.x is divisibleby(7) and D.x is not none %}yes{% elif true %}no{% endif %}",
        "{{ 'y' if D.x > 5 else 'n' }}{{ 'z' if D.x > 9 }}|",
        "{{ {'a': 1, D.name: [2, (3, 4)]} }}|{{ (1,) }}|{{ () }}",
        "{% raw %}{{ x }}{% endraw %}{# a note #}\\ \" {{- 'z' -}} \n q",
        "{% for r in D.rows %}{{ loop.cycle('o', 'e') }}{% if loop.changed(r > 2) %}!{% endif %}{% endfor %}",
        "{% for r in D.pairs recursive %}{% if r is sequence %}[{{ loop(r) }}]{% else %}{{ r }}{% endif %}{% endfor %}",
        "{{ D.name | upper | lower | title | trim }}{{ '%05.1f|%s' | format(2.25, 'x') }}",
        "{{ 1.0 }}|{{ 1e300 }}|{{ 123456789012345678901234567890 }}|{{ 'a\\u00e9\\n' | length }}",
        "{{ range(3) | list }}{{ dict(a=1).a }}{{ 'a,b' | split(',') }}{{ D.rows | batch(2) | list }}",
        "{{ 9 - 3 - 2 }}|{{ 64 / 4 / 2 }}|{{ 64 // 4 // 3 }}|{{ 17 % 9 % 5 }}|{{ 2 ** 2 ** 3 }}|{{ 1 + 2 + 3 - 4 + 5 }}",
        "{{ 9 - (3 - 2) }}|{{ 64 / (4 / 2) }}|{{ 2 ** (2 ** 3) }}|{{ 1 + (2 + 3) }}|{{ 'a' ~ ('b' ~ 'c') ~ 1 ~ D.rows }}",
        "{{ 1 or 0 or 2 }}|{{ 1 and 0 and 2 }}|{{ 0 or (1 and 2 and (3 or 4)) }}|{{ not (0 or 0 or 1) }}",
        "{{ (1 + 2) ~ 3 * 2 ~ -4 }}|{{ (-7 | abs) ~ (1, 2)[1] ~ 'xy'[0] ~ {'a': {'b': 3}}.a.b ~ D.map['a'][1] }}",
        "{{ D.rows | sort | reverse | first }}|{{ (D.x | string | length) is odd }}|{{ (D.x + 1) | string | upper }}",
        "{{ D.rows[0:2] | first }}|{{ (D.map | items | first)[0] }}|{{ D.map.a.1 }}|{{ -D.map.a[0] | abs }}",
        "{% if D.x == 1 %}1{% elif D.x == 2 %}2{% else %}{% if D.x == 7 %}7{% else %}8{% endif %}{% endif %}",
        "{% if D.x == 1 %}1{% else %} {% if D.x == 7 %}7{% endif %}{% endif %}{% if 0 %}{% elif 0 %}b{% elif 1 %}c{% else %}d{% endif %}",
        "{{ D.pairs | map('first') | list }}{{ D.rows | select('gt', 1) | list }}{{ [{'n': 1}] | selectattr('n', 'eq', 1) | list | length }}",
    ] {
        let leaf = template.replace("D.", "payload.data.").replace("D[", "payload.data[");
        let input = format!("x: {}", Value::from(format!("{leaf} .")));
        let guarded = rendered(&input, &document);
        let plain = minijinja::Environment::new();
        let context = minijinja::Value::from(minijinja::value::Serde(event(&document).document().clone()));
        let plain = plain.template_from_str(&format!("{leaf} .")).unwrap().render(context);
        let plain = plain.unwrap_or_else(|error| panic!("{template}: {error}"));
        assert_eq!(guarded["x"].as_str().unwrap(), plain, "{template}");
    }
}

#[test]
fn what_has_no_bound_is_refused_when_the_folder_is_loaded() {
    let input = "a: '{{ payload.get(1) }}'
b: '{{ range(*payload.data) }}{{ dict(**payload) }}'
c: '{% autoescape true %}{% endautoescape %}'
d: '{{ payload | pprint }}'
e: '{{ __meter }}'
f: '{% set __x = 1 %}{{ __x }}'
g: '{% for i in [1] %}{{ loop.cycle() }}{% endfor %}'
h: '{{ payload[0]() }}'
i: \"one\\n{{ payload.x() }}\"";
    assert_problems(
        &problems(&with_input(input)),
        &[
            "a.yaml:7:10: rule `r`, input.a: templates here do not have the method `get` (use a filter): take it out",
            "a.yaml:8:10: rule `r`, input.b: templates here do not have arguments with `*`",
            "a.yaml:9:10: rule `r`, input.c: templates here do not have `autoescape`",
            "a.yaml:10:10: rule `r`, input.d: unknown filter: filter pprint is unknown",
            "a.yaml:11:10: rule `r`, input.e: templates here do not have a name that begins with `__`",
            "a.yaml:12:10: rule `r`, input.f: templates here do not have a name that begins with `__`",
            "a.yaml:13:10: rule `r`, input.g: templates here do not have the method `cycle`",
            "a.yaml:14:10: rule `r`, input.h: templates here do not have a call of anything but a function",
            "a.yaml:15:10: rule `r`, input.i: templates here do not have the method `x` (use a filter) (in line 2 of the template)",
        ],
    );
    let long = format!("a: '{{{{ 1 }}}}{}'", "x".repeat(40_000));
    assert_problems(
        &problems(&with_input(&long)),
        &["a.yaml:7:10: rule `r`, input.a: expected a template of at most 32768 bytes, found"],
    );
    let many = format!("a: [{}]", vec!["'{{ 1 }}'"; 2_001].join(", "));
    assert_problems(&problems(&with_input(&many)), &["expected at most 2000 texts with a template in them"]);
}

#[test]
fn an_error_in_a_long_template_names_its_line() {
    let error = failure("|\n  one\n  {% if true %}\n  {{ payload.data.nope }}\n  {% endif %}", &json!({}));
    assert!(error.to_string().contains("(in line 3 of the template)"), "{error}");
}

#[test]
fn a_long_chain_is_no_deeper_than_a_short_one() {
    let chain = |first: &str, next: &str, count: usize| format!("{first}{}", next.repeat(count - 1));
    let mut map = json!("end");
    for _ in 0..80 {
        map = json!({"a": map});
    }
    let document = json!({"payload": {"data": {"m": map, "x": 7}}});
    for (template, expected) in [
        (format!("{{{{ {} }}}}", chain("1", " ~ workflow_id", 200)), json!(format!("1{}", "etl_daily".repeat(199)))),
        (format!("{{{{ {} }}}}", chain("false", " or false", 200)), json!(false)),
        (format!("{{{{ {} }}}}", chain("true", " and true", 200)), json!(true)),
        (format!("{{{{ {} }}}}", chain("0", " - 1", 200)), json!(-199)),
        (format!("{{{{ {} }}}}", chain("0", " + 1", 60)), json!(59)),
        (format!("{{{{ workflow_id {} }}}}", "| upper ".repeat(200)), json!("ETL_DAILY")),
        (format!("{{{{ payload.data.m{} }}}}", ".a".repeat(80)), json!("end")),
        (
            format!("{{% if false %}}{}{{% else %}}e{{% endif %}}", "{% elif payload.data.x == 1 %}b".repeat(160)),
            json!("e"),
        ),
    ] {
        assert_eq!(rendered(&Value::from(template.as_str()).to_string(), &document), expected, "{template}");
    }
}

#[test]
fn a_template_that_is_too_deep_or_too_long_a_chain_is_told_the_limit() {
    let deep =
        "expected at most 150 levels of parentheses, brackets, calls and blocks, counting those that the bridge adds";
    for (template, expected) in [
        (format!("{{{{ {}1{} }}}}", "[".repeat(200), "]".repeat(200)), deep),
        (format!("x{{{{ {}1{} }}}}", "(".repeat(200), ")".repeat(200)), deep),
        (format!("{{{{ 0{} }}}}", " + 1".repeat(160)), deep),
        (format!("{{% if 1 %}}{}", "{% if 1 %}".repeat(200)), deep),
        (format!("{{{{ 1{} }}}}", " or 1".repeat(6_000)), "more than 400 operands in a row"),
        (format!("{{{{ 1{} }}}}", " ~ 1".repeat(6_000)), "more than 400 operands in a row"),
        (format!("{{{{ 1{} }}}}", " + 1".repeat(6_000)), "more than 400 names, filters or operators in a row"),
        (format!("{{{{ 1{} }}}}", "|abs".repeat(6_000)), "more than 400 filters in a row"),
        (format!("{{{{ payload{} }}}}", ".a".repeat(12_000)), "more than 400 names, filters or operators in a row"),
        (format!("{{% if 1 %}}{}{{% endif %}}", "{%elif 1%}".repeat(3_000)), "more than 400 branches of one `if`"),
    ] {
        let found = problems(&with_input(&Value::from(template.as_str()).to_string()));
        assert!(found.len() == 1 && found[0].contains(expected), "{template:.60}: {found:?}");
    }
}
