//! Reads what topics had between a time and the beginning of the read.
//!
//! Owns a consumer that joins no group: it assigns its partitions itself and commits nothing. Its invariant: every record
//! that stood below a partition's end when the scan was opened, and that Kafka still has, is visited once, in the order of its
//! partition. Nothing is kept: a record is borrowed by the visitor and forgotten.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError as RdError, RDKafkaErrorCode},
    message::BorrowedMessage,
    types::RDKafkaRespErr,
};

use super::{
    client,
    record::{Headers, size},
    report::Reporter,
    settings::KafkaSettings,
};
use crate::{connection, event::RecordSize};

/// How long a request of the beginning may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// A scan that gets nothing for this long fails.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a partition that says it has no more may be silent before its end.
const AFTER_END: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// Why topics cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScanError {
    /// No consumer can be made of the settings.
    #[error("no consumer can be made of the settings: {0}")]
    Client(String),
    /// The cluster has no such topic.
    #[error("there is no topic {0}: name it with --topic, or another cluster with --brokers")]
    NoTopic(String),
    /// The brokers do not answer, or refuse.
    #[error("topic {topic} cannot be read: {reason}: check --brokers, and that this user may read the topic")]
    Failed {
        /// The topic.
        topic: String,
        /// What the client says.
        reason: String,
    },
}

/// One record.
pub(crate) struct Scanned<'a> {
    /// The topic.
    pub(crate) topic: &'a str,
    /// Its partition.
    pub(crate) partition: i32,
    /// Its offset in the partition.
    pub(crate) offset: i64,
    /// Its key.
    pub(crate) key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    /// Its headers.
    pub(crate) headers: Headers<'a>,
    /// When it was published or appended; milliseconds since 1970.
    pub(crate) timestamp_ms: Option<i64>,
}

impl Scanned<'_> {
    /// How large its parts are.
    pub(crate) fn size(&self) -> RecordSize {
        size(self.key, self.value, self.headers)
    }
}

/// Reports errors, and not that a partition has been read to its end.
struct ScanContext(Arc<Reporter>);

impl ClientContext for ScanContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.log_line(level, facility, text);
    }

    fn error(&self, error: RdError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        if code != RDKafkaErrorCode::PartitionEOF {
            self.0.report(code, reason);
        }
    }
}

impl ConsumerContext for ScanContext {}

/// How far a scan has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ScanProgress {
    /// Offsets that are read, or turned out to hold no record.
    pub(crate) done: u64,
    /// Offsets between the beginning and the end.
    pub(crate) all: u64,
    /// Offsets below the end of which nothing came: the partition has become shorter, most likely.
    pub(crate) withheld: u64,
}

/// See the module.
pub(crate) struct TopicScan {
    consumer: BaseConsumer<ScanContext>,
    reporter: Arc<Reporter>,
    topics: Vec<(String, BTreeMap<i32, Span>)>,
    progress: ScanProgress,
}

/// What is to be read of a partition.
struct Span {
    next: i64,
    end: i64,
    /// When the partition said that it has no more.
    ended: Option<Instant>,
}

impl TopicScan {
    /// Asks where the topics of the settings begin and end. Records of before `since_ms`, milliseconds since 1970, are left
    /// out.
    pub(crate) fn open(settings: &KafkaSettings, since_ms: i64) -> Result<Self, ScanError> {
        let reporter = Arc::new(Reporter::new("reader of the topic"));
        let consumer =
            BaseConsumer::from_config_and_context(&client::scanner(settings), ScanContext(Arc::clone(&reporter)))
                .map_err(|error| ScanError::Client(connection::reason(&error)))?;
        let mut scan = Self { consumer, reporter, topics: Vec::new(), progress: ScanProgress::default() };
        for topic in &settings.topics {
            let spans = scan.spans(topic, since_ms)?;
            let all: i64 = spans.values().map(|span| span.end - span.next).sum();
            scan.progress.all += all.unsigned_abs();
            scan.topics.push((topic.clone(), spans));
        }
        Ok(scan)
    }

    /// How far it has come.
    pub(crate) fn progress(&self) -> ScanProgress {
        self.progress
    }

