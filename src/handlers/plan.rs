//! Handlers as what plans deliveries, beside the rules of a routing folder or alone.

use std::sync::Arc;

use serde_json::Value;

use super::registry::Handlers;
use crate::{
    agents::{AgentSpec, RunSettings},
    event::{Event, FieldSet, Limits, Poison, Raw},
    plan::{Plan, Reading, Sends},
};

/// Handlers, and what plans the other deliveries. No name of an agent is in both.
struct WithHandlers {
    handlers: Arc<Handlers>,
    rest: Option<Arc<dyn Plan>>,
    /// Handlers are found by the envelope of an event.
    nothing: FieldSet,
}

impl WithHandlers {
    fn read_rest<'r>(&self, limits: &Limits, record: &Raw<'r>) -> Result<Reading<'r>, Poison> {
        match &self.rest {
            Some(rest) => rest.read(limits, record),
            None => match limits.project(record, &self.nothing) {
                Some((projected, _)) => Ok(Reading::Projected(projected, Vec::new())),
                None => Ok(Reading::Decoded(limits.decode(*record)?, Vec::new())),
            },
        }
    }
}

impl Handlers {
    /// What both plan, these handlers and `rest`. It is `rest` itself when there are no handlers.
    ///
    /// # Errors
    /// A handler has the name of an agent.
    pub(crate) fn beside(self: &Arc<Self>, rest: Option<Arc<dyn Plan>>) -> Result<Arc<dyn Plan>, Vec<String>> {
        let rest = match rest {
            Some(rest) if self.is_empty() => return Ok(rest),
            rest => rest,
        };
        let agents = rest.iter().flat_map(|rest| rest.agents());
        let taken = agents.filter(|agent| self.agents.contains_key(&agent.name));
        let problems: Vec<_> = taken
            .map(|agent| {
                let name = &agent.name;
                format!("handler `{name}`: an agent of the routing folder has this name: rename one of them")
            })
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Arc::new(WithHandlers { handlers: Arc::clone(self), rest, nothing: FieldSet::default() }))
    }
}

impl Plan for WithHandlers {
    fn agents(&self) -> Box<dyn Iterator<Item = &Arc<AgentSpec>> + '_> {
        Box::new(self.rest.iter().flat_map(|rest| rest.agents()).chain(self.handlers.agents.values()))
    }

    fn rules(&self) -> Box<dyn Iterator<Item = Sends<'_>> + '_> {
        // In the same order each time: the pages show them.
        let mut own: Vec<_> = self.handlers.rules.values().collect();
        own.sort_unstable_by_key(|handled| &handled.rule);
        let own = own.into_iter().map(|handled| (&handled.rule, &*handled.agents));
        Box::new(own.chain(self.rest.iter().flat_map(|rest| rest.rules())))
    }

    fn rule(&self, rule: &str, agent: &str) -> Option<Arc<str>> {
        let of_rest = || self.rest.as_ref()?.rule(rule, agent);
        self.handlers.rule(rule, agent).or_else(of_rest)
    }

    fn lists_event_type(&self, name: &str) -> bool {
        // An event of a type with handlers starts something.
        self.handlers.passes_others || self.rest.as_ref().is_some_and(|rest| rest.lists_event_type(name))
    }

    fn read<'r>(&self, limits: &Limits, record: &Raw<'r>) -> Result<Reading<'r>, Poison> {
        let mut reading = self.read_rest(limits, record)?;
        match &mut reading {
            Reading::Projected(event, plan) => plan.extend(self.handlers.deliveries(event.event_type())),
            Reading::Decoded(event, plan) => plan.extend(self.handlers.deliveries(event.event_type())),
        }
        Ok(reading)
    }

    fn builds_body(&self, rule: &str, agent: &str) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.builds_body(rule, agent))
    }

    fn reads_document(&self, rule: &str, agent: &str) -> bool {
        // A function may ask for all of an event.
        self.handlers.agents.contains_key(agent)
            || self.rest.as_ref().is_some_and(|rest| rest.reads_document(rule, agent))
    }

    fn has_templates(&self, rule: &str, agent: &str) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.has_templates(rule, agent))
    }

    fn render(&self, rule: &str, agent: &str, event: &Arc<Event>) -> Result<(Option<Value>, RunSettings), String> {
        match &self.rest {
            Some(rest) if !self.handlers.agents.contains_key(agent) => rest.render(rule, agent, event),
            _ => Ok((None, RunSettings::default())),
        }
    }
}
