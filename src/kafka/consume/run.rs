//! The loop: poll, hand over, make room, commit.
//!
//! When the budget is used up the loop first waits for room, without polling, for at most 1.5 s in
//! all since a poll last came back empty; then it pauses every partition and goes on polling, so
//! that rebalances and heartbeats are served. (A pause costs librdkafka's queue and 0.8 s at the
//! end of it, so a short squeeze is better waited out.) It resumes when 20 % of the budget are
//! free, or, after 2 s, when there is any room at all: a stalled agent may hold nine tenths for
//! ever, and the others must have the last one. A partition whose span is at its cap is paused
//! alone.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError as RdError, KafkaResult, RDKafkaErrorCode as Code},
    message::BorrowedMessage,
};

use super::{
    super::{
        BudgetSettings, Headers, Incoming, KafkaError, KafkaSettings, Receive, Ticket, anchor::Anchor, budget,
        partitions::Partition, record,
    },
    OnCluster,
    context::{self, Context, Shared},
    gauges, watch,
};
use crate::{event::Origin, telemetry};

const POLL: Duration = Duration::from_millis(100);
const COMMIT_EVERY: Duration = Duration::from_secs(1);
const WAIT_FOR_ROOM: Duration = Duration::from_millis(1_500);
const PAUSE_AT_LEAST: Duration = Duration::from_secs(2);
const METADATA_TIMEOUT: Duration = Duration::from_millis(500);
const SEEK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the last commit is waited for before the group is left.
const LAST_COMMIT: Duration = Duration::from_secs(2);
/// Records handed over between two looks at the clock.
const BATCH: u32 = 64;

pub(super) struct Loop {
    consumer: Arc<BaseConsumer<Context>>,
    shared: Arc<Shared>,
    receiver: Box<dyn Receive>,
    limits: BudgetSettings,
    settings: KafkaSettings,
    /// How long room was waited for since a poll last came back empty.
    waited: Duration,
    paused_since: Option<Instant>,
    committed_at: Instant,
    since_tick: u32,
    some_capped: bool,
}

impl Loop {
    pub(super) fn new(
        consumer: BaseConsumer<Context>,
        shared: Arc<Shared>,
        receiver: Box<dyn Receive>,
        settings: KafkaSettings,
    ) -> Self {
        Self {
            consumer: Arc::new(consumer),
            shared,
            receiver,
            limits: settings.budget,
            settings,
            waited: Duration::ZERO,
            paused_since: None,
            committed_at: Instant::now(),
            since_tick: 0,
            some_capped: false,
        }
    }

    pub(super) fn run(mut self, on_cluster: OnCluster) -> Result<(), KafkaError> {
        if !self.wait_for_cluster(on_cluster)? {
            return Ok(());
        }
        let topics: Vec<&str> = self.shared.topics.iter().map(AsRef::as_ref).collect();
        self.consumer.subscribe(&topics).map_err(|error| KafkaError::Subscribe {
            topics: topics.iter().map(ToString::to_string).collect(),
            reason: error.to_string(),
        })?;
        let watch = watch::spawn(&self.consumer, &self.shared, &self.settings)?;
        let result = self.consume();
        self.leave(watch);
        result
    }

