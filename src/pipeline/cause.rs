//! Why a delivery or an event becomes a dead letter: the reason, and the sentence in `dlq-error`. Pure.

use super::{outcome::DeadLetterReason, retry::GiveUpReason};
use crate::{
    agents::{Failure, FailureKind, HandlerFailure},
    dedup::{LedgerError, RedriveRefusal},
    event::{BadRedrive, DeliveryId, Poison, RedriveRequest},
};

/// Why something becomes a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    reason: &'static str,
    error: String,
    status: Option<u16>,
}

/// The last answer of an agent that was no acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastFailure {
    pub(super) reason: String,
    /// The status, if there was an answer.
    pub(super) status: Option<u16>,
}

impl From<&Failure> for LastFailure {
    fn from(failure: &Failure) -> Self {
        Self { reason: failure.reason.clone(), status: failure.status }
    }
}

impl Cause {
    fn new(reason: DeadLetterReason, error: String, status: Option<u16>) -> Self {
        Self { reason: reason.as_str(), error, status }
    }

    /// The reason's label.
    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }

    pub(super) fn error(&self) -> &str {
        &self.error
    }

    /// The agent's last answer, as an HTTP status.
    pub(super) fn status(&self) -> Option<u16> {
        self.status
    }

    /// The record is no event.
    pub(super) fn poison(poison: &Poison) -> Self {
        Self { reason: poison.kind(), error: poison.to_string(), status: None }
    }

    /// The agent rejected this event. A handler may say that it is none of those that it reads, in the words of poison.
    pub(super) fn rejected(failure: &Failure) -> Self {
        let kind = failure.kind.as_str();
        let reason = match failure.kind {
            FailureKind::Handler(HandlerFailure::InvalidValue | HandlerFailure::MissingField) => kind,
            _ => DeadLetterReason::Refused.as_str(),
        };
        Self { reason, error: failure.reason.clone(), status: failure.status }
    }

    /// A template could not be rendered.
    pub(super) fn template(error: String) -> Self {
        Self::new(DeadLetterReason::Template, error, None)
    }

    /// The template engine panicked.
    pub(super) fn template_engine() -> Self {
        let error = "the template engine failed at this event: this is a defect of the bridge, report it with the rule";
        Self::new(DeadLetterReason::Template, error.to_owned(), None)
    }

    /// The routing files no longer have this delivery.
    pub(super) fn plan_gone(rule: &str, agent: &str) -> Self {
        let error = format!(
            "rule `{rule}` no longer sends to agent `{agent}`, as it did when this delivery was planned: \
             if the agent still has to run, publish the event under a new event_id for a rule that names this agent alone"
        );
        Self::new(DeadLetterReason::PlanGone, error, None)
    }

    /// A request that may have arrived went to a server that the routing files do not have. `thread` is where it may have left a run.
    pub(super) fn endpoint_gone(agent: &str, thread: DeliveryId) -> Self {
        let error = format!(
            "the event may have arrived at another server than agent `{agent}` has now, and only that one could be asked: \
             look for a run in thread {thread} there, and if there is none, redrive this dead letter with --force"
        );
        Self::new(DeadLetterReason::PlanGone, error, None)
    }

    /// The event's id was used for another event: never a duplicate.
    pub(super) fn id_conflict(event_id: &str) -> Self {
        let error = format!(
            "event_id `{event_id}` was seen before with another type, source, workflow or run: \
             give every event an id of its own and publish this one again"
        );
        Self::new(DeadLetterReason::IdConflict, error, None)
    }

    /// The rules ask for so many deliveries of the event, and at most `limit` are made.
    pub(super) fn too_many_deliveries(found: usize, limit: usize) -> Self {
        let error = format!(
            "the rules ask for {found} deliveries of this event, and at most {limit} of one event are made: let fewer rules match it, \
             and redrive this dead letter"
        );
        Self::new(DeadLetterReason::TooManyDeliveries, error, None)
    }

    /// The event's ledger record cannot be read.
    pub(super) fn ledger_record(error: &LedgerError) -> Self {
        Self::new(DeadLetterReason::LedgerRecord, error.to_string(), None)
    }

    /// The headers that ask for a redrive cannot be read.
    pub(super) fn bad_redrive(bad: BadRedrive) -> Self {
        let error = format!("it asks for a redrive, and {bad}: use `workflow-bridge dead-letters redrive`");
        Self::new(DeadLetterReason::RedriveRefused, error, None)
    }

    /// A delivery is not made again.
    pub(super) fn redrive_refused(refusal: RedriveRefusal, asked: &RedriveRequest) -> Self {
        let RedriveRequest { rule, agent, generation, .. } = asked;
        let why = match refusal {
            RedriveRefusal::UnknownEvent => "the ledger does not know the event: it is older than `dedup.window`, or was \
                read by a replica without the ledger topic. Find out whether the agent has it, and redrive with --force if not"
                .to_owned(),
            RedriveRefusal::UnknownDelivery => "the ledger knows the event without this delivery: it has forgotten it, or the \
                rules did not ask for it then. Find out whether the agent has it, and redrive with --force if not"
                .to_owned(),
            RedriveRefusal::TooOld => format!(
                "the event is so old that the ledger may have forgotten what was delivered of it, or the \
                request does not say how old it is. Find out whether the agent has it, and ask again if not (for a handler, \
                publish the event under a new `event_id`): with `replay --deliver --done --force{}`",
                again_flag(generation.again)
            ),
            RedriveRefusal::Parked if generation.again > 0 => "the delivery is parked, and is made when its agent works again: \
                redrive this dead letter after that if it is to be made once more"
                .to_owned(),
            RedriveRefusal::Parked => "the delivery is parked, and is made when its agent works again: there is nothing to \
                redrive"
                .to_owned(),
            RedriveRefusal::NotPlanned => "the rule does not match this event any more, or no longer sends to this agent: \
                if the agent still has to run, publish the event under a new event_id for a rule that does"
                .to_owned(),
            RedriveRefusal::TooMany => "the ledger has as many other deliveries of the event as are made of one: if the agent still \
                has to run, publish the event under a new event_id for a rule that names this agent alone"
                .to_owned(),
            RedriveRefusal::Generation { found } => format!(
                "the ledger has the delivery in generation {found}: redrive the dead letter of that one"
            ),
        };
        let error = format!("not redriven in generation {generation}, rule `{rule}`, agent `{agent}`: {why}");
        Self::new(DeadLetterReason::RedriveRefused, error, None)
    }

    /// A delivery is given up. `thread` is the LangGraph thread where an earlier attempt may have left a run.
    pub(super) fn given_up(
        why: GiveUpReason,
        failed_attempts: u32,
        last: Option<&LastFailure>,
        thread: Option<DeliveryId>,
    ) -> Self {
        let search = thread.map_or_else(String::new, |id| {
            format!(
                " (look for a run in thread {id} before you publish this event again: an earlier attempt may have left one)"
            )
        });
        let last_reason = last.map_or("none", |last| last.reason.as_str());
        let error = format!("given up: {}{search}; the last answer: {last_reason}", why.describe(failed_attempts));
        Self::new(why.reason(), error, last.and_then(|last| last.status))
    }

    /// A LangGraph delivery is given up, and there is no run of it.
    pub(super) fn no_run(why: GiveUpReason, failed_attempts: u32, last: Option<&LastFailure>) -> Self {
        let last_reason = last.map_or("none", |last| last.reason.as_str());
        let described = why.describe(failed_attempts);
        let error = format!("given up: {described} (there is no run of it); the last answer: {last_reason}");
        Self::new(why.reason(), error, last.and_then(|last| last.status))
    }
}

/// What sends under the same number, behind the other flags of `replay --deliver`.
fn again_flag(again: u16) -> String {
    if again > 0 { format!(" --again {again}") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Generation;

    #[test]
    fn what_is_too_old_is_asked_for_again_under_its_own_number() {
        let refused = |again| {
            let generation = Generation { again, number: 0 };
            let asked = RedriveRequest { rule: "all".into(), agent: "audit".into(), generation, is_forced: false };
            Cause::redrive_refused(RedriveRefusal::TooOld, &asked).error
        };
        assert!(refused(0).ends_with("with `replay --deliver --done --force`"), "{}", refused(0));
        assert!(refused(2).ends_with("with `replay --deliver --done --force --again 2`"), "{}", refused(2));
    }
}
