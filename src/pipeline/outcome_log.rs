//! What became of each event, in the log: the one place that writes these lines.
//!
//! A line that was not asked for is still there at the level DEBUG.

use std::{borrow::Cow, num::NonZeroU64, sync::Arc};

use tracing::{debug, info, warn};

use crate::{
    dedup::Record,
    event::{Event, EventType, Generation, Origin, Projected},
    kafka::DeadLetter,
};

/// Which outcomes are logged at INFO, and dead letters at WARN.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutcomeLog {
    /// Dead letters.
    pub failures: bool,
    /// What else became of events that a rule matches: delivered, parked, duplicate.
    pub matched: bool,
    /// Events that no rule matches.
    pub unmatched: bool,
}

/// A delivery that has its outcome.
pub(super) struct LoggedDelivery<'a> {
    pub(super) event: &'a Event,
    pub(super) rule: &'a str,
    pub(super) agent: &'a str,
    /// Which time it is made.
    pub(super) generation: Generation,
}

/// What a dead letter is about, beside its record.
#[derive(Default)]
pub(super) struct Subject<'a> {
    /// `None` for poison.
    pub(super) event_id: Option<&'a str>,
    /// `None` for what cannot be read as an event.
    pub(super) event: Option<&'a Event>,
    /// The rule and the agent; `None` when the whole event is a dead letter.
    pub(super) delivery: Option<(&'a Arc<str>, &'a Arc<str>)>,
    /// Which time the delivery is made.
    pub(super) generation: Generation,
    /// The endpoint that may have it.
    pub(super) sent_to: Option<NonZeroU64>,
    /// Attempts that were made.
    pub(super) attempts: u32,
}

/// A line at the level of outcomes that were asked for, or at DEBUG.
macro_rules! outcome {
    ($is_wanted:expr, $level:ident, $($line:tt)+) => {
        if $is_wanted { $level!($($line)+) } else { debug!($($line)+) }
    };
}

/// How much of a name from an event is logged, in characters: it may be as long as a record. Airflow's own are no longer.
const MAX_NAME_CHARS: usize = 250;

impl OutcomeLog {
    /// An agent accepted a delivery. `thread_id`, `run_id` and `found` (it was not started by this attempt) of LangGraph.
    pub(super) fn delivered(
        self,
        of: &LoggedDelivery<'_>,
        attempt: u32,
        (thread_id, run_id, found): (Option<&str>, Option<&str>, Option<bool>),
    ) {
        outcome!(
            self.matched,
            info,
            event_id = of.event.id(),
            workflow_id = &*excerpt(of.event.workflow_id()),
            workflow_run_id = &*excerpt(of.event.workflow_run_id()),
            rule = of.rule,
            agent = of.agent,
            generation = redriven(of.generation),
            again = sent_again(of.generation),
            thread_id,
            run_id,
            attempt,
            found,
            "delivered"
        );
    }

    /// A delivery waits in the parked topic.
    pub(super) fn parked(self, of: &LoggedDelivery<'_>, parked_offset: i64) {
        outcome!(
            self.matched,
            info,
            event_id = of.event.id(),
            workflow_id = &*excerpt(of.event.workflow_id()),
            workflow_run_id = &*excerpt(of.event.workflow_run_id()),
            rule = of.rule,
            agent = of.agent,
            generation = redriven(of.generation),
            again = sent_again(of.generation),
            parked_offset,
            "delivery parked"
        );
    }

    /// Every delivery of an event had ended, or was parked, before. `known` has the record that was first.
    pub(super) fn duplicate(self, event: &Event, origin: &Origin, known: Option<&Record>) {
        let first = known.and_then(Record::source);
        outcome!(
            self.matched, info, event_id = event.id(), workflow_id = &*excerpt(event.workflow_id()),
            workflow_run_id = &*excerpt(event.workflow_run_id()), topic = %origin.topic, partition = origin.partition,
            offset = origin.offset, first = first.map(tracing::field::display), "duplicate"
        );
    }

    /// No rule matches an event. One that `was_matched` has a ledger record: its rule is gone.
    pub(super) fn unmatched(self, event: &EventNames<'_>, origin: &Origin, was_matched: bool) {
        outcome!(
            self.unmatched || (was_matched && self.matched), info, event_id = event.id, workflow_id = &*excerpt(event.workflow_id),
            workflow_run_id = &*excerpt(event.workflow_run_id), event_type = &*excerpt(event.event_type.as_str()),
            topic = %origin.topic, partition = origin.partition, offset = origin.offset, "unmatched"
        );
    }

    /// A record or a delivery is a dead letter, and the broker has it.
    pub(super) fn dead_letter(self, letter: &DeadLetter, subject: &Subject<'_>) {
        let origin = &letter.origin;
        let attempts = subject.delivery.map(|_| subject.attempts);
        let (workflow_id, workflow_run_id) =
            subject.event.map(|event| (excerpt(event.workflow_id()), excerpt(event.workflow_run_id()))).unzip();
        outcome!(
            self.failures, warn, event_id = subject.event_id, workflow_id = workflow_id.as_deref(),
            workflow_run_id = workflow_run_id.as_deref(), topic = %origin.topic, partition = origin.partition,
            offset = origin.offset, rule = letter.rule, agent = letter.agent,
            generation = redriven(subject.generation), again = sent_again(subject.generation), attempts, status = letter.status,
            reason = letter.reason, error = letter.error, "dead letter"
        );
    }
}

/// The number of a delivery that was redriven.
fn redriven(generation: Generation) -> Option<u32> {
    Some(generation.number).filter(|number| *number > 0)
}

/// The number of a delivery that was sent again.
fn sent_again(generation: Generation) -> Option<u16> {
    Some(generation.again).filter(|again| *again > 0)
}

/// What an event is called.
#[derive(Clone, Copy)]
pub(super) struct EventNames<'a> {
    pub(super) id: &'a str,
    pub(super) event_type: &'a EventType,
    pub(super) workflow_id: &'a str,
    pub(super) workflow_run_id: &'a str,
}

impl<'a> From<&'a Event> for EventNames<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            id: event.id(),
            event_type: event.event_type(),
            workflow_id: event.workflow_id(),
            workflow_run_id: event.workflow_run_id(),
        }
    }
}

impl<'a> From<&'a Projected<'_>> for EventNames<'a> {
    fn from(event: &'a Projected<'_>) -> Self {
        Self {
            id: event.id(),
            event_type: event.event_type(),
            workflow_id: event.workflow_id(),
            workflow_run_id: event.workflow_run_id(),
        }
    }
}

/// The beginning of a name.
pub(super) fn excerpt(name: &str) -> Cow<'_, str> {
    if name.len() <= MAX_NAME_CHARS {
        return name.into();
    }
    match name.char_indices().nth(MAX_NAME_CHARS) {
        Some((end, _)) => format!("{}…", &name[..end]).into(),
        None => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_logged_as_its_beginning() {
        assert_eq!(excerpt("WORKFLOW_EXPLODED"), "WORKFLOW_EXPLODED");
        for fits in ["x".repeat(MAX_NAME_CHARS), "é".repeat(MAX_NAME_CHARS)] {
            assert_eq!(excerpt(&fits), fits);
        }
        let long = excerpt(&"é".repeat(500_000)).into_owned();
        assert_eq!(long.chars().count(), MAX_NAME_CHARS + 1);
        assert!(long.ends_with('…'));
    }
}
