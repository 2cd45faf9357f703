//! The watermark thread: it makes the requests that block, so that the loop does not have to.
//!
//! Every second, while a commit is under way: the committed offsets. Every 2 s, and right after an assignment and a
//! resume (`ConsumerState::resume` says why): the high watermarks for the lag, the low ones for records that Kafka dropped
//! before they were read, whether a topic without partitions exists at all, and which errors are resolved. Every 10 s:
//! whether each log is still the one that was read, and whether a group without a ledger topic has other members.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaResult, RDKafkaErrorCode as Code},
    metadata::MetadataTopic,
};

use super::{
    super::{
        error::KafkaError,
        partition::{Lost, Partition, Stuck, StuckChange},
        report::Area,
        settings::KafkaSettings,
    },
    context::Context,
    log_check::LogChecker,
    requests,
    sharing::Sharing,
    state::ConsumerState,
};
use crate::telemetry;

const REFRESH_EVERY: Duration = Duration::from_secs(2);
const COMMITTED_EVERY: Duration = Duration::from_secs(1);
const LOG_CHECK_EVERY: Duration = Duration::from_secs(10);
/// A request waits for the broker's long poll of 500 ms to end.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A request that only finds out whether a broker answers.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1_250);
/// The cluster counts as unreachable after so many failed probes in a row: with the times above, some 5 s after the last
/// connection broke, or 8 s after the brokers stopped answering.
const UNREACHABLE_AFTER: u32 = 2;
/// The shortest time from one refresh to the next, however often one is requested.
const REST: Duration = Duration::from_millis(20);
const PROBE_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// An error that was repeated within this time is not resolved.
const RESOLVED_AFTER: Duration = Duration::from_secs(3);

pub(super) fn spawn(
    consumer: &Arc<BaseConsumer<Context>>,
    state: &Arc<ConsumerState>,
    settings: &KafkaSettings,
) -> Result<thread::JoinHandle<()>, KafkaError> {
    let mut watermarks = Watermarks {
        consumer: Arc::clone(consumer),
        state: Arc::clone(state),
        log_checker: LogChecker::new(settings),
        sharing: Sharing::default(),
        unanswered: 0,
        refreshed: None,
        logs_checked: None,
    };
    thread::Builder::new()
        .name("kafka-watermarks".into())
        .spawn(move || {
            while !watermarks.state.is_closing() {
                watermarks.step();
                let wait = if watermarks.unanswered == 1 { PROBE_AGAIN_AFTER } else { COMMITTED_EVERY };
                if watermarks.state.wait_for_refresh(wait) {
                    let refreshed = watermarks.refreshed.take();
                    thread::sleep(refreshed.map_or(Duration::ZERO, |last| REST.saturating_sub(last.elapsed())));
                }
            }
        })
        .map_err(|error| KafkaError::Thread { reason: error.to_string() })
}

struct Watermarks {
    consumer: Arc<BaseConsumer<Context>>,
    state: Arc<ConsumerState>,
    log_checker: LogChecker,
    sharing: Sharing,
    /// How many probes in a row were not answered.
    unanswered: u32,
    refreshed: Option<Instant>,
    logs_checked: Option<Instant>,
}

impl Watermarks {
    fn step(&mut self) {
        // After a failure one short request finds out whether a broker answers again.
        if self.unanswered > 0 && !self.probe() {
            return;
        }
        if !self.refresh_committed() && !self.probe() {
            return;
        }
        if self.refreshed.is_none_or(|last| last.elapsed() >= REFRESH_EVERY) {
            let answered = self.refresh();
            self.refreshed = Some(Instant::now());
            if !answered && !self.probe() {
                return;
            }
        }
        let requested = self.state.log_check_requested.swap(false, Ordering::AcqRel);
        if requested || self.logs_checked.is_none_or(|last| last.elapsed() >= LOG_CHECK_EVERY) {
            self.check_logs();
            self.sharing.check(&self.consumer, &self.state);
            self.logs_checked = Some(Instant::now());
        }
    }

