//! Whether the log of a partition is still the one that was read: reads the anchors again.
//!
//! Owns a second client, which is a member of no group and reads one record of each partition, so that the
//! consumer's own position is left alone. See [`anchor`](super::super::anchor) for why.

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
    KafkaSettings,
    anchor::Anchor,
    client,
    partitions::{Found, Lost, Partition, Verdict},
};

/// How long the records of one topic may take.
const TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);

/// Reads anchors again.
pub(super) struct Identifier {
    config: ClientConfig,
    reader: Option<BaseConsumer<Silent>>,
}

/// A partition whose anchor is looked for.
struct Asked {
    partition: Arc<Partition>,
    anchor: Anchor,
    next: Option<Anchor>,
}

/// A partition whose log is another one, with what of the old one is known to be lost.
pub(super) struct Replaced {
    pub(super) partition: Arc<Partition>,
    pub(super) lost: Option<Lost>,
}

impl Identifier {
    pub(super) fn new(settings: &KafkaSettings) -> Self {
        Self { config: client::reader(settings), reader: None }
    }

    /// Compares the anchor of each partition with what stands in its place. What gives no answer in time is
    /// asked again by the next call.
    pub(super) fn check(&mut self, partitions: &[Arc<Partition>], closing: impl Fn() -> bool) -> Vec<Replaced> {
        let mut replaced = Vec::new();
        let mut end = |asked: &Asked, found: Found| {
            if let Verdict::Another { lost } = asked.partition.end_check(asked.anchor, asked.next, found) {
                replaced.push(Replaced { partition: Arc::clone(&asked.partition), lost });
            }
        };
        let mut unknown: HashMap<Arc<str>, Vec<Asked>> = HashMap::new();
        for partition in partitions {
            let next = partition.next_anchor();
            let Some((anchor, known)) = partition.begin_check() else { continue };
            let asked = Asked { partition: Arc::clone(partition), anchor, next };
            match known {
                Some(found) => end(&asked, found),
                None => unknown.entry(Arc::clone(partition.topic())).or_default().push(asked),
            }
        }
        for (topic, asked) in unknown {
            match self.read(&topic, &asked, &closing) {
                Ok(found) => {
                    for (asked, found) in asked.iter().filter_map(|a| Some((a, *found.get(&a.partition.number())?))) {
                        end(asked, found);
                    }
                }
                Err(error) => tracing::debug!(%error, %topic, "could not check whether the topic was created again"),
            }
        }
        replaced
    }

    /// What stands at the anchors' offsets of one topic. (An end of a partition is told without its topic.)
    fn read(&mut self, topic: &str, asked: &[Asked], closing: &impl Fn() -> bool) -> KafkaResult<HashMap<i32, Found>> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.config.create_with_context(Silent)?,
        };
        let mut list = TopicPartitionList::with_capacity(asked.len());
        for asked in asked {
            list.add_partition_offset(topic, asked.partition.number(), Offset::Offset(asked.anchor.offset))?;
        }
        reader.assign(&list)?;
        let offsets: HashMap<i32, i64> = asked.iter().map(|a| (a.partition.number(), a.anchor.offset)).collect();
        let mut found = HashMap::new();
        let deadline = Instant::now() + TIMEOUT;
        while found.len() < asked.len() && Instant::now() < deadline && !closing() {
            match reader.poll(POLL) {
                Some(Ok(message)) => {
                    let number = message.partition();
                    if !offsets.contains_key(&number) || message.topic() != topic {
                        continue;
                    }
                    let stands = if offsets.get(&number) == Some(&message.offset()) {
                        let timestamp = message.timestamp().to_millis();
                        Found::Record(Anchor::of(message.offset(), timestamp, message.key(), message.payload()))
                    } else {
                        Found::Gone
                    };
                    found.entry(number).or_insert(stands);
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

/// The consumer itself tells what is wrong with Kafka; this client need not tell it again.
struct Silent;

impl ClientContext for Silent {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(target: "librdkafka", role = "identity", facility, text, "librdkafka");
    }

    fn error(&self, error: RdError, reason: &str) {
        tracing::debug!(target: "librdkafka", role = "identity", %error, reason, "librdkafka");
    }
}

impl ConsumerContext for Silent {}
