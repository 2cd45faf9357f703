//! Replaces values of an event that nobody else is to see.
//!
//! Its invariant: the type of each value stays, so that templates still work. What is replaced is named by its path, or has a
//! key or a form as secrets have.

use std::collections::BTreeSet;

use serde_json::Value;

/// In the place of a text.
pub(super) const SCRUBBED: &str = "scrubbed";

/// Parts of keys below which secrets stand. Compared without case, `-` and `_`.
const SECRET_KEYS: [&str; 18] = [
    "accesskey",
    "apikey",
    "authorization",
    "bearer",
    "connectionstring",
    "cookie",
    "credential",
    "dsn",
    "jaas",
    "jwt",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "pwd",
    "secret",
    "sessionid",
    "token",
];

/// How texts begin that are secrets by themselves.
const SECRET_TEXTS: [&str; 9] = ["-----BEGIN", "AKIA", "ASIA", "Basic ", "Bearer ", "eyJ", "ghp_", "sk-", "xoxb-"];

/// A path of an event: `payload.data.customer`. `*` is any key; lists are gone through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScrubPath(Vec<String>);

impl ScrubPath {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let steps: Vec<String> = text.trim().split('.').map(str::to_owned).collect();
        if steps.iter().any(String::is_empty) {
            return Err("expected a path such as payload.data.customer, without empty parts".to_owned());
        }
        if ["event_type", "source", "timestamp"].contains(&text.trim()) {
            return Err(format!("an event without its own {} is no event: it cannot be replaced", text.trim()));
        }
        Ok(Self(steps))
    }

    pub(super) fn text(&self) -> String {
        self.0.join(".")
    }
}

/// Replaces what the paths name and what looks like a secret. Adds the positions of the paths that named something to `used`.
pub(super) fn scrub(event: &mut Value, paths: &[ScrubPath], used: &mut BTreeSet<usize>) {
    for (index, path) in paths.iter().enumerate() {
        if replace_at(event, &path.0) {
            used.insert(index);
        }
    }
    replace_secrets(event);
}

/// Whether there was something.
fn replace_at(value: &mut Value, path: &[String]) -> bool {
    match (value, path) {
        (value, []) => {
            replace(value);
            true
        }
        (Value::Array(items), path) => replace_in(items.iter_mut(), path),
        (Value::Object(fields), [key, rest @ ..]) if key == "*" => replace_in(fields.values_mut(), rest),
        (Value::Object(fields), [key, rest @ ..]) => fields.get_mut(key).is_some_and(|value| replace_at(value, rest)),
        _ => false,
    }
}

/// As [`replace_at`], in each of the values.
fn replace_in<'v>(values: impl Iterator<Item = &'v mut Value>, path: &[String]) -> bool {
    values.map(|value| replace_at(value, path)).filter(|found| *found).count() > 0
}

/// Replaces every value, whatever its type.
fn replace(value: &mut Value) {
    match value {
        Value::Null => {}
        Value::Bool(value) => *value = false,
        Value::Number(number) => *number = 0.into(),
        Value::String(text) => SCRUBBED.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(replace),
        Value::Object(fields) => fields.values_mut().for_each(replace),
    }
}

fn replace_secrets(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if is_secret_key(key) { replace(value) } else { replace_secrets(value) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(replace_secrets),
        Value::String(text) if is_secret_text(text) => SCRUBBED.clone_into(text),
        _ => {}
    }
}

fn is_secret_key(key: &str) -> bool {
    let key: String = key.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect();
    SECRET_KEYS.iter().any(|word| key.contains(word))
}

/// A key, or a URL with credentials.
fn is_secret_text(text: &str) -> bool {
    let authority = text.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    SECRET_TEXTS.iter().any(|beginning| text.starts_with(beginning)) || authority.is_some_and(|host| host.contains('@'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_and_secrets_are_replaced_and_types_stay() {
        let mut event = json!({"workflow_id": "etl", "payload": {"data": {
            "customer": {"name": "Ada", "age": 36, "vip": true, "none": null}, "rows": [{"mail": "a@b", "n": 1}, {"mail": "c@d"}],
            "DB_Password": "hunter2", "api-key": ["hunter2", 7], "url": "postgres://u:hunter2@h/db", "site": "https://h/a@b",
            "head": "Bearer hunter2", "kept": 3}}});
        let paths: Vec<_> =
            ["payload.data.customer", "payload.data.rows.mail", "payload.*.missing", "payload.data.gone"]
                .map(|path| ScrubPath::read(path).unwrap())
                .into();
        let mut used = BTreeSet::new();
        scrub(&mut event, &paths, &mut used);
        let expected = json!({"workflow_id": "etl", "payload": {"data": {
            "customer": {"name": "scrubbed", "age": 0, "vip": false, "none": null},
            "rows": [{"mail": "scrubbed", "n": 1}, {"mail": "scrubbed"}],
            "DB_Password": "scrubbed", "api-key": ["scrubbed", 0], "url": "scrubbed", "site": "https://h/a@b",
            "head": "scrubbed", "kept": 3}}});
        assert_eq!(event, expected);
        assert_eq!(used.into_iter().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_path_that_can_name_nothing_is_refused() {
        for wrong in ["", ".", "payload.", "a..b", "event_type", "timestamp"] {
            assert!(ScrubPath::read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(ScrubPath::read(" payload.data ").unwrap().text(), "payload.data");
    }
}
