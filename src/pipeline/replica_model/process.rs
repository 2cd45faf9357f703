//! One process: its store in memory and on disk, its membership, its lease, and the events of its assignment.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicU64},
};

use super::group::{Member, SESSION};
use crate::{
    dedup::Record,
    kafka::testing::replicas::{ModelFrontier, ModelLease},
};

/// What the store holds: a record for each event, and how far the ledger topic was read into it.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    pub(super) records: BTreeMap<u8, Record>,
    pub(super) position: usize,
}

/// An event that was received and has no completed ticket.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) offset: usize,
    pub(super) event: u8,
    /// What has to be delivered; `None` until the event was looked up.
    pub(super) deliveries: Option<Vec<Delivery>>,
    /// Completed without the topic's knowledge: a planted mistake.
    pub(super) may_skip_the_topic: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) agent: u8,
    pub(super) under_way: Option<u64>,
    pub(super) finished: bool,
}

impl Open {
    pub(super) fn is_finished(&self) -> bool {
        self.deliveries.as_ref().is_some_and(|deliveries| deliveries.iter().all(|delivery| delivery.finished))
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.deliveries.iter().flatten().any(|delivery| delivery.under_way.is_some())
    }
}

#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) generation: u32,
    pub(super) frontier: ModelFrontier,
    /// The next offset of the source partition.
    pub(super) next: usize,
    /// The end of the ledger topic as of the assignment.
    pub(super) end: usize,
    /// Since when it is being given up.
    pub(super) given_up: Option<u64>,
    pub(super) open: Vec<Open>,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) life: u32,
    pub(super) joins: u32,
    pub(super) stopped_until: Option<u64>,
    pub(super) flushed: Store,
    pub(super) store: Store,
    pub(super) member: Option<Member>,
    pub(super) lease: ModelLease,
    pub(super) assignment: Option<Assignment>,
    /// Events whose end the topic is known to have.
    pub(super) acknowledged: BTreeSet<u8>,
    /// The last append of each event that is not acknowledged.
    pub(super) latest: BTreeMap<u8, u64>,
    /// Events with a change that is not flushed.
    pub(super) dirty: BTreeSet<u8>,
}

impl Process {
    /// A life that begins with what the disk has. `joins` counts over all lives.
    pub(super) fn new(life: u32, joins: u32, disk: Store, clock: &Arc<AtomicU64>) -> Self {
        Self {
            life,
            joins,
            stopped_until: None,
            flushed: disk.clone(),
            store: disk,
            member: None,
            lease: ModelLease::new(SESSION, clock),
            assignment: None,
            acknowledged: BTreeSet::new(),
            latest: BTreeMap::new(),
            dirty: BTreeSet::new(),
        }
    }

    pub(super) fn is_stopped(&self, now: u64) -> bool {
        self.stopped_until.is_some_and(|until| now < until)
    }
}
