//! Reads parts of the parked topics.
//!
//! Owns one thread with one consumer that joins no group, and serves one read at a time. A read begins at an offset, or
//! where the group has committed, and ends where it was told to, where its visitor stops it, or at the end of the
//! partition. Nothing is kept: a record is borrowed by the visitor and forgotten.

use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    thread,
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
use tokio::sync::oneshot;

use super::super::{
    client,
    error::KafkaError,
    record::Headers,
    report::{Reporter, ReportingContext},
    settings::KafkaSettings,
};
use crate::connection;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A read that gets nothing for this long fails.
const SILENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
/// Without a read for this long, nothing is fetched any more.
const IDLE: Duration = Duration::from_secs(2);
/// Reads that wait for the thread.
const MAX_WAITING: usize = 1_024;

type Consumer = BaseConsumer<ReportingContext>;

/// Where a read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadFrom {
    Offset(i64),
    /// Where the group has committed; at the first record without a commit.
    Committed,
}

/// What a visitor says after a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visit {
    Continue,
    Stop,
}

/// One record of the parked topic.
pub(crate) struct Visited<'a> {
    pub(crate) offset: i64,
    /// Where the source partition is committed, in a read that begins where the group has committed.
    pub(crate) source_committed: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
}

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadEnd {
    /// The offset to continue at.
    pub(crate) next: i64,
    /// The end of the partition; 0 when it does not exist.
    pub(crate) end: i64,
    /// Whether the partition exists.
    pub(crate) exists: bool,
    /// See [`Visited::source_committed`].
    pub(crate) source_committed: Option<i64>,
    /// Records that Kafka no longer has, although the read was to begin with them.
    pub(crate) missing: u64,
}

/// A read that failed; it may be made again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("partition {partition} of {topic} cannot be read: {reason}")]
pub(crate) struct ReadError {
    topic: String,
    partition: i32,
    reason: String,
    /// Our user may not read or describe the topic.
    pub(crate) is_refused: bool,
}

impl ReadError {
    pub(super) fn new(topic: &str, partition: i32, reason: &str) -> Self {
        Self { topic: topic.to_owned(), partition, reason: reason.to_owned(), is_refused: false }
    }
}

