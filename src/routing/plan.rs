//! The rules of a folder as what plans deliveries.

use std::sync::Arc;

use serde_json::Value;

use super::{loaded::Routing, router::Matched, rule::Rule};
use crate::{
    agents::{AgentSpec, Endpoint, RunSettings},
    event::{Event, Limits, Poison, Raw},
    plan::{Plan, Reading, Sends},
};

impl Plan for Routing {
    fn agents(&self) -> Box<dyn Iterator<Item = &Arc<AgentSpec>> + '_> {
        Box::new(Self::agents(self))
    }

    fn rules(&self) -> Box<dyn Iterator<Item = Sends<'_>> + '_> {
        Box::new(Self::rules(self).map(|rule| (rule.name(), rule.agents())))
    }

    fn rule(&self, rule: &str, agent: &str) -> Option<Arc<str>> {
        let rule = Self::rule(self, rule)?;
        rule.agents().iter().any(|name| **name == *agent).then(|| Arc::clone(rule.name()))
    }

    fn lists_event_type(&self, name: &str) -> bool {
        Self::lists_event_type(self, name)
    }

    fn read<'r>(&self, limits: &Limits, record: &Raw<'r>) -> Result<Reading<'r>, Poison> {
        Ok(match self.router().read(limits, record)? {
            Matched::Projected(projected, rules) => Reading::Projected(projected, deliveries(&rules)),
            Matched::Decoded(event, rules) => Reading::Decoded(event, deliveries(&rules)),
        })
    }

    fn builds_body(&self, rule: &str, agent: &str) -> bool {
        self.agent(agent).is_some_and(|agent| match &agent.endpoint {
            Endpoint::LangGraph(_) => true,
            Endpoint::Http(_) => Self::rule(self, rule).is_some_and(|rule| rule.has_body()),
            Endpoint::Handler(_) => false,
        })
    }

    fn reads_document(&self, rule: &str, agent: &str) -> bool {
        Plan::builds_body(self, rule, agent)
    }

    fn has_templates(&self, rule: &str, agent: &str) -> bool {
        let (Some(rule), Some(spec)) = (Self::rule(self, rule), self.agent(agent)) else { return false };
        match &spec.endpoint {
            Endpoint::LangGraph(_) => rule.has_input_template() || Self::has_templates(self, agent),
            Endpoint::Http(_) => rule.has_body_template(),
            Endpoint::Handler(_) => false,
        }
    }

    fn render(&self, rule: &str, agent: &str, event: &Arc<Event>) -> Result<(Option<Value>, RunSettings), String> {
        let (Some(rule), Some(agent)) = (Self::rule(self, rule), self.agent(agent)) else {
            return Err(format!("rule `{rule}` does not send to agent `{agent}`"));
        };
        Self::render(self, rule, agent, event).map_err(|error| error.to_string())
    }
}

fn deliveries(rules: &[Arc<Rule>]) -> Vec<(Arc<str>, Arc<str>)> {
    let mut deliveries = Vec::new();
    for rule in rules {
        deliveries.extend(rule.agents().iter().map(|agent| (Arc::clone(rule.name()), Arc::clone(agent))));
    }
    deliveries
}
