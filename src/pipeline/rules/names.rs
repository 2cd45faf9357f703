//! Whether what waits under some rules can go on under others.

use std::collections::BTreeMap;

use crate::{agents::EndpointId, pipeline::runtime::ConnectedAgents, plan::Plan};

/// What a plan is known by, to what was planned by others.
pub(super) struct Names<'r> {
    plan: &'r dyn Plan,
    endpoints: BTreeMap<&'r str, EndpointId>,
}

impl<'r> Names<'r> {
    pub(super) fn of(plan: &'r dyn Plan) -> Self {
        let endpoints = plan.agents().map(|spec| (&*spec.name, EndpointId::of(&spec.endpoint)));
        Self { plan, endpoints: endpoints.collect() }
    }

    /// Whether all that this plans can go on under these names, at the same endpoints.
    pub(super) fn take_over(&self, plan: &dyn Plan, agents: &ConnectedAgents) -> bool {
        let is_here = |agent: &str| {
            let there = agents.get(agent);
            there.is_none_or(|runtime| self.endpoints.get(agent) == Some(&runtime.endpoint))
        };
        plan.rules().all(|(rule, to)| to.iter().all(|agent| is_here(agent) && self.plan.rule(rule, agent).is_some()))
    }
}
