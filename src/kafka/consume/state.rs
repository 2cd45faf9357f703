//! What the consumer loop, librdkafka's callbacks, the watermark thread and the readers of the status share.
//!
//! Owns the current assignment, the flags between the threads, and the commits. Its invariant: only the loop's thread
//! commits, so a later commit never overtakes an earlier one.

use std::{
    collections::HashSet,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext},
    error::KafkaResult,
};
use tokio::sync::watch;

use super::{
    super::{
        assignment::Assignment,
        budget::Budget,
        lease::Lease,
        ledger_topic::Following,
        partition::Partition,
        report::Reporter,
        settings::{KafkaSettings, OffsetReset},
    },
    fetch_errors::FetchErrors,
    joining::Joining,
    lease_report::LeaseReport,
    parked::ParkedCommits,
    requests::partition_list,
    revocation::Revocation,
};
use crate::sync::{Condvar, Mutex};

/// See the module.
#[derive(Debug)]
pub(super) struct ConsumerState {
    pub(super) topics: Vec<Arc<str>>,
    pub(super) group: String,
    pub(super) reset: OffsetReset,
    pub(super) budget: Arc<Budget>,
    pub(super) reporter: Reporter,
    /// Until when this process can know that it owns its partitions.
    pub(super) lease: Arc<Lease>,
    pub(super) lease_report: LeaseReport,
    pub(super) joining: Joining,
    /// The group has answered with an assignment, and where each of its partitions is read from is decided.
    pub(super) assigned: watch::Sender<bool>,
    /// Topics that did not exist when the process began to read, for `latest`.
    absent: Mutex<HashSet<String>>,
    /// `group.protocol` is `consumer`.
    pub(super) next_generation: bool,
    /// How far the parked topics are to be committed.
    pub(super) parked: Mutex<ParkedCommits>,
    /// Revoked partitions that are not released yet.
    pub(super) release: Mutex<Option<Revocation>>,
    pub(super) paused: AtomicBool,
    pub(super) draining: AtomicBool,
    /// A record is between its partition, which counts it as read, and the receiver.
    pub(super) handing_over: AtomicBool,
    /// How many records have reached the receiver.
    pub(super) handed_over: AtomicU64,
    closing: AtomicBool,
    fetch_errors: Mutex<FetchErrors>,
    /// No broker answered the last requests.
    pub(super) unreachable: AtomicBool,
    assignment: Mutex<Assignment>,
    /// The reader of the ledger topic, if there is one.
    pub(super) ledger: OnceLock<Arc<Following>>,
    /// The partitions for which this process observed a commit.
    committed: Mutex<HashSet<(Arc<str>, i32)>>,
    cluster_id: Mutex<Option<String>>,
    started: Instant,
    polled_ms: AtomicU64,
    /// The watermarks are to be refreshed now.
    refresh_requested: Mutex<bool>,
    refresh: Condvar,
    /// A topic may have been created again: compare the logs at the next refresh.
    pub(super) log_check_requested: AtomicBool,
}

impl ConsumerState {
    pub(super) fn new(settings: &KafkaSettings) -> Self {
        Self {
            topics: settings.topics.iter().map(|topic| Arc::from(topic.as_str())).collect(),
            group: settings.group_id.clone(),
            reset: settings.auto_offset_reset,
            budget: Budget::new(settings.budget),
            reporter: Reporter::new("consumer"),
            lease: Arc::new(Lease::new(settings.session_timeout())),
            lease_report: LeaseReport::default(),
            joining: Joining::new(settings),
            assigned: watch::Sender::new(false),
            absent: Mutex::default(),
            next_generation: settings.uses_next_generation(),
            parked: Mutex::default(),
            release: Mutex::default(),
            paused: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            handing_over: AtomicBool::new(false),
            handed_over: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            fetch_errors: Mutex::default(),
            unreachable: AtomicBool::new(false),
            assignment: Mutex::default(),
            ledger: OnceLock::new(),
            committed: Mutex::default(),
            cluster_id: Mutex::default(),
            started: Instant::now(),
            polled_ms: AtomicU64::new(0),
            refresh_requested: Mutex::new(false),
            refresh: Condvar::new(),
            log_check_requested: AtomicBool::new(true),
        }
    }

