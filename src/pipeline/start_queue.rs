//! Which deliveries begin. One that was just read waits here as a small entry, and becomes a task (of about 4 KiB) when few others of its
//! endpoint wait for a permit: most of those that are read ahead wait for long.
//!
//! Invariants: what waits here for an endpoint begins in the order in which it came, but for partitions that are held back; a delivery that has
//! begun and waits for anything but a permit of its endpoint keeps none from beginning.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use super::{
    limiter::{AgentLimiter, CountedDelivery},
    parking::{Mode, SourcePartition},
};

/// So many deliveries wait for a permit of an endpoint, and further ones begin when no more than this wait.
const MOST_WAITING: usize = 128;
const BEGIN_AT: usize = MOST_WAITING / 2;

/// Where a delivery waits.
pub(super) struct Place {
    pub(super) limiter: Arc<AgentLimiter>,
    pub(super) partition: Arc<SourcePartition>,
}

/// Of a delivery that has begun. Until it is released or dropped, the delivery counts as one that waits for a permit.
pub(super) struct StartSlot {
    number: u64,
    waiting: Option<Arc<Waiting>>,
    released: AtomicBool,
}

/// The deliveries that have begun and wait for a permit of one endpoint.
struct Waiting {
    /// The address of its limiter.
    limiter: usize,
    count: AtomicUsize,
    room: Arc<Notify>,
}

/// See the module.
pub(super) struct StartQueue<T> {
    /// Deliveries that were admitted, ever.
    admitted: u64,
    /// By the address of the limiter.
    endpoints: HashMap<usize, Endpoint<T>>,
    room: Arc<Notify>,
}

struct Endpoint<T> {
    /// Kept, so that no other one gets its address.
    limiter: Arc<AgentLimiter>,
    waiting: Arc<Waiting>,
    /// Of each partition, if there are any.
    queues: Vec<PartitionQueue<T>>,
}

/// The deliveries of one partition to one endpoint, if there are any.
struct PartitionQueue<T> {
    partition: Arc<SourcePartition>,
    entries: VecDeque<Entry<T>>,
}

struct Entry<T> {
    delivery: T,
    /// Its position in the order of arrival.
    number: u64,
    _counted: CountedDelivery,
}

impl<T> Default for StartQueue<T> {
    fn default() -> Self {
        Self { admitted: 0, endpoints: HashMap::new(), room: Arc::default() }
    }
}

impl<T> StartQueue<T> {
    /// Whether a delivery may begin now; if not, [`ready`](Self::ready) has it later. Without a place it begins now.
    pub(super) fn admit(&mut self, delivery: T, place: Option<Place>) -> Option<(T, StartSlot)> {
        let number = self.admitted;
        self.admitted += 1;
        // What was given up ends when it begins.
        let place = place.filter(|place| !place.partition.ownership.is_given_up());
        let Some(Place { limiter, partition }) = place else { return Some((delivery, StartSlot::new(number, None))) };
        let key = Arc::as_ptr(&limiter).addr();
        if !self.endpoints.contains_key(&key) {
            self.endpoints.retain(|_, endpoint| !endpoint.is_idle());
        }
        let endpoint = self.endpoints.entry(key).or_insert_with(|| Endpoint::new(limiter, &self.room));
        if endpoint.is_free()
            && !endpoint.is_held(&partition)
            && !endpoint.queues.iter().any(|queue| !endpoint.is_held(&queue.partition))
        {
            return Some((delivery, endpoint.slot(number)));
        }
        let entry = Entry { delivery, number, _counted: endpoint.limiter.count_delivery() };
        endpoint.push(partition, entry);
        None
    }

    /// Notified when permits were granted, so that [`ready`](Self::ready) has more. Nobody notifies of its other causes: a breaker opens, or a
    /// partition is given up or no longer held back.
    pub(super) fn room(&self) -> Arc<Notify> {
        Arc::clone(&self.room)
    }

