//! Why a pattern matches an event, or does not: the verdict of each of its conditions.
//!
//! A condition is judged by the evaluator itself, alone, so that no verdict differs. Of a pattern with `$or` one alternative
//! is shown: one that matches, or the nearest.

use std::{fmt, sync::Arc};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{PathStep, Pattern, evaluate, expand::Field, leaf::Leaf};
use crate::{
    event::{Shape, Tree as _},
    yaml::{excerpt, suggestion, visible},
};

/// The most values that are shown of an array, and the most names of an object.
const MAX_SHOWN: usize = 5;
/// The most names of an object that are compared with one that it lacks.
const MAX_COMPARED: usize = 1_000;
/// The most characters that are shown of a value.
const MAX_VALUE_CHARS: usize = 100;

/// What became of a pattern.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    /// Whether the event matches.
    pub(crate) matches: bool,
    /// Which alternative of `$or` is shown, from 1.
    pub(crate) alternative: usize,
    /// How many there are.
    pub(crate) alternatives: usize,
    /// The conditions of that alternative, by path.
    pub(crate) conditions: Vec<Condition>,
}

/// A list of a pattern, and what the event has at that place.
#[derive(Debug, Serialize)]
pub(crate) struct Condition {
    /// Where it stands in an event, such as `payload.data.status`.
    pub(crate) path: String,
    /// The list as the pattern has it, as JSON; a long one is shortened.
    pub(crate) expected: String,
    /// What the event has there.
    pub(crate) found: Found,
    /// Whether the condition holds by itself.
    pub(crate) holds: bool,
}

/// What an event has at a place.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Found {
    /// The values, as JSON. An array shows those of its elements.
    pub(crate) values: Vec<String>,
    /// There are more values.
    pub(crate) more: bool,
    /// Without a value: why there is none.
    pub(crate) nothing: Option<String>,
}

impl Explanation {
    /// How many conditions do not hold.
    pub(crate) fn missed(&self) -> usize {
        self.conditions.iter().filter(|condition| !condition.holds).count()
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.nothing {
            Some(reason) if self.values.is_empty() => write!(f, "nothing: {reason}"),
            _ => write!(f, "{}{}", self.values.join(", "), if self.more { " and more" } else { "" }),
        }
    }
}

/// A pattern's verdict, without what was found.
#[derive(Debug, Clone, Copy)]
pub(in crate::routing) struct Verdict {
    pub(in crate::routing) matches: bool,
    /// How many conditions of the nearest alternative do not hold.
    pub(in crate::routing) missed: usize,
    /// That alternative.
    branch: usize,
}

impl Pattern {
    /// The verdict for an event's document.
    pub(in crate::routing) fn verdict(&self, document: &Value) -> Verdict {
        if let Some(branch) = self.branches.iter().position(|branch| evaluate::matches(branch, document)) {
            return Verdict { matches: document.is_object(), missed: 0, branch };
        }
        let missed = |branch: &Field| {
            let conditions = conditions(branch);
            conditions.iter().filter(|(path, leaf)| !holds_somewhere(leaf, path, document)).count()
        };
        let nearest = self.branches.iter().map(missed).enumerate().min_by_key(|(_, missed)| *missed);
        let (branch, missed) = nearest.unwrap_or_default();
        Verdict { matches: false, missed, branch }
    }

    /// Explains the verdict for an event's document.
    pub(crate) fn explain(&self, document: &Value) -> Explanation {
        let Verdict { matches, missed, branch } = self.verdict(document);
        let conditions = self.branches.get(branch).map(conditions).unwrap_or_default();
        let condition = |(path, leaf): (Vec<Arc<str>>, Arc<Leaf>)| Condition {
            path: shown(&path),
            expected: visible(&leaf.source),
            found: find(document, &path),
            // When each holds for some element and no element satisfies all, one that fails alone is the reason.
            holds: matches
                || if missed > 0 {
                    holds_somewhere(&leaf, &path, document)
                } else {
                    evaluate::matches(&alone(&leaf, &path), document)
                },
        };
        Explanation {
            matches,
            alternative: branch + 1,
            alternatives: self.branches.len(),
            conditions: conditions.into_iter().map(condition).collect(),
        }
    }
}

