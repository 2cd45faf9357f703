//! The schema and the readers of this room say the same: of keys in both directions, of examples and of mistakes.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Map, Value, json};

use super::SCHEMA;
use crate::{
    agents::Class,
    event::{Event, EventType, Source},
    routing::{
        LoadOptions, Routing, agent,
        fields::RENAMED,
        pattern::{self, OPERATORS},
    },
    testing::{
        self,
        examples::{Example, yaml_examples},
        json_schema::Schema,
    },
};

mod values;

const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/routing/agent/testdata/ca.pem");

fn schema() -> Schema {
    Schema::new(SCHEMA)
}

fn load(file: &str) -> Result<Routing, String> {
    let env = |name: &str| match name {
        "ONE" => Some("1".to_owned()),
        "KEY" | "_K1" => Some("k".to_owned()),
        _ => None,
    };
    let options = LoadOptions { env: Box::new(env), dedup_window: Duration::from_secs(60) };
    Routing::from_text(file, &options).map_err(|problems| problems.to_string())
}

/// A file with every key.
fn complete() -> Value {
    let secret = json!({"env": "KEY"});
    json!({
        "agents": {
            "l": {
                "langgraph": {
                    "url": "https://h", "server": "s", "assistant": "a", "api_key": secret, "auth": {"api_key": secret, "header": "x-key"},
                    "tls": {"ca_file": CA}, "headers": {"x-a": "b"}, "max_request_lifetime": "60s", "config": {"tags": ["a"]},
                    "context": {"a": {"b": 1}}, "metadata": {"a": 1}, "ttl": {"after": "30d", "strategy": "delete"},
                    "langsmith_tracer": {"project_name": "a"},
                },
                "concurrency": 1, "rate": "1/s", "timeout": "1s", "classify": {"409": "accepted"},
                "retry": {"initial": "1s", "max": "2s", "give_up_after": "1h", "max_attempts": 3},
            },
            "h": {
                "http": {
                    "url": "https://h", "server": "s", "method": "PUT", "headers": {"x-a": secret}, "auth": {"bearer": secret},
                    "tls": {"ca_file": CA}, "sign": {"secret": secret},
                },
            },
        },
        "rules": [{
            "name": "r", "description": "d", "to": ["l", "h"], "input": {"a": "{{ event }}"}, "body": {"a": "{{ event }}"},
            "when": {
                "event_type": ["WORKFLOW_COMPLETED"],
                "$or": [{"workflow_id": [{"prefix": {"equals-ignore-case": "a"}}]}, {"source": [{"suffix": "b"}]}],
                "metadata": {"a": [{"anything-but": {"prefix": "a"}}], "$or": [{"b": [1]}, {"c": [{"exists": false}]}]},
            },
        }],
        "event_types": ["UserCreated"],
    })
}

/// The paths of all maps of a document.
fn maps(value: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.push(path.to_owned());
                fields.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}"), found));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(at, value)| walk(value, &format!("{path}/{at}"), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}

/// The keys that a reader names when it meets another one: "it has a, b", or "expected {env: NAME} or {file: PATH}".
fn named(message: &str) -> Option<BTreeSet<String>> {
    if let Some((_, list)) = message.split_once("unknown key \"zzz\": it has ") {
        return Some(list.lines().next()?.split(", ").map(str::to_owned).collect());
    }
    message.contains("expected {env: NAME} or {file: PATH}").then(|| ["env", "file"].map(str::to_owned).into())
}

fn is_closed(node: &Value) -> bool {
    node["additionalProperties"] == false && node.get("properties").is_some()
}

