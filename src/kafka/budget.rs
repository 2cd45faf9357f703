//! The budget of what is in flight: events and bytes, charged when a record is received and refunded with its ticket.
//!
//! Owns the account. Its invariant: every charge is refunded exactly once, because a [`Charge`] refunds when it is dropped
//! and cannot be copied. It does not know what an event is or who holds it, and it refuses nothing: a received record is
//! charged even when it exceeds the limit, and the consumer loop polls no more until there is room.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    event::{DEFAULT_MAX_RECORD_BYTES, RecordSize},
    sync::{Condvar, Mutex},
};

/// The limits on what is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BudgetSettings {
    /// Events without an outcome, over all partitions.
    pub max_events: u64,
    /// The bytes that those events are charged.
    pub max_bytes: u64,
    /// The largest record that is read as an event: its key, value and headers, in bytes.
    pub max_record_bytes: u64,
    /// Records of one partition from the first one without an outcome on, which a crash reads again.
    pub max_span_per_partition: u64,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self {
            max_events: 10_000,
            max_bytes: 64 << 20,
            max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
            max_span_per_partition: 100_000,
        }
    }
}

/// The memory of an event's own state, whatever its size.
const BASE: u64 = 2048;
/// The memory of a header besides its bytes: two pointers and two small allocations.
const HEADER: u64 = 112;

/// The charge of a record when it is received: one copy of it. What is made of it is charged later, with
/// [`Charge::add`].
pub(super) fn cost(size: &RecordSize) -> u64 {
    BASE + copy_cost(size)
}

/// The memory of one copy of a record.
pub(super) fn copy_cost(size: &RecordSize) -> u64 {
    size.bytes() as u64 + HEADER * size.headers as u64
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

    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn refund(&mut self, bytes: u64) {
        self.events -= 1;
        self.bytes -= bytes;
    }

    fn is_full(self, limits: &BudgetSettings) -> bool {
        self.events >= limits.max_events || self.bytes >= limits.max_bytes
    }

    /// More than half of a limit is used.
    fn is_scarce(self, limits: &BudgetSettings) -> bool {
        self.events > limits.max_events / 2 || self.bytes > limits.max_bytes / 2
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
        self.take(|usage| usage.charge(bytes));
        Charge { budget: Arc::clone(self), bytes }
    }

    fn take(&self, charge: impl FnOnce(&mut Usage)) {
        let mut usage = self.usage.lock();
        charge(&mut usage);
        if usage.is_full(&self.limits) {
            self.full.store(true, Ordering::Release);
        }
    }

    fn refund(&self, bytes: u64) {
        let mut usage = self.usage.lock();
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

    /// At most 80 % used: the consumer resumes.
    pub(super) fn is_low(&self) -> bool {
        self.usage().is_low(&self.limits)
    }

    pub(super) fn limits(&self) -> &BudgetSettings {
        &self.limits
    }

    /// More than half used.
    pub(super) fn is_scarce(&self) -> bool {
        self.usage().is_scarce(&self.limits)
    }

    pub(super) fn usage(&self) -> Usage {
        *self.usage.lock()
    }

    /// Waits until there is room or the time is up, and returns whether there is.
    pub(super) fn wait_for_room(&self, timeout: Duration) -> bool {
        let usage = self.usage.lock();
        let usage = self.room.wait_timeout_while(usage, timeout, |usage| usage.is_full(&self.limits));
        !usage.is_full(&self.limits)
    }
}

/// One record's share of the budget, refunded when it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Charge {
    /// Charges more bytes for the same record; they are refunded with the rest.
    pub(super) fn add(&mut self, bytes: u64) {
        self.budget.take(|usage| usage.add(bytes));
        self.bytes += bytes;
    }
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
        BudgetSettings { max_events: 10, max_bytes: 100_000, max_record_bytes: 50_000, max_span_per_partition: 100 }
    }

    proptest! {
        #[test]
        fn whatever_is_charged_comes_back(sizes in prop::collection::vec((0..5_000_u64, 0..30_000_u64, any::<prop::sample::Index>()), 1..100)) {
            let budget = Budget::new(small());
            let mut held = vec![];
            for (bytes, more, which) in sizes {
                held.push(budget.charge(bytes));
                let raised = which.index(held.len());
                held[raised].add(more);
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
                scope.spawn(move || while receiver.lock().recv().is_ok() {});
            }
            for size in 0..10_000 {
                assert!(
                    budget.wait_for_room(Duration::from_secs(60)),
                    "no room at record {size}: {:?}",
                    budget.usage()
                );
                let mut charge = budget.charge(2048);
                charge.add(size % 700 * 6);
                sender.send(charge).unwrap();
            }
            drop(sender);
        });
        assert_eq!(budget.usage(), Usage::default());
    }

    #[test]
    fn a_charge_that_is_raised_above_the_limit_leaves_no_room_until_it_is_gone() {
        let budget = Budget::new(small());
        let mut charge = budget.charge(1_000);
        assert!(!budget.is_full());
        charge.add(99_000);
        assert!(budget.is_full());
        assert_eq!(budget.usage(), Usage { events: 1, bytes: 100_000 });
        drop(charge);
        assert!(!budget.is_full());
        assert_eq!(budget.usage(), Usage::default());
    }

    #[test]
    fn each_header_is_charged_whatever_it_says() {
        let size = RecordSize { key: 1, value: 2, headers: 99_999, header_bytes: 0 };
        assert_eq!(cost(&size), 2_048 + 3 + 99_999 * 112);
    }

    #[test]
    fn a_record_larger_than_the_whole_budget_is_charged_and_then_there_is_no_room() {
        let budget = Budget::new(small());
        let charge = budget.charge(cost(&RecordSize { value: 1_000_000, ..RecordSize::default() }));
        assert!(budget.is_full());
        let start = Instant::now();
        assert!(!budget.wait_for_room(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
        drop(charge);
        assert!(budget.wait_for_room(Duration::ZERO));
    }
}
