//! What is to be done with an event, given what the ledger knows of its id. Pure.

use std::sync::Arc;

use super::record::{Record, State};

/// A delivery that the rules ask for now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Planned {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The agent's name.
    pub agent: Arc<str>,
}

/// What is to be done with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is known of it: every delivery of this record is to be made. The record is not yet in
    /// the ledger, and an event whose attempts all succeed at once is written there when they have.
    Fresh(Record),
    /// It was begun before: what [`Record::remaining`] names is to be made. A rule or an agent that is
    /// gone by now is a dead letter (`plan_gone`).
    Resume(Record),
    /// Every delivery has its end: nothing is to be done.
    Duplicate,
    /// The id was used for another event: a dead letter (`id_conflict`), never a duplicate.
    Conflict,
    /// No rule asks for it, and none of its deliveries has ended.
    Unmatched,
}

/// Decides on an event from what the ledger holds under its id, the event's digest
/// (`event::digest`), and the deliveries that the rules ask for now. `now_ms` is the local clock, ms
/// since 1970; a fresh record is first seen then.
pub fn decide(record: Option<&Record>, digest: u64, plan: &[Planned], now_ms: u64) -> Decision {
    let Some(record) = record else {
        return if plan.is_empty() { Decision::Unmatched } else { Decision::Fresh(Record::new(digest, now_ms, plan)) };
    };
    if record.digest() != digest {
        return Decision::Conflict;
    }
    match record.state() {
        State::Done | State::Dead => Decision::Duplicate,
        State::Pending if plan.is_empty() => Decision::Unmatched,
        State::Pending => Decision::Resume(record.replanned(plan)),
        State::Partial => Decision::Resume(record.clone()),
    }
}
