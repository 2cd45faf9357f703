//! A pass over a dead-letter topic, by partition and offset: a member of no group, which commits nothing.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    message::BorrowedMessage,
    types::RDKafkaRespErr,
};

use super::super::{
    client,
    error::KafkaError,
    record::Headers,
    report::{Reporter, ReportingContext},
    settings::KafkaSettings,
    validate::validated,
};
use crate::connection::{self, advice};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// A pass that gets nothing for this long fails.
const SILENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// The topic cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("dead-letter topic {topic} cannot be read: {reason}: {advice}")]
pub(crate) struct LetterError {
    topic: String,
    reason: String,
    advice: &'static str,
}

/// The part of a partition that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionRange {
    pub(crate) partition: i32,
    /// Its first offset.
    pub(crate) from: i64,
    /// Letters from here on were not asked for.
    pub(crate) until: i64,
    /// The end of the partition when it was asked; marks are read as far as that.
    pub(crate) end: i64,
}

/// A record of the topic; its bytes are librdkafka's.
pub(crate) struct StoredLetter<'a> {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// When it was written, ms since 1970.
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
}

/// See the module.
pub(crate) struct LetterReader {
    topic: String,
    consumer: BaseConsumer<ReportingContext>,
}

impl LetterReader {
    /// Makes the client of one dead-letter topic; it connects when it is asked something.
    ///
    /// # Errors
    /// The settings make no client.
    pub(crate) fn connect(settings: &KafkaSettings, topic: &str) -> Result<Self, KafkaError> {
        validated(settings)?;
        let reporter = Arc::new(Reporter::new("dead letters"));
        let consumer =
            BaseConsumer::from_config_and_context(&client::letter_reader(settings), ReportingContext(reporter))
                .map_err(|error| KafkaError::Client {
                    role: "reader of dead letters",
                    reason: connection::reason(&error),
                })?;
        Ok(Self { topic: topic.to_owned(), consumer })
    }

    /// The partitions, with the letters that were written from `since` to `until` (ms since 1970). Empty when the topic does
    /// not exist.
    ///
    /// # Errors
    /// No broker answers, or our user may not read the topic.
    pub(crate) fn ranges(&self, since: Option<i64>, until: Option<i64>) -> Result<Vec<PartitionRange>, LetterError> {
        let mut ranges = Vec::new();
        for partition in 0..self.partitions()? {
            let marks = self.consumer.fetch_watermarks(&self.topic, partition, REQUEST_TIMEOUT);
            let (from, end) = marks.map_err(|error| self.failed(&error))?;
            ranges.push(PartitionRange { partition, from, until: end, end });
        }
        if let Some(since) = since {
            let offsets = self.offsets_at(&ranges, since)?;
            for range in &mut ranges {
                range.from = offsets.get(&range.partition).copied().unwrap_or(range.end).max(range.from);
            }
        }
        if let Some(until) = until {
            let offsets = self.offsets_at(&ranges, until)?;
            for range in &mut ranges {
                range.until = offsets.get(&range.partition).copied().unwrap_or(range.end).max(range.from);
            }
        }
        Ok(ranges)
    }

    fn partitions(&self) -> Result<i32, LetterError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), REQUEST_TIMEOUT);
        let metadata = metadata.map_err(|error| self.failed(&error))?;
        let found = metadata.topics().iter().find(|found| found.name() == self.topic);
        match found.map(|found| (found.error(), found.partitions().len())) {
            Some((None, partitions)) => Ok(i32::try_from(partitions).unwrap_or(i32::MAX)),
            None | Some((Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART), _)) => Ok(0),
            Some((Some(error), _)) => Err(self.failed(&RdError::MetadataFetch(error.into()))),
        }
    }

    /// The first offset of each partition whose record was written at this time or later; none where there is no such one.
    fn offsets_at(&self, ranges: &[PartitionRange], ms: i64) -> Result<BTreeMap<i32, i64>, LetterError> {
        let mut times = TopicPartitionList::new();
        for range in ranges {
            let added = times.add_partition_offset(&self.topic, range.partition, Offset::Offset(ms.max(0)));
            added.map_err(|error| self.failed(&error))?;
        }
        if ranges.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found = self.consumer.offsets_for_times(times, REQUEST_TIMEOUT).map_err(|error| self.failed(&error))?;
        let known = |entry: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match entry.offset() {
            Offset::Offset(offset) => Some((entry.partition(), offset)),
            _ => None,
        };
        Ok(found.elements().iter().filter_map(known).collect())
    }

    /// Visits every record of these ranges, of each partition in order, as far as their ends, until `visit` says false.
    ///
    /// # Errors
    /// What is left cannot be read.
    pub(crate) fn read(
        &self,
        ranges: &[PartitionRange],
        visit: &mut dyn FnMut(StoredLetter<'_>) -> bool,
    ) -> Result<(), LetterError> {
        let mut open: BTreeMap<i32, i64> = BTreeMap::new();
        let mut start = TopicPartitionList::new();
        for range in ranges.iter().filter(|range| range.from < range.end) {
            let added = start.add_partition_offset(&self.topic, range.partition, Offset::Offset(range.from));
            added.map_err(|error| self.failed(&error))?;
            open.insert(range.partition, range.end);
        }
        self.consumer.assign(&start).map_err(|error| self.failed(&error))?;
        let mut heard = Instant::now();
        while !open.is_empty() {
            let Some(polled) = self.consumer.poll(POLL) else {
                if heard.elapsed() > SILENCE {
                    let reason = format!("no broker sent anything for {} s", SILENCE.as_secs());
                    return Err(self.problem(reason, "check the brokers and the network, and try again"));
                }
                continue;
            };
            let last = std::mem::replace(&mut heard, Instant::now());
            match polled {
                Ok(message) => {
                    let partition = message.partition();
                    let Some(end) = open.get(&partition).copied() else { continue };
                    if message.offset() < end && !visit(stored(&message)) {
                        break;
                    }
                    // A visit may take long.
                    heard = Instant::now();
                    if message.offset() + 1 >= end {
                        open.remove(&partition);
                    }
                }
                // A fetch may come back before the broker shows the last records.
                Err(RdError::PartitionEOF(partition)) => {
                    if open.get(&partition).is_some_and(|end| self.position(partition) >= Some(*end)) {
                        open.remove(&partition);
                    }
                }
                // The client goes on by itself when the broker is back.
                Err(error) if is_passing(&error) && last.elapsed() < SILENCE => heard = last,
                Err(error) => return Err(self.failed(&error)),
            }
        }
        self.consumer.unassign().map_err(|error| self.failed(&error))
    }

    /// librdkafka's own, past what it did not return.
    fn position(&self, partition: i32) -> Option<i64> {
        let positions = self.consumer.position().ok()?;
        positions.find_partition(&self.topic, partition)?.offset().to_raw()
    }

    fn failed(&self, error: &RdError) -> LetterError {
        let reason = connection::reason(error);
        let advice = error.rdkafka_error_code().map_or("try again", |code| advice(code, &reason).1);
        self.problem(reason, advice)
    }

    fn problem(&self, reason: String, advice: &'static str) -> LetterError {
        LetterError { topic: self.topic.clone(), reason, advice }
    }
}

fn is_passing(error: &RdError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::OperationTimedOut)
    )
}

fn stored<'a>(message: &'a BorrowedMessage<'_>) -> StoredLetter<'a> {
    StoredLetter {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload(),
        headers: Headers::new(message.headers()),
    }
}
