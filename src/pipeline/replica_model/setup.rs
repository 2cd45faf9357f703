//! What a history depends on: its seed, the number of processes, and the mistake that is planted.

#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub(super) processes: usize,
    pub(super) mistake: Mistake,
}

/// A rule of the protocol that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistake {
    None,
    /// Deliveries begin before the ledger topic was read to its end as of the assignment.
    NoCatchUp,
    /// A ticket is completed after the local flush alone.
    CommitBeforeAcknowledgement,
    /// A record that is read from the topic replaces the store's instead of being merged with it.
    LastWriteWins,
    /// The lease counts from the answer to the commit instead of from its request.
    LeaseFromTheAnswer,
    /// An attempt needs no lease.
    NoLease,
    /// A broker whose commits do not extend the session of a member, and a lease that takes no account of that.
    CommitsDoNotExtendTheSession,
    /// An event that the store of an earlier life calls finished is completed although the topic may not know it.
    UnacknowledgedDuplicate,
    /// The disk keeps how far the topic was read, and loses the records that were read.
    PositionBeforeRecords,
}
