//! The registry of events in flight, and of the events that wait for one with the same id.
//!
//! It is in memory only: the uncommitted offset is the durable mark of an unfinished event. It knows
//! no partition assignment, so it stays valid over any rebalance. Invariant: at most one event of an
//! id is in flight. The others wait in the order of their arrival, and each starts when the previous
//! one has ended. A waiting event does not share the result of the one before: it is looked up in the
//! ledger again.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// The registry. `T` is what waits, for example an event with its ticket.
#[derive(Debug)]
pub(crate) struct InFlightRegistry<T> {
    /// The ids in flight, each with those that wait for it.
    waiting_by_id: HashMap<Arc<str>, VecDeque<T>>,
}

impl<T> Default for InFlightRegistry<T> {
    fn default() -> Self {
        Self { waiting_by_id: HashMap::new() }
    }
}

impl<T> InFlightRegistry<T> {
    /// Begins an event. Returns the item if it is now the one in flight; `None` if another one with
    /// this id is, and the item waits for it.
    pub(crate) fn begin(&mut self, event_id: &str, item: T) -> Option<T> {
        if let Some(waiting) = self.waiting_by_id.get_mut(event_id) {
            waiting.push_back(item);
            return None;
        }
        self.waiting_by_id.insert(event_id.into(), VecDeque::new());
        Some(item)
    }

    /// Ends the event in flight with this id, whatever its outcome. Returns the next one that waited,
    /// if any: it is in flight now and must be looked up in the ledger again.
    pub(crate) fn end(&mut self, event_id: &str) -> Option<T> {
        let next = self.waiting_by_id.get_mut(event_id)?.pop_front();
        if next.is_none() {
            self.waiting_by_id.remove(event_id);
        }
        next
    }

    /// Whether an event with this id is in flight.
    pub(crate) fn contains(&self, event_id: &str) -> bool {
        self.waiting_by_id.contains_key(event_id)
    }

    /// How many events are in flight, and how many wait for one of them.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.waiting_by_id.len(), self.waiting_by_id.values().map(VecDeque::len).sum())
    }
}
