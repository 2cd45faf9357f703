//! Reads what topics had between a time and the beginning of the read.
//!
//! Owns a consumer that joins no group: it assigns its partitions itself and commits nothing. Its invariant: every record
//! that stood below a partition's end when the scan was opened, and that Kafka still has, is visited once, in the order of its
//! partition. Nothing is kept: a record is borrowed by the visitor and forgotten.

mod committed;
mod ranges;
mod reach;

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc, time::Duration};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
    message::BorrowedMessage,
};

use super::{
    client,
    questions::Questions,
    record::{Headers, size},
    report::{Reporter, ReportingContext},
    settings::KafkaSettings,
    validate::validated,
};
use crate::{connection, event::RecordSize};

const POLL: Duration = Duration::from_millis(100);
/// A read fails after so many polls that got nothing, which take a minute. Polls and no clock: time in which the process
/// stood still, or the visitor was busy, is no silence of a broker.
const SILENT_POLLS: u32 = 600;
/// A partition that says it has no more may be silent before its end for so many polls that got nothing.
const POLLS_AFTER_END: u32 = 100;

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
    #[error("topic {topic} cannot be read: {reason}: {advice}")]
    Failed {
        /// The topic.
        topic: String,
        /// What the client says.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// What the group has committed is not known.
    #[error("what the group {group} has committed of topic {topic} is not known: {reason}: {advice}")]
    Group {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// What the client says.
        reason: String,
        /// What to do.
        advice: &'static str,
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

/// The part of a partition that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionRange {
    pub(crate) partition: i32,
    /// Its first offset.
    pub(crate) from: i64,
    /// Records from here on are too new.
    pub(crate) until: i64,
    /// The end of the partition when it was asked. It is read as far as that.
    pub(crate) end: i64,
}

impl ScanProgress {
    /// At the beginning of these ranges.
    pub(crate) fn of(ranges: &[PartitionRange]) -> Self {
        Self { all: ranges.iter().map(|range| (range.end - range.from).unsigned_abs()).sum(), ..Self::default() }
    }
}

/// A consumer that joins no group, for parts of topics.
pub(crate) struct TopicReader {
    consumer: BaseConsumer<ReportingContext>,
    reporter: Arc<Reporter>,
    /// Whose committed offsets are asked for.
    group: String,
}

/// What is to be read of a partition.
struct Span {
    next: i64,
    end: i64,
    /// Polls that got nothing since the partition said that it has no more.
    ended: Option<u32>,
}

/// What is to be read of a topic.
struct Reading<'a> {
    reader: &'a TopicReader,
    topic: &'a str,
    spans: BTreeMap<i32, Span>,
    progress: &'a mut ScanProgress,
}

/// Is shown how far the read has come, and a record or, in a moment without one, nothing. The read ends when it breaks.
pub(crate) type Visitor<'a> = dyn FnMut(ScanProgress, Option<Scanned<'_>>) -> ControlFlow<()> + 'a;

impl TopicReader {
    /// Makes the client; it connects when it is asked something. `role` is its name in the log.
    ///
    /// # Errors
    /// The settings make no client.
    pub(crate) fn connect(settings: &KafkaSettings, role: &'static str) -> Result<Self, ScanError> {
        validated(settings).map_err(|error| ScanError::Client(error.to_string()))?;
        let reporter = Arc::new(Reporter::new(role));
        let context = ReportingContext(Arc::clone(&reporter));
        let consumer = BaseConsumer::from_config_and_context(&client::scanner(settings), context)
            .map_err(|error| ScanError::Client(connection::reason(&error)))?;
        Ok(Self { consumer, reporter, group: settings.group_id.clone() })
    }

    /// Visits the records of these ranges as far as their ends, of each partition in order, and adds to `progress`.
    ///
    /// # Errors
    /// What is left cannot be read.
    pub(crate) fn read(
        &self,
        topic: &str,
        ranges: &[PartitionRange],
        progress: &mut ScanProgress,
        visit: &mut Visitor<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let open = ranges.iter().filter(|range| range.from < range.end);
        let spans = open.map(|range| (range.partition, Span { next: range.from, end: range.end, ended: None }));
        let read = Reading { reader: self, topic, spans: spans.collect(), progress }.run(visit);
        // Another read assigns what it needs.
        let _ = self.consumer.unassign();
        read
    }

    fn questions(&self) -> Questions<'_> {
        Questions { consumer: &self.consumer, reporter: &self.reporter }
    }

    fn failed(&self, topic: &str, error: &RdError) -> ScanError {
        let questions = self.questions();
        questions.serve();
        let (reason, advice) = questions.explain(error);
        ScanError::Failed { topic: topic.to_owned(), reason, advice }
    }
}

/// Whether waiting does not help. The client goes on by itself after any other error.
fn is_final(error: &RdError) -> bool {
    error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed)
}

