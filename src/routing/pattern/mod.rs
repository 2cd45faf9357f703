//! Event patterns: EventBridge's language, compiled and matched.
//!
//! Owns the meaning of a pattern. Its invariant: matching costs at most (branches x fields x the
//! part of the event that the fields name), whatever the event looks like; nothing backtracks. It
//! does not know where a pattern was written, but for the places that its nodes carry.
//!
//! The semantics are those of the reference implementation (137 of its verdicts are a test), apart
//! from the deviations that docs/routing.md lists.

mod caseless;
mod compile;
mod error;
mod evaluate;
mod expand;
mod leaf;
mod number;
mod operator;
mod wildcard;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use crate::yaml::Node;
use std::sync::Arc;

use serde_json::Value;

use expand::Field;

pub(super) use compile::{OR, Step};
pub use error::{PatternError, PatternFault, PatternReason};

/// The longest pattern text, in bytes.
const MAX_TEXT: usize = 1 << 20;

/// A compiled event pattern.
///
/// ```
/// use serde_json::json;
/// use workflow_bridge::routing::Pattern;
///
/// let pattern = Pattern::from_json(r#"{"workflow_id": [{"prefix": "etl_"}], "payload": {"rows": [{"numeric": [">", 0]}]}}"#)?;
/// assert!(pattern.matches(&json!({"workflow_id": "etl_daily", "payload": {"rows": 7}})));
/// assert!(!pattern.matches(&json!({"workflow_id": "etl_daily"})));
/// # Ok::<(), workflow_bridge::routing::PatternError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Alternatives, `$or` multiplied out: at least one.
    branches: Vec<Field>,
}

/// An exact string that a branch cannot do without, and the path to it.
pub(super) struct Anchor<'a> {
    pub(super) path: Vec<&'a str>,
    pub(super) values: Vec<&'a str>,
}

impl Pattern {
    /// Compiles a pattern from JSON text.
    ///
    /// # Errors
    /// [`PatternError`] lists every fault of the pattern, each with its path.
    pub fn from_json(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_TEXT {
            return Err(PatternError::of(PatternReason::TooLarge { limit: MAX_TEXT, unit: "bytes" }));
        }
        let node: Node = serde_json::from_str(text)
            .map_err(|error| PatternError::of(PatternReason::NotJson { reason: error.to_string() }))?;
        Self::compile(&node)
    }

    /// Compiles a pattern from a tree, whatever it was written in.
    pub(super) fn compile(node: &Node) -> Result<Self, PatternError> {
        let mut faults = Vec::new();
        let syntax = compile::compile(node, &mut faults);
        if faults.is_empty() {
            match expand::expand(&syntax) {
                Ok(branches) => return Ok(Self { branches }),
                Err(expanded) => faults = expanded,
            }
        }
        Err(PatternError::new(faults))
    }

    /// Whether the event matches. Anything but an object does not.
    pub fn matches(&self, event: &Value) -> bool {
        event.is_object() && self.branches.iter().any(|branch| evaluate::matches(branch, event))
    }

    /// Whether every alternative constrains this top-level field.
    pub(super) fn always_names(&self, field: &str) -> bool {
        self.branches.iter().all(|branch| branch.children.get(field).is_some_and(|field| field.test.is_some()))
    }

    /// For each alternative, the fields that only exact strings satisfy.
    pub(super) fn anchors(&self) -> Vec<Vec<Anchor<'_>>> {
        self.branches
            .iter()
            .map(|branch| {
                let mut anchors = Vec::new();
                collect_anchors(branch, &mut Vec::new(), &mut anchors);
                anchors
            })
            .collect()
    }
}

fn collect_anchors<'a>(field: &'a Field, path: &mut Vec<&'a str>, anchors: &mut Vec<Anchor<'a>>) {
    if let Some(values) = field.test.as_deref().and_then(leaf::Leaf::only_exact_strings) {
        anchors.push(Anchor { path: path.clone(), values });
    }
    for (key, child) in &field.children {
        path.push(Arc::as_ref(key));
        collect_anchors(child, path, anchors);
        path.pop();
    }
}
