//! Tries a test: reads its record, matches it and renders what each agent would get.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::{
    Case, Expected,
    difference::{Difference, differences},
};
use crate::{
    agents::{AgentSpec, Endpoint, published, request_body, run_input},
    event::{BYTE_ORDER_MARK, Event, Limits, Poison, Raw, RecordSize},
    routing::{Matched, Routing, Rule, RuleExplanation},
};

/// The time of the record: 2026-01-31T12:00:00Z. A dialect may have no time of its own.
const RECORD_TIME_MS: i64 = 1_769_860_800_000;

/// What a test expects and does not find.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum Failure {
    /// The record would be a dead letter.
    NoEvent {
        /// The reason of the dead letter.
        reason: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A rule is expected to match, and does not.
    NoMatch {
        /// Why.
        explanation: RuleExplanation,
    },
    /// A rule matches that the test does not name.
    Unexpected {
        /// The rule.
        rule: String,
        /// Its agents.
        agents: Vec<String>,
    },
    /// A rule sends to other agents.
    Agents {
        /// The rule.
        rule: String,
        /// Those that the test names.
        expected: Vec<String>,
        /// Those that it sends to.
        found: Vec<String>,
    },
    /// The test says what agents of a kind get, and the rule sends to none.
    NoSuchAgent {
        /// The rule.
        rule: String,
        /// `input` or `body`.
        part: &'static str,
    },
    /// A template cannot be rendered: the delivery would be a dead letter.
    Template {
        /// The rule.
        rule: String,
        /// The agent.
        agent: String,
        /// Why.
        message: String,
    },
    /// An agent gets something else.
    Content {
        /// The rule.
        rule: String,
        /// The agent.
        agent: String,
        /// `input` or `body`.
        part: &'static str,
        /// Where they differ.
        differences: Vec<Difference>,
        /// How many differences are not listed.
        more: usize,
    },
}

/// Tries tests of one routing.
pub(crate) struct Runner<'r> {
    routing: &'r Routing,
    limits: Limits,
}

impl<'r> Runner<'r> {
    pub(crate) fn new(routing: &'r Routing, limits: Limits) -> Self {
        Self { routing, limits }
    }

    /// What the test expects and does not find: nothing if it passes. `observe` gets the event's document and the rules
    /// that match.
    pub(crate) fn run(&self, case: &Case, observe: &mut dyn FnMut(&Value, &[Arc<Rule>])) -> Vec<Failure> {
        let (event, rules) = match self.read(case) {
            Ok(read) => read,
            Err(poison) => return vec![Failure::NoEvent { reason: poison.kind(), message: poison.to_string() }],
        };
        observe(event.document(), &rules);
        let event = Arc::new(event);
        let mut failures = Vec::new();
        for expected in &case.expected {
            match rules.iter().find(|rule| rule.name().as_ref() == expected.rule) {
                Some(rule) => self.compare(case, &event, rule, expected, &mut failures),
                None => failures.extend(self.no_match(&event, &expected.rule)),
            }
        }
        let expected: BTreeSet<&str> = case.expected.iter().map(|expected| expected.rule.as_str()).collect();
        for rule in rules.iter().filter(|rule| !expected.contains(rule.name().as_ref())) {
            failures.push(Failure::Unexpected { rule: rule.name().to_string(), agents: names(rule) });
        }
        failures
    }

    fn read(&self, case: &Case) -> Result<(Event, Vec<Arc<Rule>>), Poison> {
        let record = &case.record;
        let headers: Vec<_> =
            record.headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes()))).collect();
        let raw = Raw {
            key: record.key.as_deref().map(str::as_bytes),
            value: Some(&record.value),
            headers: &headers,
            timestamp_ms: Some(RECORD_TIME_MS),
        };
        self.limits.check(&RecordSize {
            key: raw.key.map_or(0, <[u8]>::len),
            value: record.value.len(),
            headers: headers.len(),
            header_bytes: record.headers.iter().map(|(name, value)| name.len() + value.len()).sum(),
        })?;
        match self.routing.router().read(&self.limits, &raw)? {
            Matched::Projected(_, rules) => Ok((self.limits.decode(raw)?, rules)),
            Matched::Decoded(event, rules) => Ok((event, rules)),
        }
    }

    fn no_match(&self, event: &Event, rule: &str) -> Option<Failure> {
        let explained = self.routing.explain(event, |name| name == rule, 1);
        explained.rules.into_iter().next().map(|explanation| Failure::NoMatch { explanation })
    }

    fn compare(
        &self,
        case: &Case,
        event: &Arc<Event>,
        rule: &Arc<Rule>,
        expected: &Expected,
        failures: &mut Vec<Failure>,
    ) {
        let found: BTreeSet<&str> = rule.agents().iter().map(AsRef::as_ref).collect();
        if let Some(to) = &expected.to
            && to.iter().map(String::as_str).collect::<BTreeSet<_>>() != found
        {
            let rule_name = rule.name().to_string();
            failures.push(Failure::Agents { rule: rule_name, expected: to.clone(), found: names(rule) });
        }
        let (mut has_input, mut has_body) = (false, false);
        for agent in rule.agents().iter().filter_map(|name| self.routing.agent(name)) {
            let part = match &agent.endpoint {
                Endpoint::LangGraph(_) => {
                    has_input = true;
                    ("input", expected.input.as_ref())
                }
                Endpoint::Http(_) | Endpoint::Handler(_) => {
                    has_body = true;
                    ("body", expected.body.as_ref())
                }
            };
            failures.extend(self.content(case, event, rule, agent, part));
        }
        for (part, is_expected, has_agent) in
            [("input", expected.input.is_some(), has_input), ("body", expected.body.is_some(), has_body)]
        {
            if is_expected && !has_agent {
                failures.push(Failure::NoSuchAgent { rule: rule.name().to_string(), part });
            }
        }
    }

    /// Renders what the agent would get, and compares it.
    fn content(
        &self,
        case: &Case,
        event: &Arc<Event>,
        rule: &Rule,
        agent: &AgentSpec,
        (part, expected): (&'static str, Option<&Value>),
    ) -> Option<Failure> {
        let (rule_name, agent_name) = (rule.name().to_string(), agent.name.to_string());
        let rendered = match self.routing.render(rule, agent, event) {
            Ok((rendered, _)) => rendered,
            Err(error) => {
                return Some(Failure::Template { rule: rule_name, agent: agent_name, message: error.to_string() });
            }
        };
        let expected = expected?;
        let found = match &agent.endpoint {
            Endpoint::LangGraph(_) => run_input(rendered.as_ref(), event),
            Endpoint::Http(_) | Endpoint::Handler(_) => {
                let raw = published(event, || Bytes::copy_from_slice(&case.record.value));
                let body = request_body(rendered.as_ref(), &raw);
                // An event is JSON, and so is what a template makes.
                serde_json::from_slice(body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body)).unwrap_or(Value::Null)
            }
        };
        let (differences, more) = differences(expected, &found);
        let is_equal = differences.is_empty();
        (!is_equal).then_some(Failure::Content { rule: rule_name, agent: agent_name, part, differences, more })
    }
}

fn names(rule: &Rule) -> Vec<String> {
    rule.agents().iter().map(ToString::to_string).collect()
}
