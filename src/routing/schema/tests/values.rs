//! Values of each key, right and wrong: the verdicts of the schema and of the reader.

use serde_json::{Value, json};

use super::{load, schema};

/// A file with this agent.
pub(super) fn with_agent(agent: &Value) -> Value {
    let rule = json!({"name": "r", "when": {"event_type": ["WORKFLOW_FAILED"]}, "to": ["x"]});
    json!({"agents": {"x": agent}, "rules": [rule]})
}

fn with_when(when: &Value) -> Value {
    let rule = json!({"name": "r", "when": when, "to": ["x"]});
    json!({"agents": {"x": {"http": {"url": "http://h"}}}, "rules": [rule]})
}

/// Each file is right, or wrong, for the reader and for the schema.
#[track_caller]
pub(super) fn assert_verdicts(files: impl IntoIterator<Item = (Value, bool)>) {
    let schema = schema();
    let mut differences = Vec::new();
    for (file, expected) in files {
        let (loaded, mistakes) = (load(&file.to_string()), schema.mistakes(&file));
        let word = if expected { "right" } else { "wrong" };
        if loaded.is_ok() != expected {
            differences.push(format!("the reader, of a file that is {word}: {file}: {:?}", loaded.err()));
        }
        if mistakes.is_empty() != expected {
            differences.push(format!("the schema, of a file that is {word}: {file}: {mistakes:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// A file for each of the right values and each of the wrong ones.
fn files(file: impl Fn(&Value) -> Value, right: &Value, wrong: &Value) -> Vec<(Value, bool)> {
    let right = right.as_array().unwrap().iter().map(|value| (file(value), true));
    right.chain(wrong.as_array().unwrap().iter().map(|value| (file(value), false))).collect()
}

fn http(key: &str, value: &Value) -> Value {
    let mut agent = json!({"http": {"url": "http://h"}});
    agent[key] = value.clone();
    with_agent(&agent)
}

fn endpoint(kind: &str, key: &str, value: &Value) -> Value {
    let mut agent = json!({kind: {"url": "https://h"}});
    if kind == "langgraph" {
        agent[kind]["assistant"] = json!("a");
    }
    agent[kind][key] = value.clone();
    with_agent(&agent)
}

#[test]
fn the_values_of_an_agent_are_right_and_wrong_for_both() {
    for (key, right, wrong) in [
        (
            "timeout",
            json!(["10ms", "1h", "1h 0m", "1.5s", "1s500ms", "${T:-10s}", "${ONE}s"]),
            json!([10, "10", "1 parsec", "-1s", "s", "", null, ["1s"], "${NO PE}", "${T", "$${T}"]),
        ),
        (
            "concurrency",
            json!([1, 10_000, "8", " 0010000 ", "${ONE}"]),
            json!([0, 10_001, 1.5, "0", "10001", "x", true]),
        ),
        ("rate", json!(["50/s", "600 / m", "1000/h", "${ONE}/s"]), json!([50, "50", "0/s", "50/d", "s/50", "-1/s"])),
        ("retry", json!([{}, {"max_attempts": 1_000_000}]), json!([null, [], {"max_attempts": 0}, {"max": 60}])),
        (
            "classify",
            json!([{}, {"100": "busy", "599": "event_fault"}]),
            json!([[], {"600": "busy"}, {"99": "busy"}, {"409": "gone"}, {"409": 1}, {"4xx": "busy"}]),
        ),
    ] {
        assert_verdicts(files(|value| http(key, value), &right, &wrong));
    }
    let agents = [
        (json!({}), false),
        (json!(7), false),
        (json!({"http": {"url": "http://h"}, "langgraph": {"url": "http://h", "assistant": "a"}}), false),
        (json!({"http": {}}), false),
        (json!({"langgraph": {"url": "http://h"}}), false),
        (json!({"langgraph": {"assistant": "a"}}), false),
        (json!({"langgraph": {"url": "http://h", "assistant": "a", "settle": "30s"}}), true),
        (
            json!({"langgraph": {"url": "http://h", "assistant": "a", "settle": "30s", "max_request_lifetime": "30s"}}),
            false,
        ),
        (json!({"http": {"url": "http://h"}, "timeot": "1s"}), false),
    ];
    assert_verdicts(agents.map(|(agent, expected)| (with_agent(&agent), expected)));
}

#[test]
fn the_values_of_an_endpoint_are_right_and_wrong_for_both() {
    let secret = json!({"env": "KEY"});
    let secrets = json!([secret, {"env": "_K1"}]);
    let literals = json!([
        "s3cr3t", null, {}, {"env": "A B"}, {"env": 1}, {"env": "A", "file": "b"}, {"vault": "x"}, {"file": ""},
    ]);
    let durations = json!([60, "60", "soon"]);
    for (kind, key, right, wrong) in [
        (
            "http",
            "url",
            json!(["http://h", "HTTPS://h:1/a?b=c", "${URL:-http://h}", "http://[::1]:80/", "http://h/$${x}"]),
            json!([
                "h",
                "http:h",
                "http:///x",
                "HTTPS://:80/x",
                "http://u:p@h/",
                "http://h/#x",
                "http://${UNSET",
                "",
                7
            ]),
        ),
        ("langgraph", "url", json!(["http://h/base"]), json!(["http://h/?x", "ftp://h", null])),
        ("langgraph", "assistant", json!(["a", "${A:-b}", "7"]), json!(["", "  ", 7, null, ["a"], "${A", "${A B}"])),
        ("langgraph", "server", json!(["crm", "${A:-b}"]), json!(["", 7, null, ["a"], "${A"])),
        ("http", "server", json!(["crm"]), json!(["", 7, null])),
        ("langgraph", "api_key", secrets.clone(), literals.clone()),
        (
            "http",
            "auth",
            json!([{"bearer": secret}, {"api_key": secret}, {"api_key": secret, "header": "x-k"}]),
            json!([
                {}, "x", {"bearer": "x"}, {"bearer": secret, "api_key": secret}, {"bearer": secret, "header": "a"},
                {"basic": secret},
            ]),
        ),
        (
            "http",
            "sign",
            json!([{"secret": secret}]),
            json!([{}, secret, {"secret": "x"}, {"secret": secret, "key": 1}]),
        ),
        ("http", "method", json!(["POST", "PUT"]), json!(["GET", "post", 1, null])),
        (
            "http",
            "tls",
            json!([{"ca_file": super::CA}]),
            json!([{}, super::CA, {"ca_file": 1}, {"ca_file": super::CA, "a": 1}]),
        ),
        (
            "http",
            "headers",
            json!([{}, {"x-a": "b", "content-type": "a/b"}]),
            json!([[], {"x a": "b"}, {"x-a": 1}, {"x-a": ""}]),
        ),
        ("langgraph", "headers", json!([{"x-a": "${A:-b}"}]), json!([{"content-type": "a/b"}, {"x-a": "${A"}])),
        ("langgraph", "max_request_lifetime", json!(["20s", "24h"]), durations.clone()),
        (
            "langgraph",
            "config",
            json!([{}, {"a": [1, null, "{{ event_id }}", "${A:-b}"]}]),
            json!([null, [], "x", {"a": ["${A"]}]),
        ),
        ("langgraph", "context", json!([{"a": {"b": true}}]), json!([null, 1, {"a": {"b": "${}"}}])),
        ("langgraph", "metadata", json!([{"tenant": "a"}]), json!([[], {"rule": "x"}, {"run_id": 1}])),
        (
            "langgraph",
            "ttl",
            json!(["30d", {"after": "30d"}, {"after": "30d", "strategy": "keep_latest"}]),
            json!([
                30, "30", {}, {"strategy": "delete"}, {"after": 30}, {"after": "30d", "strategy": "keep"},
                {"after": "30d", "a": 1},
            ]),
        ),
        (
            "langgraph",
            "langsmith_tracer",
            json!([{"project_name": "a"}]),
            json!(["a", {}, {"project_name": 1}, {"project": "a"}]),
        ),
    ] {
        assert_verdicts(files(|value| endpoint(kind, key, value), &right, &wrong));
    }
}

#[test]
fn the_values_of_a_rule_are_right_and_wrong_for_both() {
    let right = json!({"name": "r", "when": {"event_type": ["WORKFLOW_FAILED"]}, "to": ["x"]});
    let mut rules = vec![(right.clone(), true)];
    for key in ["name", "when", "to"] {
        let mut rule = right.clone();
        rule.as_object_mut().unwrap().remove(key);
        rules.push((rule, false));
    }
    for (key, value, expected) in [
        ("name", json!("a.b_c-1"), true),
        ("name", json!("Audit all"), false),
        ("name", json!("-a"), false),
        ("name", json!("a".repeat(65)), false),
        ("name", json!(7), false),
        ("description", json!("why"), true),
        ("description", json!(["why"]), false),
        ("to", json!("x"), false),
        ("to", json!([]), false),
        ("to", json!(["x", "x"]), false),
        ("to", json!([1]), false),
        ("body", json!({"a": "{{ event_id }}"}), true),
        ("body", json!(1), true),
        ("body", json!([true, null]), true),
        ("body", Value::Null, false),
        ("When", json!({}), false),
    ] {
        let mut rule = right.clone();
        rule[key] = value;
        rules.push((rule, expected));
    }
    assert_verdicts(rules.into_iter().map(|(rule, expected)| {
        let agents = json!({"x": {"http": {"url": "http://h"}}});
        (json!({"agents": agents, "rules": [rule]}), expected)
    }));
    let wrong = [json!([]), json!({"agents": []}), json!({"rules": {}}), json!({"rules": null}), json!({"rule": []})];
    assert_verdicts(wrong.map(|file| (file, false)));
}

#[test]
fn patterns_are_right_and_wrong_for_both() {
    let wrong = [
        json!(null),
        json!({}),
        json!([]),
        json!({"event_type": []}),
        json!({"event_type": "WORKFLOW_FAILED"}),
        json!({"workflow_id": ["a"]}),
        json!({"$or": [{"event_type": ["WORKFLOW_FAILED"]}, {"workflow_id": ["a"]}]}),
    ];
    assert_verdicts(wrong.map(|when| (with_when(&when), false)));
    let type_in_each = json!([
        {"event_type": ["WORKFLOW_FAILED"]},
        {"$or": [{"event_type": ["WORKFLOW_COMPLETED"], "source": ["AIRFLOW"]}, {"event_type": ["custom"]}]},
    ]);
    assert_verdicts([(with_when(&json!({"$or": type_in_each})), true)]);
    for (field, right, wrong) in [
        (
            "payload",
            json!([
                {"a": ["b", 7, 1.5, true, null]}, {"a": {"b": {"c": [1]}}}, {"$or": {"a": [1]}}, {"prefix": ["a"]},
                {"$or": [{"a": [1]}, {"b": [1], "$or": [{"c": [1]}, {"d": [1]}]}]},
            ]),
            json!([
                "a", 7, null, [], ["a"], {}, {"a": []}, {"a": "b"}, {"a": {"prefix": "b"}}, {"a": [["b"]]}, {"a": [{}]},
                {"a": [{"prefix": "a", "suffix": "b"}]}, {"$or": "a"}, {"$or": []}, {"$or": [{"a": [1]}]},
                {"$or": [{"a": [1]}, "b"]}, {"$or": [{"a": [1]}, {}]}, {"$or": [{"a": [1]}, {"prefix": ["b"]}]},
            ]),
        ),
        (
            "workflow_id",
            json!([["a"], [1, "a"], [{"prefix": "a"}, {"exists": false}]]),
            json!([[1], [null], [true, {"numeric": [">", 1]}], [{"exists": false}], {"prefix": "a"}, "a"]),
        ),
        ("event_id", json!([["a"]]), json!([[20_240_131]])),
        ("metadata", json!([{"version": ["1.0"]}]), json!([["prod"], "prod"])),
    ] {
        let when = |value: &Value| with_when(&json!({"event_type": ["WORKFLOW_FAILED"], field: value}));
        assert_verdicts(files(when, &right, &wrong));
    }
}

#[test]
fn operators_are_right_and_wrong_for_both() {
    for (operator, right, wrong) in [
        (
            "prefix",
            json!(["a", "", {"equals-ignore-case": "A"}]),
            json!([1, null, ["a"], {}, {"suffix": "a"}, {"equals-ignore-case": 1}]),
        ),
        ("suffix", json!([".png", {"equals-ignore-case": ".PNG"}]), json!([true, {"equals-ignore-case": "a", "b": 1}])),
        ("wildcard", json!(["a*b", "*", "", r"a\*\\"]), json!(["a**b", r"a\b", "\\", 1, ["a"]])),
        ("equals-ignore-case", json!(["a"]), json!([1, ["a"]])),
        ("exactly", json!(["a*"]), json!([1, null])),
        ("exists", json!([true, false]), json!(["true", 1, null])),
        ("cidr", json!(["10.0.0.0/24", "2001:db8::/32"]), json!(["10.0.0.0", "host/8", 10])),
        (
            "numeric",
            json!([["=", 3], ["<", 1.5], [">=", 0, "<", 5]]),
            json!(["=", [], ["="], ["=", "3"], ["!=", 3], [">", 0, "<"], ["<", 5, ">", 0], ["=", 1, "<", 2], [3, "="]]),
        ),
        (
            "anything-but",
            json!([
                "a", 1, ["a", "b"], [1, 2], {"prefix": "a"}, {"suffix": ["a", "b"]}, {"wildcard": ["a*"]}, {"wildcard": ""},
                {"equals-ignore-case": ["a", ""]},
            ]),
            json!([
                true, null, [], ["a", 1], [true], {}, {"prefix": ""}, {"suffix": ["a", ""]}, {"prefix": []}, {"wildcard": "**"},
                {"wildcard": ["a", "**"]}, {"exactly": "a"}, {"numeric": [">", 1]}, {"prefix": {"equals-ignore-case": "a"}},
                {"prefix": "a", "suffix": "b"}, {"equals-ignore-case": 1},
            ]),
        ),
        ("prefx", json!([]), json!(["a"])),
    ] {
        let when = |value: &Value| {
            with_when(&json!({"event_type": ["WORKFLOW_FAILED"], "payload": {"a": [{operator: value}]}}))
        };
        assert_verdicts(files(when, &right, &wrong));
    }
}
