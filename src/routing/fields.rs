//! A map of a routing file, read key by key: what nobody asked for at the end is a mistake.

use super::problem::Report;
use crate::yaml::{Data, Entry, Node, Position, quoted, suggestion};

/// The keys of one map.
pub(super) struct Fields<'n> {
    /// What the map is, for messages: ``agent `analyst` ``.
    pub(super) what: String,
    pub(super) at: Option<Position>,
    entries: &'n [Entry],
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Opens a map; anything else is a mistake.
    pub(super) fn open(node: &'n Node, what: impl Into<String>, report: &mut Report) -> Option<Self> {
        let what = what.into();
        if let Data::Map(entries) = &node.data {
            return Some(Self { what, at: node.at, entries, known: Vec::new() });
        }
        // The value is not shown: it may be a secret in the wrong place.
        report.error(node.at, format!("{what}: expected a map, found {}: write keys with values", node.found_type()));
        None
    }

    /// The entry of an optional key.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'n Entry> {
        self.known.push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The entry of a key that has to be there.
    pub(super) fn require(&mut self, key: &'static str, advice: &str, report: &mut Report) -> Option<&'n Entry> {
        let entry = self.take(key);
        if entry.is_none() {
            report.error(self.at, format!("{}: expected the key `{key}`, found none: {advice}", self.what));
        }
        entry
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, report: &mut Report) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let close = suggestion(&entry.key, self.known.iter().copied());
            let mut known = self.known.clone();
            known.sort_unstable();
            report.error(
                entry.at,
                format!(
                    "{}: unknown key {}{close}{} it has {}",
                    self.what,
                    quoted(&entry.key),
                    if close.is_empty() { ":" } else { "" },
                    known.join(", ")
                ),
            );
        }
    }
}
