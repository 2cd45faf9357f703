//! The schema and the reader of bridge.yaml say the same: of keys in both directions, of examples and of mistakes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::SCHEMA;
use crate::{
    config::{file::PROPERTIES, keys, tests::Case},
    kafka::OWNED_PROPERTIES,
    testing::{
        self,
        examples::{Example, yaml_examples},
        json_schema::Schema,
    },
};

fn schema() -> Schema {
    Schema::new(SCHEMA)
}

/// The settings of the schema, by their dotted paths.
fn settings(node: &Value, prefix: &str, found: &mut BTreeMap<String, Value>) {
    for (key, below) in node["properties"].as_object().unwrap() {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        if below.get("properties").is_some() {
            assert_eq!(below["additionalProperties"], false, "{path}");
            settings(below, &path, found);
        } else {
            found.insert(path, below.clone());
        }
    }
}

#[test]
fn each_setting_is_in_the_schema_as_it_is_in_the_table() {
    let schema = schema();
    assert_eq!(schema.root()["additionalProperties"], false);
    let mut found = BTreeMap::new();
    settings(schema.root(), "", &mut found);
    let properties = found.remove(PROPERTIES).expect("the properties are in the schema");
    let owned: Vec<&str> = OWNED_PROPERTIES.iter().map(|(name, _)| *name).collect();
    assert_eq!(properties["propertyNames"]["not"]["enum"], json!(owned));

    for key in keys::ALL {
        let node = found.remove(key.path).unwrap_or_else(|| panic!("`{}` is not in the schema", key.path));
        assert_eq!(node["description"], format!("{} (environment: {})", key.help, key.env), "{}", key.path);
        let default = match &node["default"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().map(|item| item.as_str().unwrap()).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        assert_eq!(default, key.default, "{}", key.path);
    }
    assert!(found.is_empty(), "settings that the table does not have: {found:?}");
}

#[test]
fn every_example_of_the_documents_is_valid() {
    let schema = schema();
    let sections: Vec<&str> = keys::ALL.iter().filter_map(|key| key.path.split('.').next()).collect();
    let mut seen = 0;
    for Example { page, text, is_wrong } in yaml_examples() {
        let Ok(document) = testing::yaml(&text) else { continue };
        if !is_wrong && sections.iter().any(|section| document.get(section).is_some()) {
            assert_eq!(schema.mistakes(&document), [] as [&str; 0], "{page}:\n{text}");
            seen += 1;
        }
    }
    assert!(seen >= 2, "only {seen} examples were found");
}

/// What the reader or the schema says otherwise of a file that is right, or wrong.
fn differences(file: &Value, expected: bool) -> Vec<String> {
    let loaded = Case::new(&file.to_string()).env("GIVEN", "x").load();
    let mistakes = schema().mistakes(file);
    let word = if expected { "right" } else { "wrong" };
    let mut found = Vec::new();
    if loaded.is_ok() != expected {
        found.push(format!("the reader, of a file that is {word}: {file}: {:?}", loaded.err()));
    }
    if mistakes.is_empty() != expected {
        found.push(format!("the schema, of a file that is {word}: {file}: {mistakes:?}"));
    }
    found
}

/// A file with this value of a setting, and what the setting needs beside it.
fn file(path: &str, value: &Value) -> Value {
    let mut file = json!({});
    if path.starts_with("kafka.security.sasl_") {
        let password = json!({"env": "GIVEN"});
        file["kafka"]["security"] =
            json!({"protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "u", "sasl_password": password});
    }
    *path.split('.').fold(&mut file, |node, key| &mut node[key]) = value.clone();
    file
}

#[test]
fn values_are_right_and_wrong_for_both() {
    let counts = json!([0, -1, 1.5, "", "many", "1k", null, {}]);
    let sizes = json!([1_048_576, "4194304"]);
    let mut found = Vec::new();
    for (path, right, wrong) in [
        (
            "kafka.bootstrap_servers",
            json!(["a:9092", "a:1, b:2", ["a:1", "b:2"]]),
            json!(["http://a:1", "u:p@a:1", "", null, [], {}]),
        ),
        ("kafka.group_id", json!(["etl", 7]), json!(["", " ", null, {"env": "GIVEN"}])),
        (
            "kafka.topics",
            json!(["a", "a, b", ["a", "b"], [1, 2]]),
            json!(["", [], "a b", ["a/b"], {"a": 1}, null, [["a"]], [null]]),
        ),
        ("kafka.auto_offset_reset", json!(["latest"]), json!(["Latest", "none", 0])),
        ("kafka.client_id", json!(["a b"]), json!([null])),
        ("kafka.security.protocol", json!(["PLAINTEXT", "SSL", "ssl"]), json!(["TLS", "", null, 1])),
        ("kafka.security.sasl_mechanism", json!(["SCRAM-SHA-256", "plain"]), json!(["GSSAPI", "SCRAM", 5])),
        ("kafka.security.sasl_username", json!(["u", 7]), json!([null, {}])),
        (
            "kafka.security.sasl_password",
            json!([{"env": "GIVEN"}]),
            json!(["hunter2", 7, {}, {"vault": "x"}, {"env": "A", "file": "b"}, ["a"]]),
        ),
        ("kafka.dead_letter_topic", json!(["dead", ""]), json!(["a b", null])),
        ("kafka.dead_letter_suffix", json!([".dead", "-1", 5]), json!(["", "a b", "/x", null])),
        ("kafka.parked_topic", json!(["parked"]), json!(["a/b", {}])),
        ("kafka.budget.max_events", json!([1, 1_000_000, "500"]), counts.clone()),
        ("kafka.budget.max_events", json!([]), json!([1_000_001])),
        ("kafka.budget.max_bytes", json!([67_108_864, "67108864"]), counts.clone()),
        ("kafka.budget.max_record_bytes", sizes, counts.clone()),
        ("kafka.budget.max_record_bytes", json!([1_024]), json!([1_023])),
        ("kafka.budget.max_span_per_partition", json!([1]), counts),
        ("kafka.budget.max_lag", json!([]), json!([1])),
        (
            "kafka.properties",
            json!([{}, {"fetch.min.bytes": 1, "socket.keepalive.enable": true}]),
            json!([null, [], "a"]),
        ),
        (
            "kafka.properties",
            json!([{"ssl.key.password": {"env": "GIVEN"}}]),
            json!([{"ssl.key.password": "x"}, {"acks": "1"}, {"fetch.min.bytes": null}, {"fetch.min.bytes": [1]}]),
        ),
        ("routing_dir", json!(["routing"]), json!(["", null, {"a": 1}])),
        ("routing_reload", json!(["off", "OFF", "5s", "100ms"]), json!([5, "often", null])),
        ("data_dir", json!(["data"]), json!([null])),
        ("spool_dir", json!(["spool", "off", ""]), json!([null, {"file": "a"}])),
        ("admin_addr", json!(["0.0.0.0:9464", "[::]:1"]), json!(["9464", ":9464", "a:b", null])),
        ("dedup.window", json!(["7d", "1h 30m", "90m"]), json!([7, "7", "a week", null])),
        ("dedup.cache_bytes", json!([1, "33554432"]), json!([-1, 0.5, "32 MiB", null])),
        ("dedup.ledger_topic", json!(["on", "off", "ledger"]), json!(["a b", "", null])),
        ("dedup.size", json!([]), json!([1])),
        ("park_after", json!(["off", "OFF", "60s"]), json!([60, "never", null])),
        ("drain_timeout", json!(["8s", "500ms"]), json!([8, "soon", null])),
        ("log_outcomes", json!(["all", "matched", "failures", "none"]), json!(["some", null, true])),
        ("log_format", json!(["text", "json"]), json!(["xml", 1])),
        ("log_level", json!([]), json!(["info"])),
        ("kafka", json!([{}]), json!([null, [], "localhost:9092"])),
        ("kafka.topcs", json!([]), json!([["a"]])),
        ("kafka.security", json!([{}]), json!([null, "SSL", {"protocl": "SSL"}])),
        ("dedup", json!([{}]), json!([null, "7d"])),
    ] {
        for (values, expected) in [(right, true), (wrong, false)] {
            let files = values.as_array().unwrap().iter().map(|value| file(path, value));
            found.extend(files.flat_map(|file| differences(&file, expected)));
        }
    }
    for (whole, expected) in [(json!(null), true), (json!({}), true), (json!([]), false), (json!("kafka"), false)] {
        found.extend(differences(&whole, expected));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
