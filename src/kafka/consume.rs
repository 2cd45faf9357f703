//! The one consumer: its thread, and the handle that the bridge holds.
//!
//! Owns the life of the consumer, from the first request to a broker to the last commit. Its invariants: everything that
//! touches the consumer happens on its thread (only the requests of [`watermarks`] come from a second one); the loop
//! polls at least every 2 s while the process runs; a record that a poll returned is handed over, unless its partition was
//! revoked or the consumer is closing.

mod context;
mod fetch_errors;
mod gauges;
mod group_history;
mod initial_offsets;
mod joining;
mod lease_report;
mod ledger_gate;
mod log_check;
mod parked;
mod patience;
mod release;
mod renewal;
mod requests;
mod revocation;
mod run;
mod sharing;
mod state;
mod watermarks;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{config::FromClientConfigAndContext, consumer::BaseConsumer};
use tokio::sync::watch;

use super::{
    budget, client,
    error::KafkaError,
    ledger_topic::{ApplyEntries, LedgerTopicSettings, Reader},
    ownership::Ownership,
    partition::{Partition, PartitionStatus},
    record::{OnCluster, Receive},
    settings::KafkaSettings,
    ticket::Ticket,
    validate::validated,
};
use crate::{connection, event::RecordSize, sync::Mutex};
use context::Context;
pub(crate) use joining::Session;
use state::ConsumerState;

/// A consumer that is not started: it connects to nobody.
pub(crate) struct Consumer {
    settings: KafkaSettings,
    state: Arc<ConsumerState>,
    ledger: Option<Reader>,
}

/// A running consumer. Dropping it stops it without waiting.
#[derive(Debug)]
pub(crate) struct ConsumerHandle {
    state: Arc<ConsumerState>,
    ended: watch::Receiver<Option<Result<(), KafkaError>>>,
    done: Mutex<mpsc::Receiver<()>>,
}

/// What the consumer is doing, for readers that do not own it. Before the start nothing is assigned.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerView(Arc<ConsumerState>);

/// A partition that this process owns.
#[derive(Debug, Clone)]
pub(crate) struct OwnedPartition {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number.
    pub number: i32,
    /// The right to make attempts for its events.
    pub ownership: Arc<Ownership>,
}

/// What the consumer is doing.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerStatus {
    /// The cluster that it reads from, once one has answered.
    pub cluster_id: Option<String>,
    /// The partitions that the group assigned to it.
    pub assigned: Vec<PartitionStatus>,
    /// Nothing is fetched: the budget is used up, or the bridge is draining.
    pub paused: bool,
    /// When the loop last polled: it makes progress while this is less than 2 s ago.
    pub last_poll: Instant,
    /// The errors that are not resolved, the cause first.
    pub last_error: Option<String>,
    /// A broker answered the last requests, or none was made yet.
    pub reachable: bool,
    /// The errors of the reader of the ledger topic that are not resolved.
    pub ledger_error: Option<String>,
    /// Events received and without an outcome yet.
    pub in_flight_events: u64,
    /// The bytes that those events are charged.
    pub in_flight_bytes: u64,
    /// Since when deliveries wait for the group to confirm that the partitions are still this process's.
    pub lease_awaited_since: Option<jiff::Timestamp>,
    /// The session of a former member for which the group may wait, while it has assigned nothing.
    pub joining: Option<Session>,
    /// The group has had no partition for this process for a while: it has more members than partitions.
    pub in_reserve: bool,
}

/// How far the assigned partitions have been read and committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReadProgress {
    /// Every record that was appended to an assigned partition before this moment (ms since 1970) was handed to the
    /// receiver, or lies below the committed offset. `None` while that holds for no moment: no partition is assigned, or
    /// one was not read to a requested end, or waits for the ledger topic.
    pub through_ms: Option<u64>,
    /// The committed offset of each assigned partition that has one: topic, partition, offset.
    pub committed: Vec<(Arc<str>, i32, i64)>,
    /// The assigned partitions: topic, partition.
    pub assigned: Vec<(Arc<str>, i32)>,
}

