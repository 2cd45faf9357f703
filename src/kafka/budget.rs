//! What may be in flight: events and bytes, charged when a record is received and refunded when its
//! ticket is gone.
//!
//! Owns the account. Its invariant: every charge is refunded exactly once, because a [`Charge`] is
//! a value that refunds when it is dropped and cannot be copied. It does not know what an event is
//! or who holds it, and it refuses nothing: a record that Kafka handed over is charged even when it
//! exceeds the limit, and the consumer loop asks for no more until there is room.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The limits on what is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetSettings {
    /// Events without an outcome, over all partitions.
    pub max_events: u64,
    /// What those events are charged, in bytes.
    pub max_bytes: u64,
    /// Records of one partition from its first one without an outcome on: what a crash reads again.
    pub max_span_per_partition: u64,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self { max_events: 10_000, max_bytes: 64 << 20, max_span_per_partition: 100_000 }
    }
}

/// What a record of `size` bytes (key, value and headers) is charged. A JSON document that is
/// decoded into a tree takes about five times its text; the text is kept beside it; and 2 KiB is
/// for the delivery's own state.
pub(super) fn cost(size: usize) -> u64 {
    2048 + 6 * size as u64
}

/// The account itself, without locks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Usage {
    fn charge(&mut self, bytes: u64) {
        self.events += 1;
        self.bytes += bytes;
    }

    fn refund(&mut self, bytes: u64) {
        self.events -= 1;
        self.bytes -= bytes;
    }

    fn is_full(self, limits: &BudgetSettings) -> bool {
        self.events >= limits.max_events || self.bytes >= limits.max_bytes
    }

    /// At most 80 % of both limits are used.
    fn is_low(self, limits: &BudgetSettings) -> bool {
        self.events <= limits.max_events / 5 * 4 && self.bytes <= limits.max_bytes / 5 * 4
    }
}

/// The account of one consumer.
#[derive(Debug)]
pub(super) struct Budget {
    limits: BudgetSettings,
    usage: Mutex<Usage>,
    full: AtomicBool,
    room: Condvar,
}

impl Budget {
    pub(super) fn new(limits: BudgetSettings) -> Arc<Self> {
        Arc::new(Self {
            limits,
            usage: Mutex::new(Usage::default()),
            full: AtomicBool::new(false),
            room: Condvar::new(),
        })
    }

    /// Charges one record, within the limits or not.
    pub(super) fn charge(self: &Arc<Self>, bytes: u64) -> Charge {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.charge(bytes);
        if usage.is_full(&self.limits) {
            self.full.store(true, Ordering::Release);
        }
        Charge { budget: Arc::clone(self), bytes }
    }

    fn refund(&self, bytes: u64) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.refund(bytes);
        if self.full.load(Ordering::Acquire) && !usage.is_full(&self.limits) {
            self.full.store(false, Ordering::Release);
            drop(usage);
            self.room.notify_all();
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// At most 80 % used: worth resuming for.
    pub(super) fn is_low(&self) -> bool {
        self.usage().is_low(&self.limits)
    }

    pub(super) fn usage(&self) -> Usage {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room, or until the time is up; says whether there is.
    pub(super) fn wait_for_room(&self, at_most: Duration) -> bool {
        let usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let (usage, _) = self
            .room
            .wait_timeout_while(usage, at_most, |usage| usage.is_full(&self.limits))
            .unwrap_or_else(PoisonError::into_inner);
        !usage.is_full(&self.limits)
    }
}

/// One record's share of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.refund(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn small() -> BudgetSettings {
        BudgetSettings { max_events: 10, max_bytes: 100_000, max_span_per_partition: 100 }
    }

    proptest! {
        #[test]
        fn whatever_is_charged_comes_back(sizes in prop::collection::vec((0_usize..5_000, any::<prop::sample::Index>()), 1..100)) {
            let budget = Budget::new(small());
            let mut held = vec![];
            for (size, which) in sizes {
                held.push(budget.charge(cost(size)));
                if budget.is_full() {
                    drop(held.swap_remove(which.index(held.len())));
                }
                let usage = budget.usage();
                prop_assert_eq!(usage.events, held.len() as u64);
                prop_assert_eq!(usage.bytes, held.iter().map(|charge| charge.bytes).sum::<u64>());
                prop_assert_eq!(budget.is_full(), usage.is_full(&small()));
            }
            drop(held);
            prop_assert_eq!(budget.usage(), Usage::default());
            prop_assert!(!budget.is_full());
        }
    }

    #[test]
    fn charges_refunded_on_many_threads_leave_nothing() {
        let budget = Budget::new(small());
        let (sender, receiver) = std::sync::mpsc::channel::<Charge>();
        let receiver = Arc::new(Mutex::new(receiver));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let receiver = Arc::clone(&receiver);
                scope.spawn(move || while receiver.lock().unwrap().recv().is_ok() {});
            }
            for size in 0..10_000 {
                assert!(
                    budget.wait_for_room(Duration::from_secs(10)),
                    "no room at record {size}: {:?}",
                    budget.usage()
                );
                sender.send(budget.charge(cost(size % 700))).unwrap();
            }
            drop(sender);
        });
        assert_eq!(budget.usage(), Usage::default());
    }

    #[test]
    fn a_record_larger_than_the_whole_budget_is_charged_and_then_there_is_no_room() {
        let budget = Budget::new(small());
        let charge = budget.charge(cost(1_000_000));
        assert!(budget.is_full());
        let start = Instant::now();
        assert!(!budget.wait_for_room(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
        drop(charge);
        assert!(budget.wait_for_room(Duration::ZERO));
    }
}
