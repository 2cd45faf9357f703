//! What a history depends on: its seed, the protocol's variant, and what the server lacks.

#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    /// `None`: the protocol's own.
    pub(super) max_request_lifetime: Option<u64>,
    /// `None`: the protocol's own.
    pub(super) lease: Option<u64>,
    /// Whether the rounds after the first are claimed, or merely taken.
    pub(super) later_rounds_claimed: bool,
    /// Whether a round that is requested again after another one has a new lease.
    pub(super) lease_renewed: bool,
    pub(super) processes: usize,
    /// A thread is not found once in this many times although it is there.
    pub(super) unseen: u64,
    /// A process is stopped once in this many steps.
    pub(super) pauses: u64,
    pub(super) missing: Missing,
}

/// What the server does not do, or does not show.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a server may lack any of them")]
pub(super) struct Missing {
    /// It takes a run although another is running.
    pub(super) reject: bool,
    /// It lists no run, whatever there is.
    pub(super) runs: bool,
    /// It shows no thread's metadata, so no claim is known as ours.
    pub(super) nonces: bool,
    /// Nothing of a run says who started it.
    pub(super) marks: bool,
    /// The thread to itself: somebody else starts runs on it.
    pub(super) privacy: bool,
}

pub(super) const REAL: Setup = Setup {
    max_request_lifetime: None,
    lease: None,
    later_rounds_claimed: true,
    lease_renewed: false,
    processes: 2,
    unseen: 10,
    pauses: 25,
    missing: Missing { reject: false, runs: false, nonces: false, marks: false, privacy: false },
};
