//! The breaker of one agent, as a pure state machine: whether failures are the agent's over time.
//!
//! Owns when deliveries to the agent wait and when a probe may be sent. Invariant: while the breaker is
//! open, nothing but one probe at a time is sent, and an acceptance closes it. It does not know what
//! is delivered, nor the clock.
//!
//! An agent that fails is left alone for longer after each probe. One that rejects event after event
//! with the same status is alive, and each event that was not tried yet may be one that it accepts:
//! these are probed at the pace of the initial backoff, and only those that it rejected before wait longer
//! and longer. A rejection that stands although the agent accepted something since is the event's fault.
//!
//! A handler of this process says only that it failed. That is the fault of the event as long as few events fail, and the
//! handler's when several different ones did in a row. A rejection ends no such row: the handler may have decided it without
//! what failed for the others.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

use super::retry::Backoff;
use crate::agents::{Class, Failure, FailureKind};

/// Transient failures in a row (time-outs, 5xx) that open the breaker.
const TRANSIENT_FAILURES: u32 = 5;
/// Different events on which a handler failed, without a success in between, that open its breaker.
const FAILED_EVENTS: usize = 5;
/// Different events rejected in a row with the same status that open the breaker.
const SAME_REJECTIONS: usize = 20;

/// What one attempt says about the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttemptResult<'a> {
    /// The agent works: it accepted, or said that it is busy.
    Success {
        /// When the attempt began: an answer to an older request proves nothing about what happened since.
        began: Instant,
    },
    /// A failure that may pass by itself: a time-out, a reset, 5xx.
    Transient,
    /// A failure that lasts until somebody fixes it: a wrong key, a wrong address, nobody listening.
    Permanent,
    /// A handler failed on this event: the event or what the handler depends on is the cause.
    FailedOn {
        /// The event.
        event_id: &'a str,
    },
    /// Nothing about the agent: an earlier request may still arrive, or a handler asks for a later call or rejects the event.
    Inconclusive,
    /// The agent rejected this event.
    Rejected {
        /// The event.
        event_id: &'a str,
        /// The status of the rejection.
        status: u16,
        /// When it was first rejected in a way that was attributed to the agent, if it was.
        before: Option<Instant>,
    },
}

impl<'a> AttemptResult<'a> {
    /// What a failure says about the agent.
    pub(super) fn of(failure: &Failure, event_id: &'a str, began: Instant, rejected_at: Option<Instant>) -> Self {
        match failure.kind {
            // It may check an event before it needs what is down.
            FailureKind::Handler(failure) if failure.is_of_event() => return Self::Inconclusive,
            FailureKind::Handler(_) => return Self::FailedOn { event_id },
            FailureKind::Observed(_) | FailureKind::UnknownRun => {}
        }
        match failure.class {
            Class::Accepted | Class::Busy => Self::Success { began },
            Class::Ambiguous | Class::AgentUnavailable => Self::Transient,
            Class::AgentFault => Self::Permanent,
            Class::EventFault => {
                Self::Rejected { event_id, status: failure.status.unwrap_or_default(), before: rejected_at }
            }
        }
    }
}

/// Whether an attempt may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// At once.
    Now,
    /// The agent asked for a pause until then.
    NotBefore(Instant),
    /// The breaker is open; one probe may be sent then.
    Probe(Instant),
}

/// The breaker as the status API shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BreakerState {
    /// Deliveries are sent.
    Closed,
    /// Deliveries wait until a probe is due.
    Open,
    /// A probe is due or in flight; the other deliveries wait.
    HalfOpen,
}

pub(super) struct Breaker {
    backoff: Backoff,
    failures: u32,
    /// Events on which a handler failed since its last success.
    failed_on: BTreeSet<Box<str>>,
    /// When the latest of these failures was recorded.
    failed_at: Option<Instant>,
    rejections: Option<(u16, BTreeSet<Box<str>>)>,
    /// When the latest attempt began that was accepted.
    accepted: Option<Instant>,
    probe_at: Option<Instant>,
    /// Since when it is open.
    opened_at: Option<Instant>,
    /// While rejections keep the breaker open.
    rejecting: Option<Rejecting>,
    not_before: Option<Instant>,
}