/// Called with each record; on the reader's thread.
pub(crate) type Visitor = Box<dyn FnMut(Visited<'_>) -> Visit + Send>;

struct Request {
    source: String,
    topic: String,
    partition: i32,
    from: ReadFrom,
    /// Exclusive; the end of the partition when absent.
    until: Option<i64>,
    visitor: Visitor,
    done: oneshot::Sender<Result<ReadEnd, ReadError>>,
}

/// See the module.
pub(super) struct ParkedReader(mpsc::SyncSender<Request>);

impl ParkedReader {
    pub(super) fn start(settings: &KafkaSettings, reporter: &Arc<Reporter>) -> Result<Self, KafkaError> {
        let consumer: Consumer = BaseConsumer::from_config_and_context(
            &client::parked_reader(settings),
            ReportingContext(Arc::clone(reporter)),
        )
        .map_err(|error| KafkaError::Client {
            role: "reader of parked deliveries",
            reason: connection::reason(&error),
        })?;
        let (requests, waiting) = mpsc::sync_channel(MAX_WAITING);
        let reading = Reading { consumer, partitions: HashMap::new(), at: None };
        thread::Builder::new()
            .name("parked-reader".into())
            .spawn(move || reading.serve(&waiting))
            .map_err(|error| KafkaError::Thread { reason: error.to_string() })?;
        Ok(Self(requests))
    }

    pub(super) async fn read(
        &self,
        (source, topic): (&str, &str),
        partition: i32,
        from: ReadFrom,
        until: Option<i64>,
        visitor: Visitor,
    ) -> Result<ReadEnd, ReadError> {
        let failed = |reason: &str| ReadError::new(topic, partition, reason);
        let (done, ended) = oneshot::channel();
        let request =
            Request { source: source.to_owned(), topic: topic.to_owned(), partition, from, until, visitor, done };
        self.0.try_send(request).map_err(|_| failed("too many reads wait"))?;
        ended.await.unwrap_or_else(|_| Err(failed("the thread that reads it ended")))
    }
}

/// The thread's own.
struct Reading {
    consumer: Consumer,
    /// How many partitions a topic has, by its name.
    partitions: HashMap<String, i32>,
    /// The topic and partition that are assigned, and the next offset that a poll returns.
    at: Option<(String, i32, i64)>,
}

impl Reading {
    fn serve(mut self, waiting: &mpsc::Receiver<Request>) {
        loop {
            match waiting.recv_timeout(IDLE) {
                Ok(request) => self.answer(request),
                Err(mpsc::RecvTimeoutError::Timeout) => self.stop_fetching(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn answer(&mut self, request: Request) {
        let Request { source, topic, partition, from, until, mut visitor, done } = request;
        if done.is_closed() {
            return;
        }
        let result = self.committed_source(&source, partition, from).and_then(|source_committed| {
            // A scan of a partition that was given up must not hold up the others.
            let mut visit = |message: &BorrowedMessage<'_>| {
                if done.is_closed() { Visit::Stop } else { visitor(visited(message, source_committed)) }
            };
            let read = self.read((&topic, partition), from, until, &mut visit)?;
            Ok(ReadEnd { source_committed, ..read })
        });
        let result = result.map_err(|error| {
            self.stop_fetching();
            self.partitions.remove(&topic);
            let is_refused = error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed);
            ReadError { is_refused, ..ReadError::new(&topic, partition, &connection::reason(&error)) }
        });
        // Nobody waits any more when the partition was given up.
        let _ = done.send(result);
    }

    fn stop_fetching(&mut self) {
        if self.at.take().is_some() && self.consumer.unassign().is_err() {
            tracing::debug!("the reader of parked deliveries cannot be paused");
        }
    }

    fn read(
        &mut self,
        (topic, partition): (&str, i32),
        from: ReadFrom,
        until: Option<i64>,
        visitor: &mut dyn FnMut(&BorrowedMessage<'_>) -> Visit,
    ) -> Result<ReadEnd, RdError> {
        if let (ReadFrom::Offset(start), Some(until)) = (from, until)
            && self.is_assigned(topic, partition, start)
        {
            // A question about the end would wait behind the broker's long poll.
            let (next, is_end) = self.visit((topic, partition), start, until, visitor)?;
            let end = if is_end { next } else { until };
            let missing = missing(from, Some(until), (start, end));
            return Ok(ReadEnd { next, end, exists: true, source_committed: None, missing });
        }
        let wanted_end = until;
        if !self.exists(topic, partition)? {
            return Ok(ReadEnd { next: 0, end: 0, exists: false, source_committed: None, missing: 0 });
        }
        let (low, end) = self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
        let wanted = match from {
            ReadFrom::Offset(offset) => Some(offset),
            ReadFrom::Committed => self.committed(topic, partition)?,
        };
        // An offset behind the end was of another topic with this name.
        let start = wanted.filter(|offset| (low..=end).contains(offset)).unwrap_or(low);
        let until = until.map_or(end, |until| until.min(end));
        let (next, is_end) = self.visit((topic, partition), start, until, visitor)?;
        let missing = missing(wanted.map_or(from, ReadFrom::Offset), wanted_end, (low, end));
        Ok(ReadEnd { next, end: if is_end { next } else { end }, exists: true, source_committed: None, missing })
    }

    fn is_assigned(&self, topic: &str, partition: i32, next: i64) -> bool {
        self.at.as_ref().is_some_and(|(at, number, offset)| (&**at, *number, *offset) == (topic, partition, next))
    }

    /// Whether the topic has this partition. A broker that creates topics on request must not create this one. Only an
    /// answer that says so counts: a topic that may not be described is not empty.
    fn exists(&mut self, topic: &str, partition: i32) -> Result<bool, RdError> {
        if self.partitions.get(topic).is_none_or(|known| *known <= partition) {
            let metadata = self.consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let known = match found.map(|found| (found.error(), found.partitions().len())) {
                Some((None, partitions)) => i32::try_from(partitions).unwrap_or(i32::MAX),
                None | Some((Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART), _)) => 0,
                Some((Some(error), _)) => return Err(RdError::MetadataFetch(error.into())),
            };
            self.partitions.insert(topic.to_owned(), known);
        }
        Ok(self.partitions.get(topic).is_some_and(|known| partition < *known))
    }

    fn committed_source(&self, source: &str, partition: i32, from: ReadFrom) -> Result<Option<i64>, RdError> {
        if from == ReadFrom::Committed { self.committed(source, partition) } else { Ok(None) }
    }

    fn committed(&self, topic: &str, partition: i32) -> Result<Option<i64>, RdError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let committed = self.consumer.committed_offsets(list, REQUEST_TIMEOUT)?;
        Ok(match committed.find_partition(topic, partition).map(|entry| entry.offset()) {
            Some(Offset::Offset(offset)) => Some(offset),
            _ => None,
        })
    }

    /// Visits the records from `start` to `until`, which existed; returns the offset to continue at, and whether the
    /// partition ends there by now.
    fn visit(
        &mut self,
        (topic, partition): (&str, i32),
        start: i64,
        until: i64,
        visitor: &mut dyn FnMut(&BorrowedMessage<'_>) -> Visit,
    ) -> Result<(i64, bool), RdError> {
        if start >= until {
            return Ok((start, false));
        }
        if !self.is_assigned(topic, partition, start) {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, partition, Offset::Offset(start))?;
            self.consumer.assign(&list)?;
        }
        let (mut next, mut is_end) = (start, false);
        let mut heard = Instant::now();
        while next < until {
            let Some(polled) = self.consumer.poll(POLL) else {
                if heard.elapsed() > SILENCE {
                    return Err(RdError::MessageConsumption(Code::OperationTimedOut));
                }
                continue;
            };
            match polled {
                Ok(message)
                    if (message.topic(), message.partition()) != (topic, partition) || message.offset() < next => {}
                // After a gap: it is not to be visited yet, and has left the consumer's queue.
                Ok(message) if message.offset() >= until => {
                    self.stop_fetching();
                    return Ok((until, false));
                }
                Ok(message) => {
                    heard = Instant::now();
                    next = message.offset() + 1;
                    if visitor(&message) == Visit::Stop {
                        break;
                    }
                }
                // From before the last records were appended, unless the partition has become shorter.
                Err(RdError::PartitionEOF(_)) => {
                    let (_, end) = self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
                    if end < until {
                        (next, is_end) = (next.max(end), true);
                        break;
                    }
                    // Marks of transactions and the like stand there, and no record.
                    if self.is_at(topic, partition, until) {
                        next = until;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.at = Some((topic.to_owned(), partition, next));
        Ok((next, is_end))
    }

    /// librdkafka's own position, past what it did not return.
    fn is_at(&self, topic: &str, partition: i32, offset: i64) -> bool {
        let Ok(positions) = self.consumer.position() else { return false };
        let found = positions.find_partition(topic, partition).map(|entry| entry.offset());
        matches!(found, Some(Offset::Offset(at)) if at >= offset)
    }
}

/// How much of the part that was asked for is not in the log, which begins and ends at these offsets.
fn missing(from: ReadFrom, until: Option<i64>, (low, end): (i64, i64)) -> u64 {
    let ReadFrom::Offset(from) = from else { return 0 };
    // Without an end, an offset behind that of the log was of another topic, of which nothing was known to be left.
    let until = until.unwrap_or(end);
    let present = until.min(end).saturating_sub(from.max(low)).max(0);
    until.saturating_sub(from).saturating_sub(present).max(0).unsigned_abs()
}

fn visited<'a>(message: &'a BorrowedMessage<'_>, source_committed: Option<i64>) -> Visited<'a> {
    Visited {
        offset: message.offset(),
        source_committed,
        key: message.key(),
        value: message.payload(),
        headers: Headers::new(message.headers()),
    }
}
