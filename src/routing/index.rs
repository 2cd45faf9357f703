//! Finds the rules that an event may match by the values that it has, without trying the others.
//!
//! For each alternative of a rule one of its fields is chosen that cannot be absent, and for each value that the field may have
//! one [`Key`]. An event whose values have none of these keys does not match the rule. Whether one that has does is not
//! decided here.

mod affixes;
mod choose;
mod contained;
mod found;
mod keyed;
mod lists;
mod ranges;

use std::collections::HashMap;

use super::pattern::{Key, Pattern};
use crate::event::{Shape, Tree};
use choose::{Chosen, Frequency};
use found::Found;
use keyed::Keyed;
use lists::Lists;

/// From the values of an event to the rules that it may match.
#[derive(Debug, Default)]
pub(super) struct Index {
    root: Node,
    lists: Lists,
    /// The rules that are found by no key: those that may match an event that lacks every field that they name.
    rest: Vec<usize>,
}

/// A place in the document.
#[derive(Debug, Default)]
struct Node {
    keyed: Option<Keyed>,
    fields: HashMap<Box<str>, Node>,
}

impl Index {
    /// An index of these patterns; the number of a rule is its place among them.
    pub(super) fn new<'a>(patterns: impl Iterator<Item = &'a Pattern> + Clone) -> Self {
        let frequency = Frequency::of(patterns.clone());
        let (mut members, mut lists, mut rest) = (Vec::new(), 0, Vec::new());
        let mut places: HashMap<Vec<&str>, HashMap<Key<'_>, usize>> = HashMap::new();
        for (rule, pattern) in patterns.enumerate() {
            let Some(chosen) = frequency.choose(pattern) else {
                rest.push(rule);
                continue;
            };
            for Chosen { path, keys } in chosen {
                let places = places.entry(path).or_default();
                for key in keys {
                    let list = *places.entry(key).or_insert_with(|| {
                        lists += 1;
                        lists - 1
                    });
                    members.push((list, rule));
                }
            }
        }
        let mut root = Node::default();
        for (path, keys) in places {
            root.at(&path).keyed = Some(Keyed::new(keys));
        }
        Self { root, lists: Lists::new(lists, members), rest }
    }

    /// The rules that an event may match, ascending.
    pub(super) fn candidates<T: Tree>(&self, document: &T) -> Vec<usize> {
        let mut found = Found::default();
        self.root.visit(document, &mut found);
        let found = found.into_lists();
        let mut rules: Vec<usize> =
            found.iter().flat_map(|list| self.lists.get(*list)).chain(&self.rest).copied().collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

impl Node {
    /// The node of a path, made if it is not there.
    fn at(&mut self, path: &[&str]) -> &mut Self {
        path.iter().fold(self, |node, key| node.fields.entry((*key).into()).or_default())
    }

    /// Looks up each value that has a place here, through arrays.
    fn visit<T: Tree>(&self, value: &T, found: &mut Found) {
        match value.shape() {
            Shape::List(items) => items.iter().for_each(|item| self.visit(item, found)),
            // Whichever has fewer: an event with a thousand fields, or rules that name a thousand.
            Shape::Object if value.field_count() < self.fields.len() => {
                for (key, inner) in value.fields() {
                    if let Some(node) = self.fields.get(key) {
                        node.visit(inner, found);
                    }
                }
            }
            Shape::Object => {
                for (key, node) in &self.fields {
                    if let Some(inner) = value.field(key) {
                        node.visit(inner, found);
                    }
                }
            }
            Shape::Scalar(scalar) => {
                if let Some(keyed) = &self.keyed {
                    keyed.look_up(scalar, found);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