    /// Polls until a broker has told the cluster's id; `false` when the bridge closes first.
    fn wait_for_cluster(&mut self, on_cluster: OnCluster) -> Result<bool, KafkaError> {
        let Some(topic) = self.shared.topics.first().cloned() else { return Ok(false) };
        while !self.shared.is_closing() {
            self.shared.polled(Instant::now());
            if let Some(Err(error)) = self.consumer.poll(POLL) {
                self.check_fatal(&error)?;
            }
            if self.consumer.fetch_metadata(Some(&topic), METADATA_TIMEOUT).is_ok() {
                // A proxy in front of Kafka may not name its cluster.
                let cluster =
                    self.consumer.client().fetch_cluster_id(METADATA_TIMEOUT).unwrap_or_else(|| "unknown".into());
                tracing::info!(cluster, "Kafka answers");
                on_cluster(&cluster)
                    .map_err(|reason| KafkaError::ClusterRefused { cluster: cluster.clone(), reason })?;
                self.shared.set_cluster_id(&cluster);
                metrics::gauge!(telemetry::KAFKA_REACHABLE).set(1.0);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn consume(&mut self) -> Result<(), KafkaError> {
        let consumer = Arc::clone(&self.consumer);
        let budget = Arc::clone(&self.shared.budget);
        while !self.shared.is_closing() {
            let now = (self.since_tick == 0).then(Instant::now);
            if let Some(now) = now {
                self.tick(now);
            }
            if budget.is_full() && self.paused_since.is_none() {
                self.wait_for_room();
                if budget.is_full() {
                    continue;
                }
            }
            if let Some(now) = now {
                self.shared.polled(now);
            }
            self.since_tick = (self.since_tick + 1) % BATCH;
            match consumer.poll(POLL) {
                None => {
                    self.waited = Duration::ZERO;
                    self.since_tick = 0;
                }
                Some(Ok(message)) => self.hand_over(&message),
                Some(Err(error)) => self.check_fatal(&error)?,
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, message: &BorrowedMessage<'_>) {
        let place = self.shared.table(|table| table.find(message.topic(), message.partition()).cloned());
        let Some(place) = place else {
            // Taken away between the fetch and the poll: its next owner reads it.
            return;
        };
        let offset = message.offset();
        let headers = Headers::native(message.headers());
        let size = record::size(message.key(), message.payload(), &headers);
        let charge = self.shared.budget.charge(budget::cost(&size));
        let timestamp_ms = message.timestamp().to_millis();
        let identify = || Anchor::of(offset, timestamp_ms, message.key(), message.payload());
        self.shared.handing_over.store(true, Ordering::Release);
        let Some((epoch, span)) = place.receive(offset, identify) else {
            self.shared.handing_over.store(false, Ordering::Release);
            return;
        };
        if span >= self.limits.max_span_per_partition && !place.is_capped() {
            place.set_capped(true);
            self.some_capped = true;
            self.note(self.consumer.pause(&list(&[Arc::clone(&place)])), "Pause");
            tracing::warn!(topic = %place.topic(), partition = place.number(), span, "partition paused: too many records behind one without an outcome");
        }
        self.receiver.receive(Incoming {
            origin: Origin { topic: Arc::clone(place.topic()), partition: place.number(), offset },
            key: message.key(),
            value: message.payload(),
            headers,
            timestamp_ms,
            ticket: Ticket::new(place, epoch, offset, charge),
        });
        self.shared.handed_over.fetch_add(1, Ordering::Release);
        self.shared.handing_over.store(false, Ordering::Release);
    }

    /// The budget is used up: waits a little, and pauses when that does not help.
    fn wait_for_room(&mut self) {
        let start = Instant::now();
        let left = WAIT_FOR_ROOM.saturating_sub(self.waited);
        let room = !left.is_zero() && self.shared.budget.wait_for_room(left.min(POLL));
        let now = Instant::now();
        self.waited += now.duration_since(start);
        self.since_tick = 0;
        if !room && self.waited >= WAIT_FOR_ROOM {
            self.pause(now);
            self.tick(now);
        }
    }

    fn pause(&mut self, now: Instant) {
        self.paused_since = Some(now);
        self.shared.paused.store(true, Ordering::Release);
        let all = self.shared.partitions();
        self.note(self.consumer.pause(&list(&all)), "Pause");
        tracing::debug!(partitions = all.len(), "fetching paused");
    }

    fn resume(&mut self) {
        self.paused_since = None;
        self.waited = Duration::ZERO;
        self.shared.paused.store(false, Ordering::Release);
        let free: Vec<_> = self.shared.partitions().into_iter().filter(|partition| !partition.is_capped()).collect();
        self.note(self.consumer.resume(&list(&free)), "Resume");
        tracing::debug!(partitions = free.len(), "fetching resumed");
    }

    /// What is done now and then: pauses, commits, gauges. Cheap when nothing is due.
    fn tick(&mut self, now: Instant) {
        let draining = self.shared.draining.load(Ordering::Acquire);
        match self.paused_since {
            None if draining => self.pause(now),
            Some(since) if !draining => {
                let budget = &self.shared.budget;
                let long = now.duration_since(since) >= PAUSE_AT_LEAST;
                if budget.is_low() || (long && !budget.is_full()) {
                    self.resume();
                }
            }
            _ => {}
        }
        if self.some_capped {
            self.uncap();
        }
        if now.duration_since(self.committed_at) >= COMMIT_EVERY {
            self.committed_at = now;
            let all = self.shared.partitions();
            self.read_replaced(&all);
            self.advance(&all);
            self.shared.commit(&self.consumer, &all);
            self.gauges(&all);
        }
    }

    /// What librdkafka went past without giving it to us (the marks of transactions, and what they aborted)
    /// counts as read. Asks nobody.
    fn advance(&self, all: &[Arc<Partition>]) {
        let Ok(positions) = self.consumer.position() else { return };
        for partition in all {
            let position = positions.find_partition(partition.topic(), partition.number());
            if let Some(Offset::Offset(offset)) = position.map(|found| found.offset()) {
                partition.advance_to(offset);
            }
        }
    }

    /// Partitions whose log is another one by now are read from its start.
    fn read_replaced(&self, all: &[Arc<Partition>]) {
        let replaced: Vec<_> = all.iter().filter(|partition| partition.is_replaced()).collect();
        if replaced.is_empty() {
            return;
        }
        let mut starts = TopicPartitionList::with_capacity(replaced.len());
        for partition in &replaced {
            self.note(starts.add_partition_offset(partition.topic(), partition.number(), Offset::Beginning), "Seek");
        }
        // With its answer, nothing that was fetched before it can come any more.
        match self.consumer.seek_partitions(starts, SEEK_TIMEOUT) {
            Ok(sought) => {
                for partition in replaced {
                    let place = sought.find_partition(partition.topic(), partition.number());
                    if place.is_some_and(|place| place.error().is_ok()) {
                        partition.begin_again();
                    }
                }
            }
            Err(error) => self.note(Err(error), "Seek"),
        }
    }

    /// Partitions whose span went below 80 % of the cap are fetched again.
    fn uncap(&mut self) {
        let enough = self.limits.max_span_per_partition / 5 * 4;
        let capped: Vec<_> = self.shared.partitions().into_iter().filter(|partition| partition.is_capped()).collect();
        let free: Vec<_> = capped.iter().filter(|partition| partition.span() <= enough).cloned().collect();
        self.some_capped = free.len() < capped.len();
        if free.is_empty() {
            return;
        }
        for partition in &free {
            partition.set_capped(false);
            tracing::info!(topic = %partition.topic(), partition = partition.number(), "partition resumed");
        }
        if self.paused_since.is_none() {
            self.note(self.consumer.resume(&list(&free)), "Resume");
        }
    }

    fn gauges(&self, all: &[Arc<Partition>]) {
        let usage = self.shared.budget.usage();
        metrics::gauge!(telemetry::IN_FLIGHT_EVENTS).set(usage.events as f64);
        metrics::gauge!(telemetry::IN_FLIGHT_BYTES).set(usage.bytes as f64);
        metrics::gauge!(telemetry::PARTITIONS_ASSIGNED).set(all.len() as f64);
        let paused = if self.paused_since.is_some() {
            all.len()
        } else {
            all.iter().filter(|partition| partition.is_capped()).count()
        };
        metrics::gauge!(telemetry::PARTITIONS_PAUSED).set(paused as f64);
        for partition in all {
            gauges::show(&partition.status());
        }
    }

    /// Errors are counted and logged by the context; here only those count that end the loop.
    fn check_fatal(&self, error: &RdError) -> Result<(), KafkaError> {
        let fatal =
            matches!(error, RdError::MessageConsumptionFatal(_)) || error.rdkafka_error_code() == Some(Code::Fatal);
        if !fatal {
            return Ok(());
        }
        let (code, reason) = self.consumer.client().fatal_error().unwrap_or((Code::Fatal, error.to_string()));
        Err(KafkaError::Fatal { code: format!("{code:?}"), reason })
    }

    /// Commits what there is, and leaves the group. What is still received is nobody's: it has no
    /// ticket, so it is read again by its next owner.
    fn leave(mut self, watch: thread::JoinHandle<()>) {
        self.shared.close();
        // Not later: what is polled from here on is nobody's, and librdkafka's position goes past it.
        self.advance(&self.shared.partitions());
        self.pause(Instant::now());
        while !watch.is_finished() {
            drop(self.consumer.poll(Duration::from_millis(10)));
            self.shared.polled(Instant::now());
        }
        if watch.join().is_err() {
            tracing::error!("the watermark thread panicked");
        }
        let all = self.shared.partitions();
        self.shared.commit(&self.consumer, &all);
        if let Err(error) = context::read_back(&self.consumer, &all, LAST_COMMIT)
            && !all.is_empty()
        {
            self.note(Err(error), "LastCommit");
        }
        // Dropping the consumer leaves the group: the revocation commits what was settled meanwhile.
        drop(self.consumer);
    }

    fn note(&self, result: KafkaResult<()>, what: &str) {
        if let Err(error) = result {
            self.shared.reporter.complain("other", "librdkafka goes on by itself", what, &error.to_string());
        }
    }
}

fn list(partitions: &[Arc<Partition>]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(partition.topic(), partition.number());
    }
    list
}
