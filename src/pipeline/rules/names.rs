//! Whether what waits under some rules can go on under others.

use std::collections::BTreeMap;

use crate::{
    agents::EndpointId,
    pipeline::runtime::ConnectedAgents,
    routing::{Routing, Rule},
};

/// What the rules of a folder are known by, to those that planned by others.
pub(super) struct Names<'r> {
    routing: &'r Routing,
    endpoints: BTreeMap<&'r str, EndpointId>,
}

impl<'r> Names<'r> {
    pub(super) fn of(routing: &'r Routing) -> Self {
        let endpoints = routing.agents().map(|spec| (&*spec.name, EndpointId::of(&spec.endpoint)));
        Self { routing, endpoints: endpoints.collect() }
    }

    /// Whether all that these rules plan can go on under these names, at the same endpoints.
    pub(super) fn take_over(&self, routing: &Routing, agents: &ConnectedAgents) -> bool {
        let is_here = |agent: &str| {
            let there = agents.get(agent);
            there.is_none_or(|runtime| self.endpoints.get(agent) == Some(&runtime.endpoint))
        };
        let sends = |rule: &str, agent: &str| {
            self.routing.rule(rule).is_some_and(|rule| rule.agents().iter().any(|name| **name == *agent))
        };
        let of_rule = |rule: &Rule| rule.agents().iter().all(|agent| is_here(agent) && sends(rule.name(), agent));
        routing.rules().all(|rule| of_rule(rule))
    }
}
