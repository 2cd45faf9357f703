//! Which rules match an event.

use std::sync::Arc;

use serde_json::Value;

use super::{index::Index, rule::Rule};
use crate::event::FieldSet;

/// The rules of a folder, with their index.
#[derive(Debug)]
pub(crate) struct Router {
    /// By name.
    rules: Vec<Arc<Rule>>,
    index: Index,
    /// The fields that any rule reads.
    fields: FieldSet,
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
    pub(crate) fn fields(&self) -> &FieldSet {
        &self.fields
    }

    /// The rules that match an event's document, by name. A document with these [`fields`](Self::fields) is enough.
    pub(crate) fn matches(&self, document: &Value) -> Vec<Arc<Rule>> {
        let rules = self.index.candidates(document).into_iter().map(|rule| &self.rules[rule]);
        rules.filter(|rule| rule.pattern().matches(document)).cloned().collect()
    }

    /// The rules, by name.
    pub(super) fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }
}

#[cfg(test)]
mod tests;
