//! A partition that no consumer reads: its records come from the caller, for what measures the work on them (`testing`).
//!
//! Its frontier, its budget and its tickets are those of an assigned partition. It talks to no broker, and nothing is
//! committed.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{
    anchor::{Anchor, CommitNote},
    budget::{self, Budget, BudgetSettings},
    lease::Lease,
    offsets::{Epoch, Frontier},
    ownership::Ownership,
    partition::Partition,
    record::{self, Headers, Incoming},
    ticket::{Completions, Ticket},
};
use crate::event::Origin;

/// See the module.
pub(crate) struct PartitionAlone {
    state: Arc<State>,
    budget: Arc<Budget>,
    next_offset: i64,
}

struct State {
    partition: Partition,
    completed: Notify,
}

impl Completions for State {
    fn complete(&self, epoch: Epoch, offset: i64) {
        self.partition.complete(epoch, offset);
        self.completed.notify_one();
    }
}

impl PartitionAlone {
    /// Partition 0 of a topic, empty.
    pub(crate) fn new(topic: &str) -> Self {
        let ownership = Ownership::new(Arc::new(Lease::new(Duration::from_secs(10))));
        let frontier = Frontier::starting_at(0);
        let partition = Partition::new(topic.into(), 0, frontier, Some(0), CommitNote::default(), ownership);
        let state = Arc::new(State { partition, completed: Notify::new() });
        Self { state, budget: Budget::new(BudgetSettings::default()), next_offset: 0 }
    }

    /// The next record, without key and headers, as the consumer loop hands it over.
    pub(crate) fn receive<'a>(&mut self, value: &'a [u8], timestamp_ms: i64) -> Option<Incoming<'a>> {
        let offset = self.next_offset;
        let (headers, timestamp_ms) = (Headers::default(), Some(timestamp_ms));
        let size = record::size(None, Some(value), headers);
        let charge = self.budget.charge(budget::cost(&size));
        let partition = &self.state.partition;
        let (epoch, _) = partition.receive(offset, || Anchor::of(offset, timestamp_ms, None, Some(value)))?;
        self.next_offset += 1;
        let origin = Origin { topic: Arc::clone(partition.topic()), partition: partition.number(), offset };
        let ownership = Arc::clone(partition.ownership());
        let ticket = Ticket::new(Arc::clone(&self.state) as _, epoch, offset, charge, ownership);
        Some(Incoming { origin, key: None, value: Some(value), headers, timestamp_ms, ticket })
    }

    /// How many records from the first on that is not complete.
    pub(crate) fn span(&self) -> u64 {
        self.state.partition.span()
    }

    /// Resolves when a record was completed since the last call.
    pub(crate) async fn completed(&self) {
        self.state.completed.notified().await;
    }
}
