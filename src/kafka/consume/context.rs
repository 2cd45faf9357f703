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
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
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

use super::{
    super::{
        KafkaSettings, OffsetReset,
        anchor::CommitNote,
        budget::Budget,
        offsets::Frontier,
        partitions::{Partition, Table},
        report::{Area, Reporter, is_fetch_error},
    },
    start::{Group, Start},
    trouble::Trouble,
};

/// How long an assignment may wait for the group's committed offsets, in all.
const COMMITTED_TIMEOUT: Duration = Duration::from_millis(1_500);

/// What the loop, the callbacks and the handle share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) topics: Vec<Arc<str>>,
    pub(super) group: String,
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
    /// What fetching was answered with instead of records.
    pub(super) trouble: Mutex<Trouble>,
    /// Nobody answered the last requests.
    pub(super) unreachable: AtomicBool,
    table: Mutex<Table>,
    /// The partitions for which this process saw a commit.
    committed: Mutex<HashSet<(Arc<str>, i32)>>,
    cluster_id: Mutex<Option<String>>,
    started: Instant,
    polled_ms: AtomicU64,
    /// Set when the watermarks should be looked at now.
    look_now: Mutex<bool>,
    look: Condvar,
    /// Set when the logs may be others by now.
    pub(super) identify_now: AtomicBool,
}

impl Shared {
    pub(super) fn new(settings: &KafkaSettings) -> Self {
        Self {
            topics: settings.topics.iter().map(|topic| Arc::from(topic.as_str())).collect(),
            group: settings.group_id.clone(),
            reset: settings.auto_offset_reset,
            budget: Budget::new(settings.budget),
            reporter: Reporter::new("consumer"),
            paused: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            handing_over: AtomicBool::new(false),
            handed_over: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            trouble: Mutex::default(),
            unreachable: AtomicBool::new(false),
            table: Mutex::default(),
            committed: Mutex::default(),
            cluster_id: Mutex::default(),
            started: Instant::now(),
            polled_ms: AtomicU64::new(0),
            look_now: Mutex::new(false),
            look: Condvar::new(),
            identify_now: AtomicBool::new(true),
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

    /// The logs may be others by now: they are compared at the next look, which is now.
    pub(super) fn identify(&self) {
        self.identify_now.store(true, Ordering::Release);
        self.wake_watch();
    }

    fn saw_commit(&self, topic: &Arc<str>, number: i32) {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).insert((Arc::clone(topic), number));
    }

    fn had_commit(&self, topic: &str, number: i32) -> bool {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).contains(&(topic.into(), number))
    }

