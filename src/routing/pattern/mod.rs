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

use std::{collections::HashSet, sync::Arc};

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
pub(super) use key::{But, End, GRAM, Key, Keys};
pub(super) use leaf::first_bits;
pub(super) use number::{Exact, Range};
pub(super) use scope::PathStep;
#[cfg(test)]
pub(super) use {error::PatternReason, operator::OPERATORS, set::Set, tests::compile as compile_json};

/// A compiled event pattern.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    /// The alternatives, with `$or` expanded: at least one.
    branches: Vec<Field>,
}

/// One of the alternatives of a pattern. It has no `$or`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alternative<'a>(&'a Field);

/// A field that an alternative names.
pub(super) struct Anchor<'a> {
    pub(super) path: Vec<&'a str>,
    condition: &'a Leaf,
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

    /// The [weight](Alternative::weight) of all alternatives, with a condition that several have counted once.
    pub(super) fn weight(&self) -> usize {
        let mut counted = HashSet::new();
        let mut once = |condition: &Leaf| {
            if counted.insert(std::ptr::from_ref(condition)) { condition.weight } else { 1 }
        };
        self.branches.iter().map(|branch| weight(branch, 0, &mut once)).sum()
    }

    /// The alternatives: at least one.
    pub(super) fn alternatives(&self) -> impl Iterator<Item = Alternative<'_>> {
        self.branches.iter().map(Alternative)
    }
}

impl<'a> Alternative<'a> {
    /// How much there is of it: its fields, their names and their values.
    pub(super) fn weight(self) -> usize {
        weight(self.0, 0, &mut |condition| condition.weight)
    }

    /// The fields that it names.
    pub(super) fn anchors(self) -> Vec<Anchor<'a>> {
        let mut anchors = Vec::new();
        collect_anchors(self.0, &mut Vec::new(), &mut anchors);
        anchors
    }
}

impl<'a> Anchor<'a> {
    /// How many alternatives the condition of the field has.
    pub(super) fn breadth(&self) -> usize {
        self.condition.breadth()
    }

    /// The keys of what satisfies the condition.
    pub(super) fn keys(&self) -> Keys<'a> {
        self.condition.keys()
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

/// The weight of a field whose path has so much: each condition below it counts its path.
fn weight(field: &Field, path: usize, of_condition: &mut impl FnMut(&Leaf) -> usize) -> usize {
    let own = field.test.as_ref().map_or(0, |condition| path + of_condition(condition));
    let children = field.children.iter();
    own + children.map(|(key, child)| weight(child, path + 1 + key.len() / key::LONG, of_condition)).sum::<usize>()
}

fn collect_anchors<'a>(field: &'a Field, path: &mut Vec<&'a str>, anchors: &mut Vec<Anchor<'a>>) {
    if let Some(condition) = &field.test {
        anchors.push(Anchor { path: path.clone(), condition });
    }
    for (key, child) in &field.children {
        path.push(Arc::as_ref(key));
        collect_anchors(child, path, anchors);
        path.pop();
    }
}
