//! The second thread: it asks the broker what blocks, so that the loop does not have to.
//!
//! Every second, while a commit is on its way: what is committed. Every 2 s, and right after an
//! assignment: the high watermark for the lag, the low one for records that Kafka dropped before
//! they were read, whether a topic without partitions exists at all, and which of what was wrong
//! works again. Every 10 s: whether each log is still the one that was read.

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
        KafkaError, KafkaSettings,
        partitions::{Change, Lost, Partition, Stuck},
        report::Area,
    },
    context::{self, Context, Shared},
    identity::Identifier,
};
use crate::telemetry;

const EVERY: Duration = Duration::from_secs(2);
const READ_BACK_EVERY: Duration = Duration::from_secs(1);
const IDENTIFY_EVERY: Duration = Duration::from_secs(10);
/// A request waits for the broker's long poll of 500 ms to end.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A request that only asks whether anybody answers.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1_250);
/// Nobody answers when so many probes in a row failed: with the times above, some 5 s after the last
/// connection broke, or 8 s after the brokers fell silent.
const UNREACHABLE_AFTER: u32 = 2;
const PROBE_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// What was complained about just now is not over.
const OVER_AFTER: Duration = Duration::from_secs(3);

pub(super) fn spawn(
    consumer: &Arc<BaseConsumer<Context>>,
    shared: &Arc<Shared>,
    settings: &KafkaSettings,
) -> Result<thread::JoinHandle<()>, KafkaError> {
    let mut watch = Watch {
        consumer: Arc::clone(consumer),
        shared: Arc::clone(shared),
        identifier: Identifier::new(settings),
        unanswered: 0,
        looked: None,
        identified: None,
    };
    thread::Builder::new()
        .name("kafka-watermarks".into())
        .spawn(move || {
            while !watch.shared.is_closing() {
                watch.step();
                let wait = if watch.unanswered == 1 { PROBE_AGAIN_AFTER } else { READ_BACK_EVERY };
                if watch.shared.wait_to_look(wait) {
                    watch.looked = None;
                }
            }
        })
        .map_err(|error| KafkaError::Thread { reason: error.to_string() })
}

struct Watch {
    consumer: Arc<BaseConsumer<Context>>,
    shared: Arc<Shared>,
    identifier: Identifier,
    /// How many probes in a row nobody answered.
    unanswered: u32,
    looked: Option<Instant>,
    identified: Option<Instant>,
}

impl Watch {
    fn step(&mut self) {
        // When nobody answered the last time, one short request says whether that is over.
        if self.unanswered > 0 && !self.probe() {
            return;
        }
        if !self.read_back() && !self.probe() {
            return;
        }
        if self.looked.is_none_or(|last| last.elapsed() >= EVERY) {
            let answered = self.look();
            self.looked = Some(Instant::now());
            if !answered && !self.probe() {
                return;
            }
        }
        let wanted = self.shared.identify_now.swap(false, Ordering::AcqRel);
        if wanted || self.identified.is_none_or(|last| last.elapsed() >= IDENTIFY_EVERY) {
            self.identify();
            self.identified = Some(Instant::now());
        }
    }

