//! The vocabulary of the claim protocol: its times, its steps, and what each step observed.

use std::time::Duration;

use crate::agents::clock::Boottime;

/// The times of the protocol.
#[derive(Debug, Clone, Copy)]
pub(in crate::agents::langgraph) struct Timing {
    /// The longest that a request can be under way.
    pub max_request_lifetime: Duration,
    /// How long after a round was first requested its run request may still be sent.
    pub lease: Duration,
    /// How long another process's round is left alone, from when it was first observed.
    pub takeover: Duration,
}

impl Timing {
    /// From two settings of the agent. The lease outlives one lost answer to the claim, so that this
    /// common case needs no second round.
    pub(in crate::agents::langgraph) fn new(timeout: Duration, max_request_lifetime: Duration) -> Self {
        let lease = timeout.saturating_mul(2);
        Self { max_request_lifetime, lease, takeover: max_request_lifetime.saturating_add(lease) }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agents::langgraph) enum ClaimStep {
    /// Create the thread of this round with our nonce, to be refused if it exists.
    Claim(u32),
    /// List the runs on the delivery's thread.
    FindRun,
    /// Read whose nonce the thread of this round has.
    ReadOwner(u32),
    /// Create the run, if the first byte of the request can be written by then.
    CreateRun {
        /// The end of the lease.
        until: Boottime,
    },
    /// Nothing can be done before this time has passed.
    Wait(Duration),
    /// There is a run.
    Accepted {
        /// Its id, if it is known.
        run_id: Option<String>,
        /// It was found in the list of runs, not created by this attempt.
        found: bool,
    },
    /// Give up this attempt.
    Fail(FailReason),
}

/// Why an attempt was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agents::langgraph) enum FailReason {
    /// The last request failed.
    Request,
    /// The run request was refused, or its outcome is unknown.
    RunRequest,
    /// The thread is busy with a run that is not ours.
    Busy,
    /// The thread exists when it is claimed, and does not when it is read.
    Invisible,
    /// There is a run that may be ours, and nothing shows whether it is.
    UnknownRun,
    /// Too many steps without a result.
    Contended,
    /// The delivery was to end, and no request is under way any more: there is no run, and none will come.
    Ended,
}

/// What the request of a step showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agents::langgraph) enum Observed {
    /// Claim: the thread is new and ours.
    Claimed,
    /// Claim: the thread existed before.
    Taken,
    /// Find run: a run is ours.
    Run(Option<String>),
    /// Find run: there is no run, or only those of others.
    NoRun,
    /// Find run: there is a run, and nothing shows whose it is.
    UnknownRun,
    /// Read owner: whether the thread has our nonce.
    Owner {
        /// It does.
        ours: bool,
    },
    /// Find run, read owner: there is no such thread.
    NoThread,
    /// Create run: accepted.
    Created(Option<String>),
    /// Create run: the lease ended before the first byte could be written, so nothing was sent.
    TooLate,
    /// Create run: refused for good, or never sent.
    Refused,
    /// Create run: refused because the thread is busy.
    Conflict,
    /// Create run: may or may not have been accepted.
    Ambiguous {
        /// When the first byte was written.
        sent_at: Boottime,
    },
    /// Claim: not one byte of it was sent.
    Unsent,
    /// Claim, find run, read owner: no usable answer.
    Failed,
}
