//! What the tests of a folder have shown.

use std::time::Duration;

use crate::routing::cases::{Case, ConditionCoverage, Failure, RuleCoverage};

/// The results of all tests.
pub(super) struct Report {
    /// In the order of files and lines.
    pub(super) tested: Vec<Tested>,
    /// By rule.
    pub(super) coverage: Vec<RuleCoverage>,
}

/// A test that was run.
pub(super) struct Tested {
    pub(super) case: Case,
    /// What it expects and does not find.
    pub(super) failures: Vec<Failure>,
    pub(super) took: Duration,
}

impl Report {
    pub(super) fn failed(&self) -> usize {
        self.tested.iter().filter(|tested| !tested.failures.is_empty()).count()
    }

    /// How many rules some test's event matches.
    pub(super) fn matched_rules(&self) -> usize {
        self.coverage.iter().filter(|rule| rule.matched > 0).count()
    }

    pub(super) fn conditions(&self) -> impl Iterator<Item = &ConditionCoverage> {
        self.coverage.iter().flat_map(|rule| &rule.conditions)
    }

    /// How many conditions hold for the event of one test and fail for that of another.
    pub(super) fn tried_conditions(&self) -> usize {
        self.conditions().filter(|condition| condition.is_tried()).count()
    }
}
