//! What librdkafka calls back: assignments, revocations, errors. And the state that the loop, these
//! callbacks and the handle share.
//!
//! The callbacks run inside a poll, on the consumer's thread, and only do what must be done then.
//! On a revocation the frontier is committed *asynchronously*: librdkafka itself waits for the
//! answer before it gives the partitions up (`wait_commit_cnt` in its assignment), so this is a
//! synchronous commit that holds up nobody. An assignment that is lost is not committed: another
//! member has it by now.
//!
//! What became of an asynchronous commit is not called back: librdkafka 2.12 under rdkafka 0.39
//! posts no event for one (it needs a callback that the binding does not set). A failure is a log
//! line of the facility COMMITFAIL; a success is read back from the broker by the second thread.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol},
    error::{KafkaError as RdError, KafkaResult, RDKafkaErrorCode as Code},
    types::RDKafkaRespErr,
};

use super::super::{
    KafkaSettings, OffsetReset,
    budget::Budget,
    offsets::Frontier,
    partitions::{Partition, Table},
    report::Reporter,
};

/// How long an assignment may wait for the group's committed offsets, in all.
const COMMITTED_TIMEOUT: Duration = Duration::from_millis(1_500);

/// What the loop, the callbacks and the handle share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) topics: Vec<Arc<str>>,
    pub(super) reset: OffsetReset,
    pub(super) budget: Arc<Budget>,
    pub(super) reporter: Reporter,
    pub(super) paused: AtomicBool,
    pub(super) draining: AtomicBool,
    /// A record is on its way from its partition, which counts it as read, to the receiver.
    pub(super) handing_over: AtomicBool,
    /// How many records have reached the receiver.
    pub(super) handed_over: AtomicU64,
    closing: AtomicBool,
    table: Mutex<Table>,
    cluster_id: Mutex<Option<String>>,
    started: Instant,
    polled_ms: AtomicU64,
    /// Set when the watermarks should be looked at now.
    look_now: Mutex<bool>,
    look: Condvar,
}

impl Shared {
    pub(super) fn new(settings: &KafkaSettings) -> Self {
        Self {
            topics: settings.topics.iter().map(|topic| Arc::from(topic.as_str())).collect(),
            reset: settings.auto_offset_reset,
            budget: Budget::new(settings.budget),
            reporter: Reporter::new("consumer"),
            paused: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            handing_over: AtomicBool::new(false),
            handed_over: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            table: Mutex::default(),
            cluster_id: Mutex::default(),
            started: Instant::now(),
            polled_ms: AtomicU64::new(0),
            look_now: Mutex::new(false),
            look: Condvar::new(),
        }
    }

    /// Looks something up in the table. The lock does not leave this function: a guard that lives
    /// on in a `for` or a `match` while a broker is waited for would hold up the loop.
    pub(super) fn table<R>(&self, look: impl FnOnce(&mut Table) -> R) -> R {
        look(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The current assignment, in order.
    pub(super) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.table(|table| table.all())
    }

    pub(super) fn cluster_id(&self) -> Option<String> {
        self.cluster_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_cluster_id(&self, id: &str) {
        *self.cluster_id.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
    }

    pub(super) fn polled(&self, now: Instant) {
        let ms = u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.polled_ms.store(ms, Ordering::Release);
    }

    pub(super) fn last_poll(&self) -> Instant {
        self.started + Duration::from_millis(self.polled_ms.load(Ordering::Acquire))
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake_watch();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn wake_watch(&self) {
        *self.look_now.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.look.notify_all();
    }

    /// Waits for the next look at the watermarks; `true` when it is wanted now.
    pub(super) fn wait_to_look(&self, at_most: Duration) -> bool {
        let now = self.look_now.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut now, _) =
            self.look.wait_timeout_while(now, at_most, |now| !*now).unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *now)
    }

    /// Sends the frontier of these partitions, where it is news to the broker. Only the loop's
    /// thread does, so that a later commit never overtakes an earlier one.
    pub(super) fn commit(&self, consumer: &BaseConsumer<Context>, partitions: &[Arc<Partition>]) {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            if let Some(offset) = partition.take_commit() {
                let (topic, number) = (partition.topic(), partition.number());
                if list.add_partition_offset(topic, number, Offset::Offset(offset)).is_err() {
                    partition.commit_failed();
                }
            }
        }
        if list.count() == 0 {
            return;
        }
        if let Err(error) = consumer.commit(&list, CommitMode::Async) {
            self.commit_failed(&error.to_string(), false);
        }
    }

    /// Some commit failed, and it is not said which: whatever was asked for is asked for again.
    fn commit_failed(&self, reason: &str, rebalancing: bool) {
        for partition in self.partitions() {
            partition.commit_failed();
        }
        if rebalancing {
            tracing::debug!(reason, "commit failed while the group rebalances");
            return;
        }
        let advice = "the offsets are committed again in a second; until then a restart would read more again";
        self.reporter.complain("commit", advice, "CommitFailed", reason);
    }
}

/// Asks the broker what it has for these partitions.
pub(super) fn read_back(
    consumer: &BaseConsumer<Context>,
    partitions: &[Arc<Partition>],
    timeout: Duration,
) -> KafkaResult<()> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(partition.topic(), partition.number());
    }
    let found = consumer.committed_offsets(list, timeout)?;
    for partition in partitions {
        let at = found.find_partition(partition.topic(), partition.number());
        match at.map(|at| at.offset()) {
            Some(Offset::Offset(offset)) => partition.committed(Some(offset)),
            Some(_) => partition.committed(None),
            None => {}
        }
    }
    Ok(())
}

