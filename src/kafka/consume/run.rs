//! The consumer loop: poll, hand over, wait for room, commit.
//!
//! When the budget is used up the loop first waits for room, without polling, for at most 1.5 s in all since a poll last
//! came back empty. Then it pauses every partition and polls on, so that rebalances and heartbeats are served. (A pause
//! costs librdkafka's queue and a request to each leader at its end, so it pays to wait out a short one.) It resumes when
//! 20 % of the budget are free or, after 2 s, when there is any room at all: a stalled agent may hold nine tenths for ever,
//! and the others must have the last one. A partition whose span is at its cap is paused alone.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    message::BorrowedMessage,
};

use super::{
    super::{
        anchor::Anchor,
        budget::{self, BudgetSettings},
        error::KafkaError,
        ledger_topic::Reader,
        partition::Partition,
        record::{self, Headers, Incoming, OnCluster, Receive},
        settings::KafkaSettings,
        ticket::Ticket,
    },
    context::Context,
    gauges, initial_offsets, ledger_gate,
    patience::{Patience, USUAL},
    renewal::Renewer,
    requests::{self, partition_list},
    state::ConsumerState,
    watermarks,
};
use crate::{event::Origin, telemetry};

const COMMIT_EVERY: Duration = Duration::from_secs(1);
const WAIT_FOR_ROOM: Duration = Duration::from_millis(1_500);
const PAUSE_AT_LEAST: Duration = Duration::from_secs(2);
const METADATA_TIMEOUT: Duration = Duration::from_millis(500);
const SEEK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the last commit is waited for before the group is left.
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(2);
/// Records handed over between two reads of the clock.
const BATCH: u32 = 64;

pub(super) struct Loop {
    consumer: Arc<BaseConsumer<Context>>,
    state: Arc<ConsumerState>,
    receiver: Box<dyn Receive>,
    limits: BudgetSettings,
    settings: KafkaSettings,
    /// How long room was waited for since a poll last came back empty.
    waited: Duration,
    paused_since: Option<Instant>,
    committed_at: Instant,
    patience: Patience,
    since_tick: u32,
    some_capped: bool,
    /// Reads the ledger topic; taken when it is started.
    ledger: Option<Reader>,
}

impl Loop {
    pub(super) fn new(
        consumer: BaseConsumer<Context>,
        state: Arc<ConsumerState>,
        receiver: Box<dyn Receive>,
        settings: KafkaSettings,
        ledger: Option<Reader>,
    ) -> Self {
        Self {
            consumer: Arc::new(consumer),
            state,
            receiver,
            limits: settings.budget,
            settings,
            waited: Duration::ZERO,
            paused_since: None,
            committed_at: Instant::now(),
            patience: Patience::new(Instant::now()),
            since_tick: 0,
            some_capped: false,
            ledger,
        }
    }

    pub(super) fn run(mut self, on_cluster: OnCluster) -> Result<(), KafkaError> {
        if !self.wait_for_cluster(on_cluster)? {
            return Ok(());
        }
        let ledger = self.ledger.take().map(|reader| ledger_gate::start(reader, &self.state)).transpose()?;
        initial_offsets::note_absent_topics(&self.state, &self.consumer);
        let topics: Vec<&str> = self.state.topics.iter().map(AsRef::as_ref).collect();
        self.state.joining.began();
        self.consumer.subscribe(&topics).map_err(|error| KafkaError::Subscribe {
            topics: topics.iter().map(ToString::to_string).collect(),
            reason: error.to_string(),
        })?;
        self.patience = Patience::new(Instant::now());
        let watermarks = watermarks::spawn(&self.consumer, &self.state, &self.settings)?;
        let following = self.state.ledger.get().cloned();
        let renewer = following.map(|following| Renewer::start(&self.consumer, &self.state, following)).transpose()?;
        let result = self.consume(&|| {
            ledger.as_ref().is_some_and(ledger_gate::Running::has_ended)
                || renewer.as_ref().is_some_and(Renewer::has_ended)
        });
        self.leave(watermarks, renewer, ledger.as_ref());
        result
    }

    /// Polls until a broker answers with the cluster's id; `false` when the bridge closes first.
    fn wait_for_cluster(&mut self, on_cluster: OnCluster) -> Result<bool, KafkaError> {
        let Some(topic) = self.state.topics.first().cloned() else { return Ok(false) };
        while !self.state.is_closing() {
            self.state.polled(Instant::now());
            if self.consumer.fetch_metadata(Some(&topic), METADATA_TIMEOUT).is_ok() {
                // A proxy in front of Kafka may not name its cluster.
                let cluster =
                    self.consumer.client().fetch_cluster_id(METADATA_TIMEOUT).unwrap_or_else(|| "unknown".into());
                tracing::info!(cluster, "connected to Kafka");
                on_cluster(&cluster)
                    .map_err(|source| KafkaError::ClusterRefused { cluster: cluster.clone(), source })?;
                self.state.set_cluster_id(&cluster);
                metrics::gauge!(telemetry::KAFKA_REACHABLE).set(1.0);
                return Ok(true);
            }
            if let Some(Err(error)) = self.consumer.poll(USUAL) {
                self.check_fatal(&error)?;
            }
        }
        Ok(false)
    }

