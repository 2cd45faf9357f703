//! Matches one alternative with one event.
//!
//! Comparing a field of the pattern with a value of the event has one of three results. An array is compared
//! element by element, so all conditions below one field apply to the same element; nested
//! arrays are flattened by the same rule. Each pair of a field and a value is compared once.

use super::expand::Field;
use crate::event::{Shape, Tree};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Something in the value contradicts the pattern.
    No,
    /// Nothing is present, and the pattern allows that.
    Absent,
    /// The pattern matches, and a value that it names is present.
    Yes,
}

pub(super) fn matches<T: Tree>(field: &Field, event: &T) -> bool {
    match_field(field, Some(event)) != Outcome::No
}

fn match_field<T: Tree>(field: &Field, value: Option<&T>) -> Outcome {
    match value.map(Tree::shape) {
        Some(Shape::List([])) => match_value(field, None::<&T>),
        Some(Shape::List(items)) => match_array(field, items),
        _ => match_value(field, value),
    }
}

/// An array matches if one element does. The field is absent only if it is absent from every element: one
/// element may have what another lacks.
fn match_array<T: Tree>(field: &Field, items: &[T]) -> Outcome {
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

fn match_value<T: Tree>(field: &Field, value: Option<&T>) -> Outcome {
    let mut outcome = Outcome::Absent;
    if let Some(test) = &field.test {
        match value.map(Tree::shape) {
            Some(Shape::Scalar(scalar)) => {
                if !test.accepts(scalar) {
                    return Outcome::No;
                }
                outcome = Outcome::Yes;
            }
            // An object is no value: for the field itself it counts as absent.
            _ => {
                if !test.accepts_absence() {
                    return Outcome::No;
                }
            }
        }
    }
    for (key, child) in &field.children {
        match match_field(child, value.and_then(|value| value.field(key))) {
            Outcome::No => return Outcome::No,
            Outcome::Absent => {}
            Outcome::Yes => outcome = Outcome::Yes,
        }
    }
    outcome
}
