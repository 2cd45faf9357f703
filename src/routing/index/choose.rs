//! Which field of a rule, and which key of each of its values, it is found by.

use std::collections::HashMap;

use crate::routing::pattern::{Anchor, Key, Keys, Pattern};

/// A field with one key for each of its alternatives.
pub(super) struct Chosen<'a> {
    pub(super) path: Vec<&'a str>,
    pub(super) keys: Vec<Key<'a>>,
}

/// How many alternatives of all rules each key at each path leads to.
pub(super) struct Frequency<'a>(HashMap<Vec<&'a str>, HashMap<Key<'a>, usize>>);

impl<'a> Frequency<'a> {
    /// That of these patterns.
    pub(super) fn of(patterns: impl Iterator<Item = &'a Pattern>) -> Self {
        let mut frequency = Self(HashMap::new());
        for anchor in patterns.flat_map(Pattern::anchors).flatten() {
            frequency.count(&anchor.path, &anchor.keys);
        }
        frequency
    }

    /// Chooses for each alternative of a pattern the field whose keys lead to the fewest rules and are the rarest among events.
    /// `None` for one that may match an event without any field that it names.
    pub(super) fn choose(&self, pattern: &'a Pattern) -> Option<Vec<Chosen<'a>>> {
        pattern.anchors().into_iter().map(|fields| self.best_field(fields)).collect()
    }

    fn count(&mut self, path: &[&'a str], keys: &Keys<'a>) {
        let counts = match self.0.get_mut(path) {
            Some(counts) => counts,
            None => self.0.entry(path.to_vec()).or_default(),
        };
        for key in keys.iter().flatten() {
            *counts.entry(key.clone()).or_default() += 1;
        }
    }

    fn best_field(&self, fields: Vec<Anchor<'a>>) -> Option<Chosen<'a>> {
        let costs = fields.into_iter().map(|field| self.best_keys(field));
        costs.min_by_key(|(cost, _)| *cost).map(|(_, chosen)| chosen)
    }

    /// The cheapest key of each alternative of a field, and the cost of the dearest of them: an event has one value there.
    fn best_keys(&self, field: Anchor<'a>) -> (usize, Chosen<'a>) {
        let counts = self.0.get(&field.path);
        let cost = |key: &Key<'_>| {
            let count = counts.and_then(|counts| counts.get(key)).copied().unwrap_or(1);
            count.saturating_mul(breadth(key))
        };
        let alternatives = field.keys.into_iter();
        let best: Vec<(usize, Key<'a>)> = alternatives
            .filter_map(|keys| keys.into_iter().map(|key| (cost(&key), key)).min_by_key(|(cost, _)| *cost))
            .collect();
        let dearest = best.iter().map(|(cost, _)| *cost).max().unwrap_or_default();
        (dearest, Chosen { path: field.path, keys: best.into_iter().map(|(_, key)| key).collect() })
    }
}

/// How many times as many events have a key of this kind as have a certain text: an estimate, which decides nothing but speed.
fn breadth(key: &Key<'_>) -> usize {
    let of_length = |length: usize| if length < 4 { 16 } else { 1 };
    match key {
        Key::Text(_) | Key::CaselessText(_) | Key::Number(_) | Key::Address(_) => 1,
        Key::Affix(_, text) => 4 * of_length(text.len()),
        Key::CaselessAffix(_, text) => 4 * of_length(text.len()),
        Key::Contains(text) => 16 * of_length(text.len()),
        Key::Network(_) => 8,
        Key::Range(_) => 50,
        Key::Any | Key::Constant(_) => 100,
    }
}