    /// Whether any broker answers.
    fn probe(&mut self) -> bool {
        let Some(topic) = self.shared.topics.first() else { return true };
        if self.consumer.fetch_metadata(Some(topic), PROBE_TIMEOUT).is_ok() {
            self.answered();
            return true;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.shared.reporter.still_failing(Instant::now());
        if self.unanswered == UNREACHABLE_AFTER {
            self.shared.unreachable.store(true, Ordering::Release);
            metrics::gauge!(telemetry::KAFKA_REACHABLE).set(0.0);
            tracing::warn!(
                error = self.shared.reporter.last_error().unwrap_or_default(),
                "no broker answers: the bridge is not ready until one does"
            );
        }
        false
    }

    fn answered(&mut self) {
        self.unanswered = 0;
        metrics::gauge!(telemetry::KAFKA_REACHABLE).set(1.0);
        if self.shared.unreachable.swap(false, Ordering::AcqRel) {
            tracing::info!("a broker answers again");
        }
    }

    /// `false` when it was asked for and not answered.
    fn read_back(&self) -> bool {
        let waiting: Vec<_> =
            self.shared.partitions().into_iter().filter(|partition| partition.awaits_commit()).collect();
        if waiting.is_empty() {
            return true;
        }
        if let Err(error) = context::read_back(&self.consumer, &waiting, TIMEOUT) {
            tracing::debug!(%error, "committed offsets not read back");
            return false;
        }
        true
    }

    /// `false` when the watermarks were not answered.
    fn look(&mut self) -> bool {
        let partitions = self.shared.partitions();
        let asked_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
        let all_led = match watermarks(&self.consumer, &partitions) {
            Ok(watermarks) => {
                let all_led = watermarks.len() == partitions.len();
                for (partition, low, high) in watermarks {
                    partition.looked(low, high, asked_ms);
                    if let Some(lost) = partition.look(low, high) {
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
        self.progress(&partitions);
        if self.quiet_since(Area::Commit, OVER_AFTER) && partitions.iter().all(|partition| partition.is_committed()) {
            self.shared.reporter.works(Area::Commit);
        }
        if !all_led {
            self.shared.reporter.still_failing(Instant::now());
        }
        let topics_answer = self.look_at_topics();
        let reporter = &self.shared.reporter;
        if all_led && topics_answer {
            // The leaders answer at their own addresses; the coordinator is asked when it matters.
            if reporter.wrong_since(Area::Connection).is_none() || self.coordinator_answers() {
                reporter.works(Area::Connection);
            }
            if !partitions.is_empty() {
                reporter.works(Area::Other);
            }
        }
        true
    }

    /// Whether the topics are there; said when one is not. `false` when nobody answered.
    fn look_at_topics(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let wrong = shared.reporter.wrong_since(Area::Topic).is_some();
        let (mut answered, mut all_there) = (true, true);
        for topic in &shared.topics {
            if shared.is_closing() || (!wrong && shared.table(|table| table.has_topic(topic))) {
                continue;
            }
            match self.consumer.fetch_metadata(Some(topic), TIMEOUT) {
                Ok(found) => {
                    self.answered();
                    if let Some(error) = found.topics().iter().find_map(MetadataTopic::error) {
                        all_there = false;
                        shared.reporter.report(Code::from(error), &format!("topic {topic}"));
                    }
                }
                Err(_) => answered = false,
            }
        }
        if answered && all_there {
            shared.reporter.works(Area::Topic);
        }
        answered
    }

    fn coordinator_answers(&self) -> bool {
        let Some(topic) = self.shared.topics.first() else { return false };
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, 0);
        self.consumer.committed_offsets(list, TIMEOUT).is_ok()
    }

    fn quiet_since(&self, area: Area, time: Duration) -> bool {
        self.shared.reporter.last_complaint(area).is_none_or(|last| last.elapsed() >= time)
    }

    /// Which partitions can be read, and which are stuck.
    fn progress(&self, partitions: &[Arc<Partition>]) {
        let now = Instant::now();
        let fetching = !self.shared.paused.load(Ordering::Acquire) && !self.shared.draining.load(Ordering::Acquire);
        for partition in partitions {
            let trouble = |offset, since| self.shared.trouble(|trouble| trouble.at(offset, since));
            match partition.progress(now, fetching && !partition.is_capped(), trouble) {
                Some(Change::Stuck(stuck)) => report_stuck(partition, &stuck, &self.shared.group),
                Some(Change::Moves) => {
                    tracing::info!(topic = %partition.topic(), partition = partition.number(), "partition is no longer stuck");
                }
                None => {}
            }
        }
        let Some(last) = self.shared.reporter.last_complaint(Area::Fetch) else { return };
        if fetching
            && !partitions.is_empty()
            && last.elapsed() >= OVER_AFTER
            && partitions.iter().all(|partition| partition.moved_since(last))
        {
            self.shared.reporter.works(Area::Fetch);
        }
    }

    fn identify(&mut self) {
        let shared = Arc::clone(&self.shared);
        for replaced in self.identifier.check(&shared.partitions(), || shared.is_closing()) {
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

/// The watermarks of those partitions whose leaders answered.
fn watermarks<'a>(
    consumer: &BaseConsumer<Context>,
    partitions: &'a [Arc<Partition>],
) -> KafkaResult<Vec<(&'a Partition, i64, i64)>> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(partition.topic(), partition.number());
    }
    // The low ones first: they only rise, so nothing that was read meanwhile looks lost.
    let lows = context::edge(consumer, list.clone(), Offset::Beginning, TIMEOUT)?;
    let highs = context::edge(consumer, list, Offset::End, TIMEOUT)?;
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
        advice = "what these offsets held is gone from Kafka and was not delivered: raise the topic's retention.ms above the longest outage, and publish it again from its source",
        "Kafka dropped records before they were read"
    );
}

fn report_stuck(partition: &Partition, stuck: &Stuck, group: &str) {
    let (topic, number, offset) = (partition.topic(), partition.number(), stuck.offset);
    let skip = format!(
        "kafka-consumer-groups.sh --bootstrap-server ... --group {group} --topic {topic}:{number} --reset-offsets \
         --to-offset {} --execute",
        offset + 1
    );
    tracing::error!(
        %topic,
        partition = number,
        offset,
        reason = stuck.reason,
        advice = "raise receive.message.max.bytes under kafka.properties; or stop the bridge and skip the offset with the \
                  command in `skip` (docs/kafka.md, \"A stuck partition\")",
        skip,
        "partition is stuck: nothing behind this offset is read"
    );
}
