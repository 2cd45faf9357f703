//! How much a drain may do, and what it did.

use std::{collections::BTreeMap, time::Duration};

use crate::publish::spool::same_destination;

/// How much a drain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Events at most.
    pub events: usize,
    /// No further events are sent after this time. What was sent is waited for as long as the sender waits.
    pub time: Duration,
}

impl Budget {
    /// Everything that is there when the drain begins.
    pub const ALL: Self = Self { events: usize::MAX, time: Duration::MAX };
}

/// What a drain did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drained {
    /// Acknowledged by Kafka, and removed from the spool.
    pub published: u64,
    /// Sent without success, and put back.
    pub put_back: u64,
    /// Can never be published; they are in the quarantine, with the reason.
    pub quarantined: u64,
    /// What is left in the spool, including what was put back and what other processes are draining. A lower bound if the
    /// time did not suffice to list the folder.
    pub left: u64,
    /// Of those, what cannot be read or moved, for the reason in `note`.
    pub left_alone: u64,
    /// Published events by the bootstrap servers that they were spooled for.
    pub destinations: BTreeMap<String, u64>,
    /// Why the last one was left alone or quarantined, or that not everything was listed.
    pub note: Option<String>,
    /// The last error: why events were put back, or what ended the drain.
    pub error: Option<String>,
}

impl Drained {
    /// What was published although it had been spooled for other bootstrap servers than these.
    pub fn elsewhere<'a>(&'a self, bootstrap_servers: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        let others = self.destinations.iter().filter(move |(servers, _)| !same_destination(servers, bootstrap_servers));
        others.map(|(servers, events)| (servers.as_str(), *events))
    }
}
