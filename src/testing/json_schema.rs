//! A checker of JSON documents for the keywords of draft 7 that the schemas in `schemas/` use.
//!
//! Its invariant: it ignores nothing. A schema with another keyword, with a pattern that is none, or with a constraint
//! beside `$ref`, which draft 7 ignores, is refused.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
};

use regex_lite::Regex;
use serde_json::{Map, Value};

/// Keywords that constrain nothing.
const ANNOTATIONS: [&str; 9] = [
    "$schema",
    "$comment",
    "title",
    "description",
    "default",
    "definitions",
    // Of the editors' language server for YAML.
    "errorMessage",
    "patternErrorMessage",
    "deprecationMessage",
];

/// Keywords with a schema.
const ONE: [&str; 4] = ["additionalProperties", "propertyNames", "contains", "not"];
/// Keywords with a list of schemas; `items` may be one or several.
const SEVERAL: [&str; 4] = ["allOf", "anyOf", "oneOf", "items"];
/// Keywords with a map of schemas.
const NAMED: [&str; 3] = ["properties", "patternProperties", "definitions"];
/// Keywords without a schema in them; `dependencies` may have some.
const PLAIN: [&str; 13] = [
    "type",
    "enum",
    "const",
    "pattern",
    "minLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "required",
];

/// A schema.
pub(crate) struct Schema {
    root: Value,
    patterns: HashMap<String, Regex>,
}

