//! Why each rule of a folder matches an event, or does not.

use std::{cmp::Reverse, sync::Arc};

use serde::Serialize;

use super::{Rule, loaded::Routing, pattern::Explanation};
use crate::event::Event;

/// What a rule says of an event.
#[derive(Debug, Serialize)]
pub(crate) struct RuleExplanation {
    /// The rule.
    pub(crate) rule: String,
    /// The agents that it sends to.
    pub(crate) agents: Vec<String>,
    /// Its pattern's verdict, with each condition.
    #[serde(flatten)]
    pub(crate) explanation: Explanation,
}

/// What the rules of a folder say of an event.
#[derive(Debug)]
pub(crate) struct EventExplanation {
    /// How many rules match.
    pub(crate) matching: usize,
    /// How many there are.
    pub(crate) all: usize,
    /// Those that match, then the others, the nearest misses first, then by name: as many as were asked for.
    pub(crate) rules: Vec<RuleExplanation>,
}

impl Routing {
    /// Explains the rules that are `asked` for: each that matches, and at most `others` that do not.
    pub(crate) fn explain(&self, event: &Event, asked: impl Fn(&str) -> bool, others: usize) -> EventExplanation {
        let document = event.document();
        let judged = |rule: &Arc<Rule>| (Arc::clone(rule), rule.pattern().verdict(document));
        let mut rules: Vec<_> = self.rules().filter(|rule| asked(rule.name())).map(judged).collect();
        // Stable: the rules are in the order of their names.
        rules.sort_by_key(|(_, verdict)| (Reverse(verdict.matches), verdict.missed));
        let matching = rules.iter().filter(|(_, verdict)| verdict.matches).count();
        let explained = |(rule, _): &(Arc<Rule>, _)| RuleExplanation {
            rule: rule.name().to_string(),
            agents: rule.agents().iter().map(ToString::to_string).collect(),
            explanation: rule.pattern().explain(document),
        };
        let shown = matching.saturating_add(others).min(rules.len());
        EventExplanation { matching, all: rules.len(), rules: rules[..shown].iter().map(explained).collect() }
    }
}
