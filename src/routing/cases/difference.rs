//! Where two JSON values differ.

use std::fmt::Write as _;

use serde_json::Value;

use crate::yaml::visible;

/// The most differences of two values that are listed.
const MAX_LISTED: usize = 20;
/// The most characters that are shown of a value.
const MAX_CHARS: usize = 200;
/// How many of them stand before the first that differs.
const BEFORE: usize = 60;

/// A place where two values differ.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Difference {
    /// The path of the place, such as `messages[0].content`; empty for the whole value.
    pub(crate) path: String,
    /// What is expected there, as JSON; `None` for nothing.
    pub(crate) expected: Option<String>,
    /// What is found there, likewise.
    pub(crate) found: Option<String>,
}

/// The places where the values differ, at most 20, and how many more there are.
pub(super) fn differences(expected: &Value, found: &Value) -> (Vec<Difference>, usize) {
    let mut all = Differences::default();
    all.compare(&mut String::new(), Some(expected), Some(found));
    (all.listed, all.more)
}

#[derive(Default)]
struct Differences {
    listed: Vec<Difference>,
    more: usize,
}

impl Differences {
    fn compare(&mut self, path: &mut String, expected: Option<&Value>, found: Option<&Value>) {
        let length = path.len();
        match (expected, found) {
            (Some(Value::Object(expected)), Some(Value::Object(found))) => {
                let added = found.keys().filter(|key| !expected.contains_key(*key));
                for key in expected.keys().chain(added) {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&visible(key));
                    self.compare(path, expected.get(key), found.get(key));
                    path.truncate(length);
                }
            }
            (Some(Value::Array(expected)), Some(Value::Array(found))) => {
                for index in 0..expected.len().max(found.len()) {
                    // Writing to a String cannot fail.
                    let _ = write!(path, "[{index}]");
                    self.compare(path, expected.get(index), found.get(index));
                    path.truncate(length);
                }
            }
            (expected, found) if expected == found => {}
            _ if self.listed.len() == MAX_LISTED => self.more += 1,
            (expected, found) => {
                let from = first_difference(expected, found);
                let shown = |value: Option<&Value>| value.map(|value| shown(value, from));
                let (expected, found) = (shown(expected), shown(found));
                self.listed.push(Difference { path: path.clone(), expected, found });
            }
        }
    }
}

/// The first character that differs, if both are texts.
fn first_difference(expected: Option<&Value>, found: Option<&Value>) -> usize {
    let (Some(Value::String(expected)), Some(Value::String(found))) = (expected, found) else { return 0 };
    expected.chars().zip(found.chars()).take_while(|(a, b)| a == b).count()
}

/// A value as JSON. Of a long text, what stands around its first difference.
fn shown(value: &Value, difference: usize) -> String {
    let cut = |text: String| match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", visible(&text[..end])),
        None => visible(&text),
    };
    let Value::String(text) = value else { return cut(value.to_string()) };
    let skipped = difference.saturating_sub(BEFORE);
    let rest: String = text.chars().skip(skipped).take(MAX_CHARS + 1).collect();
    let shown = cut(Value::String(rest).to_string());
    if skipped > 0 { format!("…{shown}") } else { shown }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(expected: &Value, found: &Value) -> Vec<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
        let (listed, more) = differences(expected, found);
        let mut lines: Vec<_> = listed
            .iter()
            .map(|line| format!("{}: {} {}", line.path, text(&line.expected), text(&line.found)))
            .collect();
        if more > 0 {
            lines.push(format!("{more} more"));
        }
        lines
    }

    #[test]
    fn each_place_that_differs_is_listed_up_to_a_limit() {
        let expected = json!({"a": {"b": [1, {"c": "x"}]}, "gone": true, "same": [null]});
        let found = json!({"a": {"b": [1, {"c": "y"}, 3]}, "same": [null], "new": 1});
        assert_eq!(
            lines(&expected, &found),
            ["a.b[1].c: \"x\" \"y\"", "a.b[2]: nothing 3", "gone: true nothing", "new: nothing 1"]
        );
        assert_eq!(lines(&json!(1), &json!({"a": 1})), [": 1 {\"a\":1}"]);
        assert_eq!(lines(&json!({"a": 1}), &json!({"a": 1})), [] as [&str; 0]);
        let (listed, more) = differences(&json!(vec![0; 1_000]), &json!(vec![1; 1_000]));
        assert_eq!((listed.len(), more), (MAX_LISTED, 980));
    }

    #[test]
    fn of_long_texts_the_part_that_differs_is_shown() {
        let text = |end: &str| json!(format!("{}{end}{}", "a".repeat(10_000), "b".repeat(10_000)));
        let (listed, _) = differences(&text("X"), &text("Y\u{1b}"));
        let (expected, found) = (listed[0].expected.clone().unwrap(), listed[0].found.clone().unwrap());
        assert!(expected.starts_with("…\"aaa") && expected.contains("aXb") && expected.ends_with('…'), "{expected}");
        assert!(found.contains("aY\\u001bb") && found.chars().count() <= MAX_CHARS + 2, "{found}");
    }
}