fn properties(node: &Value) -> impl Iterator<Item = (&String, &Value)> {
    node.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn is_former(node: &Value) -> bool {
    node.get("deprecationMessage").is_some()
}

#[test]
fn each_map_has_the_same_keys_for_the_schema_and_for_its_reader() {
    let schema = schema();
    let complete = complete();
    load(&complete.to_string()).unwrap();
    assert_eq!(schema.mistakes(&complete), [] as [&str; 0]);

    let mut reached: Vec<*const Value> = Vec::new();
    let mut compared = 0;
    for path in maps(&complete) {
        let mut changed = complete.clone();
        changed.pointer_mut(&path).unwrap()["zzz"] = json!("zzz");
        let refused = load(&changed.to_string()).err();
        assert_eq!(refused.is_none(), schema.accepts(&changed), "{path}: {refused:?}, {:?}", schema.mistakes(&changed));

        let steps: Vec<&str> = path.split('/').skip(1).collect();
        let mut nodes = schema.at(&steps);
        nodes.retain(|node| is_closed(node));
        reached.extend(nodes.iter().map(|node| std::ptr::from_ref(*node)));
        let Some(expected) = refused.as_deref().and_then(named) else { continue };
        let keys = nodes.iter().flat_map(|node| properties(node)).filter(|(_, node)| !is_former(node));
        assert_eq!(keys.map(|(key, _)| key.clone()).collect::<BTreeSet<_>>(), expected, "{path}");
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} maps have a reader that names its keys");
    for node in schema.nodes().into_iter().filter(|node| is_closed(node)) {
        assert!(reached.contains(&std::ptr::from_ref(node)), "no map of the complete file has this schema: {node}");
    }
}

#[test]
fn the_former_names_of_keys_are_those_that_the_reader_accepts() {
    let schema = schema();
    let nodes = schema.nodes();
    let former = nodes.iter().flat_map(|node| properties(node)).filter(|(_, node)| is_former(node));
    let former: Vec<_> =
        former.map(|(key, node)| (key.as_str(), node["deprecationMessage"].as_str().unwrap())).collect();
    let expected = RENAMED.map(|(former, now)| (former, format!("Rename it to `{now}`.")));
    assert_eq!(former, expected.each_ref().map(|(former, advice)| (*former, advice.as_str())));
}

#[test]
fn every_key_has_a_description() {
    let schema = schema();
    for node in schema.nodes() {
        for (key, below) in properties(node) {
            let described = [below, schema.follow(below)].iter().any(|node| node.get("description").is_some());
            // In a condition a key only says what is looked at.
            assert!(described || node.get("required").is_some(), "`{key}` has no description: {below}");
        }
    }
}

/// The words of a list of the schema.
fn words(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn the_lists_of_words_are_those_of_the_readers() {
    let schema = schema();
    let definitions = &schema.root()["definitions"];
    let agent = &definitions["agent"]["properties"];
    assert_eq!(
        words(&agent["classify"]["patternProperties"]["^[1-5][0-9][0-9]$"]["enum"]),
        Class::NAMED.map(Class::as_str)
    );
    let metadata = &definitions["langgraph"]["properties"]["metadata"];
    assert_eq!(words(&metadata["propertyNames"]["not"]["enum"]), agent::RESERVED_METADATA);

    let event = &definitions["eventFields"]["properties"];
    let names = |field: &str| words(&event[field]["items"]["anyOf"][0]["enum"]);
    assert_eq!(names("event_type"), EventType::NAMES);
    assert_eq!(names("source"), Source::NAMES);
    let fields: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, [&Event::FIELDS[..], &[pattern::OR]].concat());

    let set = |words: &[&'static str]| words.iter().copied().collect::<BTreeSet<&str>>();
    let operators: BTreeSet<&str> = properties(&definitions["alternative"]).map(|(key, _)| key.as_str()).collect();
    assert_eq!(operators, set(&OPERATORS));
    let branch: BTreeSet<&str> = words(&definitions["branch"]["propertyNames"]["not"]["enum"]).into_iter().collect();
    assert_eq!(branch, set(&OPERATORS));
}

#[test]
fn headers_are_refused_or_secret_as_for_the_reader() {
    let secret = json!({"env": "KEY"});
    let cases = agent::RESERVED_HEADERS.map(|name| (name, false)).into_iter();
    let cases = cases.chain([("webhook-id", false)]).chain(agent::SECRET_HEADERS.map(|name| (name, true)));
    let mut files = Vec::new();
    for (name, may_be_secret) in cases {
        // As people write it: `Content-Length` too.
        let title = name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect::<Vec<_>>().join("-");
        for name in [name, &title] {
            for (value, expected) in [(json!("a"), false), (secret.clone(), may_be_secret)] {
                let mut headers = Map::new();
                headers.insert(name.to_owned(), value);
                files.push((values::with_agent(&json!({"http": {"url": "http://h", "headers": headers}})), expected));
            }
        }
    }
    values::assert_verdicts(files);
}

/// The first line of a shipped file names the schema, for editors.
#[test]
fn every_shipped_file_is_valid_and_names_the_schema() {
    let schema = schema();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let expected = root.join("schemas/routing.schema.json").canonicalize().unwrap();
    let mut seen = 0;
    for folder in ["routing", "examples/routing"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(".test.yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let line = text.lines().next().and_then(|line| line.strip_prefix("# yaml-language-server: $schema="));
            let line = line.unwrap_or_else(|| panic!("{}: the first line names no schema", path.display()));
            assert_eq!(path.parent().unwrap().join(line).canonicalize().unwrap(), expected, "{}", path.display());
            assert_eq!(schema.mistakes(&testing::yaml(&text).unwrap()), [] as [&str; 0], "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen} files were found");
}

#[test]
fn every_example_of_the_documents_is_valid_unless_the_page_says_what_is_wrong_with_it() {
    let schema = schema();
    let (mut right, mut wrong) = (0, 0);
    for Example { page, text, is_wrong } in yaml_examples() {
        let document = testing::yaml(&text);
        if is_wrong {
            // One of them is no YAML, as the page shows.
            assert!(document.is_err() || !schema.accepts(&document.unwrap()), "{page}: this is wrong:\n{text}");
            wrong += 1;
            continue;
        }
        let mut document = document.unwrap_or_else(|error| panic!("{page}: {error}\n{text}"));
        if let Some(when) = document.get("when") {
            document = json!({"rules": [{"name": "r", "when": when, "to": ["a"]}]});
        }
        if document.get("agents").is_some() || document.get("rules").is_some() {
            assert_eq!(schema.mistakes(&document), [] as [&str; 0], "{page}:\n{text}");
            right += 1;
        }
    }
    assert!(right >= 8 && wrong >= 3, "{right} right ones and {wrong} wrong ones");
}

/// Each pattern of the reference's vectors that compiles is valid, and so is each file of the fuzz corpus that loads.
#[test]
fn whatever_loads_is_valid() {
    let schema = schema();
    let (mut patterns, mut files) = (0, 0);
    for line in include_str!("../../../tests/vectors/event-patterns.jsonl").lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let mut when = vector["pattern"].clone();
        if pattern::compile_json(&when.to_string()).is_err() {
            continue;
        }
        // Of the event, so that only the pattern's own form counts.
        when = json!({"event_type": ["WORKFLOW_COMPLETED"], "payload": when});
        let document = json!({"rules": [{"name": "r", "when": when, "to": ["a"]}]});
        assert_eq!(schema.mistakes(&document), [] as [&str; 0], "{line}");
        patterns += 1;
    }
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/routing");
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if load(&text).is_ok() {
            let document = testing::yaml(text.strip_prefix('\u{feff}').unwrap_or(&text)).unwrap();
            assert_eq!(schema.mistakes(&document), [] as [&str; 0], "{}:\n{text}", path.display());
            files += 1;
        }
    }
    assert!(patterns > 80 && files > 0, "{patterns} patterns and {files} files");
}