/// The first or the last offsets of all these partitions, in one request to each broker. (Asking
/// for the watermarks of one partition after the other takes a broker's long poll for each.)
pub(super) fn edge(
    consumer: &BaseConsumer<Context>,
    mut list: TopicPartitionList,
    edge: Offset,
    timeout: Duration,
) -> KafkaResult<TopicPartitionList> {
    if list.count() == 0 {
        return Ok(list);
    }
    // The protocol's timestamps for the two edges are librdkafka's logical offsets for them.
    list.set_all_offsets(edge)?;
    consumer.offsets_for_times(list, timeout)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// The context that librdkafka calls.
#[derive(Debug)]
pub(super) struct Context(Arc<Shared>);

impl Context {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) {
        let places: Vec<(String, i32)> =
            list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
        let deadline = Instant::now() + COMMITTED_TIMEOUT;
        let committed = if places.is_empty() { None } else { self.committed(consumer, list, deadline) };
        let at = |list: &Option<TopicPartitionList>, topic: &str, number: i32| {
            list.as_ref().and_then(|list| list.find_partition(topic, number)).map(|found| found.offset())
        };
        let fresh = |(topic, number): &&(String, i32)| {
            at(&committed, topic, *number).is_some_and(|offset| !matches!(offset, Offset::Offset(_)))
        };
        let ends = if self.0.reset == OffsetReset::Latest {
            let mut fresh_ones = TopicPartitionList::new();
            for (topic, number) in places.iter().filter(fresh) {
                fresh_ones.add_partition(topic, *number);
            }
            edge(consumer, fresh_ones, Offset::End, left(deadline)).ok()
        } else {
            None
        };
        for place in &places {
            let (topic, number) = place;
            let (frontier, position) = match (at(&committed, topic, *number), at(&ends, topic, *number)) {
                (Some(Offset::Offset(offset)), _) => (Frontier::new(Some(offset)), Some(offset)),
                (_, Some(Offset::Offset(end))) => {
                    self.note(list.set_partition_offset(topic, *number, Offset::Offset(end)), "Start");
                    (Frontier::starting_at(end), Some(end))
                }
                _ => {
                    if self.0.reset == OffsetReset::Latest && fresh(&place) {
                        self.note(list.set_partition_offset(topic, *number, Offset::End), "Start");
                    }
                    (Frontier::new(None), None)
                }
            };
            let topic = self
                .0
                .topics
                .iter()
                .find(|known| ***known == **topic)
                .cloned()
                .unwrap_or_else(|| topic.as_str().into());
            tracing::debug!(%topic, partition = number, position, "partition assigned");
            let partition = Arc::new(Partition::new(topic, *number, frontier, position));
            self.0.table(|table| table.insert(partition));
        }
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
            _ => consumer.assign(list),
        };
        self.note(result, "Assign");
        if !places.is_empty() {
            tracing::info!(partitions = places.len(), "partitions assigned");
            // librdkafka keeps a partition's pause over its assignments, so both ways are said.
            let paused = self.0.paused.load(Ordering::Acquire) || self.0.draining.load(Ordering::Acquire);
            self.note(if paused { consumer.pause(list) } else { consumer.resume(list) }, "Pause");
            self.0.wake_watch();
        }
    }

    /// The group's committed offsets: for an offset that Kafka has dropped, and for `latest`.
    fn committed(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
        deadline: Instant,
    ) -> Option<TopicPartitionList> {
        match consumer.committed_offsets(list.clone(), left(deadline)) {
            Ok(committed) => Some(committed),
            Err(error) => {
                let advice = "reading begins where librdkafka finds the group's offsets; a partition that has none begins at its oldest record, whatever auto_offset_reset says";
                self.0.reporter.complain("other", advice, "CommittedOffsets", &error.to_string());
                None
            }
        }
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let is_lost = consumer.assignment_lost();
        let places: Vec<(String, i32)> =
            list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
        let gone: Vec<_> = self
            .0
            .table(|table| places.iter().filter_map(|(topic, number)| table.get(topic, *number).cloned()).collect());
        if is_lost {
            tracing::warn!(partitions = places.len(), "assignment lost: not committed, others have it by now");
        } else {
            self.0.commit(consumer, &gone);
            tracing::info!(partitions = places.len(), "partitions revoked");
        }
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            _ => consumer.unassign(),
        };
        self.note(result, "Unassign");
        self.0.table(|table| {
            for (topic, number) in &places {
                table.remove(topic, *number);
            }
        });
    }

    fn note(&self, result: KafkaResult<()>, what: &str) {
        if let Err(error) = result {
            self.0.reporter.complain("other", "librdkafka goes on by itself", what, &error.to_string());
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        if facility == "COMMITFAIL" {
            // While the group rebalances, the generation that a commit bears is just passing: this
            // is how a rebalance goes, and the next commit bears the new one.
            let rebalancing = !text.contains("in join-state steady");
            self.0.commit_failed(text, rebalancing);
        } else {
            self.0.reporter.log_line(level, facility, text);
        }
    }

    fn error(&self, error: RdError, reason: &str) {
        self.0.reporter.report(error.rdkafka_error_code().unwrap_or(Code::Unknown), reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assigned(consumer, list),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.revoked(consumer, list),
            other => {
                self.0.reporter.report(other.into(), "rebalance failed");
                self.note(consumer.unassign(), "Unassign");
            }
        }
    }
}