/// The conditions of an alternative, by path.
pub(super) fn conditions(branch: &Field) -> Vec<(Vec<Arc<str>>, Arc<Leaf>)> {
    fn collect(field: &Field, path: &mut Vec<Arc<str>>, conditions: &mut Vec<(Vec<Arc<str>>, Arc<Leaf>)>) {
        if let Some(leaf) = &field.test {
            conditions.push((path.clone(), Arc::clone(leaf)));
        }
        for (key, child) in &field.children {
            path.push(Arc::clone(key));
            collect(child, path, conditions);
            path.pop();
        }
    }
    let mut found = Vec::new();
    collect(branch, &mut Vec::new(), &mut found);
    found
}

/// Whether a condition holds for the value at its path, or for some element of the arrays on the way.
pub(super) fn holds_somewhere(leaf: &Leaf, path: &[Arc<str>], value: &Value) -> bool {
    match (value, path) {
        (Value::Array(items), _) if !items.is_empty() => items.iter().any(|item| holds_somewhere(leaf, path, item)),
        (Value::Object(fields), [key, rest @ ..]) => match fields.get(key.as_ref()) {
            Some(inner) => holds_somewhere(leaf, rest, inner),
            None => leaf.accepts_absence(),
        },
        (_, [_, ..]) => leaf.accepts_absence(),
        (value, []) => match value.shape() {
            Shape::Scalar(scalar) => leaf.accepts(scalar),
            Shape::List(_) | Shape::Object => leaf.accepts_absence(),
        },
    }
}

/// One condition as a pattern of its own.
fn alone(leaf: &Arc<Leaf>, path: &[Arc<str>]) -> Field {
    let condition = Field { test: Some(Arc::clone(leaf)), children: Box::default() };
    path.iter().rev().fold(condition, |inner, key| Field { test: None, children: Box::new([(Arc::clone(key), inner)]) })
}

pub(super) fn shown(path: &[Arc<str>]) -> String {
    let mut text = String::new();
    for key in path {
        PathStep::Key(key).append(&mut text);
    }
    visible(&text)
}

fn find(document: &Value, path: &[Arc<str>]) -> Found {
    let mut found = Found::default();
    look(document, path, 0, &mut found);
    found
}

/// Adds what is at the path from `depth` on.
fn look(value: &Value, path: &[Arc<str>], depth: usize, found: &mut Found) {
    if found.more {
        return;
    }
    let place = || if depth == 0 { "the event".to_owned() } else { shown(&path[..depth]) };
    let mut nothing = |reason: String| {
        found.nothing.get_or_insert(reason);
    };
    match (value, path.get(depth)) {
        (Value::Array(items), _) if items.is_empty() => nothing(format!("{} is an empty list", place())),
        (Value::Array(items), _) => items.iter().for_each(|item| look(item, path, depth, found)),
        (Value::Object(fields), Some(key)) => {
            if let Some(inner) = fields.get(key.as_ref()) {
                look(inner, path, depth + 1, found);
            } else {
                nothing(format!("{} {}", place(), absent(key, fields)));
            }
        }
        (Value::Object(_), None) => nothing(format!("{} is an object, and no value", place())),
        (_, Some(_)) => nothing(format!("{} is a value, and has no fields", place())),
        (scalar, None) if found.values.len() < MAX_SHOWN => found.values.push(as_json(scalar)),
        (_, None) => found.more = true,
    }
}

fn as_json(scalar: &Value) -> String {
    // A long text is cut before it is written.
    match scalar {
        Value::String(text) if text.chars().nth(MAX_VALUE_CHARS).is_some() => {
            let text: String = text.chars().take(MAX_VALUE_CHARS).collect();
            format!("{}…", visible(&Value::String(text).to_string()))
        }
        other => visible(&other.to_string()),
    }
}

