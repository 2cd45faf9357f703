//! Reads the anchors again, to find out whether each log is still the one that was read.
//!
//! Owns a second client, which is a member of no group and reads one record of each partition, so that the consumer's
//! own position does not change. [`anchor`](super::super::anchor) says why.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message as _, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError as RdError, KafkaResult},
};

use super::super::{
    anchor::Anchor,
    client,
    partition::{Found, Lost, Partition, Verdict},
    settings::KafkaSettings,
};

/// How long the records of one topic may take.
const TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct LogChecker {
    config: ClientConfig,
    reader: Option<BaseConsumer<Silent>>,
}

/// One comparison that waits for the record at its anchor's offset.
struct Comparison {
    partition: Arc<Partition>,
    anchor: Anchor,
    next: Option<Anchor>,
}

/// A partition whose log is another one, and the records of the old one that are known to be lost.
pub(super) struct Replaced {
    pub(super) partition: Arc<Partition>,
    pub(super) lost: Option<Lost>,
}

impl LogChecker {
    pub(super) fn new(settings: &KafkaSettings) -> Self {
        Self { config: client::reader(settings), reader: None }
    }

    /// Compares the anchor of each partition with the record at its offset. The next call repeats what was not answered
    /// in time.
    pub(super) fn check(&mut self, partitions: &[Arc<Partition>], closing: impl Fn() -> bool) -> Vec<Replaced> {
        let mut replaced = Vec::new();
        let mut end = |comparison: &Comparison, found: Found| {
            if let Verdict::Another { lost } = comparison.partition.end_check(comparison.anchor, comparison.next, found)
            {
                replaced.push(Replaced { partition: Arc::clone(&comparison.partition), lost });
            }
        };
        let mut unknown: HashMap<Arc<str>, Vec<Comparison>> = HashMap::new();
        for partition in partitions {
            let next = partition.next_anchor();
            let Some((anchor, known)) = partition.begin_check() else { continue };
            let comparison = Comparison { partition: Arc::clone(partition), anchor, next };
            match known {
                Some(found) => end(&comparison, found),
                None => unknown.entry(Arc::clone(partition.topic())).or_default().push(comparison),
            }
        }
        for (topic, comparisons) in unknown {
            match self.read(&topic, &comparisons, &closing) {
                Ok(found) => {
                    for (comparison, found) in
                        comparisons.iter().filter_map(|a| Some((a, *found.get(&a.partition.number())?)))
                    {
                        end(comparison, found);
                    }
                }
                Err(error) => tracing::debug!(%error, %topic, "could not check whether the topic was created again"),
            }
        }
        replaced
    }

    /// The records at the anchors' offsets of one topic. (librdkafka reports the end of a partition without its topic.)
    fn read(
        &mut self,
        topic: &str,
        comparisons: &[Comparison],
        closing: &impl Fn() -> bool,
    ) -> KafkaResult<HashMap<i32, Found>> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.config.create_with_context(Silent)?,
        };
        let mut list = TopicPartitionList::with_capacity(comparisons.len());
        for comparison in comparisons {
            list.add_partition_offset(topic, comparison.partition.number(), Offset::Offset(comparison.anchor.offset))?;
        }
        reader.assign(&list)?;
        let offsets: HashMap<i32, i64> = comparisons.iter().map(|a| (a.partition.number(), a.anchor.offset)).collect();
        let mut found = HashMap::new();
        let deadline = Instant::now() + TIMEOUT;
        while found.len() < comparisons.len() && Instant::now() < deadline && !closing() {
            match reader.poll(POLL) {
                Some(Ok(message)) => {
                    let number = message.partition();
                    if !offsets.contains_key(&number) || message.topic() != topic {
                        continue;
                    }
                    let at_offset = if offsets.get(&number) == Some(&message.offset()) {
                        let timestamp = message.timestamp().to_millis();
                        Found::Record(Anchor::of(message.offset(), timestamp, message.key(), message.payload()))
                    } else {
                        Found::Gone
                    };
                    found.entry(number).or_insert(at_offset);
                }
                Some(Err(RdError::PartitionEOF(number))) => {
                    found.entry(number).or_insert(Found::Gone);
                }
                Some(Err(error)) => tracing::debug!(%error, topic, "could not read the record that identifies the log"),
                None => {}
            }
        }
        reader.unassign()?;
        self.reader = Some(reader);
        Ok(found)
    }
}

/// The consumer reports what is wrong with Kafka; this client does not repeat it.
struct Silent;

impl ClientContext for Silent {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(target: "librdkafka", role = "log check", facility, text, "librdkafka");
    }

    fn error(&self, error: RdError, reason: &str) {
        tracing::debug!(target: "librdkafka", role = "log check", %error, reason, "librdkafka");
    }
}

impl ConsumerContext for Silent {}