    /// Whether a broker answers.
    fn probe(&mut self) -> bool {
        let Some(topic) = self.state.topics.first() else { return true };
        if self.consumer.fetch_metadata(Some(topic), PROBE_TIMEOUT).is_ok() {
            self.answered();
            return true;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.state.reporter.still_failing(Instant::now());
        if self.unanswered == UNREACHABLE_AFTER {
            self.state.unreachable.store(true, Ordering::Release);
            metrics::gauge!(telemetry::KAFKA_REACHABLE).set(0.0);
            tracing::warn!(
                error = self.state.reporter.last_error().unwrap_or_default(),
                "no broker answers: the bridge is not ready until one does"
            );
        }
        false
    }

    fn answered(&mut self) {
        self.unanswered = 0;
        metrics::gauge!(telemetry::KAFKA_REACHABLE).set(1.0);
        if self.state.unreachable.swap(false, Ordering::AcqRel) {
            tracing::info!("a broker answers again");
        }
    }

    /// `false` when a request was not answered.
    fn refresh_committed(&self) -> bool {
        let waiting: Vec<_> =
            self.state.partitions().into_iter().filter(|partition| partition.awaits_commit()).collect();
        if waiting.is_empty() {
            return true;
        }
        if let Err(error) = requests::refresh_committed(&self.consumer, &waiting, TIMEOUT) {
            tracing::debug!(%error, "committed offsets not read");
            return false;
        }
        true
    }

    /// Updates the watermarks, and resolves errors. `false` when the request was not answered.
    fn refresh(&mut self) -> bool {
        let partitions = self.state.partitions();
        let asked_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
        let all_led = match watermarks(&self.consumer, &partitions) {
            Ok(watermarks) => {
                let all_led = watermarks.len() == partitions.len();
                for (partition, low, high) in watermarks {
                    if let Some(lost) = partition.update_watermarks(low, high, asked_ms) {
                        report_lost(partition, lost);
                    }
                }
                all_led
            }
            Err(error) => {
                tracing::debug!(%error, "watermarks not read");
                return false;
            }
        };
        if !partitions.is_empty() && all_led {
            self.answered();
        }
        self.check_progress(&partitions);
        if self.quiet_since(Area::Commit, RESOLVED_AFTER) && partitions.iter().all(|partition| partition.is_committed())
        {
            self.state.reporter.resolved(Area::Commit);
        }
        if !all_led {
            self.state.reporter.still_failing(Instant::now());
        }
        let topics_answered = self.check_topics();
        let reporter = &self.state.reporter;
        if all_led && topics_answered {
            // The leaders answered at their own addresses; ask the coordinator only when there is an error to resolve.
            if reporter.failing_since(Area::Connection).is_none() || self.coordinator_answers() {
                reporter.resolved(Area::Connection);
            }
            if !partitions.is_empty() {
                reporter.resolved(Area::Other);
            }
        }
        true
    }

    /// Reports topics that do not exist. `false` when a request was not answered.
    fn check_topics(&mut self) -> bool {
        let state = Arc::clone(&self.state);
        let failing = state.reporter.failing_since(Area::Topic).is_some();
        let (mut answered, mut all_exist) = (true, true);
        for topic in &state.topics {
            if state.is_closing() || (!failing && state.assignment(|assignment| assignment.has_topic(topic))) {
                continue;
            }
            match self.consumer.fetch_metadata(Some(topic), TIMEOUT) {
                Ok(found) => {
                    self.answered();
                    if let Some(error) = found.topics().iter().find_map(MetadataTopic::error) {
                        all_exist = false;
                        state.reporter.report(Code::from(error), &format!("topic {topic}"));
                    }
                }
                Err(_) => answered = false,
            }
        }
        if answered && all_exist {
            state.reporter.resolved(Area::Topic);
        }
        answered
    }

    fn coordinator_answers(&self) -> bool {
        let Some(topic) = self.state.topics.first() else { return false };
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, 0);
        self.consumer.committed_offsets(list, TIMEOUT).is_ok()
    }

