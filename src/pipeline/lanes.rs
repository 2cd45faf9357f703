//! The lanes: deliveries that are made one after the other.
//!
//! A lane is (topic, partition, key, agent); deliveries that were read from the parked topic have lanes of their own.
//! Invariant: one delivery of a lane runs at a time, and the next starts only when the one before has its end in the
//! ledger.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{event_state::EventState, instruments::PendingDelivery, parking::SourcePartition};
use crate::event::Origin;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    topic: Arc<str>,
    partition: i32,
    key: Arc<str>,
    pub(super) agent: Arc<str>,
    is_fed: bool,
}

impl LaneKey {
    pub(super) fn new(origin: &Origin, key: &Arc<str>, agent: Arc<str>, is_fed: bool) -> Self {
        Self { topic: Arc::clone(&origin.topic), partition: origin.partition, key: Arc::clone(key), agent, is_fed }
    }
}

/// One delivery in its lane.
#[derive(Clone)]
pub(super) struct Queued {
    pub(super) state: Arc<EventState>,
    pub(super) rule: Arc<str>,
    /// The assignment in which it was read, or read back from the parked topic.
    pub(super) partition: Arc<SourcePartition>,
    /// Counts it while it waits or is made.
    pub(super) pending: Option<Arc<PendingDelivery>>,
}

#[derive(Default)]
pub(super) struct Lanes(HashMap<LaneKey, VecDeque<Queued>>);

impl Lanes {
    /// Appends a delivery. It comes back when it is the first of its lane and may start.
    pub(super) fn push(&mut self, lane: LaneKey, queued: Queued) -> Option<Queued> {
        let queue = self.0.entry(lane).or_default();
        queue.push_back(queued);
        if queue.len() == 1 { queue.front().cloned() } else { None }
    }

    /// Removes the delivery that ended. The next one may start.
    pub(super) fn pop(&mut self, lane: &LaneKey) -> Option<Queued> {
        let queue = self.0.get_mut(lane)?;
        queue.pop_front();
        let next = queue.front().cloned();
        if next.is_none() {
            self.0.remove(lane);
        }
        next
    }
}