    /// Those that may begin by now.
    pub(super) fn ready(&mut self) -> Vec<(T, StartSlot)> {
        let mut ready = Vec::new();
        for endpoint in self.endpoints.values_mut() {
            endpoint.end_given_up(&mut ready);
            endpoint.begin(&mut ready);
            endpoint.queues.retain(|queue| !queue.entries.is_empty());
        }
        ready
    }
}

impl<T> Endpoint<T> {
    fn new(limiter: Arc<AgentLimiter>, room: &Arc<Notify>) -> Self {
        let address = Arc::as_ptr(&limiter).addr();
        let waiting = Waiting { limiter: address, count: AtomicUsize::new(0), room: Arc::clone(room) };
        Self { limiter, waiting: Arc::new(waiting), queues: Vec::new() }
    }

    /// Whether one more may wait for a permit. While the breaker is open all may: any of them may be the next probe.
    fn is_free(&self) -> bool {
        self.waiting.count.load(Ordering::Acquire) < MOST_WAITING || self.limiter.is_open()
    }

    fn is_idle(&self) -> bool {
        self.queues.is_empty() && self.waiting.count.load(Ordering::Acquire) == 0
    }

    /// Whether a delivery of the partition would wait for its turn.
    fn is_held(&self, partition: &SourcePartition) -> bool {
        partition.mode(self.limiter.agent()) == Mode::Hold
    }

    fn slot(&self, number: u64) -> StartSlot {
        self.waiting.count.fetch_add(1, Ordering::AcqRel);
        StartSlot::new(number, Some(Arc::clone(&self.waiting)))
    }

    fn push(&mut self, partition: Arc<SourcePartition>, entry: Entry<T>) {
        match self.queues.iter_mut().find(|queue| Arc::ptr_eq(&queue.partition, &partition)) {
            Some(queue) => queue.entries.push_back(entry),
            None => self.queues.push(PartitionQueue { partition, entries: [entry].into() }),
        }
    }

    fn end_given_up(&mut self, ready: &mut Vec<(T, StartSlot)>) {
        for queue in self.queues.iter_mut().filter(|queue| queue.partition.ownership.is_given_up()) {
            ready.extend(queue.entries.drain(..).map(|entry| (entry.delivery, StartSlot::new(entry.number, None))));
        }
    }

    fn begin(&mut self, ready: &mut Vec<(T, StartSlot)>) {
        // Looked up once: it takes a lock.
        let held: Vec<bool> = self.queues.iter().map(|queue| self.is_held(&queue.partition)).collect();
        while self.is_free() {
            let queues = self.queues.iter_mut().zip(&held).filter_map(|(queue, held)| (!held).then_some(queue));
            let first = queues
                .filter_map(|queue| Some((queue.entries.front()?.number, queue)))
                .min_by_key(|(number, _)| *number);
            let Some(entry) = first.and_then(|(_, queue)| queue.entries.pop_front()) else { return };
            ready.push((entry.delivery, self.slot(entry.number)));
        }
    }
}

impl StartSlot {
    fn new(number: u64, waiting: Option<Arc<Waiting>>) -> Self {
        Self { number, waiting, released: AtomicBool::new(false) }
    }

    /// The position of the delivery in the order of arrival.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the delivery counts as one that waits for a permit.
    pub(super) fn counts(&self) -> bool {
        self.waiting.is_some() && !self.released.load(Ordering::Acquire)
    }

    /// The delivery has its permit, or waits for something else.
    pub(super) fn release(&self) {
        let Some(waiting) = &self.waiting else { return };
        if self.released.swap(true, Ordering::AcqRel) {
            return;
        }
        if waiting.count.fetch_sub(1, Ordering::AcqRel) == BEGIN_AT + 1 {
            // Kept until somebody asks, so nothing is missed that came to the queue in between.
            waiting.room.notify_one();
        }
    }

    /// The same if it waits for a permit of another endpoint than it was admitted for.
    pub(super) fn release_elsewhere(&self, limiter: &AgentLimiter) {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.limiter != std::ptr::from_ref(limiter).addr()) {
            self.release();
        }
    }
}

impl Drop for StartSlot {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests;
