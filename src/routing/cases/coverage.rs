//! Which rules and conditions the tests of a folder try.
//!
//! A condition is a list of a pattern. It is tried when it held for the event of one test and failed for that of another:
//! without the second, no test would notice that it is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;
use serde_json::Value;

use crate::routing::{Routing, Rule, pattern::ConditionOfPattern};

/// What tests have tried.
pub(crate) struct Coverage {
    rules: Vec<Tried>,
}

struct Tried {
    rule: Arc<Rule>,
    matched: usize,
    conditions: Vec<(ConditionOfPattern, usize, usize)>,
}

/// What tests have tried of a rule.
#[derive(Debug, Serialize)]
pub(crate) struct RuleCoverage {
    /// The rule.
    pub(crate) rule: String,
    /// How many tests have an event that it matches.
    pub(crate) matched: usize,
    /// Its conditions.
    pub(crate) conditions: Vec<ConditionCoverage>,
}

/// What tests have tried of a condition.
#[derive(Debug, Serialize)]
pub(crate) struct ConditionCoverage {
    /// Where it stands in an event.
    pub(crate) path: String,
    /// The list as the pattern has it.
    pub(crate) expected: String,
    /// For how many tests it holds.
    pub(crate) held: usize,
    /// For how many it fails.
    pub(crate) failed: usize,
}

impl ConditionCoverage {
    /// Whether some test would notice that it is gone, or that it never holds.
    pub(crate) fn is_tried(&self) -> bool {
        self.held > 0 && self.failed > 0
    }
}

impl Coverage {
    pub(crate) fn new(routing: &Routing) -> Self {
        let rules = routing.rules().map(|rule| {
            let conditions = rule.pattern().conditions().into_iter().map(|condition| (condition, 0, 0)).collect();
            Tried { rule: Arc::clone(rule), matched: 0, conditions }
        });
        Self { rules: rules.collect() }
    }

    /// Counts the event of a test.
    pub(crate) fn add(&mut self, document: &Value, matching: &[Arc<Rule>]) {
        let matching: BTreeSet<&str> = matching.iter().map(|rule| rule.name().as_ref()).collect();
        for tried in &mut self.rules {
            let matches = matching.contains(tried.rule.name().as_ref());
            tried.matched += usize::from(matches);
            for (condition, held, failed) in &mut tried.conditions {
                let count = if condition.holds(document) { held } else { failed };
                *count += 1;
            }
        }
    }

    /// By the names of the rules.
    pub(crate) fn rules(&self) -> Vec<RuleCoverage> {
        let by_name: BTreeMap<&str, &Tried> =
            self.rules.iter().map(|tried| (tried.rule.name().as_ref(), tried)).collect();
        let rules = by_name.into_iter().map(|(name, tried)| RuleCoverage {
            rule: name.to_owned(),
            matched: tried.matched,
            conditions: tried
                .conditions
                .iter()
                .map(|(condition, held, failed)| ConditionCoverage {
                    path: condition.path(),
                    expected: condition.expected(),
                    held: *held,
                    failed: *failed,
                })
                .collect(),
        });
        rules.collect()
    }
}
