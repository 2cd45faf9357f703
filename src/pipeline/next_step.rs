//! What happens next to a delivery: one pure function, [`next`].
//!
//! Owns the rules below. The answer, what is known of the delivery, the policy and the times are arguments; `attempts`
//! carries out what is decided. It does not know Kafka, the ledger, the breaker or the clock.
//!
//! 1. An acceptance ends the delivery.
//! 2. A rejection (`event_fault`) makes a dead letter at once, unless the breaker attributes it to the agent.
//! 3. Only ambiguous answers count towards `max_attempts`: a wrong key must not dead-letter a backlog. Nor do the failures of a
//!    handler that the breaker attributes to what the handler depends on.
//! 4. `give_up_after` counts from the first attempt of any process, whatever was answered.
//! 5. A LangGraph delivery is not given up on an ambiguous answer, because a run may exist. From then on it posts
//!    nothing and searches for the run. Only when it is too late as well, and the search had its time, is it given up.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    cause::{Cause, LastFailure},
    retry::{GiveUpReason, max_attempts_reached, too_late_in},
};
use crate::{
    agents::{AgentSpec, Class, Failure, RetrySpec},
    event::DeliveryId,
};

/// The shortest wait after an inconclusive attempt, or the initial backoff where that is shorter.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);

/// What happened to a delivery.
#[derive(Debug, Clone, Copy)]
pub(super) enum Happened<'a> {
    /// The agent accepted it.
    Accepted,
    /// An earlier request may still arrive, or another process may hold the claim: the agent asks to wait this long.
    Inconclusive(Duration),
    /// The search is over: there is no run, and none can arrive any more.
    NoRun,
    /// The attempt failed. `agent_at_fault`: the breaker attributes it to the agent, and not to the event.
    Failed { failure: &'a Failure, agent_at_fault: bool },
    /// It waited for the agent until it was too late ([`overdue_in`]).
    Overdue { last: Option<&'a LastFailure> },
}

/// What is known of a delivery.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Attempts with an ambiguous answer, of every process: those that count towards `max_attempts`.
    pub(super) failed_attempts: u32,
    /// When the first attempt of any process that did not end the delivery was recorded, ms since 1970.
    pub(super) first_attempt_ms: Option<u64>,
    /// The first attempt of this process.
    pub(super) tried_since: Option<Instant>,
    /// The search for a run, once nothing is posted any more.
    pub(super) search: Option<Search>,
}

/// A LangGraph delivery that posts nothing any more, and searches for a run that may exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    /// Why nothing is posted any more.
    pub(super) why: GiveUpReason,
    /// The answer that began the search.
    pub(super) last: Option<LastFailure>,
    /// When it began.
    pub(super) since: Instant,
}

/// What the routing file says of the agent, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy<'a> {
    pub(super) retry: &'a RetrySpec,
    /// The LangGraph thread where an attempt may have left a run. `None` for other kinds of agent.
    pub(super) thread: Option<DeliveryId>,
    /// How long a search takes at most. Only LangGraph deliveries search.
    pub(super) search_time: Duration,
    /// What is said of a delivery with as many failed attempts as there may be.
    pub(super) max_attempts: GiveUpReason,
}

impl<'a> Policy<'a> {
    pub(super) fn new(spec: &'a AgentSpec, id: impl FnOnce() -> DeliveryId) -> Self {
        // A request may be in flight for `max_request_lifetime`, another process's for two time-outs more, and the search
        // itself takes some.
        let search_time = spec
            .endpoint
            .max_request_lifetime()
            .map(|lifetime| lifetime.saturating_add(spec.timeout.saturating_mul(4)));
        let of_handler = spec.endpoint.is_handler();
        Self {
            retry: &spec.retry,
            thread: search_time.map(|_| id()),
            search_time: search_time.unwrap_or_default(),
            max_attempts: if of_handler { GiveUpReason::MaxRetries } else { GiveUpReason::MaxAttempts },
        }
    }
}

/// When a step is decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) now: Instant,
    /// The local clock, ms since 1970.
    pub(super) now_ms: u64,
}

/// What the ledger records of the attempt, before the step is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LedgerWrite {
    Nothing,
    /// The time of the attempt.
    Attempt,
    /// The time of the attempt, and that it counts towards `max_attempts`.
    FailedAttempt,
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NextStep {
    /// The delivery has ended with the agent's acceptance.
    Deliver,
    /// The delivery ends as a dead letter.
    DeadLetter(Cause),
    /// Another attempt after the backoff, and no sooner than this. `search` begins a search.
    Retry { no_sooner: Duration, search: Option<Search> },
    /// Another attempt after this time, which is no failure. `search` begins a search.
    Wait { after: Duration, search: Option<Search> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) write: LedgerWrite,
    pub(super) step: NextStep,
}

