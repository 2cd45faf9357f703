//! Claim, then find: how a LangGraph run is created once although run creation is not idempotent.
//!
//! A pure state machine: an observation goes in with the time, the next step comes out. Its
//! invariant, given that no request outlives `max_request_lifetime` and that claim threads are not deleted: over
//! all sessions of all processes, at most one run request of a delivery is ever accepted. `model.rs` checks
//! it against servers that lose and hold requests, do not find threads that they have, and lack what
//! others show or refuse. It knows nothing of HTTP.
//!
//! Why it holds. A *round* grants the right to send one run request. Round 0 is the delivery's own thread,
//! round n + 1 another thread whose id is derived from it. Creating a thread is atomic, so a round has one
//! owner. The owner sends at most one run request in a round, and no later than `lease` after it
//! first requested the round: requesting it again, because the server once did not show a thread, does not renew
//! the lease. Nobody requests round n + 1 before every run request of round n has arrived or is lost: its owner
//! waits `max_request_lifetime` from its request, any other process `lease + max_request_lifetime` from when it
//! first observed that the round was taken. So the owner of round n + 1 lists the runs when no older request is
//! under way, and creates one only if there is no run, nor one that may be ours.

mod step;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use super::super::clock::Boottime;

pub(super) use step::{ClaimStep, FailReason, Observed, Timing};

/// Who owns the latest round that we know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// No round is known to be taken.
    Nobody,
    /// It is taken; by whom is not known yet.
    Unknown,
    /// We own it, and requested it then.
    Us { since: Boottime },
    /// Another process owns it: first observed then.
    Other { since: Boottime },
}

/// The most requests in one attempt; what was observed is kept for the next.
const MAX_STEPS: u16 = 256;
/// The most run requests in one attempt whose lease ended before they were written.
const MAX_LATE: u8 = 2;

/// The claim of one delivery, as one process knows it.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    timing: Timing,
    round: u32,
    owner: Owner,
    /// The latest round that we requested, and when first: a lost answer may have granted it. Our lease
    /// of an earlier round has ended by then.
    requested: Option<(u32, Boottime)>,
    /// No run of ours can exist: every round so far that anybody owned is ours, and no run request of
    /// ours may have been accepted.
    no_run_possible: bool,
    /// When the run request of ours was sent whose outcome is unknown.
    unresolved: Option<Boottime>,
    /// No further run request is to be sent.
    ending: bool,
    attempt: AttemptState,
}

/// What matters within one attempt only.
#[derive(Debug, Clone, Copy, Default)]
struct AttemptState {
    /// The round that was last claimed or read.
    round: u32,
    /// The round that this attempt was the first to request.
    newly_requested: Option<u32>,
    steps: u16,
    late: u8,
    thread_missing: bool,
    conflict: bool,
    ambiguous: bool,
}