    /// Visits the records, one topic after the other; `None` is a moment without one. Ends early when the visitor breaks.
    pub(crate) fn read(
        &mut self,
        visit: &mut dyn FnMut(ScanProgress, Option<Scanned<'_>>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ScanError> {
        for (topic, spans) in std::mem::take(&mut self.topics) {
            let spans = spans.into_iter().filter(|(_, span)| span.next < span.end).collect();
            if self.read_topic(&topic, spans, visit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn failed(&self, topic: &str, error: &RdError) -> ScanError {
        // What the client has logged says more than a time-out.
        let reason = self.reporter.last_error().unwrap_or_else(|| connection::reason(error));
        ScanError::Failed { topic: topic.to_owned(), reason }
    }

    fn spans(&self, topic: &str, since_ms: i64) -> Result<BTreeMap<i32, Span>, ScanError> {
        let failed = |error: &RdError| self.failed(topic, error);
        let metadata = self.consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(|error| failed(&error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions: Vec<i32> = match found.map(|found| (found.error(), found.partitions())) {
            Some((None, partitions)) if !partitions.is_empty() => {
                partitions.iter().map(rdkafka::metadata::MetadataPartition::id).collect()
            }
            Some((Some(error), _)) if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => {
                return Err(failed(&RdError::MetadataFetch(error.into())));
            }
            _ => return Err(ScanError::NoTopic(topic.to_owned())),
        };
        let first = self.first_offsets(topic, &partitions, since_ms).map_err(|error| failed(&error))?;
        let mut spans = BTreeMap::new();
        for partition in partitions {
            let watermarks = self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT);
            let (low, end) = watermarks.map_err(|error| failed(&error))?;
            let next = match first.get(&partition) {
                Some(Offset::Offset(offset)) => (*offset).clamp(low, end),
                Some(Offset::Beginning) => low,
                // No record is as new.
                _ => end,
            };
            spans.insert(partition, Span { next, end, ended: None });
        }
        Ok(spans)
    }

    /// The first offset of each partition with a record that is not older.
    fn first_offsets(&self, topic: &str, partitions: &[i32], since_ms: i64) -> Result<BTreeMap<i32, Offset>, RdError> {
        if since_ms <= 0 {
            return Ok(partitions.iter().map(|partition| (*partition, Offset::Beginning)).collect());
        }
        let mut times = TopicPartitionList::new();
        for partition in partitions {
            times.add_partition_offset(topic, *partition, Offset::Offset(since_ms))?;
        }
        let found = self.consumer.offsets_for_times(times, REQUEST_TIMEOUT)?;
        found
            .elements()
            .iter()
            .map(|element| element.error().map(|()| (element.partition(), element.offset())))
            .collect()
    }

    fn read_topic(
        &mut self,
        topic: &str,
        mut spans: BTreeMap<i32, Span>,
        visit: &mut dyn FnMut(ScanProgress, Option<Scanned<'_>>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ScanError> {
        self.assign(topic, &spans).map_err(|error| self.failed(topic, &error))?;
        let mut heard = Instant::now();
        while !spans.is_empty() {
            let polled = self.consumer.poll(POLL);
            let is_idle = polled.is_none();
            match polled {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let partition = message.partition();
                    let Some(span) = spans.get_mut(&partition).filter(|_| message.topic() == topic) else { continue };
                    let (offset, is_asked) = (message.offset(), message.offset() < span.end);
                    if offset < span.next {
                        continue;
                    }
                    let next = (offset + 1).min(span.end);
                    self.progress.done += (next - span.next).unsigned_abs();
                    (span.next, span.ended) = (next, None);
                    let visited = if is_asked {
                        visit(self.progress, Some(scanned(&message)))
                    } else {
                        ControlFlow::Continue(())
                    };
                    if span.next == span.end {
                        spans.remove(&partition);
                        self.pause(topic, partition);
                    }
                    if visited.is_break() {
                        return Ok(visited);
                    }
                }
                Some(Err(RdError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    if let Some(span) = spans.get_mut(&partition) {
                        span.ended = Some(heard);
                    }
                    self.skip_to_position(topic, partition, &mut spans);
                }
                // Other errors are logged by the client, which goes on by itself.
                Some(Err(_)) | None => {}
            }
            if is_idle {
                if visit(self.progress, None).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                self.give_up_withheld(topic, &mut spans);
                if heard.elapsed() > SILENCE {
                    let error = RdError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
                    return Err(self.failed(topic, &error));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn assign(&self, topic: &str, spans: &BTreeMap<i32, Span>) -> Result<(), RdError> {
        let mut list = TopicPartitionList::new();
        for (partition, span) in spans {
            list.add_partition_offset(topic, *partition, Offset::Offset(span.next))?;
        }
        self.consumer.assign(&list)
    }

    /// Nothing more is fetched of a partition that is read.
    fn pause(&self, topic: &str, partition: i32) {
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        if self.consumer.pause(&list).is_err() {
            tracing::debug!(topic, partition, "a partition that is read cannot be paused");
        }
    }

    /// Marks of transactions and the like stand before the end, and no record.
    fn skip_to_position(&mut self, topic: &str, partition: i32, spans: &mut BTreeMap<i32, Span>) {
        let Some(span) = spans.get_mut(&partition) else { return };
        let Ok(positions) = self.consumer.position() else { return };
        let found = positions.find_partition(topic, partition).map(|entry| entry.offset());
        let Some(Offset::Offset(at)) = found else { return };
        let next = at.clamp(span.next, span.end);
        self.progress.done += (next - span.next).unsigned_abs();
        span.next = next;
        if next == span.end {
            spans.remove(&partition);
            self.pause(topic, partition);
        }
    }

    /// Gives up partitions that have said that they have no more, and stay silent before their end.
    fn give_up_withheld(&mut self, topic: &str, spans: &mut BTreeMap<i32, Span>) {
        let is_over = |span: &Span| span.ended.is_some_and(|ended| ended.elapsed() > AFTER_END);
        let over: Vec<i32> = spans.iter().filter(|(_, span)| is_over(span)).map(|(number, _)| *number).collect();
        for partition in over {
            let Some(span) = spans.remove(&partition) else { continue };
            self.progress.withheld += (span.end - span.next).unsigned_abs();
            self.pause(topic, partition);
        }
    }
}

fn scanned<'a>(message: &'a BorrowedMessage<'_>) -> Scanned<'a> {
    Scanned {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key(),
        value: message.payload(),
        headers: Headers::new(message.headers()),
        timestamp_ms: message.timestamp().to_millis(),
    }
}
