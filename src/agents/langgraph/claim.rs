//! Claim, then look: how a LangGraph run is created once although run creation is not idempotent.
//!
//! A pure state machine: what was seen goes in with the time, the next step comes out. Its
//! invariant, given that no request outlives `settle` and that claim threads are not deleted: over
//! all sessions of all processes, at most one post of a delivery is ever accepted. `model.rs` checks
//! it against servers that lose and hold requests, do not find threads that they have, and lack what
//! others show or refuse. It knows nothing of HTTP.
//!
//! Why it holds. A *turn* is the right to post once. Turn 0 is the delivery's own thread, turn n + 1
//! another thread whose id is derived from it; creating the thread is atomic, so a turn has one
//! holder. The holder posts at most once in a turn, and starts to no later than `right` after it
//! first asked for the turn: asking again, because the server once did not show a thread, renews
//! nothing. Nobody asks for turn n + 1 before every post of turn n has arrived or is lost: its holder
//! waits `settle` from its post, anybody else `right + settle` from when it first saw the turn taken.
//! So whoever holds turn n + 1 looks when nothing older is on its way, and posts only if there is no
//! run, nor one that may be ours.

use std::time::Duration;

use super::super::clock::Boottime;

/// Which safeguards are on. Both, but in the tests that prove that they are needed.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimPolicy {
    /// Look for a run before posting again.
    pub look: bool,
    /// Wait until a request can no longer arrive.
    pub settle: bool,
}

impl Default for ClaimPolicy {
    fn default() -> Self {
        Self { look: true, settle: true }
    }
}

/// The times of the protocol.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The longest that a request can be on its way.
    pub settle: Duration,
    /// How long after a turn was asked for its post may still start.
    pub right: Duration,
    /// How long another's turn is left alone from when it was first seen.
    pub takeover: Duration,
    /// Whether looks are made.
    pub look: bool,
}

impl Rules {
    /// From the agent's request time-out and `settle`. The right to post outlives one lost answer to
    /// the claim, so that this common case needs no second turn.
    pub fn new(timeout: Duration, settle: Duration, policy: ClaimPolicy) -> Self {
        let right = timeout.saturating_mul(2);
        let (settle, takeover) =
            if policy.settle { (settle, settle.saturating_add(right)) } else { (Duration::ZERO, Duration::ZERO) };
        Self { settle, right, takeover, look: policy.look }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Create the thread of this turn with our nonce, and have it refused if it exists.
    Claim(u32),
    /// Ask for the runs on the delivery's thread.
    Look,
    /// Ask whose nonce the thread of this turn carries.
    Whose(u32),
    /// Create the run, if its first byte can be written by then.
    Post {
        /// The end of the right to post.
        until: Boottime,
    },
    /// Nothing can be done before this time has passed.
    Wait(Duration),
    /// There is a run.
    Accepted {
        /// Its id, where it is known.
        run_id: Option<String>,
        /// A look found it.
        found: bool,
    },
    /// Give up this attempt.
    Fail(Why),
}

/// Why an attempt was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The last request was not answered as it should be.
    Request,
    /// The post was not accepted, or may or may not have been.
    Post,
    /// The thread is busy with a run that is not ours.
    Busy,
    /// The thread exists when it is claimed, and does not when it is looked at.
    Invisible,
    /// There is a run that may be ours, and nobody can tell.
    UnknownRun,
    /// Too many steps without an end.
    Unsettled,
    /// It was to end, and nothing is on its way any more: there is no run, and none will come.
    Over,
}

/// What the step's request showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Claim: the thread is new and ours.
    Claimed,
    /// Claim: the thread was there before.
    Taken,
    /// Look: a run is ours.
    Run(Option<String>),
    /// Look: there is no run, but of others.
    NoRun,
    /// Look: there is a run, and nothing shows whose.
    UnknownRun,
    /// Whose: the thread's nonce is ours, or it is not.
    Thread {
        /// It is ours.
        ours: bool,
    },
    /// Look, whose: there is no such thread.
    NoThread,
    /// Post: accepted.
    Posted(Option<String>),
    /// Post: its first byte could not be written in time, so none was.
    TooLate,
    /// Post: refused for good, or never sent.
    Refused,
    /// Post: refused because the thread is busy.
    Conflict,
    /// Post: may or may not have been accepted.
    Unknown {
        /// When its first byte was written.
        at: Boottime,
    },
    /// Claim: not one byte of it was sent.
    Unsent,
    /// Claim, look, whose: no usable answer.
    Failed,
}

