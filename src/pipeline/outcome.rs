//! The outcome of an event and the reasons for dead letters: one list each.
//!
//! The labels are an interface: metrics, the `dlq-reason` header, the demo and docs/on-call.md show them.

use std::sync::Arc;

use crate::{
    dedup::DeliveryRecord,
    event::{Origin, Poison},
};

/// An enum whose variants have labels, in one list.
macro_rules! labels {
    ($(#[$attribute:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every variant.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The label in metrics, headers and pages.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}

labels! {
    /// What became of an event.
    Outcome {
        /// Every delivery was accepted.
        Delivered = "delivered",
        /// At least one delivery is parked, and the others have ended. Those that are parked end later.
        Parked = "parked",
        /// Every delivery had ended, or was parked, before this record was read.
        Duplicate = "duplicate",
        /// No rule matches it.
        Unmatched = "unmatched",
        /// The record, or at least one of its deliveries, is a dead letter.
        DeadLettered = "dead_lettered",
    }
}

labels! {
    /// Why an event or a delivery is a dead letter. The kinds of poison are further reasons.
    DeadLetterReason {
        /// The agent rejected this event, and the fault is the event's.
        Refused = "refused",
        /// The first attempt is longer ago than `give_up_after`.
        GaveUp = "gave_up",
        /// It was answered ambiguously `max_attempts` times.
        MaxAttempts = "max_attempts",
        /// A template could not be rendered for this event.
        Template = "template",
        /// Its rule or agent was removed while the event was partly delivered or parked, or so was the server that may have a run of it.
        PlanGone = "plan_gone",
        /// Its `event_id` was used before for another event.
        IdConflict = "id_conflict",
        /// The rules ask for more deliveries of it than are made of one event.
        TooManyDeliveries = "too_many_deliveries",
        /// Its ledger record cannot be read.
        LedgerRecord = "ledger_record",
        /// It was published to make a delivery again, and that is not made.
        RedriveRefused = "redrive_refused",
    }
}

impl DeadLetterReason {
    /// The label of every reason, the kinds of poison included.
    pub(crate) fn labels() -> impl Iterator<Item = &'static str> {
        Poison::KINDS.iter().copied().chain(Self::ALL.iter().map(|reason| reason.as_str()))
    }
}

/// An event that has its outcome, for the observer.
#[derive(Debug, Clone)]
pub(crate) struct CompletedEvent {
    /// The event's id; `None` for poison.
    pub event_id: Option<String>,
    /// The position of its record.
    pub origin: Origin,
    /// What became of it.
    pub outcome: Outcome,
    /// Each delivery, as the ledger has it.
    pub deliveries: Vec<DeliveryRecord>,
    /// The reason's label, if the whole record is a dead letter.
    pub reason: Option<&'static str>,
}

/// Called with every completed event.
pub(crate) type Observer = Arc<dyn Fn(CompletedEvent) + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry;

    #[test]
    fn the_docs_list_every_reason_for_a_dead_letter() {
        let page = include_str!("../../docs/on-call.md");
        let table = page.split("## Reasons of dead letters").nth(1).and_then(|rest| rest.split("\n## ").next());
        let rows =
            table.unwrap_or_default().lines().filter(|line| line.starts_with("| `") && !line.contains("dlq-reason"));
        let mut documented: Vec<&str> =
            rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        let mut known: Vec<&str> = DeadLetterReason::labels().collect();
        documented.sort_unstable();
        known.sort_unstable();
        assert_eq!(documented, known);
    }

    #[test]
    fn the_docs_list_every_outcome_of_an_event() {
        let help = telemetry::ALL.iter().find(|metric| metric.name == telemetry::EVENTS).map(|metric| metric.help);
        let listed = help.and_then(|help| help.split(": ").nth(1)).unwrap_or_default().trim_end_matches('.');
        let documented: Vec<&str> = listed.split(", ").flat_map(|part| part.split(" or ")).collect();
        let known: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        assert_eq!(documented, known);
    }
}
