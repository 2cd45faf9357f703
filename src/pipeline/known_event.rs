//! What this process knows of one event, for the pages.

use std::sync::Arc;

use super::{
    context::PipelineContext,
    recent::{RecentAnswer, RecentQuery},
};
use crate::dedup::{LedgerError, Record};

/// What is known of an event.
pub(crate) struct KnownEvent {
    /// Its record in the ledger: there is one from the end of its first delivery or failed attempt on.
    pub record: Option<Record>,
    /// It was read from Kafka in this process, and its offset is not committed yet.
    pub is_uncommitted: bool,
}

/// Answers questions about single events, after the end of the pipeline too.
#[derive(Clone)]
pub(crate) struct KnownEvents(Arc<PipelineContext>);

impl KnownEvents {
    pub(super) fn new(context: Arc<PipelineContext>) -> Self {
        Self(context)
    }

    /// Looks an event up. Blocks: it reads the ledger.
    ///
    /// # Errors
    /// The record of the event cannot be decoded, or the ledger has failed.
    pub(crate) fn find(&self, event_id: &str) -> Result<KnownEvent, LedgerError> {
        // In this order: what is committed in between has a record.
        let is_uncommitted = self.0.uncommitted.contains(event_id);
        Ok(KnownEvent { record: self.0.ledger.get(event_id)?, is_uncommitted })
    }

    /// The newest outcomes that are asked for.
    pub(crate) fn recent(&self, query: &RecentQuery<'_>) -> RecentAnswer {
        self.0.recent.find(query)
    }

    /// How many records of other events with this id are remembered.
    pub(crate) fn conflicts(&self, event_id: &str) -> usize {
        self.0.recent.conflicts(event_id)
    }

    /// The address of a run on the server of a LangGraph agent, without secrets. `None` for an agent that is gone, or of another kind.
    pub(crate) fn run_url(&self, agent: &str, thread: &str, run: &str) -> Option<String> {
        let rules = self.0.rules.now().rules;
        rules.agents.get(agent)?.spec.endpoint.run_url(thread, run)
    }
}
