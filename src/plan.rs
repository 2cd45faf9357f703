//! Who plans the deliveries of an event: rules of a routing folder, handlers of a program, or both.
//!
//! Owns the question, which the pipeline asks: what does this record start, and what does each delivery send? A delivery is
//! known by two names, its rule and its agent. It does not know how the answer is found.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    agents::{AgentSpec, RunSettings},
    event::{Event, Limits, Poison, Projected, Raw},
};

/// The name of a rule, and the agents that it sends to.
pub(crate) type Sends<'a> = (&'a Arc<str>, &'a [Arc<str>]);

/// What plans deliveries, as of one load. It never changes: another load is another plan.
pub(crate) trait Plan: Send + Sync {
    /// The agents, each with a name of its own.
    fn agents(&self) -> Box<dyn Iterator<Item = &Arc<AgentSpec>> + '_>;

    /// The rules. Two may have one name, with different agents.
    fn rules(&self) -> Box<dyn Iterator<Item = Sends<'_>> + '_>;

    /// The name of a rule, if it sends to this agent.
    fn rule(&self, rule: &str, agent: &str) -> Option<Arc<str>>;

    /// Whether it knows an event type by name, beside those of workflows: an event of it that starts nothing is no mistake.
    fn lists_event_type(&self, name: &str) -> bool;

    /// Reads a record as far as planning needs, and plans its deliveries. [`Limits::check`] comes first.
    ///
    /// # Errors
    /// [`Poison`] says why the record is no event.
    fn read<'r>(&self, limits: &Limits, record: &Raw<'r>) -> Result<Reading<'r>, Poison>;

    /// Whether a body is built for this delivery, rather than the event sent as it was published.
    fn builds_body(&self, rule: &str, agent: &str) -> bool;

    /// Whether the delivery needs more of the event than its envelope and its text.
    fn reads_document(&self, rule: &str, agent: &str) -> bool;

    /// Whether what the delivery sends is rendered from the event, which may take a while.
    fn has_templates(&self, rule: &str, agent: &str) -> bool;

    /// What the agent gets for an event: a body, if not the default one of its kind, and the settings of the run.
    ///
    /// # Errors
    /// The event lacks what a template names, or the result is too large: it can never be delivered.
    fn render(&self, rule: &str, agent: &str, event: &Arc<Event>) -> Result<(Option<Value>, RunSettings), String>;
}

/// A record as far as it was read, and its deliveries: the rule and the agent of each.
#[derive(Debug)]
pub(crate) enum Reading<'r> {
    /// Only the envelope and the fields that rules name were read. The record decodes to an event.
    Projected(Projected<'r>, Vec<(Arc<str>, Arc<str>)>),
    /// The whole event was decoded.
    Decoded(Event, Vec<(Arc<str>, Arc<str>)>),
}
