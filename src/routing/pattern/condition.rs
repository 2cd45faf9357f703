//! The conditions of a pattern, one by one.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use super::{
    Pattern,
    explain::{conditions, holds_somewhere, shown},
    leaf::Leaf,
};
use crate::yaml::visible;

/// A list of a pattern. One that several alternatives of `$or` share is one condition.
pub(in crate::routing) struct ConditionOfPattern {
    path: Vec<Arc<str>>,
    leaf: Arc<Leaf>,
}

impl ConditionOfPattern {
    /// Where it stands in an event, such as `payload.data.status`.
    pub(in crate::routing) fn path(&self) -> String {
        shown(&self.path)
    }

    /// The list as the pattern has it, as JSON; a long one is shortened.
    pub(in crate::routing) fn expected(&self) -> String {
        visible(&self.leaf.source)
    }

    /// Whether it holds by itself, for some element of the arrays on the way.
    pub(in crate::routing) fn holds(&self, document: &Value) -> bool {
        holds_somewhere(&self.leaf, &self.path, document)
    }
}

impl Pattern {
    /// Its conditions, those of the first alternative first.
    pub(in crate::routing) fn conditions(&self) -> Vec<ConditionOfPattern> {
        let mut seen = BTreeSet::new();
        let all = self.branches.iter().flat_map(conditions);
        let distinct = all.filter(|(path, leaf)| seen.insert((path.clone(), Arc::as_ptr(leaf))));
        distinct.map(|(path, leaf)| ConditionOfPattern { path, leaf }).collect()
    }
}