    fn quiet_since(&self, area: Area, time: Duration) -> bool {
        self.state.reporter.last_error_at(area).is_none_or(|last| last.elapsed() >= time)
    }

    /// Finds the partitions that are stuck.
    fn check_progress(&self, partitions: &[Arc<Partition>]) {
        let now = Instant::now();
        let fetching = self.state.is_fetching();
        for partition in partitions {
            let error_at = |offset, since| self.state.fetch_errors(|errors| errors.at(offset, since));
            let fetched = fetching && !partition.is_held() && !partition.is_given_up();
            match partition.check_progress(now, fetched, error_at) {
                Some(StuckChange::Stuck(stuck)) => report_stuck(partition, &stuck, &self.state.group),
                Some(StuckChange::Moves) => {
                    tracing::info!(topic = %partition.topic(), partition = partition.number(), "partition is no longer stuck");
                }
                None => {}
            }
        }
        let Some(last) = self.state.reporter.last_error_at(Area::Fetch) else { return };
        if fetching
            && !partitions.is_empty()
            && last.elapsed() >= RESOLVED_AFTER
            && partitions.iter().all(|partition| partition.moved_since(last))
        {
            self.state.reporter.resolved(Area::Fetch);
        }
    }

    fn check_logs(&mut self) {
        let state = Arc::clone(&self.state);
        for replaced in self.log_checker.check(&state.partitions(), || state.is_closing()) {
            let partition = replaced.partition;
            tracing::error!(
                topic = %partition.topic(),
                partition = partition.number(),
                position = partition.status().position,
                advice = "the partition is read again from its start; events that are in the ledger are not delivered again",
                "the topic was deleted and created again, or lost records that were read"
            );
            if let Some(lost) = replaced.lost {
                report_lost(&partition, lost);
            }
        }
    }
}

/// The watermarks of the partitions whose leaders answered.
fn watermarks<'a>(
    consumer: &BaseConsumer<Context>,
    partitions: &'a [Arc<Partition>],
) -> KafkaResult<Vec<(&'a Partition, i64, i64)>> {
    let list = requests::partition_list(partitions);
    // The low ones first: they only rise, so what is read meanwhile does not seem lost.
    let lows = requests::fetch_offsets(consumer, list.clone(), Offset::Beginning, TIMEOUT)?;
    let highs = requests::fetch_offsets(consumer, list, Offset::End, TIMEOUT)?;
    let at = |list: &TopicPartitionList, partition: &Partition| {
        let found = list.find_partition(partition.topic(), partition.number())?;
        match (found.error(), found.offset()) {
            (Ok(()), Offset::Offset(offset)) => Some(offset),
            _ => None,
        }
    };
    Ok(partitions.iter().filter_map(|p| Some((p.as_ref(), at(&lows, p)?, at(&highs, p)?))).collect())
}

fn report_lost(partition: &Partition, Lost { from, to }: Lost) {
    let records = u64::try_from(to - from).unwrap_or(0);
    metrics::counter!(telemetry::RECORDS_LOST, "topic" => partition.topic().to_string()).increment(records);
    tracing::error!(
        topic = %partition.topic(),
        partition = partition.number(),
        first = from,
        last = to - 1,
        records,
        advice = "these records are gone from Kafka and were not delivered: raise the topic's retention.ms above the longest outage, and publish them again from their source",
        "Kafka dropped records before they were read"
    );
}

fn report_stuck(partition: &Partition, stuck: &Stuck, group: &str) {
    let (topic, partition, offset) = (partition.topic(), partition.number(), stuck.offset);
    let skip = format!(
        "kafka-consumer-groups.sh --bootstrap-server ... --group {group} --topic {topic}:{partition} --reset-offsets \
         --to-offset {} --execute",
        offset + 1
    );
    tracing::error!(
        %topic,
        partition,
        offset,
        error = stuck.reason,
        advice = "raise receive.message.max.bytes under kafka.properties; or stop the bridge and skip the offset with the \
                  command in `skip` (docs/kafka.md, \"A stuck partition\")",
        skip,
        "partition is stuck: nothing behind this offset is read"
    );
}