    /// Runs `access` under the assignment's lock. The guard does not leave this function: one that lives on in a `for`
    /// or a `match` while a broker is asked would block the loop.
    pub(super) fn assignment<R>(&self, access: impl FnOnce(&mut Assignment) -> R) -> R {
        access(&mut self.assignment.lock())
    }

    /// The current assignment, in order.
    pub(super) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.assignment(|assignment| assignment.all())
    }

    /// Those of them that are not given up.
    pub(super) fn owned(&self) -> Vec<Arc<Partition>> {
        let mut partitions = self.partitions();
        partitions.retain(|partition| !partition.is_given_up());
        partitions
    }

    pub(super) fn cluster_id(&self) -> Option<String> {
        self.cluster_id.lock().clone()
    }

    pub(super) fn set_cluster_id(&self, id: &str) {
        *self.cluster_id.lock() = Some(id.to_owned());
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
        self.request_refresh();
        self.lease_report.request_renewal();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Whether records are fetched: neither paused nor draining.
    pub(super) fn is_fetching(&self) -> bool {
        !self.paused.load(Ordering::Acquire) && !self.draining.load(Ordering::Acquire)
    }

    /// A topic may have been created again: compare the logs now.
    pub(super) fn request_log_check(&self) {
        self.log_check_requested.store(true, Ordering::Release);
        self.request_refresh();
    }

    /// These topics do not exist yet.
    pub(super) fn set_absent(&self, topics: HashSet<String>) {
        *self.absent.lock() = topics;
    }

    /// Whether a topic was made after the process began to read.
    pub(super) fn was_absent(&self, topic: &str) -> bool {
        self.absent.lock().contains(topic)
    }

    pub(super) fn observed_commit(&self, topic: &Arc<str>, partition: i32) {
        self.committed.lock().insert((Arc::clone(topic), partition));
    }

    pub(super) fn had_commit(&self, topic: &str, partition: i32) -> bool {
        self.committed.lock().contains(&(topic.into(), partition))
    }

    pub(super) fn fetch_errors<R>(&self, access: impl FnOnce(&mut FetchErrors) -> R) -> R {
        access(&mut self.fetch_errors.lock())
    }

    /// Fetches these partitions again. librdkafka's thread of a broker that had nothing to fetch does not notice that: it
    /// sleeps for up to a second, unless it has a request to send. The refresh makes one to each leader (later, when the
    /// thread that makes it waits for another answer).
    pub(super) fn resume<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, partitions: &[Arc<Partition>]) {
        self.report_error(consumer.resume(&partition_list(partitions)), "Resume");
        self.request_refresh();
    }

    pub(super) fn request_refresh(&self) {
        *self.refresh_requested.lock() = true;
        self.refresh.notify_all();
    }

    /// Waits for the next refresh of the watermarks; `true` when one was requested.
    pub(super) fn wait_for_refresh(&self, timeout: Duration) -> bool {
        let requested = self.refresh_requested.lock();
        let mut requested = self.refresh.wait_timeout_while(requested, timeout, |requested| !*requested);
        std::mem::take(&mut *requested)
    }

    /// Sends the frontier of these partitions, where the broker does not have it.
    pub(super) fn commit<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, partitions: &[Arc<Partition>]) {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            if let Some((offset, metadata)) = partition.take_commit() {
                let mut entry = list.add_partition(partition.topic(), partition.number());
                if !metadata.is_empty() {
                    entry.set_metadata(metadata);
                }
                if entry.set_offset(Offset::Offset(offset)).is_err() {
                    partition.commit_failed();
                }
            }
        }
        if list.count() > 0
            && let Err(error) = consumer.commit(&list, CommitMode::Async)
        {
            self.commit_failed(&error.to_string(), false);
        }
        self.commit_parked(consumer);
    }

    /// Says what the group has answered. An end that no request found when it was assigned is decided once records were read.
    pub(super) fn report_joining(&self, owned: &[Arc<Partition>]) {
        self.joining.report();
        let is_assigned = *self.assigned.borrow();
        if !is_assigned && !owned.is_empty() && owned.iter().all(|partition| partition.status().position.is_some()) {
            self.assigned.send_replace(true);
        }
    }

    /// In a request of its own: a parked topic that was removed must not make the commits of events fail.
    fn commit_parked<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) {
        let mut list = TopicPartitionList::new();
        let parked = self.parked.lock().take();
        for ((topic, partition), offset) in parked {
            self.report_error(list.add_partition_offset(&topic, partition, Offset::Offset(offset)), "Commit");
        }
        if list.count() > 0
            && let Err(error) = consumer.commit(&list, CommitMode::Async)
        {
            self.parked_commit_failed(&error.to_string(), false);
        }
    }

    fn parked_commit_failed(&self, error: &str, rebalancing: bool) {
        self.parked.lock().failed();
        if !rebalancing {
            let advice = "it is made again in half a minute; grant our user READ on the topic for parked deliveries, or \
                          restart this replica if the topic was removed";
            self.reporter.report_failure("other", advice, "CommitFailed", error);
        }
    }

    /// A commit failed, and librdkafka does not say which: everything that was requested is committed again.
    pub(super) fn commit_failed(&self, error: &str, rebalancing: bool) {
        if self.parked.lock().is_named_in(error) {
            return self.parked_commit_failed(error, rebalancing);
        }
        for partition in self.partitions() {
            partition.commit_failed();
        }
        if rebalancing {
            tracing::debug!(error, "commit failed while the group rebalances");
            return;
        }
        let advice = "the offsets are committed again in a second; until then a restart would read more again";
        self.reporter.report_failure("commit", advice, "CommitFailed", error);
    }

    /// Reports a request that failed and that librdkafka makes again.
    pub(super) fn report_error(&self, result: KafkaResult<()>, request: &str) {
        if let Err(error) = result {
            self.reporter.report_failure("other", "librdkafka continues by itself", request, &error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::settings::KafkaSettings, *};
    use crate::kafka::{Ownership, anchor::CommitNote, offsets::Frontier};

    #[test]
    fn an_end_that_was_not_found_at_first_is_decided_once_records_were_read() {
        let state = ConsumerState::new(&KafkaSettings::default());
        let partition = |number, position| {
            let ownership = Ownership::new(Arc::clone(&state.lease));
            Arc::new(Partition::new(
                "a".into(),
                number,
                Frontier::new(None),
                position,
                CommitNote::default(),
                ownership,
            ))
        };
        let is_assigned = |owned: &[Arc<Partition>]| {
            state.report_joining(owned);
            *state.assigned.borrow()
        };
        assert!(!is_assigned(&[]));
        assert!(!is_assigned(&[partition(0, Some(7)), partition(1, None)]));
        assert!(is_assigned(&[partition(0, Some(7)), partition(1, Some(0))]));
        assert!(is_assigned(&[partition(1, None)]), "it stays so");
    }

    #[test]
    fn partitions_that_are_fetched_again_wake_whoever_makes_requests_to_their_leaders() {
        let state = ConsumerState::new(&KafkaSettings::default());
        let consumer: BaseConsumer = rdkafka::ClientConfig::new().create().unwrap();
        assert!(!state.wait_for_refresh(Duration::ZERO));
        state.resume(&consumer, &[]);
        assert!(state.wait_for_refresh(Duration::ZERO));
    }
}