    pub(super) fn trouble<R>(&self, look: impl FnOnce(&mut Trouble) -> R) -> R {
        look(&mut self.trouble.lock().unwrap_or_else(PoisonError::into_inner))
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
            if let Some((offset, note)) = partition.take_commit() {
                let mut entry = list.add_partition(partition.topic(), partition.number());
                if !note.is_empty() {
                    entry.set_metadata(note);
                }
                if entry.set_offset(Offset::Offset(offset)).is_err() {
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

/// What is committed for a partition, and what the commit carries; `None` when nothing is.
fn commit_of(list: &TopicPartitionList, topic: &str, number: i32) -> Option<(i64, CommitNote)> {
    let found = list.find_partition(topic, number)?;
    let Offset::Offset(offset) = found.offset() else { return None };
    // The binding panics on metadata that is not UTF-8, which any client of the group may have written.
    let note = catch_unwind(AssertUnwindSafe(|| CommitNote::parse(found.metadata()))).unwrap_or_default();
    Some((offset, note))
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
        self.0.reporter.works(Area::Group);
        let places: Vec<(String, i32)> =
            list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
        let deadline = Instant::now() + COMMITTED_TIMEOUT;
        let committed = if places.is_empty() { None } else { self.committed(consumer, list, deadline) };
        let mut starts = self.starts(consumer, &places, committed.as_ref(), deadline);
        for (topic, number) in &places {
            let commit = committed.as_ref().and_then(|list| commit_of(list, topic, *number));
            let (frontier, position, note) = match (commit, starts.remove(&(topic.clone(), *number))) {
                (Some((offset, note)), _) => (Frontier::new(Some(offset)), Some(offset), note),
                (None, Some((offset, note))) => {
                    self.note(list.set_partition_offset(topic, *number, offset), "Start");
                    match offset {
                        Offset::Offset(end) => (Frontier::starting_at(end), Some(end), note),
                        _ => (Frontier::new(None), None, note),
                    }
                }
                (None, None) => (Frontier::new(None), None, CommitNote::default()),
            };
            let topic = self.topic(topic);
            if commit.is_some() {
                self.0.saw_commit(&topic, *number);
            }
            tracing::debug!(%topic, partition = number, position, "partition assigned");
            let partition = Arc::new(Partition::new(topic, *number, frontier, position, note));
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
            self.0.identify();
        }
    }

    fn topic(&self, name: &str) -> Arc<str> {
        self.0.topics.iter().find(|known| ***known == *name).cloned().unwrap_or_else(|| name.into())
    }

    /// For `latest`: where those partitions begin for which nothing is committed.
    fn starts(
        &self,
        consumer: &BaseConsumer<Self>,
        places: &[(String, i32)],
        committed: Option<&TopicPartitionList>,
        deadline: Instant,
    ) -> HashMap<(String, i32), (Offset, CommitNote)> {
        let mut starts = HashMap::new();
        let Some(committed) = committed.filter(|_| self.0.reset == OffsetReset::Latest) else { return starts };
        let fresh: Vec<_> = places.iter().filter(|(topic, n)| commit_of(committed, topic, *n).is_none()).collect();
        let mut edges = [Offset::Beginning, Offset::End].map(|edge| (edge, TopicPartitionList::new()));
        for topic in fresh.iter().map(|(topic, _)| topic).collect::<HashSet<_>>() {
            let group = match Self::commits_on(consumer, topic, deadline) {
                Ok(group) => group,
                Err(error) => {
                    let advice = "its partitions without a committed offset are read from their oldest record";
                    self.0.reporter.complain("other", advice, "CommittedOffsets", &error.to_string());
                    continue;
                }
            };
            for (_, number) in fresh.iter().filter(|(other, _)| other == topic) {
                let note = CommitNote { anchor: None, partitions: group.began_with() };
                let start = match group.start(*number, self.0.had_commit(topic, *number)) {
                    Start::Beginning => Offset::Beginning,
                    Start::End => Offset::End,
                };
                tracing::info!(%topic, partition = number, from = ?start, "nothing is committed for this partition yet");
                for (_, list) in edges.iter_mut().filter(|(edge, _)| *edge == start) {
                    list.add_partition(topic, *number);
                }
                starts.insert((topic.clone(), *number), (start, note));
            }
        }
        // As a number, so that it can be committed at once: a restart must not choose again.
        for (at, list) in edges.into_iter().filter(|(_, list)| list.count() > 0) {
            let Ok(found) = edge(consumer, list, at, left(deadline)) else { continue };
            for element in found.elements() {
                if let (Offset::Offset(offset), Some((start, _))) =
                    (element.offset(), starts.get_mut(&(element.topic().to_owned(), element.partition())))
                {
                    *start = Offset::Offset(offset);
                }
            }
        }
        starts
    }

    /// What the group has committed on all partitions of a topic.
    fn commits_on(consumer: &BaseConsumer<Self>, topic: &str, deadline: Instant) -> KafkaResult<Group> {
        let metadata = consumer.fetch_metadata(Some(topic), left(deadline))?;
        let count = metadata.topics().iter().map(|topic| topic.partitions().len()).sum::<usize>();
        let partitions = i32::try_from(count).unwrap_or(i32::MAX);
        let mut all = TopicPartitionList::with_capacity(count);
        all.add_partition_range(topic, 0, partitions - 1);
        let committed = consumer.committed_offsets(all, left(deadline))?;
        let notes = (0..partitions).filter_map(|number| commit_of(&committed, topic, number)).map(|(_, note)| note);
        Ok(Group { notes: notes.collect(), partitions })
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
        for partition in gone.iter().filter(|partition| partition.status().committed.is_some()) {
            self.0.saw_commit(partition.topic(), partition.number());
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
        for (topic, number) in &places {
            super::gauges::forget(topic, *number);
        }
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
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        self.0.reporter.report(code, reason);
        if is_fetch_error(code) || reason.starts_with("Fetch from broker") {
            self.0.trouble(|trouble| trouble.note(&format!("{code:?}: {reason}"), reason, Instant::now()));
        }
        if code == Code::AllBrokersDown {
            self.0.wake_watch();
        }
        if matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) {
            self.0.identify();
        }
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