impl Schema {
    pub(crate) fn new(text: &str) -> Self {
        let root: Value = serde_json::from_str(text).unwrap();
        assert_eq!(root["$schema"], "http://json-schema.org/draft-07/schema#");
        let mut schema = Self { root, patterns: HashMap::new() };
        let mut patterns = BTreeSet::new();
        for node in schema.nodes() {
            schema.inspect(node, &mut patterns);
        }
        for pattern in patterns {
            let regex = Regex::new(&pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            schema.patterns.insert(pattern, regex);
        }
        schema
    }

    pub(crate) fn root(&self) -> &Value {
        &self.root
    }

    /// Every schema in the document.
    pub(crate) fn nodes(&self) -> Vec<&Value> {
        let mut found = Vec::new();
        let mut open = vec![&self.root];
        while let Some(node) = open.pop() {
            if node.is_boolean() {
                continue;
            }
            found.push(node);
            open.extend(ONE.iter().filter_map(|keyword| node.get(keyword)));
            open.extend(SEVERAL.iter().filter_map(|keyword| node.get(keyword)).flat_map(one_or_several));
            open.extend(NAMED.iter().filter_map(|keyword| node.get(keyword)?.as_object()).flat_map(Map::values));
            let dependencies = node.get("dependencies").and_then(Value::as_object);
            open.extend(dependencies.into_iter().flat_map(Map::values).filter(|value| !value.is_array()));
        }
        found
    }

    fn inspect(&self, node: &Value, patterns: &mut BTreeSet<String>) {
        let keywords = node.as_object().unwrap_or_else(|| panic!("not a schema: {node}"));
        for keyword in keywords.keys().map(String::as_str) {
            let known = [&ANNOTATIONS[..], &ONE, &SEVERAL, &NAMED, &PLAIN, &["$ref", "dependencies"]]
                .concat()
                .contains(&keyword);
            assert!(known, "the checker has no keyword `{keyword}`: {node}");
            let ignored = node.get("$ref").is_some() && keyword != "$ref" && !ANNOTATIONS.contains(&keyword);
            assert!(!ignored, "`{keyword}` beside $ref is ignored: use allOf: {node}");
        }
        if node.get("$ref").is_some() {
            self.follow(node);
        }
        patterns.extend(keywords.get("pattern").map(|pattern| pattern.as_str().unwrap().to_owned()));
        let names = keywords.get("patternProperties").and_then(Value::as_object);
        patterns.extend(names.into_iter().flat_map(Map::keys).cloned());
    }

    /// The schema that a `$ref` names, or the schema itself.
    pub(crate) fn follow<'a>(&'a self, node: &'a Value) -> &'a Value {
        let Some(name) = node.get("$ref") else { return node };
        let target = name.as_str().and_then(|name| self.root.pointer(name.strip_prefix('#')?));
        self.follow(target.unwrap_or_else(|| panic!("there is no {name}")))
    }

    /// Every schema that applies to the value at a path of keys and indices, or might.
    pub(crate) fn at(&self, path: &[&str]) -> Vec<&Value> {
        let mut here = self.alternatives(&self.root);
        for step in path {
            here =
                here.iter().flat_map(|node| self.below(node, step)).flat_map(|node| self.alternatives(node)).collect();
        }
        here
    }

    /// The schema, and those that it joins.
    fn alternatives<'a>(&'a self, node: &'a Value) -> Vec<&'a Value> {
        let node = self.follow(node);
        let joined =
            ["allOf", "anyOf", "oneOf"].iter().filter_map(|keyword| node.get(keyword)).flat_map(one_or_several);
        [vec![node], joined.flat_map(|node| self.alternatives(node)).collect()].concat()
    }

    fn below<'a>(&'a self, node: &'a Value, step: &str) -> Vec<&'a Value> {
        if step.bytes().all(|byte| byte.is_ascii_digit())
            && let Some(items) = node.get("items")
        {
            return one_or_several(items).collect();
        }
        let mut named: Vec<&Value> = node.get("properties").and_then(|names| names.get(step)).into_iter().collect();
        for (pattern, schema) in entries(node, "patternProperties") {
            if self.patterns[pattern].is_match(step) {
                named.push(schema);
            }
        }
        if named.is_empty() { node.get("additionalProperties").into_iter().collect() } else { named }
    }

    /// What is wrong with a document; empty if it is valid.
    pub(crate) fn mistakes(&self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.check(&self.root, value, "", &mut found);
        found
    }

    pub(crate) fn accepts(&self, value: &Value) -> bool {
        self.mistakes(value).is_empty()
    }

    fn is_valid(&self, schema: &Value, value: &Value) -> bool {
        let mut found = Vec::new();
        self.check(schema, value, "", &mut found);
        found.is_empty()
    }

    fn check(&self, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
        if *schema == Value::Bool(false) {
            found.push(format!("{path}: nothing may stand here"));
            return;
        }
        let schema = self.follow(schema);
        for (keyword, expected) in schema.as_object().into_iter().flatten() {
            if !self.holds(keyword, expected, value) {
                found.push(format!("{path}: {keyword}: expected {expected}, found {value}"));
            }
        }
        for node in schema.get("allOf").into_iter().flat_map(one_or_several) {
            self.check(node, value, path, found);
        }
        match value {
            Value::Array(items) => self.check_items(schema, items, path, found),
            Value::Object(fields) => self.check_fields(schema, fields, path, found),
            _ => {}
        }
    }

    /// The keywords that judge a value as a whole.
    fn holds(&self, keyword: &str, expected: &Value, value: &Value) -> bool {
        let number = expected.as_f64().unwrap_or_default();
        let count = expected.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
        let valid = || one_or_several(expected).filter(|schema| self.is_valid(schema, value)).count();
        match (keyword, value) {
            ("type", _) => one_or_several(expected).any(|name| is_type(name, value)),
            ("enum", _) => one_or_several(expected).any(|one| one == value),
            ("const", _) => expected == value,
            ("not", _) => !self.is_valid(expected, value),
            ("anyOf", _) => valid() > 0,
            ("oneOf", _) => valid() == 1,
            ("pattern", Value::String(text)) => self.patterns[expected.as_str().unwrap()].is_match(text),
            ("minLength", Value::String(text)) => text.chars().count() >= count,
            ("minimum", Value::Number(found)) => found.as_f64().is_some_and(|found| found >= number),
            ("maximum", Value::Number(found)) => found.as_f64().is_some_and(|found| found <= number),
            ("minItems", Value::Array(items)) => items.len() >= count,
            ("maxItems", Value::Array(items)) => items.len() <= count,
            ("uniqueItems", Value::Array(items)) => (1..items.len()).all(|at| !items[..at].contains(&items[at])),
            ("contains", Value::Array(items)) => items.iter().any(|item| self.is_valid(expected, item)),
            ("minProperties", Value::Object(fields)) => fields.len() >= count,
            ("maxProperties", Value::Object(fields)) => fields.len() <= count,
            ("required", Value::Object(fields)) => {
                one_or_several(expected).all(|key| fields.contains_key(key.as_str().unwrap()))
            }
            ("propertyNames", Value::Object(fields)) => {
                fields.keys().all(|key| self.is_valid(expected, &Value::String(key.clone())))
            }
            ("dependencies", Value::Object(fields)) => {
                let mut present = expected.as_object().unwrap().iter().filter(|(key, _)| fields.contains_key(*key));
                present.all(|(_, needs)| match needs {
                    Value::Array(keys) => keys.iter().all(|key| fields.contains_key(key.as_str().unwrap())),
                    schema => self.is_valid(schema, value),
                })
            }
            _ => true,
        }
    }

    fn check_items(&self, schema: &Value, items: &[Value], path: &str, found: &mut Vec<String>) {
        let Some(expected) = schema.get("items") else { return };
        for (at, item) in items.iter().enumerate() {
            let schema = if expected.is_array() { expected.get(at) } else { Some(expected) };
            if let Some(schema) = schema {
                self.check(schema, item, &format!("{path}/{at}"), found);
            }
        }
    }

    fn check_fields(&self, schema: &Value, fields: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
        for (key, value) in fields {
            let mut path = path.to_owned();
            let _ = write!(path, "/{key}");
            let mut named: Vec<&Value> =
                schema.get("properties").and_then(|names| names.get(key)).into_iter().collect();
            let patterns =
                entries(schema, "patternProperties").filter(|(pattern, _)| self.patterns[*pattern].is_match(key));
            named.extend(patterns.map(|(_, schema)| schema));
            if named.is_empty() {
                named.extend(schema.get("additionalProperties"));
            }
            for schema in named {
                self.check(schema, value, &path, found);
            }
        }
    }
}

fn one_or_several(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter()
}

fn entries<'a>(schema: &'a Value, keyword: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let entries = schema.get(keyword).and_then(Value::as_object);
    entries.into_iter().flatten().map(|(key, schema)| (key.as_str(), schema))
}

