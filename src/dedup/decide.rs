//! What to do with an event, given the ledger's record of its id. Pure.

use super::record::{PlannedDelivery, Record, RecordState};

/// What to do with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The id is unknown: make every delivery of this record. The record is not in the ledger yet; an
    /// event whose deliveries all succeed at once is written there only then.
    Fresh(Record),
    /// The event was started before: make the deliveries of [`Record::remaining`]. One whose rule or
    /// agent no longer exists is dead-lettered (`plan_gone`).
    Resume(Record),
    /// Every delivery is finished or parked: nothing to do.
    Duplicate,
    /// The id belongs to another event: dead-letter it (`id_conflict`); it is not a duplicate.
    Conflict,
    /// No rule matches it, and none of its deliveries is finished.
    Unmatched,
}

/// Decides on an event from the ledger's record of its id, the event's digest (`event::digest`), and
/// the deliveries that the current rules ask for. `now_ms` is the local clock, in ms since 1970; it
/// becomes the first-seen time of a fresh record.
pub(crate) fn decide(record: Option<&Record>, digest: u64, plan: &[PlannedDelivery], now_ms: u64) -> Decision {
    let Some(record) = record else {
        return if plan.is_empty() { Decision::Unmatched } else { Decision::Fresh(Record::new(digest, now_ms, plan)) };
    };
    if record.digest() != digest {
        return Decision::Conflict;
    }
    match record.state() {
        RecordState::Done | RecordState::Dead | RecordState::Parked => Decision::Duplicate,
        RecordState::Pending if plan.is_empty() => Decision::Unmatched,
        RecordState::Pending => Decision::Resume(record.replanned(plan)),
        RecordState::Partial => Decision::Resume(record.frozen()),
    }
}
