//! Which field of an alternative, and which key of each of its values, it is found by.

use std::collections::HashMap;

use crate::routing::pattern::{Alternative, Anchor, Key};

/// A field with one key for each of its alternatives.
pub(super) struct Chosen<'a> {
    pub(super) path: Vec<&'a str>,
    pub(super) keys: Vec<Key<'a>>,
}

/// The fields that an index may ask for.
pub(super) struct Fields<'a> {
    /// These were asked for by the indexes that lead to this one.
    pub(super) used: Vec<Vec<&'a str>>,
    /// Those with more keys are left out: each key of an alternative takes a place.
    pub(super) most_keys: usize,
}

impl<'a> Fields<'a> {
    fn of(&self, alternative: Alternative<'a>) -> impl Iterator<Item = Anchor<'a>> {
        let fields = alternative.anchors().into_iter();
        fields.filter(|field| field.breadth() <= self.most_keys && !self.used.contains(&field.path))
    }

    /// Chooses among these alternatives, and no others.
    pub(super) fn choice(&self, alternatives: impl Iterator<Item = Alternative<'a>>) -> Choice<'a, '_> {
        Choice { fields: self, frequency: Frequency::of(alternatives.map(|alternative| self.of(alternative))) }
    }
}

/// Knows which keys are rare.
pub(super) struct Choice<'a, 'f> {
    fields: &'f Fields<'a>,
    frequency: Frequency<'a>,
}

impl<'a> Choice<'a, '_> {
    /// The field whose keys lead to the fewest alternatives and are the rarest among events; if most events have its keys, the
    /// one that the most alternatives share. `None` for an alternative without a field.
    pub(super) fn choose(&self, alternative: Alternative<'a>) -> Option<Chosen<'a>> {
        self.frequency.best_field(self.fields.of(alternative))
    }
}

/// How many alternatives name each path, and each key there leads to.
struct Frequency<'a> {
    paths: HashMap<Vec<&'a str>, (usize, HashMap<Key<'a>, usize>)>,
    alternatives: usize,
}

/// What it costs to be found by a key, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    /// An estimate of how many alternatives are found by it, by how many events.
    Found(usize),
    /// Many events have the key. It leads to all but so many: when an event does not have it, the others are out at once.
    Common(usize),
}

impl<'a> Frequency<'a> {
    fn of(alternatives: impl Iterator<Item = impl Iterator<Item = Anchor<'a>>>) -> Self {
        let mut frequency = Self { paths: HashMap::new(), alternatives: 0 };
        for fields in alternatives {
            frequency.alternatives += 1;
            for field in fields {
                let keys = field.keys();
                let (named, counts) = frequency.paths.entry(field.path).or_default();
                *named += 1;
                keys.into_iter().flatten().for_each(|key| *counts.entry(key).or_default() += 1);
            }
        }
        frequency
    }

    fn best_field(&self, fields: impl Iterator<Item = Anchor<'a>>) -> Option<Chosen<'a>> {
        let costs = fields.map(|field| (self.best_keys(&field), field.path));
        costs.min_by_key(|((cost, _), _)| *cost).map(|((_, keys), path)| Chosen { path, keys })
    }

    /// The cheapest key of each alternative of a field, and the cost of the dearest of them: an event has one value there.
    fn best_keys(&self, field: &Anchor<'a>) -> (Option<Cost>, Vec<Key<'a>>) {
        let path = self.paths.get(&field.path);
        let cost = |key: &Key<'_>| {
            let (named, count) = path.map_or((1, None), |(named, counts)| (*named, counts.get(key)));
            self.cost(key, named, count.copied().unwrap_or(1))
        };
        let alternatives = field.keys().into_iter();
        let best: Vec<(Cost, Key<'a>)> = alternatives
            .filter_map(|keys| keys.into_iter().map(|key| (cost(&key), key)).min_by_key(|(cost, _)| *cost))
            .collect();
        let dearest = best.iter().map(|(cost, _)| *cost).max();
        (dearest, best.into_iter().map(|(_, key)| key).collect())
    }

    fn cost(&self, key: &Key<'_>, named: usize, count: usize) -> Cost {
        let is_common = match key {
            Key::Any => named.saturating_mul(UNUSUAL) > self.alternatives,
            Key::Absent | Key::ButTexts(_) | Key::ButNumbers(_) => true,
            _ => false,
        };
        if is_common {
            Cost::Common(self.alternatives.saturating_sub(count))
        } else {
            Cost::Found(count.saturating_mul(breadth(key)))
        }
    }
}

/// A field that one in so many alternatives names is probably one that few events have.
const UNUSUAL: usize = 8;

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
        Key::Constant(_) | Key::Any | Key::Absent | Key::ButTexts(_) | Key::ButNumbers(_) => 100,
    }
}