impl Claim {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            round: 0,
            owner: Owner::Nobody,
            requested: None,
            no_run_possible: true,
            unresolved: None,
            ending: false,
            attempt: AttemptState::default(),
        }
    }

    /// From here on no run is created any more: the delivery ends when no request is under way and none of
    /// them has created a run.
    pub(super) fn end(&mut self) {
        self.ending = true;
    }

    /// Whether there may be a run: one of ours, or of a process whose claim was observed.
    pub(super) fn may_have_run(&self) -> bool {
        !self.no_run_possible || matches!(self.owner, Owner::Unknown | Owner::Other { .. })
    }

    /// A run request was sent, and its attempt was dropped before the answer.
    pub(super) fn run_request_dropped(&mut self, sent_at: Boottime) {
        self.unresolved = Some(sent_at);
        self.no_run_possible = false;
    }

    /// The first step of an attempt.
    pub(super) fn start_attempt(&mut self, now: Boottime) -> ClaimStep {
        self.attempt = AttemptState::default();
        match self.owner {
            Owner::Nobody => self.claim(0, now),
            _ => ClaimStep::FindRun,
        }
    }

    /// Takes what the last step observed, and returns the next one.
    pub(super) fn observe(&mut self, observed: Observed, now: Boottime) -> ClaimStep {
        self.attempt.steps += 1;
        if self.attempt.steps > MAX_STEPS {
            return ClaimStep::Fail(FailReason::Contended);
        }
        match observed {
            Observed::Claimed => self.claimed(now),
            Observed::Taken if self.attempt.round == 0 => {
                self.round = 0;
                self.owner = Owner::Unknown;
                ClaimStep::FindRun
            }
            Observed::Taken => self.read_owner(self.attempt.round),
            Observed::Unsent => {
                if self.attempt.newly_requested == Some(self.attempt.round) {
                    self.requested = None;
                }
                ClaimStep::Fail(FailReason::Request)
            }
            Observed::Run(run_id) => ClaimStep::Accepted { run_id, found: true },
            Observed::NoRun => self.no_run(now),
            // While we own every round so far and have sent no run request, no run is ours: nobody claims the
            // next round within our lease, and after it the claim of the next round tells us.
            Observed::UnknownRun if self.no_run_possible && matches!(self.owner, Owner::Us { .. }) => self.no_run(now),
            Observed::UnknownRun => ClaimStep::Fail(FailReason::UnknownRun),
            Observed::Owner { ours } => self.owner_read(ours, now),
            Observed::NoThread => self.no_thread(now),
            Observed::Created(run_id) => ClaimStep::Accepted { run_id, found: false },
            Observed::TooLate if self.attempt.late >= MAX_LATE => ClaimStep::Fail(FailReason::Contended),
            Observed::TooLate => {
                self.attempt.late += 1;
                ClaimStep::FindRun
            }
            Observed::Refused => ClaimStep::Fail(FailReason::RunRequest),
            Observed::Conflict => {
                self.attempt.conflict = true;
                ClaimStep::FindRun
            }
            Observed::Ambiguous { sent_at } => {
                self.unresolved = Some(sent_at);
                self.no_run_possible = false;
                self.attempt.ambiguous = true;
                ClaimStep::FindRun
            }
            Observed::Failed if self.attempt.ambiguous => ClaimStep::Fail(FailReason::RunRequest),
            Observed::Failed => ClaimStep::Fail(FailReason::Request),
        }
    }

    /// The round that was claimed is ours.
    fn claimed(&mut self, now: Boottime) -> ClaimStep {
        let round = self.attempt.round;
        self.round = round;
        self.owner = Owner::Us { since: self.first_requested(round) };
        if round > 0 {
            // A new round is claimed only when no run request of ours is under way.
            self.unresolved = None;
            return ClaimStep::FindRun;
        }
        // Round 0 is also claimed again when its thread was deleted: then one may be under way.
        if self.unresolved.is_none() { self.create_run(now) } else { ClaimStep::FindRun }
    }

    fn owner_read(&mut self, ours: bool, now: Boottime) -> ClaimStep {
        let round = self.attempt.round;
        self.round = round;
        if ours {
            self.owner = Owner::Us { since: self.first_requested(round) };
            return if round == 0 { self.no_run(now) } else { ClaimStep::FindRun };
        }
        self.owner = Owner::Other { since: now };
        self.no_run_possible = false;
        self.read_owner(round.saturating_add(1))
    }

    fn no_thread(&mut self, now: Boottime) -> ClaimStep {
        // There is no later round than the one that another process owns.
        if self.attempt.round == self.round + 1 && matches!(self.owner, Owner::Other { .. }) {
            return self.no_run(now);
        }
        if self.attempt.thread_missing {
            return ClaimStep::Fail(FailReason::Invisible);
        }
        self.attempt.thread_missing = true;
        self.no_run_possible = false;
        self.claim(0, now)
    }

    /// The next step when no run of ours is listed.
    fn no_run(&mut self, now: Boottime) -> ClaimStep {
        if self.attempt.conflict {
            return ClaimStep::Fail(FailReason::Busy);
        }
        if self.attempt.ambiguous {
            return ClaimStep::Fail(FailReason::RunRequest);
        }
        match self.owner {
            Owner::Nobody => self.claim(0, now),
            Owner::Unknown => self.read_owner(self.round),
            Owner::Us { .. } => match self.unresolved.map(|sent_at| sent_at + self.timing.max_request_lifetime) {
                Some(gone) if now < gone => ClaimStep::Wait(gone - now),
                Some(_) => self.next_round(now),
                None => self.create_run(now),
            },
            Owner::Other { since } => {
                let free = since + self.timing.takeover;
                if now < free { ClaimStep::Wait(free - now) } else { self.next_round(now) }
            }
        }
    }

    /// Creates the run while our lease lasts. When it has ended, claims the next round at once: no run request
    /// was sent in this one, so none is under way.
    fn create_run(&mut self, now: Boottime) -> ClaimStep {
        if self.ending {
            return ClaimStep::Fail(FailReason::Ended);
        }
        match self.owner {
            Owner::Us { since } if now <= since + self.timing.lease => {
                ClaimStep::CreateRun { until: since + self.timing.lease }
            }
            _ => self.claim(self.round.saturating_add(1), now),
        }
    }

    /// Every run request of this round has arrived or is lost, and there is no run.
    fn next_round(&mut self, now: Boottime) -> ClaimStep {
        if self.ending { ClaimStep::Fail(FailReason::Ended) } else { self.claim(self.round.saturating_add(1), now) }
    }

    fn claim(&mut self, round: u32, now: Boottime) -> ClaimStep {
        if round == 0 {
            self.round = 0;
            self.owner = Owner::Nobody;
        }
        // Only forwards: a round that is requested again, because the server once did not show its thread, is
        // not a new lease.
        let newly = self.requested.is_none_or(|(requested, _)| requested < round);
        self.attempt.newly_requested = newly.then_some(round);
        if newly {
            self.requested = Some((round, now));
        }
        self.attempt.round = round;
        ClaimStep::Claim(round)
    }

    /// When this round was first requested; long ago if a later one was requested since.
    fn first_requested(&self, round: u32) -> Boottime {
        self.requested.filter(|(requested, _)| *requested == round).map_or(Boottime::default(), |(_, at)| at)
    }

    fn read_owner(&mut self, round: u32) -> ClaimStep {
        self.attempt.round = round;
        ClaimStep::ReadOwner(round)
    }
}
