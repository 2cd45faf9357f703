//! The schema and the reader of test files say the same: of keys in both directions, of values, of examples and of mistakes.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};

use super::SCHEMA;
use crate::{
    routing::cases::read::CaseFiles,
    testing::{
        self,
        examples::{Example, yaml_examples},
        json_schema::Schema,
    },
};

fn load(file: &Value) -> Result<(), String> {
    let read = CaseFiles::of_text(Path::new("a.test.yaml"), &file.to_string());
    let problems: Vec<String> = read.problems.iter().map(ToString::to_string).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn with(test: &Value) -> Value {
    json!({"tests": [test]})
}

/// A file with every key but `file`, which stands in the place of `event`.
fn complete() -> Value {
    with(&json!({
        "name": "a", "event": {"event_type": "A"}, "key": "k", "headers": {"h": "v"},
        "expect": ["r", {"rule": "s", "to": ["a"], "input": {"x": 1}, "body": [1]}],
    }))
}

#[test]
fn each_map_has_the_same_keys_for_the_schema_and_for_the_reader() {
    let schema = Schema::new(SCHEMA);
    load(&complete()).unwrap();
    assert_eq!(schema.mistakes(&complete()), [] as [&str; 0]);
    for (path, is_open) in [
        ("", false),
        ("/tests/0", false),
        ("/tests/0/event", true),
        ("/tests/0/headers", true),
        ("/tests/0/expect/1", false),
    ] {
        let mut changed = complete();
        changed.pointer_mut(path).unwrap()["zzz"] = json!("zzz");
        let refused = load(&changed).err();
        assert_eq!((refused.is_none(), schema.accepts(&changed)), (is_open, is_open), "{path}: {refused:?}");
        let Some(named) = refused.as_deref().and_then(|message| message.split_once("unknown key \"zzz\": it has "))
        else {
            continue;
        };
        let named: BTreeSet<&str> = named.1.lines().next().unwrap().split(", ").collect();
        let steps: Vec<&str> = path.split('/').skip(1).collect();
        let nodes = schema.at(&steps);
        let keys = nodes.iter().filter_map(|node| node["properties"].as_object()).flat_map(|keys| keys.keys());
        assert_eq!(keys.map(String::as_str).collect::<BTreeSet<_>>(), named, "{path}");
    }
}

#[test]
fn values_are_right_and_wrong_for_both() {
    let schema = Schema::new(SCHEMA);
    let test = |key: &str, value: &Value| {
        let mut test = json!({"name": "a", "event": {}, "expect": []});
        test[key] = value.clone();
        with(&test)
    };
    let expected = |key: &str, value: &Value| test("expect", &json!([{"rule": "r", key: value}]));
    let mut files = vec![
        (json!({"tests": []}), true),
        (json!({"tests": {}}), false),
        (json!({}), false),
        (json!([]), false),
        (with(&json!({"name": "a", "event": {}})), false),
        (with(&json!({"event": {}, "expect": []})), false),
        (with(&json!({"name": "a", "expect": []})), false),
        (with(&json!({"name": "a", "event": {}, "file": "Cargo.toml", "expect": []})), false),
        (with(&json!("a")), false),
    ];
    for (key, right, wrong) in [
        ("name", json!(["a b", " a"]), json!(["", " ", 7, null, []])),
        ("event", json!([{}, {"event_type": "A"}]), json!([null, [], "a", 7])),
        ("key", json!(["a"]), json!(["", 7, null, {}])),
        ("headers", json!([{}, {"a": "b"}]), json!([null, [], {"a": 7}, {"a": ""}, {"a": null}])),
        (
            "expect",
            json!([[], ["r"], ["r", {"rule": "s"}]]),
            json!([null, "r", {}, [7], [null], [[]], [{}], [{"to": ["a"]}]]),
        ),
    ] {
        files.extend(right.as_array().unwrap().iter().map(|value| (test(key, value), true)));
        files.extend(wrong.as_array().unwrap().iter().map(|value| (test(key, value), false)));
    }
    for (key, right, wrong) in [
        ("rule", json!(["r"]), json!([7, null, []])),
        ("to", json!([["a"], ["a", "b"]]), json!([[], "a", null, [7], ["a", "a"], {}])),
        ("input", json!([null, 1, "a", [], {}]), json!([])),
        ("body", json!([null, 1, "a", [], {}]), json!([])),
    ] {
        files.extend(right.as_array().unwrap().iter().map(|value| (expected(key, value), true)));
        files.extend(wrong.as_array().unwrap().iter().map(|value| (expected(key, value), false)));
    }
    for (file, is_right) in files {
        let (loaded, mistakes) = (load(&file), schema.mistakes(&file));
        assert_eq!((loaded.is_ok(), mistakes.is_empty()), (is_right, is_right), "{file}: {loaded:?}, {mistakes:?}");
    }
}

#[test]
fn every_key_has_a_description() {
    let schema = Schema::new(SCHEMA);
    for node in schema.nodes() {
        for (key, below) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
            assert!(below.get("description").is_some(), "`{key}` has no description");
        }
    }
}

#[test]
fn every_shipped_file_and_every_example_is_valid() {
    let schema = Schema::new(SCHEMA);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let expected = root.join("schemas/test.schema.json").canonicalize().unwrap();
    for name in ["routing/first.test.yaml", "examples/routing/rules.test.yaml"] {
        let (path, text) = (root.join(name), std::fs::read_to_string(root.join(name)).unwrap());
        let line = text.lines().next().and_then(|line| line.strip_prefix("# yaml-language-server: $schema="));
        assert_eq!(path.parent().unwrap().join(line.unwrap()).canonicalize().unwrap(), expected, "{name}");
        assert_eq!(schema.mistakes(&testing::yaml(&text).unwrap()), [] as [&str; 0], "{name}");
    }
    let mut seen = 0;
    for Example { page, text, is_wrong } in yaml_examples() {
        let Ok(document) = testing::yaml(&text) else { continue };
        if !is_wrong && document.get("tests").is_some() {
            assert_eq!(schema.mistakes(&document), [] as [&str; 0], "{page}:\n{text}");
            seen += 1;
        }
    }
    assert!(seen >= 1, "the documents show no tests");
}