/// What an object has in place of a field.
fn absent(key: &str, fields: &Map<String, Value>) -> String {
    let names = fields.keys().map(String::as_str);
    let close = suggestion(key, names.clone().take(MAX_COMPARED));
    let shown: Vec<_> = names.take(MAX_SHOWN).map(|name| excerpt(name, MAX_VALUE_CHARS)).collect();
    let shown = shown.join(", ");
    match fields.len() {
        0 => "is empty".to_owned(),
        1..=MAX_SHOWN => format!("has {shown}{close}"),
        _ => format!("has {shown}, …{close}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::tests::compile, *};

    fn explain(pattern: &Value, document: &Value) -> Explanation {
        compile(&pattern.to_string()).unwrap().explain(document)
    }

    fn lines(explanation: &Explanation) -> Vec<String> {
        let line = |condition: &Condition| {
            let Condition { path, expected, found, holds } = condition;
            format!("{} {path}: {expected}, {found}", if *holds { "yes" } else { "no" })
        };
        explanation.conditions.iter().map(line).collect()
    }

    #[test]
    fn each_condition_has_its_verdict_and_what_was_found() {
        let pattern = json!({"event_type": ["WORKFLOW_COMPLETED"], "payload": {"data": {"status": ["success", {"prefix": "ok"}],
            "rows": [{"numeric": [">", 5]}], "error": [{"exists": false}]}}});
        let event = json!({"event_type": "WORKFLOW_COMPLETED", "payload": {"data": {"status": "failed", "rows": 7}}});
        let explanation = explain(&pattern, &event);
        assert!(!explanation.matches);
        assert_eq!((explanation.missed(), explanation.alternative, explanation.alternatives), (1, 1, 1));
        assert_eq!(
            lines(&explanation),
            [
                r#"yes event_type: ["WORKFLOW_COMPLETED"], "WORKFLOW_COMPLETED""#,
                r#"yes payload.data.error: [{"exists":false}], nothing: payload.data has status, rows"#,
                r#"yes payload.data.rows: [{"numeric":[">",5]}], 7"#,
                r#"no payload.data.status: ["success",{"prefix":"ok"}], "failed""#,
            ]
        );
    }

    #[test]
    fn a_field_that_is_elsewhere_or_misspelt_is_said_with_what_is_there() {
        let pattern = json!({"payload": {"data": {"status": ["success"]}}});
        for (event, expected) in [
            (json!({"payload": {"status": "success"}}), "nothing: payload has status"),
            (
                json!({"payload": {"data": {"Status": "success"}}}),
                "nothing: payload.data has Status: did you mean `Status`?",
            ),
            (json!({"payload": {"data": {}}}), "nothing: payload.data is empty"),
            (json!({"payload": {"data": "x"}}), "nothing: payload.data is a value, and has no fields"),
            (json!({"payload": {"data": []}}), "nothing: payload.data is an empty list"),
            (
                json!({"payload": {"data": {"status": {"code": 1}}}}),
                "nothing: payload.data.status is an object, and no value",
            ),
            (json!({}), "nothing: the event is empty"),
            (json!({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}), "nothing: the event has a, b, c, d, e, …"),
            (json!({"payload": {"data": [{"status": "a"}, {"status": "b\n"}, {}]}}), r#""a", "b\n""#),
            (json!({"payload": {"data": {"status": [1, 2, 3, 4, 5, 6]}}}), "1, 2, 3, 4, 5 and more"),
        ] {
            let explanation = explain(&pattern, &event);
            assert_eq!(explanation.conditions[0].found.to_string(), expected, "{event}");
            assert!(!explanation.matches && !explanation.conditions[0].holds);
        }
    }

    #[test]
    fn of_alternatives_the_one_that_matches_is_shown_or_else_the_nearest() {
        let pattern = json!({"$or": [{"a": [1], "b": [1], "c": [1]}, {"a": [2], "b": [2]}, {"d": [3]}]});
        let shown = |event| {
            let explanation = explain(&pattern, &event);
            (explanation.matches, explanation.alternative, explanation.alternatives, explanation.missed())
        };
        assert_eq!(shown(json!({"d": 3})), (true, 3, 3, 0));
        assert_eq!(shown(json!({"a": 2})), (false, 2, 3, 1));
        assert_eq!(shown(json!({"a": 1, "b": 1, "c": 1})), (true, 1, 3, 0));
    }

    #[test]
    fn conditions_that_hold_for_different_elements_are_no_match() {
        let pattern = json!({"files": {"name": ["a"], "rows": [1]}});
        let explanation = explain(&pattern, &json!({"files": [{"name": "a", "rows": 2}, {"name": "b", "rows": 1}]}));
        assert_eq!((explanation.matches, explanation.missed()), (false, 0));
    }

    /// An element that matches may lack what another has.
    #[test]
    fn every_condition_of_a_pattern_that_matches_holds() {
        let pattern = json!({"files": {"name": ["b"], "err": [{"exists": false}]}});
        let files = json!({"files": [{"name": "a", "err": 1}, {"name": "b"}]});
        let explanation = explain(&pattern, &files);
        assert_eq!((explanation.matches, explanation.missed()), (true, 0));
        let explanation = explain(&pattern, &json!({"files": [{"name": "a", "err": 1}, {"name": "c"}]}));
        assert_eq!((explanation.matches, explanation.missed()), (false, 1), "the name alone: {explanation:?}");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_or_hides_is_shown_as_it_is() {
        let pattern = json!({"a": {"environment": ["success"]}});
        for (event, expected) in [
            (
                json!({"a": {"environment\u{1b}c": 1}}),
                r"nothing: a has environment\u{1b}c: did you mean `environment\u{1b}c`?",
            ),
            (json!({"a": {"environment": "success\u{200b}"}}), r#""success\u{200b}""#),
            (json!({"a": {"environment": "\u{9b}31m\n"}}), r#""\u{9b}31m\n""#),
        ] {
            assert_eq!(explain(&pattern, &event).conditions[0].found.to_string(), expected);
        }
    }

    #[test]
    fn long_values_and_lists_are_shortened() {
        let list: Vec<_> = (0..10_000).collect();
        let explanation = explain(&json!({"n": list}), &json!({"n": "x".repeat(1_000_000)}));
        let condition = &explanation.conditions[0];
        assert!(
            condition.expected.chars().count() <= 201 && condition.expected.ends_with('…'),
            "{}",
            condition.expected
        );
        assert_eq!(condition.found.values[0].chars().count(), MAX_VALUE_CHARS + 3);
    }

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3).prop_map(Value::from),
            Just(json!("x"))
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        scalar().prop_recursive(4, 30, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn condition() -> impl Strategy<Value = Value> {
        let item = prop_oneof![scalar(), any::<bool>().prop_map(|exists| json!({"exists": exists}))];
        prop::collection::vec(item, 1..3).prop_map(Value::from)
    }

    fn pattern() -> impl Strategy<Value = Value> {
        let fields = |inner: BoxedStrategy<Value>| {
            prop::collection::btree_map("[abc]", inner, 1..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect()))
        };
        fields(prop_oneof![condition(), fields(condition().boxed())].boxed())
    }

    proptest! {
        #[test]
        fn the_verdict_is_the_evaluators_and_a_condition_that_fails_is_a_reason(
            pattern in pattern(), document in prop::collection::btree_map("[abc]", value(), 0..4)
        ) {
            let document = Value::Object(document.into_iter().collect());
            let compiled = compile(&pattern.to_string()).unwrap();
            let explanation = compiled.explain(&document);
            prop_assert_eq!(explanation.matches, compiled.matches(&document));
            prop_assert!(!explanation.conditions.is_empty());
            prop_assert!(!explanation.matches || explanation.missed() == 0);
            let verdict = compiled.verdict(&document);
            prop_assert_eq!((verdict.matches, verdict.missed == 0 || !explanation.matches), (explanation.matches, true));
        }
    }
}
