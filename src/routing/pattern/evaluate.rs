//! Matches one alternative with one event.
//!
//! Comparing a field of the pattern with a value of the event has one of three results. An array is compared
//! element by element, so all conditions below one field apply to the same element; nested
//! arrays are flattened by the same rule. Each pair of a field and a value is compared once.

use serde_json::Value;

use super::expand::Field;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Something in the value contradicts the pattern.
    No,
    /// Nothing is present, and the pattern allows that.
    Absent,
    /// The pattern matches, and a value that it names is present.
    Yes,
}

pub(super) fn matches(field: &Field, event: &Value) -> bool {
    match_field(field, Some(event)) != Outcome::No
}

fn match_field(field: &Field, value: Option<&Value>) -> Outcome {
    match value {
        Some(Value::Array(items)) if !items.is_empty() => match_array(field, items),
        Some(Value::Array(_)) => match_value(field, None),
        other => match_value(field, other),
    }
}

/// An array matches if one element does. The field is absent only if it is absent from every element: one
/// element may have what another lacks.
fn match_array(field: &Field, items: &[Value]) -> Outcome {
    let mut all_absent = true;
    for item in items {
        match match_field(field, Some(item)) {
            Outcome::Yes => return Outcome::Yes,
            Outcome::Absent => {}
            Outcome::No => all_absent = false,
        }
    }
    if all_absent { Outcome::Absent } else { Outcome::No }
}

fn match_value(field: &Field, value: Option<&Value>) -> Outcome {
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
        match match_field(child, object.and_then(|object| object.get(key.as_ref()))) {
            Outcome::No => return Outcome::No,
            Outcome::Absent => {}
            Outcome::Yes => outcome = Outcome::Yes,
        }
    }
    outcome
}
