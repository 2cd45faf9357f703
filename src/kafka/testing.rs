//! What tests of other rooms need of this one.

pub(crate) mod replicas;

use std::{sync::Arc, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    config::FromClientConfig as _,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    message::{Header, OwnedHeaders},
};

use super::{
    budget::{Budget, BudgetSettings},
    client,
    lease::Lease,
    ledger_topic::Entries,
    offsets::{Epoch, Frontier},
    ownership::Ownership,
    record::{Headers, OwnedHeader},
    settings::KafkaSettings,
    ticket::{Completions, Ticket},
};
use crate::sync::{Condvar, Mutex};

/// Commits an offset for the group of the settings.
pub(crate) fn commit(settings: &KafkaSettings, (topic, partition): (&str, i32), offset: i64) {
    let consumer = BaseConsumer::from_config(&client::reader(settings)).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    // The group's coordinator may not be known yet.
    let is_committed = (0..60).any(|_| consumer.commit(&list, CommitMode::Sync).is_ok());
    assert!(is_committed, "offset {offset} of {topic}[{partition}]");
}

struct Observed<F: FnOnce(bool)>(Mutex<Option<F>>);

impl<F: FnOnce(bool)> Observed<F> {
    fn end(&self, completed: bool) {
        let observer = self.0.lock().take();
        if let Some(observer) = observer {
            observer(completed);
        }
    }
}

impl<F: FnOnce(bool) + Send> Completions for Observed<F> {
    fn complete(&self, _: Epoch, _: i64) {
        self.end(true);
    }
}

impl<F: FnOnce(bool)> Drop for Observed<F> {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// A ticket whose end `observer` gets once: whether it was completed, or dropped.
pub(crate) fn owned_ticket(ownership: &Arc<Ownership>, observer: impl FnOnce(bool) + Send + 'static) -> Ticket {
    let budget = Budget::new(BudgetSettings::default());
    let partition = Arc::new(Observed(Mutex::new(Some(observer))));
    Ticket::new(partition, Frontier::new(None).receive(0), 0, budget.charge(0), Arc::clone(ownership))
}

/// A budget, to see what is charged.
pub(crate) struct TestBudget(Arc<Budget>);

impl TestBudget {
    pub(crate) fn new() -> Self {
        Self(Budget::new(BudgetSettings::default()))
    }

    /// A ticket that is charged to it.
    pub(crate) fn ticket(&self, ownership: &Arc<Ownership>) -> Ticket {
        let partition = Arc::new(Observed(Mutex::new(Some(|_| {}))));
        Ticket::new(partition, Frontier::new(None).receive(0), 0, self.0.charge(0), Arc::clone(ownership))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.usage().bytes
    }
}

/// An assignment without a lease.
pub(crate) fn owned() -> Arc<Ownership> {
    Ownership::new(Arc::new(Lease::new(Duration::from_secs(45))))
}

/// An assignment whose lease is not valid before it is renewed.
pub(crate) fn leased() -> (TestLease, Arc<Ownership>) {
    let lease = Arc::new(Lease::new(Duration::from_secs(45)));
    lease.enforce();
    (TestLease(Arc::clone(&lease)), Ownership::new(lease))
}

/// A lease that a test renews.
pub(crate) struct TestLease(Arc<Lease>);

impl TestLease {
    pub(crate) fn renew(&self) {
        self.0.renew(self.0.begin_renewal());
    }
}

/// An answer that is held back until it is released.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held(Arc<(Mutex<bool>, Condvar)>);

impl Held {
    pub(crate) fn release(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    pub(crate) fn wait(&self) {
        let (released, changed) = &*self.0;
        drop(changed.wait_timeout_while(released.lock(), Duration::from_secs(60), |released| !*released));
    }
}

/// A batch of the ledger topic: keys and values.
pub(crate) fn entries(records: &[(&str, &[u8])]) -> Entries {
    let mut entries = Entries::default();
    for (key, value) in records {
        entries.push(key.as_bytes(), value);
    }
    entries
}

/// The headers of a record, while `with` has them.
pub(crate) fn with_headers<T>(headers: &[OwnedHeader], with: impl FnOnce(Headers<'_>) -> T) -> T {
    let native = headers
        .iter()
        .fold(OwnedHeaders::new(), |native, (key, value)| native.insert(Header { key, value: value.as_deref() }));
    with(Headers::new(Some(native.as_borrowed())))
}

/// The group revokes the partition.
pub(crate) fn give_up(ownership: &Ownership) {
    ownership.give_up();
}

#[test]
fn the_observer_of_a_ticket_is_called_once() {
    let seen = Arc::new(Mutex::new(vec![]));
    let observer = |seen: &Arc<Mutex<Vec<bool>>>| {
        let seen = Arc::clone(seen);
        move |completed| seen.lock().push(completed)
    };
    owned_ticket(&owned(), observer(&seen)).complete();
    drop(owned_ticket(&owned(), observer(&seen)));
    assert_eq!(*seen.lock(), [true, false]);
}