/// Who holds the latest turn that we know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// No turn is known to be taken.
    Nobody,
    /// It is taken; by whom we have yet to see.
    Somebody,
    /// We do, and asked for it then.
    Us { since: Boottime },
    /// Another process does: seen first then.
    Another { seen: Boottime },
}

/// The most requests in one attempt; what was learnt is kept for the next.
const MAX_STEPS: u16 = 256;
/// The most posts in one attempt that came too late to be written.
const MAX_LATE: u8 = 2;

/// The memory of one delivery in one process.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    rules: Rules,
    turn: u32,
    holder: Holder,
    /// The latest turn that we asked for, and when first: a lost answer may have granted it. Our right
    /// to an earlier turn has ended by then.
    asked: Option<(u32, Boottime)>,
    /// In every turn so far that anybody held, we did, and no post of ours may have been accepted.
    unposted: bool,
    /// The post of ours whose fate is unknown.
    posted: Option<Boottime>,
    /// No further post is to be started.
    ending: bool,
    attempt: Attempt,
}

/// What matters within one attempt only.
#[derive(Debug, Clone, Copy, Default)]
struct Attempt {
    /// The turn that was last claimed or asked about.
    about: u32,
    /// The turn that was asked for for the first time.
    newly_asked: Option<u32>,
    steps: u16,
    late: u8,
    vanished: bool,
    conflict: bool,
    ambiguous: bool,
}

