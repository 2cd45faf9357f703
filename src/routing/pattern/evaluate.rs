//! One alternative against one event.
//!
//! A field of the pattern meets a value of the event with one of three results. An array is met
//! element by element, so that everything said below one field is said of the same element; nested
//! arrays are flattened by the same rule. Each pair of a field and a value is looked at once.

use serde_json::Value;

use super::expand::Field;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Something in the value contradicts the pattern.
    No,
    /// Nothing is there, and the pattern is content with that.
    Absent,
    /// The pattern holds, and something that it asks for is there.
    Yes,
}

pub(super) fn matches(field: &Field, event: &Value) -> bool {
    meet(field, Some(event)) != Outcome::No
}

fn meet(field: &Field, value: Option<&Value>) -> Outcome {
    match value {
        Some(Value::Array(items)) if !items.is_empty() => meet_any(field, items),
        Some(Value::Array(_)) => meet_one(field, None),
        other => meet_one(field, other),
    }
}

/// An array matches by one element. It is absent only when it is so in every element: what one
/// element lacks may stand in another.
fn meet_any(field: &Field, items: &[Value]) -> Outcome {
    let mut all_absent = true;
    for item in items {
        match meet(field, Some(item)) {
            Outcome::Yes => return Outcome::Yes,
            Outcome::Absent => {}
            Outcome::No => all_absent = false,
        }
    }
    if all_absent { Outcome::Absent } else { Outcome::No }
}

fn meet_one(field: &Field, value: Option<&Value>) -> Outcome {
    let mut outcome = Outcome::Absent;
    if let Some(test) = &field.test {
        match value {
            // An object is no value: for the field itself it counts as absent.
            None | Some(Value::Object(_)) => {
                if !test.accepts_absence() {
                    return Outcome::No;
                }
            }
            Some(scalar) => {
                if !test.accepts(scalar) {
                    return Outcome::No;
                }
                outcome = Outcome::Yes;
            }
        }
    }
    let object = value.and_then(Value::as_object);
    for (key, child) in &field.children {
        match meet(child, object.and_then(|object| object.get(key.as_ref()))) {
            Outcome::No => return Outcome::No,
            Outcome::Absent => {}
            Outcome::Yes => outcome = Outcome::Yes,
        }
    }
    outcome
}
