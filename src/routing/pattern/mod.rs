//! Event patterns: EventBridge's language, compiled and matched.
//!
//! Owns the meaning of a pattern. Its invariant: matching costs at most (branches x fields x the
//! part of the event that the fields name), whatever the event looks like; nothing backtracks. It
//! does not know where a pattern was written, except for the positions of its nodes.
//!
//! The semantics are those of the reference implementation (137 of its verdicts are a test), apart
//! from the deviations that docs/routing.md lists.

mod caseless;
mod compile;
mod condition;
mod error;
mod evaluate;
mod expand;
mod explain;
mod key;
mod leaf;
mod number;
mod operator;
mod scope;
mod set;
mod wildcard;

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod naive;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::sync::Arc;

use crate::{
    event::{FieldSet, Shape, Tree},
    yaml::Node,
};
use expand::Field;
use leaf::Leaf;

pub(super) use compile::OR;
pub(super) use condition::ConditionOfPattern;
pub(super) use error::PatternError;
pub(crate) use explain::Explanation;
pub(super) use key::{End, GRAM, Key, Keys};
pub(super) use leaf::first_bits;
pub(super) use number::{Exact, Range};
pub(super) use scope::PathStep;
#[cfg(test)]
pub(super) use {error::PatternReason, operator::OPERATORS, tests::compile as compile_json};

/// A compiled event pattern.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    /// The alternatives, with `$or` expanded: at least one.
    branches: Vec<Field>,
}

/// A field of an alternative that cannot be absent: its path, and the keys of what satisfies it.
pub(super) struct Anchor<'a> {
    pub(super) path: Vec<&'a str>,
    pub(super) keys: Keys<'a>,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`PatternError`] lists every fault of the pattern, each with its path.
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
    pub(crate) fn matches<T: Tree>(&self, event: &T) -> bool {
        matches!(event.shape(), Shape::Object) && self.branches.iter().any(|branch| evaluate::matches(branch, event))
    }

    /// Whether every alternative constrains this top-level field.
    pub(super) fn always_names(&self, field: &str) -> bool {
        self.branches.iter().all(|branch| branch.child(field).is_some_and(|field| field.test.is_some()))
    }

    /// Adds the fields that matching reads.
    pub(super) fn add_fields(&self, fields: &mut FieldSet) {
        for branch in &self.branches {
            add_fields(branch, &mut Vec::new(), fields);
        }
    }

    /// For each alternative, its fields that cannot be absent.
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

fn add_fields<'a>(field: &'a Field, path: &mut Vec<&'a str>, fields: &mut FieldSet) {
    if field.test.is_some() {
        fields.add(path);
    }
    for (key, child) in &field.children {
        path.push(Arc::as_ref(key));
        add_fields(child, path, fields);
        path.pop();
    }
}

fn collect_anchors<'a>(field: &'a Field, path: &mut Vec<&'a str>, anchors: &mut Vec<Anchor<'a>>) {
    if let Some(keys) = field.test.as_deref().and_then(Leaf::keys) {
        anchors.push(Anchor { path: path.clone(), keys });
    }
    for (key, child) in &field.children {
        path.push(Arc::as_ref(key));
        collect_anchors(child, path, anchors);
        path.pop();
    }
}
