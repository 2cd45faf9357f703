//! The one consumer: its thread, and the handle that the bridge holds.
//!
//! Owns the life of the consumer, from the first word with a broker to the last commit. Its
//! invariants: everything that touches the consumer happens on its thread (only watermarks are
//! asked for from a second one); polling is never withheld for more than 2 s while the process
//! runs; a record that a poll returned is handed over, unless its partition was taken away or the
//! consumer is closing.

mod context;
mod gauges;
mod identity;
mod run;
mod start;
mod trouble;
mod watch;

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{config::FromClientConfigAndContext, consumer::BaseConsumer};
use tokio::sync::watch as latest;

pub use super::partitions::{PartitionStatus, Stuck};
use super::{KafkaError, KafkaSettings, Receive, client};
use crate::connection;
use context::{Context, Shared};

/// Hears the id of the cluster before anything is read from it, and may refuse it.
pub type OnCluster = Box<dyn FnOnce(&str) -> Result<(), String> + Send>;

/// The consumer. It has no state of its own; see [`start`](Self::start).
#[derive(Debug)]
pub struct Consumer;

/// A running consumer. Dropped, it is told to stop, and not waited for.
#[derive(Debug)]
pub struct ConsumerHandle {
    shared: Arc<Shared>,
    ended: latest::Receiver<Option<Result<(), KafkaError>>>,
    done: Mutex<mpsc::Receiver<()>>,
}

/// A look at what the consumer is doing that outlives the handle.
#[derive(Debug, Clone)]
pub struct StatusView(Arc<Shared>);

/// What the consumer is doing.
#[derive(Debug, Clone)]
pub struct ConsumerStatus {
    /// The cluster that it reads from, once one has answered.
    pub cluster_id: Option<String>,
    /// The partitions that the group gave to it, with what is known of each.
    pub assigned: Vec<PartitionStatus>,
    /// Nothing is fetched: the budget is used up, or the bridge is draining.
    pub paused: bool,
    /// When the loop last polled: it makes progress while this is less than 2 s ago.
    pub last_poll: Instant,
    /// What Kafka complains about, the cause first, until what it is about was seen to work.
    pub last_error: Option<String>,
    /// A broker answered the last requests, or none was asked yet.
    pub reachable: bool,
    /// Events received and without an outcome yet.
    pub in_flight_events: u64,
    /// What those events are charged.
    pub in_flight_bytes: u64,
}

/// How far the assigned partitions have been read and committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadProgress {
    /// Every record that was appended to an assigned partition before this moment (ms since 1970) was
    /// handed to the receiver, or lies below the committed offset. `None` while that holds for no
    /// moment: no partition is assigned, or one was not read to an end that was asked for.
    pub through_ms: Option<u64>,
    /// The committed offset of each assigned partition that has one: topic, partition, offset.
    pub committed: Vec<(Arc<str>, i32, i64)>,
}

impl Consumer {
    /// Starts the consumer on a thread of its own, and returns at once: a broker that is away and a
    /// topic that does not exist are waited for. `on_cluster` hears the cluster's id on that thread
    /// before `receiver` gets a record; when it refuses, the consumer ends. Metrics go to the
    /// recorder that is installed by now.
    pub fn start(
        settings: &KafkaSettings,
        receiver: Box<dyn Receive>,
        on_cluster: OnCluster,
    ) -> Result<ConsumerHandle, KafkaError> {
        client::validated(settings)?;
        let shared = Arc::new(Shared::new(settings));
        let consumer =
            BaseConsumer::from_config_and_context(&client::consumer(settings), Context::new(Arc::clone(&shared)))
                .map_err(|error| KafkaError::Client { role: "consumer", reason: connection::reason(&error) })?;
        let (end, ended) = latest::channel(None);
        let (finished, done) = mpsc::channel();
        let looped = run::Loop::new(consumer, Arc::clone(&shared), receiver, settings.clone());
        thread::Builder::new()
            .name("kafka-consumer".into())
            .spawn(move || {
                let result = looped.run(on_cluster);
                end.send_replace(Some(result));
                drop(finished);
            })
            .map_err(|error| KafkaError::Thread { reason: error.to_string() })?;
        Ok(ConsumerHandle { shared, ended, done: Mutex::new(done) })
    }
}

impl StatusView {
    /// How far the assigned partitions have been read and committed.
    pub fn read_progress(&self) -> ReadProgress {
        let assigned = self.0.partitions();
        let through = assigned.iter().map(|partition| partition.read_through_ms()).min().flatten();
        let committed = assigned.iter().filter_map(|partition| {
            Some((Arc::clone(partition.topic()), partition.number(), partition.committed_offset()?))
        });
        let committed = committed.collect();
        // Asked last: what the partitions above count as read has reached the receiver.
        let through_ms = through.filter(|_| self.nothing_on_its_way());
        ReadProgress { through_ms, committed }
    }

    /// Whether every record that was on its way to the receiver has reached it; waits for one for 1 ms
    /// at most, which is long for a record of usual size.
    fn nothing_on_its_way(&self) -> bool {
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

    /// What the consumer is doing now.
    pub fn status(&self) -> ConsumerStatus {
        let usage = self.0.budget.usage();
        ConsumerStatus {
            cluster_id: self.0.cluster_id(),
            assigned: self.0.partitions().iter().map(|partition| partition.status()).collect(),
            paused: self.0.paused.load(Ordering::Acquire),
            last_poll: self.0.last_poll(),
            last_error: self.0.reporter.last_error(),
            reachable: !self.0.unreachable.load(Ordering::Acquire),
            in_flight_events: usage.events,
            in_flight_bytes: usage.bytes,
        }
    }
}

impl ConsumerHandle {
    /// What the consumer is doing now.
    pub fn status(&self) -> ConsumerStatus {
        self.view().status()
    }

    /// The same for somebody else to look at.
    pub fn view(&self) -> StatusView {
        StatusView(Arc::clone(&self.shared))
    }

    /// Fetches nothing more, and goes on polling and committing: the first half of a drain.
    pub fn stop_fetching(&self) {
        self.shared.draining.store(true, Ordering::Release);
    }

    /// Resolves when the loop has ended by itself: always an error. After [`close`](Self::close) it
    /// never resolves.
    pub fn finished(&self) -> impl Future<Output = KafkaError> + Send + use<> {
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

    /// Commits the frontier, leaves the group so that it rebalances at once, and waits for the
    /// thread to end. Blocks: call it where blocking is allowed. After the time-out the thread is
    /// left to itself.
    pub fn close(self, timeout: Duration) -> Result<(), KafkaError> {
        self.shared.close();
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
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
        self.shared.close();
    }
}