/// A breaker that rejections have opened.
#[derive(Debug, Clone, Copy)]
struct Rejecting {
    since: Instant,
    /// When a delivery without an attempt may be the probe.
    untried_at: Instant,
}

impl Breaker {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            failures: 0,
            failed_on: BTreeSet::new(),
            failed_at: None,
            rejections: None,
            accepted: None,
            probe_at: None,
            opened_at: None,
            rejecting: None,
            not_before: None,
        }
    }

    /// Sets the waits that follow the next failures. A probe that is scheduled keeps its time.
    pub(super) fn set_backoff(&mut self, backoff: Backoff) {
        self.backoff = backoff;
    }

    /// What it waits for may have been done: a probe may be sent now.
    pub(super) fn probe_now(&mut self, now: Instant) {
        if self.is_open() {
            self.backoff.reset();
            self.probe_at = Some(now);
        }
    }

    /// Open or half-open: only probes are sent.
    pub(super) fn is_open(&self) -> bool {
        self.probe_at.is_some()
    }

    /// How long it has been open, while it is.
    pub(super) fn open_for(&self, now: Instant) -> Option<Duration> {
        self.opened_at.filter(|_| self.is_open()).map(|at| now.saturating_duration_since(at))
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.next_attempt(now, true) {
            _ if !self.is_open() => BreakerState::Closed,
            Some(at) if at > now => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    /// When the next attempt may start, if that is not now. `untried`: of a delivery that had none yet.
    pub(super) fn next_attempt(&self, now: Instant, untried: bool) -> Option<Instant> {
        match self.admission(now, untried) {
            Admission::Now => None,
            Admission::NotBefore(at) | Admission::Probe(at) => Some(at),
        }
    }

    /// Why it is open, in words.
    pub(super) fn cause(&self) -> &'static str {
        if self.rejections.as_ref().is_some_and(|(_, events)| events.len() >= SAME_REJECTIONS) {
            "it rejected 20 different events in a row with the same status (the first 19 are dead letters)"
        } else if self.failed_on.len() >= FAILED_EVENTS {
            "the handler failed on 5 different events in a row"
        } else if self.failures >= TRANSIENT_FAILURES {
            "it failed 5 times in a row"
        } else {
            "it accepts no event"
        }
    }

    /// Whether an attempt may start, of a delivery that had none yet (`untried`) or of another.
    pub(super) fn admission(&self, now: Instant, untried: bool) -> Admission {
        let pause = self.not_before.filter(|at| *at > now);
        let early = self.rejecting.filter(|_| untried).map(|rejecting| rejecting.untried_at);
        let probe = self.probe_at.map(|at| early.map_or(at, |early| early.min(at)));
        match (probe, pause) {
            (Some(probe), pause) => Admission::Probe(pause.map_or(probe, |at| at.max(probe))),
            (None, Some(at)) => Admission::NotBefore(at),
            (None, None) => Admission::Now,
        }
    }

    /// Records the result of an attempt. True when a rejection, or a handler's failure, is the agent's fault by now, so that the
    /// event waits instead of becoming a dead letter.
    pub(super) fn record(&mut self, result: &AttemptResult<'_>, retry_after: Option<Duration>, now: Instant) -> bool {
        if let Some(pause) = retry_after {
            let at = now + pause;
            self.not_before = Some(self.not_before.map_or(at, |old| old.max(at)));
        }
        let agent_at_fault = self.apply(result, now);
        self.opened_at = self.is_open().then(|| self.opened_at.unwrap_or(now));
        agent_at_fault
    }

    /// Whether a rejection would be the agent's fault already, for one that is not recorded.
    pub(super) fn blames(&self, result: &AttemptResult<'_>) -> bool {
        let AttemptResult::Rejected { status, .. } = result else { return false };
        self.rejections.as_ref().is_some_and(|(same, events)| same == status && events.len() >= SAME_REJECTIONS)
    }

    fn apply(&mut self, result: &AttemptResult<'_>, now: Instant) -> bool {
        match result {
            // Of a handler: the call may have used what it needs before that failed.
            AttemptResult::Success { began } if self.failed_at.is_some_and(|failed| *began < failed) => {}
            AttemptResult::Success { began } => {
                self.failures = 0;
                self.failed_on.clear();
                self.failed_at = None;
                if self.rejecting.is_none_or(|rejecting| *began >= rejecting.since) {
                    self.accepted = self.accepted.max(Some(*began));
                    self.rejections = None;
                    self.close();
                }
            }
            AttemptResult::Transient => {
                self.failures = self.failures.saturating_add(1);
                if self.is_open() || self.failures >= TRANSIENT_FAILURES {
                    self.open(now);
                }
            }
            AttemptResult::Permanent => self.open(now),
            AttemptResult::FailedOn { event_id } => {
                if self.failed_on.len() < FAILED_EVENTS {
                    self.failed_on.insert((*event_id).into());
                    self.failed_at = Some(now);
                }
                if self.is_open() || self.failed_on.len() >= FAILED_EVENTS {
                    self.open(now);
                    return true;
                }
            }
            AttemptResult::Inconclusive if self.rejecting.is_some() => self.open_for_rejections(now, true),
            AttemptResult::Inconclusive if self.is_open() => self.open(now),
            AttemptResult::Inconclusive => {}
            AttemptResult::Rejected { before: Some(before), .. }
                if self.accepted.is_some_and(|accepted| accepted > *before) =>
            {
                // The agent accepted another event since: this rejection is the event's fault.
                self.failures = 0;
                if self.rejecting.is_none() {
                    self.close();
                }
            }
            AttemptResult::Rejected { event_id, status, before } => {
                self.failures = 0;
                if self.add_rejection(event_id, *status) {
                    self.open_for_rejections(now, before.is_some());
                    return true;
                }
                // A rejection proves that the agent is reachable.
                self.close();
            }
        }
        false
    }

    fn close(&mut self) {
        self.rejecting = None;
        if self.probe_at.take().is_some() {
            self.backoff.reset();
        }
    }

    fn add_rejection(&mut self, event_id: &str, status: u16) -> bool {
        let events = match &mut self.rejections {
            Some((same, events)) if *same == status => events,
            other => &mut other.insert((status, BTreeSet::new())).1,
        };
        if events.len() < SAME_REJECTIONS {
            events.insert(event_id.into());
        }
        events.len() >= SAME_REJECTIONS
    }

    /// Opens, or stays open for longer. Attempts that were in flight together and fail count once: a probe that
    /// is already scheduled keeps its time.
    fn open(&mut self, now: Instant) {
        // It no longer answers with rejections.
        self.rejecting = None;
        if self.probe_at.is_none_or(|at| at <= now) {
            self.probe_at = Some(now + self.backoff.next());
        }
    }

    /// The agent is alive: untried events are probed soon, those that it rejected before
    /// (`again`) after a longer wait each time.
    fn open_for_rejections(&mut self, now: Instant, again: bool) {
        let soon = now + self.backoff.initial();
        match &mut self.rejecting {
            Some(rejecting) if rejecting.untried_at > now => {}
            Some(rejecting) => rejecting.untried_at = soon,
            None => self.rejecting = Some(Rejecting { since: now, untried_at: soon }),
        }
        if self.probe_at.is_none_or(|at| at <= now) {
            self.probe_at = Some(if again { now + self.backoff.next() } else { soon });
        }
    }
}

#[cfg(test)]
mod tests;
