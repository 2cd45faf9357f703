//! Which events are under way, and who waits for one of them to end.
//!
//! In memory only: the uncommitted offset is an event's durable marker. It has no notion of an
//! assignment, and so outlives any. Its invariant: of one id, at most one is in flight; the others
//! wait in the order of their arrival, and each becomes the one in flight when the one before has
//! ended. Nothing is attached to the first one's result: who comes next looks it up afresh.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// The registry of events under way. `T` is what waits: an event with its ticket, say.
#[derive(Debug)]
pub struct InFlight<T> {
    under_way: HashMap<Arc<str>, VecDeque<T>>,
    waiting: usize,
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self { under_way: HashMap::new(), waiting: 0 }
    }
}

impl<T> InFlight<T> {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins an event: the item comes back when it is now the one in flight with this id; `None`
    /// when another is, and the item waits for it.
    pub fn begin(&mut self, event_id: &str, item: T) -> Option<T> {
        if let Some(queue) = self.under_way.get_mut(event_id) {
            queue.push_back(item);
            self.waiting += 1;
            return None;
        }
        self.under_way.insert(event_id.into(), VecDeque::new());
        Some(item)
    }

    /// Ends the event in flight with this id, whatever became of it. The next that waited, if any,
    /// comes back and is the one in flight now: look it up afresh.
    pub fn end(&mut self, event_id: &str) -> Option<T> {
        let next = self.under_way.get_mut(event_id)?.pop_front();
        if next.is_some() {
            self.waiting -= 1;
        } else {
            self.under_way.remove(event_id);
        }
        next
    }

    /// An event with this id is in flight.
    pub fn contains(&self, event_id: &str) -> bool {
        self.under_way.contains_key(event_id)
    }

    /// How many events are in flight; those that wait are not counted.
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Nothing is in flight, and so nothing waits.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// How many wait for an event with their id to end.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}