    /// `is_broken` says that a thread without which deliveries would wait for ever has ended by itself.
    fn consume(&mut self, is_broken: &dyn Fn() -> bool) -> Result<(), KafkaError> {
        let consumer = Arc::clone(&self.consumer);
        let budget = Arc::clone(&self.state.budget);
        while !self.state.is_closing() {
            let now = (self.since_tick == 0).then(Instant::now);
            if let Some(now) = now {
                if is_broken() && !self.state.is_closing() {
                    return Err(KafkaError::Died);
                }
                self.tick(now);
            }
            if budget.is_full() && self.paused_since.is_none() {
                self.wait_for_room();
                if budget.is_full() {
                    continue;
                }
            }
            if let Some(now) = now {
                self.state.polled(now);
            }
            self.since_tick = (self.since_tick + 1) % BATCH;
            match consumer.poll(self.patience.wait(&self.state)) {
                None => {
                    self.waited = Duration::ZERO;
                    self.since_tick = 0;
                    self.patience.nothing_came(&self.state, Instant::now());
                }
                Some(Ok(message)) => self.hand_over(&message),
                Some(Err(error)) => self.check_fatal(&error)?,
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, message: &BorrowedMessage<'_>) {
        self.patience.came();
        let partition =
            self.state.assignment(|assignment| assignment.find(message.topic(), message.partition()).cloned());
        let Some(partition) = partition.filter(|partition| !partition.is_given_up()) else {
            // Revoked between the fetch and the poll: its next owner reads the record.
            return;
        };
        let offset = message.offset();
        let headers = Headers::new(message.headers());
        let size = record::size(message.key(), message.payload(), headers);
        let charge = self.state.budget.charge(budget::cost(&size));
        let timestamp_ms = message.timestamp().to_millis();
        let identify = || Anchor::of(offset, timestamp_ms, message.key(), message.payload());
        self.state.handing_over.store(true, Ordering::Release);
        let Some((epoch, span)) = partition.receive(offset, identify) else {
            self.state.handing_over.store(false, Ordering::Release);
            return;
        };
        if span >= self.limits.max_span_per_partition && !partition.is_capped() {
            partition.set_capped(true);
            self.some_capped = true;
            self.state.report_error(self.consumer.pause(&partition_list([&partition])), "Pause");
            tracing::warn!(topic = %partition.topic(), partition = partition.number(), span, "partition paused: too many records behind one without an outcome");
        }
        let ownership = Arc::clone(partition.ownership());
        self.receiver.receive(Incoming {
            origin: Origin { topic: Arc::clone(partition.topic()), partition: partition.number(), offset },
            key: message.key(),
            value: message.payload(),
            headers,
            timestamp_ms,
            ticket: Ticket::new(partition, epoch, offset, charge, ownership),
        });
        self.state.handed_over.fetch_add(1, Ordering::Release);
        self.state.handing_over.store(false, Ordering::Release);
    }

    /// The budget is used up: waits for room, and pauses when that takes too long.
    fn wait_for_room(&mut self) {
        let start = Instant::now();
        let left = WAIT_FOR_ROOM.saturating_sub(self.waited);
        let room = !left.is_zero() && self.state.budget.wait_for_room(left.min(USUAL));
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
        self.state.paused.store(true, Ordering::Release);
        let all = self.state.partitions();
        self.state.report_error(self.consumer.pause(&partition_list(&all)), "Pause");
        tracing::debug!(partitions = all.len(), "fetching paused");
    }

    fn resume(&mut self) {
        self.paused_since = None;
        self.waited = Duration::ZERO;
        self.state.paused.store(false, Ordering::Release);
        let free: Vec<_> = self.state.owned().into_iter().filter(|partition| !partition.is_held()).collect();
        self.state.resume(&self.consumer, &free);
        tracing::debug!(partitions = free.len(), "fetching resumed");
    }

    /// Periodic work: pauses, commits, gauges. Cheap when nothing is due.
    fn tick(&mut self, now: Instant) {
        let draining = self.state.draining.load(Ordering::Acquire);
        match self.paused_since {
            None if draining => self.pause(now),
            Some(since) if !draining => {
                let budget = &self.state.budget;
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
        self.state.serve_release(&self.consumer, self.settings.release_timeout());
        ledger_gate::open(&self.consumer, &self.state, self.paused_since.is_none());
        if now.duration_since(self.committed_at) >= COMMIT_EVERY {
            self.committed_at = now;
            let (all, owned) = (self.state.partitions(), self.state.owned());
            self.read_replaced(&owned);
            self.advance(&owned);
            self.state.commit(&self.consumer, &all);
            gauges::set_all(&self.state, &all, self.paused_since.is_some());
            self.state.report_joining(&owned);
            self.state.lease_report.observe((!owned.is_empty()).then(|| self.state.lease.is_valid()));
        }
    }

    /// Counts as read what librdkafka skipped: the marks of transactions, and aborted records. Makes no request. Not for
    /// partitions that were given up: what is polled of them is dropped, and librdkafka's position goes past it.
    fn advance(&self, owned: &[Arc<Partition>]) {
        let Ok(positions) = self.consumer.position() else { return };
        for partition in owned {
            let position = positions.find_partition(partition.topic(), partition.number());
            if let Some(Offset::Offset(offset)) = position.map(|found| found.offset()) {
                partition.advance_to(offset);
            }
        }
    }

    /// Reads partitions whose log was replaced from the start of the new one.
    fn read_replaced(&self, all: &[Arc<Partition>]) {
        let replaced: Vec<_> = all.iter().filter(|partition| partition.is_replaced()).collect();
        if replaced.is_empty() {
            return;
        }
        let mut starts = TopicPartitionList::with_capacity(replaced.len());
        for partition in &replaced {
            self.state.report_error(
                starts.add_partition_offset(partition.topic(), partition.number(), Offset::Beginning),
                "Seek",
            );
        }
        // After the answer, nothing that was fetched before it can arrive.
        match self.consumer.seek_partitions(starts, SEEK_TIMEOUT) {
            Ok(sought) => {
                for partition in replaced {
                    let entry = sought.find_partition(partition.topic(), partition.number());
                    if entry.is_some_and(|entry| entry.error().is_ok()) {
                        partition.begin_again();
                    }
                }
            }
            Err(error) => self.state.report_error(Err(error), "Seek"),
        }
    }

    /// Resumes partitions whose span went below 80 % of the cap.
    fn uncap(&mut self) {
        let enough = self.limits.max_span_per_partition / 5 * 4;
        let capped: Vec<_> = self.state.owned().into_iter().filter(|partition| partition.is_capped()).collect();
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
            let free: Vec<_> = free.into_iter().filter(|partition| !partition.is_held()).collect();
            self.state.resume(&self.consumer, &free);
        }
    }

    /// The context counts and logs errors; only those that end the loop matter here.
    fn check_fatal(&self, error: &RdError) -> Result<(), KafkaError> {
        let fatal =
            matches!(error, RdError::MessageConsumptionFatal(_)) || error.rdkafka_error_code() == Some(Code::Fatal);
        if !fatal {
            return Ok(());
        }
        let (code, reason) = self.consumer.client().fatal_error().unwrap_or((Code::Fatal, error.to_string()));
        Err(KafkaError::Fatal { code: format!("{code:?}"), reason })
    }

    /// Commits the frontiers, and leaves the group. Records that still arrive are dropped without a ticket: their next
    /// owner reads them again.
    fn leave(
        mut self,
        watermarks: thread::JoinHandle<()>,
        renewer: Option<Renewer>,
        ledger: Option<&ledger_gate::Running>,
    ) {
        self.state.close();
        // Not later: what is polled from here on is dropped, and librdkafka's position goes past it.
        self.advance(&self.state.owned());
        self.pause(Instant::now());
        // librdkafka closes only after the answer to a revocation.
        self.state.finish_release(&self.consumer);
        // Now, because the threads may take longer than a stop may.
        self.state.commit(&self.consumer, &self.state.partitions());
        let poll = || {
            drop(self.consumer.poll(Duration::from_millis(10)));
            self.state.polled(Instant::now());
        };
        if let Some(ledger) = ledger {
            ledger.stop(poll);
        }
        while !watermarks.is_finished() {
            poll();
        }
        if watermarks.join().is_err() {
            tracing::error!("the watermark thread panicked");
        }
        if let Some(renewer) = renewer {
            renewer.join(poll);
        }
        let all = self.state.partitions();
        self.state.commit(&self.consumer, &all);
        if let Err(error) = requests::refresh_committed(&self.consumer, &all, LAST_COMMIT_TIMEOUT)
            && !all.is_empty()
        {
            self.state.report_error(Err(error), "LastCommit");
        }
        // Dropping the consumer leaves the group: the revocation commits what was completed meanwhile.
        drop(self.consumer);
    }
}