impl Claim {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            turn: 0,
            holder: Holder::Nobody,
            asked: None,
            unposted: true,
            posted: None,
            ending: false,
            attempt: Attempt::default(),
        }
    }

    /// From here on nothing is posted any more: what is on its way is settled and looked for, and then
    /// it is over.
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// A post that was started at `at`, and whose attempt was dropped before it knew its fate.
    pub fn dropped_post(&mut self, at: Boottime) {
        self.posted = Some(at);
        self.unposted = false;
    }

    /// The first step of an attempt.
    pub fn begin(&mut self, now: Boottime) -> Step {
        self.attempt = Attempt::default();
        match self.holder {
            Holder::Nobody => self.claim(0, now),
            _ => self.look(now),
        }
    }

    /// What the last step showed, and so the next one.
    pub fn saw(&mut self, seen: Seen, now: Boottime) -> Step {
        self.attempt.steps += 1;
        if self.attempt.steps > MAX_STEPS {
            return Step::Fail(Why::Unsettled);
        }
        let about = self.attempt.about;
        match seen {
            Seen::Claimed => {
                self.turn = about;
                self.holder = Holder::Us { since: self.first_asked(about) };
                // A new turn is claimed only when no post of ours can arrive any more. Turn 0 is also
                // claimed anew when its thread was deleted under us: then one still can.
                if about > 0 {
                    self.posted = None;
                    return self.look(now);
                }
                if self.posted.is_none() { self.post(now) } else { self.look(now) }
            }
            Seen::Taken if about == 0 => {
                self.turn = 0;
                self.holder = Holder::Somebody;
                self.look(now)
            }
            Seen::Taken => self.whose(about),
            Seen::Run(run_id) => Step::Accepted { run_id, found: true },
            Seen::NoRun => self.no_run(now),
            // While we hold the only turns that there were and have posted in none, nobody of us has: within
            // the right to a turn nobody claims the next one, and after it the claim of the next one says so.
            Seen::UnknownRun if self.unposted && matches!(self.holder, Holder::Us { .. }) => self.no_run(now),
            Seen::UnknownRun => Step::Fail(Why::UnknownRun),
            Seen::Thread { ours: true } => {
                self.turn = about;
                self.holder = Holder::Us { since: self.first_asked(about) };
                if about == 0 { self.no_run(now) } else { self.look(now) }
            }
            Seen::Thread { ours: false } => {
                self.turn = about;
                self.holder = Holder::Another { seen: now };
                self.unposted = false;
                self.whose(about.saturating_add(1))
            }
            Seen::NoThread if about == self.turn + 1 && matches!(self.holder, Holder::Another { .. }) => {
                self.no_run(now)
            }
            Seen::NoThread if self.attempt.vanished => Step::Fail(Why::Invisible),
            Seen::NoThread => {
                self.attempt.vanished = true;
                self.unposted = false;
                self.claim(0, now)
            }
            Seen::Posted(run_id) => Step::Accepted { run_id, found: false },
            Seen::TooLate if self.attempt.late >= MAX_LATE => Step::Fail(Why::Unsettled),
            Seen::TooLate => {
                self.attempt.late += 1;
                self.look(now)
            }
            Seen::Refused => Step::Fail(Why::Post),
            Seen::Conflict if !self.rules.look => Step::Fail(Why::Busy),
            Seen::Conflict => {
                self.attempt.conflict = true;
                self.look(now)
            }
            Seen::Unknown { at } => {
                self.posted = Some(at);
                self.unposted = false;
                self.attempt.ambiguous = true;
                self.look(now)
            }
            Seen::Unsent => {
                if self.attempt.newly_asked == Some(about) {
                    self.asked = None;
                }
                Step::Fail(Why::Request)
            }
            Seen::Failed if self.attempt.ambiguous => Step::Fail(Why::Post),
            Seen::Failed => Step::Fail(Why::Request),
        }
    }

    /// What follows from a look that showed no run.
    fn no_run(&mut self, now: Boottime) -> Step {
        if self.attempt.conflict {
            return Step::Fail(Why::Busy);
        }
        if self.attempt.ambiguous {
            return Step::Fail(Why::Post);
        }
        match self.holder {
            Holder::Nobody => self.claim(0, now),
            Holder::Somebody => self.whose(self.turn),
            Holder::Us { .. } => match self.posted.map(|at| at + self.rules.settle) {
                Some(settled) if now < settled => Step::Wait(settled - now),
                Some(_) => self.next_turn(now),
                None => self.post(now),
            },
            Holder::Another { seen } => {
                let free = seen + self.rules.takeover;
                if now < free { Step::Wait(free - now) } else { self.next_turn(now) }
            }
        }
    }

    /// Post while we have the right to; when it has run out, ask for the next turn: we did not post
    /// in this one, so nothing has to settle.
    fn post(&mut self, now: Boottime) -> Step {
        if self.ending {
            return Step::Fail(Why::Over);
        }
        match self.holder {
            Holder::Us { since } if now <= since + self.rules.right => Step::Post { until: since + self.rules.right },
            _ => self.claim(self.turn.saturating_add(1), now),
        }
    }

    /// Every post of this turn has arrived or is lost, and there is no run.
    fn next_turn(&mut self, now: Boottime) -> Step {
        if self.ending { Step::Fail(Why::Over) } else { self.claim(self.turn.saturating_add(1), now) }
    }

    fn claim(&mut self, turn: u32, now: Boottime) -> Step {
        if turn == 0 {
            self.turn = 0;
            self.holder = Holder::Nobody;
        }
        // Only forwards: a turn that is asked for again, because the server once did not show its thread, is
        // not a new right.
        let newly = self.asked.is_none_or(|(asked, _)| asked < turn);
        self.attempt.newly_asked = newly.then_some(turn);
        if newly {
            self.asked = Some((turn, now));
        }
        self.attempt.about = turn;
        Step::Claim(turn)
    }

    /// When this turn was first asked for; long ago, when a later one was asked for since.
    fn first_asked(&self, turn: u32) -> Boottime {
        self.asked.filter(|(asked, _)| *asked == turn).map_or(Boottime::default(), |(_, at)| at)
    }

    fn whose(&mut self, turn: u32) -> Step {
        self.attempt.about = turn;
        Step::Whose(turn)
    }

    fn look(&mut self, now: Boottime) -> Step {
        if self.rules.look { Step::Look } else { self.no_run(now) }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
