//! The verdicts of the reference implementation, and those that this one deviates from on purpose.

use std::collections::BTreeMap;

use serde_json::Value;

use super::tests::compile;

const VECTORS: &str = include_str!("../../../tests/vectors/event-patterns.jsonl");

/// Verdicts that are not followed: the vector's name, what this implementation says, and why.
const DEVIATIONS: &[(&str, Verdict, &str)] = &[
    ("numeric 2^53+1 rule = ", Verdict::Matches, "integers of 64 bits keep every digit, so any may be named"),
    ("numeric 30 digits", Verdict::Matches, "a number beyond 64 bits is an f64 and compares as such"),
    ("numeric >0 vs 0.1+long", Verdict::Matches, "every f64 compares, however many digits it needs"),
    ("cidr /32", Verdict::Matches, "/32 is one address"),
    ("dotted key event", Verdict::Differs, "a dotted key is a key, not a path"),
    ("dotted key rule", Verdict::Differs, "a dotted key is a key, not a path"),
    (
        "$or same field both outside and inside (override)",
        Verdict::RuleError,
        "one of the two would be ignored silently, so the pattern is refused",
    ),
    ("$or same field outer only", Verdict::RuleError, "the same, refused"),
    ("dup key in event", Verdict::Differs, "the second key of the event is not in the vector any more"),
    ("event not object (array)", Verdict::Differs, "an event that is no object matches nothing"),
    ("event scalar", Verdict::Differs, "an event that is no object matches nothing"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Matches,
    Differs,
    RuleError,
    EventError,
}

impl Verdict {
    fn read(value: &Value) -> Self {
        match value {
            Value::Bool(true) => Self::Matches,
            Value::Bool(false) => Self::Differs,
            Value::String(text) if text.starts_with("RULE-ERR") => Self::RuleError,
            Value::String(text) if text.starts_with("EVENT-ERR") => Self::EventError,
            other => panic!("not a verdict: {other}"),
        }
    }

    fn of(pattern: &str, event: &Value) -> Self {
        match compile(pattern) {
            Err(_) => Self::RuleError,
            Ok(pattern) if pattern.matches(event) => Self::Matches,
            Ok(_) => Self::Differs,
        }
    }
}

#[test]
fn the_verdicts_are_those_of_the_reference_but_for_the_named_deviations() {
    let mut deviations: BTreeMap<_, _> =
        DEVIATIONS.iter().map(|(name, verdict, reason)| (*name, (*verdict, *reason))).collect();
    let mut wrong = Vec::new();
    let vectors: Vec<Value> = VECTORS.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(vectors.len(), 137);
    for vector in &vectors {
        let name = vector["name"].as_str().unwrap();
        let reference = Verdict::read(&vector["verdict"]);
        let ours = Verdict::of(&vector["pattern"].to_string(), &vector["event"]);
        match deviations.remove(name) {
            Some((expected, reason)) => {
                if ours != expected {
                    wrong.push(format!("{name}: expected {expected:?} ({reason}), got {ours:?}"));
                }
                if ours == reference {
                    wrong
                        .push(format!("{name}: listed as a deviation ({reason}), and agrees: remove it from the list"));
                }
            }
            None if ours != reference => wrong.push(format!("{name}: the reference says {reference:?}, got {ours:?}")),
            None => {}
        }
    }
    wrong.extend(deviations.keys().map(|name| format!("{name}: listed as a deviation, and no vector has the name")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