impl Consumer {
    /// Checks the settings.
    pub(crate) fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        validated(settings)?;
        Ok(Self { state: Arc::new(ConsumerState::new(settings)), settings: settings.clone(), ledger: None })
    }

    /// Reads the ledger topic too: each partition after its ledger partition was applied. The topic is checked at the
    /// start, and created when it does not exist; one that cannot hold the ledger ends the consumer.
    pub(crate) fn following(
        mut self,
        ledger: &LedgerTopicSettings,
        apply: Box<dyn ApplyEntries>,
    ) -> Result<Self, KafkaError> {
        let (reader, following) = Reader::new(&self.settings, ledger, apply)?;
        if self.state.ledger.set(following).is_ok() {
            self.ledger = Some(reader);
        }
        Ok(self)
    }

    /// What the consumer will be doing once it is started.
    pub(crate) fn view(&self) -> ConsumerView {
        ConsumerView(Arc::clone(&self.state))
    }

    /// Starts the consumer on a thread of its own, and returns at once: it waits for a broker that is away and for a
    /// topic that does not exist. `on_cluster` gets the cluster's id on that thread before `receiver` gets a record;
    /// when it refuses, the consumer ends. Metrics go to the recorder that is installed by now. With a ledger topic, attempts
    /// begin only while the group confirms that this process owns their partition.
    pub(crate) fn start(self, receiver: Box<dyn Receive>, on_cluster: OnCluster) -> Result<ConsumerHandle, KafkaError> {
        let Self { settings, state, ledger } = self;
        let client =
            BaseConsumer::from_config_and_context(&client::consumer(&settings), Context::new(Arc::clone(&state)))
                .map_err(|error| KafkaError::Client { role: "consumer", reason: connection::reason(&error) })?;
        let (end, ended) = watch::channel(None);
        let (finished, done) = mpsc::channel();
        let consumer_loop = run::Loop::new(client, Arc::clone(&state), receiver, settings, ledger);
        thread::Builder::new()
            .name("kafka-consumer".into())
            .spawn(move || {
                let result = consumer_loop.run(on_cluster);
                end.send_replace(Some(result));
                drop(finished);
            })
            .map_err(|error| KafkaError::Thread { reason: error.to_string() })?;
        Ok(ConsumerHandle { state, ended, done: Mutex::new(done) })
    }
}

impl ConsumerView {
    /// How far the assigned partitions have been read and committed.
    pub(crate) fn read_progress(&self) -> ReadProgress {
        let assigned = self.0.partitions();
        let through = assigned.iter().map(|partition| partition.read_through_ms()).min().flatten();
        let committed = assigned.iter().filter_map(|partition| {
            Some((Arc::clone(partition.topic()), partition.number(), partition.committed_offset()?))
        });
        let committed = committed.collect();
        let owned = assigned.iter().map(|partition| (Arc::clone(partition.topic()), partition.number())).collect();
        // Last: what the partitions above count as read must have reached the receiver.
        let through_ms = through.filter(|_| self.all_handed_over());
        ReadProgress { through_ms, committed, assigned: owned }
    }

    /// Whether every record that counts as read has reached the receiver. Waits for one for 1 ms at most, which is long
    /// for a record of usual size.
    fn all_handed_over(&self) -> bool {
        let before = self.0.handed_over.load(Ordering::Acquire);
        let started = Instant::now();
        while self.0.handing_over.load(Ordering::Acquire) && self.0.handed_over.load(Ordering::Acquire) == before {
            if started.elapsed() > Duration::from_millis(1) {
                return false;
            }
            thread::yield_now();
        }
        true
    }

    /// Resolves when the group has answered with an assignment, which may be empty, and it is decided where each of its partitions
    /// is read from: what is published from then on is read.
    pub(crate) fn assigned(&self) -> impl Future<Output = ()> + Send + use<> {
        let state = Arc::clone(&self.0);
        // The sender lives in the state.
        async move { drop(state.assigned.subscribe().wait_for(|assigned| *assigned).await) }
    }

    /// How many partitions the ledger topic has, 0 while that is not known; `None` when it is not read.
    pub(crate) fn ledger_partitions(&self) -> Option<i32> {
        self.0.ledger.get().map(|ledger| ledger.partitions())
    }

    /// The next offset to be read of each partition of the ledger topic that was read to its end and is followed.
    pub(crate) fn ledger_positions(&self) -> Vec<(i32, i64)> {
        self.0.ledger.get().map(|ledger| ledger.positions()).unwrap_or_default()
    }