impl Reading<'_> {
    fn run(mut self, visit: &mut Visitor<'_>) -> Result<ControlFlow<()>, ScanError> {
        self.assign().map_err(|error| self.reader.failed(self.topic, &error))?;
        let mut silent = 0;
        while !self.spans.is_empty() {
            let visited = match self.reader.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    silent = 0;
                    self.message(&message, visit)
                }
                Some(Err(RdError::PartitionEOF(partition))) => {
                    silent = 0;
                    self.partition_ended(partition);
                    ControlFlow::Continue(())
                }
                Some(Err(error)) if is_final(&error) => return Err(self.reader.failed(self.topic, &error)),
                Some(Err(_)) => ControlFlow::Continue(()),
                None => {
                    silent += 1;
                    self.give_up_withheld();
                    visit(*self.progress, None)
                }
            };
            if visited.is_break() {
                return Ok(visited);
            }
            if silent >= SILENT_POLLS {
                let error = RdError::MessageConsumption(Code::OperationTimedOut);
                return Err(self.reader.failed(self.topic, &error));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn assign(&self) -> Result<(), RdError> {
        let mut list = TopicPartitionList::new();
        for (partition, span) in &self.spans {
            list.add_partition_offset(self.topic, *partition, Offset::Offset(span.next))?;
        }
        self.reader.consumer.assign(&list)?;
        // A read before may have paused them.
        self.reader.consumer.resume(&list)
    }

    fn message(&mut self, message: &BorrowedMessage<'_>, visit: &mut Visitor<'_>) -> ControlFlow<()> {
        let (partition, offset) = (message.partition(), message.offset());
        let span = self.spans.get_mut(&partition).filter(|_| message.topic() == self.topic);
        let Some(span) = span.filter(|span| offset >= span.next) else { return ControlFlow::Continue(()) };
        span.ended = None;
        let is_asked = offset < span.end;
        self.read_to(partition, offset + 1);
        if is_asked { visit(*self.progress, Some(scanned(message))) } else { ControlFlow::Continue(()) }
    }

    /// Everything below an offset is read, or was no record. Nothing more is fetched of a partition that is read to its end.
    fn read_to(&mut self, partition: i32, at: i64) {
        let Some(span) = self.spans.get_mut(&partition) else { return };
        let next = at.clamp(span.next, span.end);
        self.progress.done += (next - span.next).unsigned_abs();
        span.next = next;
        if next == span.end {
            self.close(partition);
        }
    }

    /// Marks of transactions and the like stand before the end, and no record: librdkafka's position is behind them. A fetch
    /// may also come back before the broker shows the last records.
    fn partition_ended(&mut self, partition: i32) {
        if let Some(span) = self.spans.get_mut(&partition) {
            span.ended = Some(0);
        }
        let Ok(positions) = self.reader.consumer.position() else { return };
        let found = positions.find_partition(self.topic, partition).map(|entry| entry.offset());
        if let Some(Offset::Offset(at)) = found {
            self.read_to(partition, at);
        }
    }

    /// Gives up partitions that have said that they have no more, and stay silent before their end.
    fn give_up_withheld(&mut self) {
        let mut over = Vec::new();
        for (partition, span) in &mut self.spans {
            let Some(polls) = &mut span.ended else { continue };
            *polls += 1;
            if *polls > POLLS_AFTER_END {
                self.progress.withheld += (span.end - span.next).unsigned_abs();
                over.push(*partition);
            }
        }
        for partition in over {
            self.close(partition);
        }
    }

    fn close(&mut self, partition: i32) {
        self.spans.remove(&partition);
        let mut list = TopicPartitionList::new();
        list.add_partition(self.topic, partition);
        if self.reader.consumer.pause(&list).is_err() {
            tracing::debug!(topic = self.topic, partition, "a partition that is read cannot be paused");
        }
    }
}

/// See the module.
pub(crate) struct TopicScan {
    reader: TopicReader,
    topics: Vec<(String, Vec<PartitionRange>)>,
    progress: ScanProgress,
}

impl TopicScan {
    /// Asks where the topics of the settings begin and end. Records of before `since_ms`, milliseconds since 1970, are left
    /// out.
    pub(crate) fn open(settings: &KafkaSettings, since_ms: i64) -> Result<Self, ScanError> {
        let reader = TopicReader::connect(settings, "reader of the topic")?;
        let (mut topics, mut progress) = (Vec::new(), ScanProgress::default());
        for topic in &settings.topics {
            let ranges = reader.ranges(topic, Some(since_ms), None)?;
            progress.all += ScanProgress::of(&ranges).all;
            topics.push((topic.clone(), ranges));
        }
        Ok(Self { reader, topics, progress })
    }

    /// How far it has come.
    pub(crate) fn progress(&self) -> ScanProgress {
        self.progress
    }

    /// Visits the records, one topic after the other. Ends early when the visitor breaks.
    pub(crate) fn read(&mut self, visit: &mut Visitor<'_>) -> Result<ControlFlow<()>, ScanError> {
        for (topic, ranges) in std::mem::take(&mut self.topics) {
            if self.reader.read(&topic, &ranges, &mut self.progress, visit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
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
