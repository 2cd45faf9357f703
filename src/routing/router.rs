//! Which rules match an event.

use std::sync::Arc;

use super::{index::Index, rule::Rule};
use crate::event::{Event, FieldSet, Limits, Poison, Projected, Raw, Tree};

/// The rules of a folder, with their index.
#[derive(Debug)]
pub(crate) struct Router {
    /// By name.
    rules: Vec<Arc<Rule>>,
    index: Index,
    /// The fields that any rule reads.
    fields: FieldSet,
}

/// A record that was read as far as matching needs, and the rules that match it, by name.
#[derive(Debug)]
pub(crate) enum Matched<'r> {
    /// Only the fields that rules name were read. The record decodes to an event.
    Projected(Projected<'r>, Vec<Arc<Rule>>),
    /// The whole event was decoded.
    Decoded(Event, Vec<Arc<Rule>>),
}

impl Matched<'_> {
    /// The rules that match.
    pub(crate) fn rules(&self) -> &[Arc<Rule>] {
        let (Self::Projected(_, rules) | Self::Decoded(_, rules)) = self;
        rules
    }
}

impl Router {
    pub(super) fn new(mut rules: Vec<Arc<Rule>>) -> Self {
        rules.sort_by(|a, b| a.name().cmp(b.name()));
        let index = Index::new(rules.iter().map(|rule| rule.pattern()));
        let mut fields = FieldSet::default();
        for rule in &rules {
            rule.pattern().add_fields(&mut fields);
        }
        Self { rules, index, fields }
    }

    /// The fields of a document that matching reads.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn fields(&self) -> &FieldSet {
        &self.fields
    }

    /// The rules that match an event's document, by name. A document with these [`fields`](Self::fields) is enough.
    pub(crate) fn matches<T: Tree>(&self, document: &T) -> Vec<Arc<Rule>> {
        let rules = self.index.candidates(document).into_iter().map(|rule| &self.rules[rule]);
        rules.filter(|rule| rule.pattern().matches(document)).cloned().collect()
    }

    /// Reads a record as far as matching needs, and matches it. [`Limits::check`] comes first.
    ///
    /// # Errors
    /// [`Poison`] says why the record is no event.
    pub(crate) fn read<'r>(&self, limits: &Limits, record: &Raw<'r>) -> Result<Matched<'r>, Poison> {
        if let Some((projected, document)) = limits.project(record, &self.fields) {
            let rules = self.matches(&document);
            return Ok(Matched::Projected(projected, rules));
        }
        let event = limits.decode(*record)?;
        let rules = self.matches(event.document());
        Ok(Matched::Decoded(event, rules))
    }

    /// The rules, by name.
    pub(super) fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }
}

#[cfg(test)]
mod tests;