    /// The partitions that this process owns, and whose part of the ledger topic was read.
    pub(crate) fn owned(&self) -> Vec<OwnedPartition> {
        let mut owned = self.0.owned();
        owned.retain(|partition| !partition.awaits_ledger());
        let view = |partition: &Arc<Partition>| OwnedPartition {
            topic: Arc::clone(partition.topic()),
            number: partition.number(),
            ownership: Arc::clone(partition.ownership()),
        };
        owned.iter().map(view).collect()
    }

    /// The committed offset of an assigned partition, if it has one.
    pub(crate) fn committed(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.assignment(|assignment| assignment.get(topic, partition).cloned())?.committed_offset()
    }

    /// Whether more than half of the budget is used, or of the span of a partition: what waits for one agent may soon hold
    /// up the others.
    pub(crate) fn is_scarce(&self) -> bool {
        let half = self.0.budget.limits().max_span_per_partition / 2;
        self.0.budget.is_scarce() || self.0.owned().iter().any(|partition| partition.span() > half)
    }

    /// A ticket for a delivery that was read back from the parked topic: `ended` gets its offset there when it has its
    /// end. It is charged to the budget, within its limits or not.
    pub(crate) fn fed_ticket(
        &self,
        ownership: &Arc<Ownership>,
        offset: i64,
        size: &RecordSize,
        ended: impl Fn(i64) + Send + Sync + 'static,
    ) -> Ticket {
        let charge = self.0.budget.charge(budget::cost(size));
        Ticket::calling(ended, offset, charge, Arc::clone(ownership))
    }

    /// Commits these positions in the parked topics from now on, by topic and partition, with those of the source topics.
    pub(crate) fn commit_parked(&self, positions: BTreeMap<(String, i32), i64>) {
        self.0.parked.lock().set(positions);
    }

    /// What the consumer is doing now.
    pub(crate) fn status(&self) -> ConsumerStatus {
        let usage = self.0.budget.usage();
        ConsumerStatus {
            cluster_id: self.0.cluster_id(),
            assigned: self.0.partitions().iter().map(|partition| partition.status()).collect(),
            paused: self.0.paused.load(Ordering::Acquire),
            last_poll: self.0.last_poll(),
            last_error: self.0.reporter.last_error(),
            reachable: !self.0.unreachable.load(Ordering::Acquire),
            ledger_error: self.0.ledger.get().and_then(|ledger| ledger.last_error()),
            in_flight_events: usage.events,
            in_flight_bytes: usage.bytes,
            lease_awaited_since: self.0.lease_report.waiting_since(),
            joining: self.0.joining.waits_for(),
            in_reserve: self.0.joining.is_in_reserve(),
        }
    }
}

impl ConsumerHandle {
    #[cfg(test)]
    pub(crate) fn status(&self) -> ConsumerStatus {
        self.view().status()
    }

    /// The same for other readers.
    pub(crate) fn view(&self) -> ConsumerView {
        ConsumerView(Arc::clone(&self.state))
    }

    /// Stops fetching, and continues to poll and commit: the first half of a drain.
    pub(crate) fn stop_fetching(&self) {
        self.state.draining.store(true, Ordering::Release);
    }

    /// Resolves with the error when the loop ended by itself. After [`close`](Self::close) it never resolves.
    pub(crate) fn finished(&self) -> impl Future<Output = KafkaError> + Send + use<> {
        let mut ended = self.ended.clone();
        async move {
            let result = ended.wait_for(Option::is_some).await.map(|result| result.clone());
            match result {
                Ok(Some(Err(error))) => error,
                Ok(_) => std::future::pending().await,
                Err(_) => KafkaError::Died,
            }
        }
    }

    /// Commits the frontiers, leaves the group so that it rebalances at once, and waits for the thread to end. Blocks.
    /// After the time-out the thread is left behind.
    pub(crate) fn close(self, timeout: Duration) -> Result<(), KafkaError> {
        self.state.close();
        let done = self.done.lock();
        match done.recv_timeout(timeout) {
            Err(mpsc::RecvTimeoutError::Timeout) => Err(KafkaError::CloseTimedOut { timeout }),
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => match &*self.ended.borrow() {
                Some(result) => result.clone(),
                None => Err(KafkaError::Died),
            },
        }
    }
}

impl Drop for ConsumerHandle {
    fn drop(&mut self) {
        self.state.close();
    }
}
