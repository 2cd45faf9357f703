//! The second thread: it asks the broker what blocks, so that the loop does not have to.
//!
//! Every second, while a commit is on its way: what is committed. Every 5 s, and right after an
//! assignment: the high watermark for the lag, the low one for records that Kafka dropped before
//! they were read, and whether a topic without partitions exists at all.

use std::{
    sync::Arc,
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
    super::{KafkaError, partitions::Lost, partitions::Partition},
    context::{self, Context, Shared},
};
use crate::telemetry;

const EVERY: Duration = Duration::from_secs(5);
const READ_BACK_EVERY: Duration = Duration::from_secs(1);
/// A request waits for the broker's long poll of 500 ms to end.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn spawn(
    consumer: &Arc<BaseConsumer<Context>>,
    shared: &Arc<Shared>,
) -> Result<thread::JoinHandle<()>, KafkaError> {
    let (consumer, shared) = (Arc::clone(consumer), Arc::clone(shared));
    thread::Builder::new()
        .name("kafka-watermarks".into())
        .spawn(move || {
            let mut looked: Option<Instant> = None;
            while !shared.is_closing() {
                read_back(&consumer, &shared);
                if looked.is_none_or(|last| last.elapsed() >= EVERY) {
                    look(&consumer, &shared);
                    looked = Some(Instant::now());
                }
                if shared.wait_to_look(READ_BACK_EVERY) {
                    looked = None;
                }
            }
        })
        .map_err(|error| KafkaError::Thread { reason: error.to_string() })
}

fn read_back(consumer: &BaseConsumer<Context>, shared: &Shared) {
    let waiting: Vec<_> = shared.partitions().into_iter().filter(|partition| partition.awaits_commit()).collect();
    if !waiting.is_empty()
        && let Err(error) = context::read_back(consumer, &waiting, TIMEOUT)
    {
        tracing::debug!(%error, "committed offsets not read back");
    }
}

fn look(consumer: &BaseConsumer<Context>, shared: &Shared) {
    let mut answers = true;
    let partitions = shared.partitions();
    let asked_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    match watermarks(consumer, &partitions) {
        Ok(watermarks) => {
            for (partition, low, high) in watermarks {
                partition.looked(low, high, asked_ms);
                if let Some(lost) = partition.look(low, high) {
                    report_lost(partition, lost);
                }
            }
        }
        Err(error) => {
            tracing::debug!(%error, "watermarks not read");
            answers = false;
        }
    }
    for topic in &shared.topics {
        if shared.is_closing() || shared.table(|table| table.has_topic(topic)) {
            continue;
        }
        let found = consumer.fetch_metadata(Some(topic), TIMEOUT);
        answers &= found.is_ok();
        let missing = found.ok().and_then(|found| found.topics().iter().find_map(MetadataTopic::error));
        if let Some(error) = missing {
            answers = false;
            shared.reporter.report(Code::from(error), &format!("topic {topic}"));
        }
    }
    if answers {
        shared.reporter.recovered();
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
        advice = "these events are gone from Kafka and were not delivered: raise the topic's retention.ms above the longest outage, and publish them again from their source",
        "Kafka dropped records before they were read"
    );
}
