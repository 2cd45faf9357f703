//! Which deliveries begin. A delivery waits here as a small entry, and becomes a task (of about 4 KiB) when few others of its endpoint wait
//! for a permit: most of those that are read ahead wait for long.
//!
//! Invariants: deliveries that are to be attempted at an endpoint begin in the order in which they came, whether they were just read or read
//! back from the parked topic, but for partitions that are held back; what waits for anything but a permit of its endpoint keeps none from beginning.

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
    /// It was read back from the parked topic.
    pub(super) is_fed: bool,
}

/// What has to be there before a delivery begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// It is to be attempted: few may wait for a permit.
    Room,
    /// Its partition is held back.
    Turn,
    /// It is parked, or ends at once.
    Nothing,
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

/// The deliveries of one partition to one endpoint that were just read, or those that were read back.
struct PartitionQueue<T> {
    partition: Arc<SourcePartition>,
    is_fed: bool,
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
        let needed =
            place.as_ref().map_or(Needs::Nothing, |place| needs(&place.limiter, &place.partition, place.is_fed));
        let Some(Place { limiter, partition, is_fed }) = place.filter(|_| needed != Needs::Nothing) else {
            return Some((delivery, StartSlot::new(number, None)));
        };
        let key = Arc::as_ptr(&limiter).addr();
        if !self.endpoints.contains_key(&key) {
            self.endpoints.retain(|_, endpoint| !endpoint.is_idle());
        }
        let endpoint = self.endpoints.entry(key).or_insert_with(|| Endpoint::new(limiter, &self.room));
        if needed == Needs::Room && endpoint.is_free() && !endpoint.has_next() {
            return Some((delivery, endpoint.slot(number)));
        }
        let entry = Entry { delivery, number, _counted: endpoint.limiter.count_delivery() };
        endpoint.push((partition, is_fed), entry);
        None
    }

    /// Whether none waits here.
    pub(super) fn is_empty(&self) -> bool {
        self.endpoints.values().all(|endpoint| endpoint.queues.is_empty())
    }

    /// Notified when permits were granted, so that [`ready`](Self::ready) has more. Nobody notifies of its other causes: a breaker opens, or a
    /// partition is given up, parked, or no longer held back.
    pub(super) fn room(&self) -> Arc<Notify> {
        Arc::clone(&self.room)
    }

    /// Those that may begin by now.
    pub(super) fn ready(&mut self) -> Vec<(T, StartSlot)> {
        let mut ready = Vec::new();
        for endpoint in self.endpoints.values_mut() {
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

    /// Whether one waits for room.
    fn has_next(&self) -> bool {
        self.queues.iter().any(|queue| queue.needs(&self.limiter) == Needs::Room)
    }

    fn slot(&self, number: u64) -> StartSlot {
        self.waiting.count.fetch_add(1, Ordering::AcqRel);
        StartSlot::new(number, Some(Arc::clone(&self.waiting)))
    }

    fn push(&mut self, (partition, is_fed): (Arc<SourcePartition>, bool), entry: Entry<T>) {
        let is_own =
            |queue: &&mut PartitionQueue<T>| Arc::ptr_eq(&queue.partition, &partition) && queue.is_fed == is_fed;
        match self.queues.iter_mut().find(is_own) {
            Some(queue) => queue.entries.push_back(entry),
            None => self.queues.push(PartitionQueue { partition, is_fed, entries: [entry].into() }),
        }
    }

    fn begin(&mut self, ready: &mut Vec<(T, StartSlot)>) {
        // Looked up once for each queue: it takes a lock.
        let needed: Vec<Needs> = self.queues.iter().map(|queue| queue.needs(&self.limiter)).collect();
        for (queue, _) in self.queues.iter_mut().zip(&needed).filter(|(_, needs)| **needs == Needs::Nothing) {
            ready.extend(queue.entries.drain(..).map(|entry| (entry.delivery, StartSlot::new(entry.number, None))));
        }
        while self.is_free() {
            let queues = self.queues.iter_mut().zip(&needed).filter(|(_, needs)| **needs == Needs::Room);
            let firsts = queues.filter_map(|(queue, _)| Some((queue.entries.front()?.number, queue)));
            let first = firsts.min_by_key(|(number, _)| *number);
            let Some(entry) = first.and_then(|(_, queue)| queue.entries.pop_front()) else { return };
            ready.push((entry.delivery, self.slot(entry.number)));
        }
    }
}

impl<T> PartitionQueue<T> {
    fn needs(&self, limiter: &AgentLimiter) -> Needs {
        needs(limiter, &self.partition, self.is_fed)
    }
}

fn needs(limiter: &AgentLimiter, partition: &SourcePartition, is_fed: bool) -> Needs {
    if partition.ownership.is_given_up() {
        return Needs::Nothing;
    }
    if is_fed {
        // Whatever its partition does with new ones.
        return Needs::Room;
    }
    match partition.mode(limiter.agent()) {
        Mode::Attempt => Needs::Room,
        Mode::Hold => Needs::Turn,
        Mode::Park => Needs::Nothing,
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

    /// Releases it if the delivery waits for a permit of another endpoint than the one that it was admitted for.
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
