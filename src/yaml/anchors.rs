//! Anchors, aliases and merge keys: what an alias stands for, and how much all of them may add.
//!
//! Its invariant: what is kept for aliases and what they add is within an [`Expansion`], counted before anything is copied.
//! A few lines can stand for billions of values.

use std::collections::HashMap;

use super::{Data, Entry, Node};

/// What anchors and aliases may still add to the values of a text, or of several.
#[derive(Debug)]
pub(crate) struct Expansion {
    left: Size,
}

impl Expansion {
    /// The most values, and the most bytes in their texts.
    pub(super) const MOST: Size = Size { values: 200_000, bytes: 8 << 20, depth: usize::MAX };
}

impl Default for Expansion {
    fn default() -> Self {
        Self { left: Self::MOST }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) values: usize,
    pub(super) bytes: usize,
    /// Levels of maps and lists; 0 for a scalar.
    pub(super) depth: usize,
}

/// The values that have anchors.
pub(super) struct Anchors<'e> {
    expansion: &'e mut Expansion,
    kept: HashMap<usize, (Node, Size)>,
}

/// An alias that cannot be replaced by a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoValue {
    /// Its anchor is that of a map or a list that it stands in.
    Inside,
    /// It adds too much.
    TooMuch,
}

impl<'e> Anchors<'e> {
    pub(super) fn new(expansion: &'e mut Expansion) -> Self {
        Self { expansion, kept: HashMap::new() }
    }

    /// Keeps a value for its aliases. `false`: it is too much.
    pub(super) fn keep(&mut self, anchor: usize, node: &Node) -> bool {
        let left = self.expansion.left;
        let mut size = Size { values: 0, bytes: 0, depth: 0 };
        if !measure(node, 0, &left, &mut size) {
            return false;
        }
        self.spend(size);
        self.kept.insert(anchor, (node.clone(), size));
        true
    }

    /// A copy of the value, and its levels.
    pub(super) fn value(&mut self, anchor: usize) -> Result<(Node, usize), NoValue> {
        let (node, size) = self.kept.get(&anchor).ok_or(NoValue::Inside)?;
        let (size, left) = (*size, self.expansion.left);
        if size.values > left.values || size.bytes > left.bytes {
            return Err(NoValue::TooMuch);
        }
        let node = node.clone();
        self.spend(size);
        Ok((node, size.depth))
    }

    fn spend(&mut self, size: Size) {
        let left = &mut self.expansion.left;
        left.values = left.values.saturating_sub(size.values);
        left.bytes = left.bytes.saturating_sub(size.bytes);
    }
}

/// Adds up a value. `false` as soon as it is more than is left.
fn measure(node: &Node, level: usize, left: &Size, size: &mut Size) -> bool {
    size.values += 1;
    let is_inner = matches!(node.data, Data::List(_) | Data::Map(_));
    size.depth = size.depth.max(level + usize::from(is_inner));
    let complete = match &node.data {
        Data::Text(text) => {
            size.bytes += text.len();
            true
        }
        Data::List(items) => items.iter().all(|item| measure(item, level + 1, left, size)),
        Data::Map(entries) => entries.iter().all(|entry| {
            size.bytes += entry.key.len();
            measure(&entry.value, level + 1, left, size)
        }),
        Data::Null | Data::Bool(_) | Data::Number(_) => true,
    };
    complete && size.values <= left.values && size.bytes <= left.bytes
}

/// The maps that a merge key names; `None` when it is something else.
pub(super) fn merged(node: Node) -> Option<Vec<Vec<Entry>>> {
    match node.data {
        Data::Map(entries) => Some(vec![entries]),
        Data::List(items) => items
            .into_iter()
            .map(|item| match item.data {
                Data::Map(entries) => Some(entries),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}