/// Decides what happens next to a delivery.
pub(super) fn next(happened: Happened<'_>, progress: &Progress, policy: &Policy<'_>, times: Times) -> Decision {
    let nothing_written = |step| Decision { write: LedgerWrite::Nothing, step };
    match happened {
        Happened::Accepted => nothing_written(NextStep::Deliver),
        Happened::NoRun => {
            let (why, last) = progress
                .search
                .as_ref()
                .map_or((GiveUpReason::GiveUpAfter, None), |search| (search.why, search.last.as_ref()));
            nothing_written(NextStep::DeadLetter(Cause::no_run(why, progress.failed_attempts, last)))
        }
        Happened::Overdue { last } => {
            let waited = LastFailure { reason: "the breaker of the agent was open".to_owned(), status: None };
            let last = last.unwrap_or(&waited);
            nothing_written(NextStep::DeadLetter(progress.given_up(GiveUpReason::GiveUpAfter, last, policy)))
        }
        Happened::Inconclusive(wait) => {
            let progress = progress.after(LedgerWrite::Attempt, times);
            Decision { write: LedgerWrite::Attempt, step: after_inconclusive(wait, &progress, policy, times) }
        }
        Happened::Failed { failure, agent_at_fault } => {
            if failure.class == Class::EventFault && !agent_at_fault {
                return nothing_written(NextStep::DeadLetter(Cause::rejected(failure)));
            }
            let is_ambiguous = failure.class == Class::Ambiguous && !agent_at_fault;
            let write = if is_ambiguous { LedgerWrite::FailedAttempt } else { LedgerWrite::Attempt };
            let progress = progress.after(write, times);
            Decision { write, step: after_failure(failure, is_ambiguous, &progress, policy, times) }
        }
    }
}

fn after_inconclusive(wait: Duration, progress: &Progress, policy: &Policy<'_>, times: Times) -> NextStep {
    let after = wait.max(policy.retry.initial.min(SHORTEST_WAIT));
    if !progress.is_too_late(policy, times) {
        return NextStep::Wait { after, search: None };
    }
    let search = progress.search_or_begin(GiveUpReason::GiveUpAfter, None, times);
    if search.is_over(policy, times) {
        let reason = match policy.max_attempts {
            GiveUpReason::MaxRetries => "the handler asked for a later call",
            _ => "an earlier request may still be on its way",
        };
        let last = LastFailure { reason: reason.to_owned(), status: None };
        return NextStep::DeadLetter(progress.given_up(GiveUpReason::GiveUpAfter, &last, policy));
    }
    NextStep::Wait { after, search: progress.search.is_none().then_some(search) }
}

fn after_failure(
    failure: &Failure,
    is_ambiguous: bool,
    progress: &Progress,
    policy: &Policy<'_>,
    times: Times,
) -> NextStep {
    let no_sooner = failure.retry_after.unwrap_or_default();
    let too_late = progress.is_too_late(policy, times);
    let why = if is_ambiguous && max_attempts_reached(policy.retry, progress.failed_attempts) {
        policy.max_attempts
    } else if too_late {
        GiveUpReason::GiveUpAfter
    } else {
        return NextStep::Retry { no_sooner, search: None };
    };
    let may_have_run = policy.thread.is_some() && is_ambiguous;
    let searched = progress.search.as_ref().is_some_and(|search| search.is_over(policy, times));
    let last = LastFailure::from(failure);
    if !may_have_run || (too_late && searched) {
        return NextStep::DeadLetter(progress.given_up(why, &last, policy));
    }
    let search = progress.search_or_begin(why, Some(last), times);
    NextStep::Retry { no_sooner, search: progress.search.is_none().then_some(search) }
}

/// How a delivery begins in this process: with a search, when an earlier process made every attempt that there may
/// be and may have left a run.
pub(super) fn resume(progress: &Progress, policy: &Policy<'_>, now: Instant) -> Option<Search> {
    let posts_no_more = policy.thread.is_some() && max_attempts_reached(policy.retry, progress.failed_attempts);
    posts_no_more.then_some(Search { why: GiveUpReason::MaxAttempts, last: None, since: now })
}

/// How long a delivery may still wait for the agent: zero when it is overdue, `None` for ever. A delivery without an
/// attempt in this process does not age: a backlog behind a wrong key waits for the right one.
pub(super) fn overdue_in(progress: &Progress, policy: &Policy<'_>, times: Times) -> Option<Duration> {
    let tried_for = times.now.saturating_duration_since(progress.tried_since?);
    let left = too_late_in(policy.retry, progress.first_attempt_ms, times.now_ms, tried_for)?;
    let search_left = progress.search.as_ref().map_or(Duration::ZERO, |search| search.left(policy, times));
    Some(left.max(search_left))
}

impl Progress {
    /// After an attempt was recorded.
    fn after(&self, write: LedgerWrite, times: Times) -> Self {
        let counted = u32::from(write == LedgerWrite::FailedAttempt);
        Self {
            failed_attempts: self.failed_attempts.saturating_add(counted),
            first_attempt_ms: self.first_attempt_ms.or(Some(times.now_ms)),
            ..self.clone()
        }
    }

    fn is_too_late(&self, policy: &Policy<'_>, times: Times) -> bool {
        let tried_for = self.tried_since.map_or(Duration::ZERO, |since| times.now.saturating_duration_since(since));
        too_late_in(policy.retry, self.first_attempt_ms, times.now_ms, tried_for).is_some_and(|left| left.is_zero())
    }

    fn search_or_begin(&self, why: GiveUpReason, last: Option<LastFailure>, times: Times) -> Search {
        self.search.clone().unwrap_or(Search { why, last, since: times.now })
    }

    fn given_up(&self, why: GiveUpReason, last: &LastFailure, policy: &Policy<'_>) -> Cause {
        Cause::given_up(why, self.failed_attempts, Some(last), policy.thread)
    }
}

impl Search {
    fn left(&self, policy: &Policy<'_>, times: Times) -> Duration {
        (self.since + policy.search_time).saturating_duration_since(times.now)
    }

    fn is_over(&self, policy: &Policy<'_>, times: Times) -> bool {
        self.left(policy, times).is_zero()
    }
}

#[cfg(test)]
mod tests;
