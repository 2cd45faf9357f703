//! What stands against a redrive, as far as it can be known before anything is published.
//!
//! The running bridges decide by their ledger; here the rules are asked, and the LangGraph server whether the delivery has a
//! run. Nothing is changed anywhere.

use std::{collections::HashMap, num::NonZeroU64, sync::Arc};

use bytes::Bytes;

use super::BridgeError;
use crate::{
    agents::{Agent, Delivery, EndpointId, RunSettings, TraceContext},
    event::{DeliveryId, Event, Generation, Origin},
    routing::Routing,
};

/// Why a delivery should not be redriven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Hindrance {
    /// A bridge would refuse it.
    #[error(
        "the rules do not send this event to the agent any more: publish it under a new event_id for a rule that does"
    )]
    NotPlanned,
    /// The agent may run twice.
    #[error("{0}; --force redrives it in spite of that")]
    MayRunTwice(String),
}

/// See the module.
pub(crate) struct RedriveCheck {
    routing: Routing,
    agents: HashMap<Arc<str>, Agent>,
}

impl RedriveCheck {
    /// Connects the agents. Nothing is sent.
    ///
    /// # Errors
    /// The client of an agent cannot be built.
    pub(crate) fn new(routing: Routing) -> Result<Self, BridgeError> {
        let mut agents = HashMap::new();
        for spec in routing.agents() {
            agents.insert(Arc::clone(&spec.name), Agent::connect(spec)?);
        }
        Ok(Self { routing, agents })
    }

    /// Looks what stands against another generation of a delivery that was dead-lettered in this one, and may have arrived at
    /// `sent_to`.
    ///
    /// # Errors
    /// See [`Hindrance`].
    pub(crate) async fn check(
        &self,
        event: Event,
        origin: Origin,
        delivery: (&str, &str),
        (generation, sent_to): (Generation, Option<NonZeroU64>),
    ) -> Result<(), Hindrance> {
        // A handler of a program, which has the name of no agent: the bridge that has it decides.
        if delivery.0 == event.event_type().as_str() && !self.agents.contains_key(delivery.1) {
            return Ok(());
        }
        let delivery = self.delivery(event, origin, delivery, generation)?;
        let agent = self.agents.get(&delivery.agent).ok_or(Hindrance::NotPlanned)?;
        let thread = delivery.id;
        match agent.find_run(&delivery).await {
            None | Some(Ok(None)) if self.is_elsewhere(&delivery.agent, sent_to) => {
                Err(Hindrance::MayRunTwice(format!(
                    "the event may have arrived at another server than agent `{}` has now: look for a run in thread {thread} there",
                    delivery.agent
                )))
            }
            None | Some(Ok(None)) => Ok(()),
            Some(Ok(Some(run))) => {
                Err(Hindrance::MayRunTwice(format!("thread {thread} has the run {run} of this event")))
            }
            Some(Err(failure)) => Err(Hindrance::MayRunTwice(format!(
                "whether thread {thread} has a run of this event cannot be known: {}",
                failure.reason
            ))),
        }
    }

    /// Whether only another endpoint than the agent has now could be asked for a run.
    fn is_elsewhere(&self, agent: &str, sent_to: Option<NonZeroU64>) -> bool {
        let present =
            self.routing.agents().find(|spec| *spec.name == *agent).map(|spec| EndpointId::of(&spec.endpoint));
        sent_to.is_some_and(|sent_to| EndpointId::has_runs(sent_to) && present.map(EndpointId::number) != Some(sent_to))
    }

    /// The delivery, if the rules ask for it.
    fn delivery(
        &self,
        event: Event,
        origin: Origin,
        (rule, agent): (&str, &str),
        generation: Generation,
    ) -> Result<Delivery, Hindrance> {
        let rules = self.routing.router().matches(event.document());
        let rule = rules.into_iter().find(|found| **found.name() == *rule).ok_or(Hindrance::NotPlanned)?;
        let agent = rule.agents().iter().find(|found| ***found == *agent).ok_or(Hindrance::NotPlanned)?;
        Ok(Delivery {
            id: DeliveryId::new(rule.name(), agent, event.id(), generation),
            rule: Arc::clone(rule.name()),
            agent: Arc::clone(agent),
            event: Arc::new(event),
            origin,
            key: None,
            raw: Bytes::new(),
            trace: TraceContext::default(),
            body: None,
            settings: RunSettings::default(),
        })
    }
}

#[cfg(test)]
mod tests;