fn is_type(name: &Value, value: &Value) -> bool {
    match (name.as_str().unwrap(), value) {
        ("null", Value::Null)
        | ("boolean", Value::Bool(_))
        | ("number", Value::Number(_))
        | ("string", Value::String(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_)) => true,
        ("integer", Value::Number(number)) => number.as_f64().is_some_and(|number| number.fract() == 0.0),
        ("null" | "boolean" | "number" | "string" | "array" | "object" | "integer", _) => false,
        (other, _) => panic!("there is no type `{other}`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn accepts(mut schema: Value, value: &Value) -> bool {
        schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
        Schema::new(&schema.to_string()).accepts(value)
    }

    #[test]
    fn every_keyword_is_judged_as_draft_7_says() {
        for (schema, right, wrong) in [
            (json!({"type": ["integer", "null"]}), json!(7.0), json!(7.5)),
            (json!({"enum": ["a", 1]}), json!(1), json!("b")),
            (json!({"const": false}), json!(false), json!(0)),
            (json!({"pattern": "^a+$"}), json!("aa"), json!("ab")),
            (json!({"pattern": "^a+$"}), json!(7), json!("")),
            (json!({"minLength": 2}), json!("éé"), json!("é")),
            (json!({"minimum": 1, "maximum": 3}), json!(3), json!(4)),
            (json!({"minItems": 1, "maxItems": 1}), json!([1]), json!([1, 2])),
            (json!({"uniqueItems": true}), json!([1, "1"]), json!([1, 2, 1])),
            (json!({"items": {"type": "null"}}), json!([null]), json!([null, 1])),
            (json!({"items": [{"type": "null"}, {"const": 1}]}), json!([null, 1, 2]), json!([null, 2])),
            (json!({"contains": {"const": 1}}), json!([0, 1]), json!([0])),
            (json!({"minProperties": 1, "maxProperties": 1}), json!({"a": 1}), json!({})),
            (json!({"required": ["a"]}), json!({"a": null}), json!({"b": 1})),
            (json!({"propertyNames": {"pattern": "^a"}}), json!({"ab": 1}), json!({"b": 1})),
            (json!({"properties": {"a": {"const": 1}}}), json!({"b": 2}), json!({"a": 2})),
            (
                json!({"properties": {"a": {}}, "patternProperties": {"^b": {}}, "additionalProperties": false}),
                json!({"a": 1, "bc": 1}),
                json!({"c": 1}),
            ),
            (json!({"additionalProperties": {"const": 1}}), json!({"a": 1}), json!({"a": 2})),
            (json!({"dependencies": {"a": ["b"]}}), json!({"b": 1}), json!({"a": 1})),
            (json!({"dependencies": {"a": {"maxProperties": 1}}}), json!({"a": 1}), json!({"a": 1, "b": 1})),
            (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), json!(2), json!(3)),
            (json!({"anyOf": [{"const": 1}, {"const": 2}]}), json!(2), json!(3)),
            (json!({"oneOf": [{"minimum": 1}, {"minimum": 2}]}), json!(1), json!(2)),
            (json!({"not": {"const": 1}}), json!(2), json!(1)),
            (json!({"definitions": {"a": {"const": 1}}, "items": {"$ref": "#/definitions/a"}}), json!([1]), json!([2])),
        ] {
            assert!(accepts(schema.clone(), &right), "{schema}: {right}");
            assert!(!accepts(schema.clone(), &wrong), "{schema}: {wrong}");
        }
    }

    #[test]
    fn a_schema_that_says_what_the_checker_would_ignore_is_refused() {
        for (schema, reason) in [
            (json!({"not": {"format": "uri"}}), "no keyword `format`"),
            (json!({"items": {"$ref": "#/definitions/a"}}), "there is no"),
            (json!({"definitions": {"a": {}}, "not": {"$ref": "#/definitions/a", "minimum": 1}}), "beside $ref"),
            (json!({"propertyNames": {"pattern": "("}}), "(: "),
        ] {
            let refused = std::panic::catch_unwind(|| accepts(schema.clone(), &json!(1))).unwrap_err();
            let message = refused.downcast_ref::<String>().unwrap();
            assert!(message.contains(reason), "{schema}: {message}");
        }
    }
}
