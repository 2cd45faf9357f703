//! A map of a routing file, read key by key: what nobody asked for at the end is a mistake.

use super::problem::Report;
use crate::yaml::{Data, Entry, Node, Position, shown_key, suggestion};

/// Former names of keys, each with the name that it has now: accepted with a warning.
pub(super) const RENAMED: [(&str, &str); 1] = [("settle", "max_request_lifetime")];

/// The keys of one map.
pub(super) struct Fields<'n> {
    /// What the map is, for messages: ``agent `analyst` ``.
    pub(super) what: String,
    pub(super) at: Option<Position>,
    entries: &'n [Entry],
    known: Vec<&'static str>,
    /// Former names of keys: accepted, but not listed in messages.
    former: Vec<&'static str>,
    /// A key that is not known may be a secret.
    holds_secrets: bool,
}

impl<'n> Fields<'n> {
    /// Opens a map; anything else is a mistake.
    pub(super) fn open(node: &'n Node, what: impl Into<String>, report: &mut Report) -> Option<Self> {
        let what = what.into();
        if let Data::Map(entries) = &node.data {
            return Some(Self {
                what,
                at: node.at,
                entries,
                known: Vec::new(),
                former: Vec::new(),
                holds_secrets: false,
            });
        }
        // The value is not shown: it may be a secret in the wrong place.
        report.error(node.at, format!("{what}: expected a map, found {}: write keys with values", node.found_type()));
        None
    }

    /// For a map whose values are secrets.
    pub(super) fn of_secrets(self) -> Self {
        Self { holds_secrets: true, ..self }
    }

    /// The entry of an optional key.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'n Entry> {
        self.known.push(key);
        self.find(key)
    }

    /// The entry of an optional key that had another name, by [`RENAMED`]. The former name is accepted with a warning.
    pub(super) fn take_renamed(&mut self, key: &'static str, report: &mut Report) -> Option<&'n Entry> {
        let entry = self.take(key);
        let former = RENAMED.iter().find(|(_, now)| *now == key).map(|(former, _)| *former);
        let Some((former, old)) = former.and_then(|former| Some((former, self.find(former)?))) else { return entry };
        self.former.push(former);
        if entry.is_some() {
            let message = format!("expected `{key}`, found it and its former name `{former}`: remove `{former}`");
            report.error(old.at, format!("{}: {message}", self.what));
            return entry;
        }
        report.warn(old.at, format!("{}: the key `{former}` is now called `{key}`: rename it", self.what));
        Some(old)
    }

    fn find(&self, key: &str) -> Option<&'n Entry> {
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
        let expected = |key: &str| self.known.contains(&key) || self.former.contains(&key);
        for entry in self.entries.iter().filter(|entry| !expected(&entry.key)) {
            let close = suggestion(&entry.key, self.known.iter().copied());
            // What is not even close may be a secret without its key.
            let is_shown = !close.is_empty() || !self.holds_secrets;
            let shown = if is_shown { shown_key(&entry.key) } else { "(not shown)".to_owned() };
            let mut known = self.known.clone();
            known.sort_unstable();
            report.error(
                entry.at,
                format!(
                    "{}: unknown key {}{close}{} it has {}",
                    self.what,
                    shown,
                    if close.is_empty() { ":" } else { "" },
                    known.join(", ")
                ),
            );
        }
    }
}
