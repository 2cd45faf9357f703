//! librdkafka configurations from the settings: the consumer, the reader of single records, the producer.
//!
//! Owns which librdkafka property the bridge sets and why. A property of the user's wins over a
//! default here; those that must not be overridden are refused by the settings' validation.

use std::{thread, time::Duration};

use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, DefaultConsumerContext},
    producer::{BaseProducer, DefaultProducerContext},
};

use super::settings::KafkaSettings;
use crate::connection::{self, reason};

/// The largest record that the bridge can write: what librdkafka can read in one response.
const MAX_RECORD_BYTES: &str = "100000000";
/// What one fetch of the ledger topic may bring.
const LEDGER_FETCH_BYTES: u64 = 16 << 20;

fn base(settings: &KafkaSettings) -> ClientConfig {
    let mut config = connection::client_config(&settings.bootstrap_servers, &settings.client_id, &settings.security);
    // How soon a new topic, or a new partition, is seen. Only the topics in use are requested.
    config.set("topic.metadata.refresh.interval.ms", "10000");
    config
}

/// The consumer's configuration.
pub(super) fn consumer(settings: &KafkaSettings) -> ClientConfig {
    let mut config = base(settings);
    config.set("group.id", &settings.group_id);
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    // Where a *new* group begins is decided at the assignment. This is for an offset that Kafka no longer holds: read
    // everything that is left.
    config.set("auto.offset.reset", "earliest");
    // The default of 1 s would idle whenever the loop is faster than the broker.
    config.set("fetch.queue.backoff.ms", "10");
    // librdkafka's queue takes memory of this process: 8 MiB of records, and at most so many small ones for each
    // partition; an answer of the broker that is being read takes as much.
    config.set("queued.max.messages.kbytes", "8192").set("queued.min.messages", "10000");
    config.set("fetch.max.bytes", "8388608");
    if !settings.uses_next_generation() {
        config.set("partition.assignment.strategy", "cooperative-sticky");
        // After a crash the group waits for the former member this long: librdkafka's 45 s would be an outage.
        config.set("session.timeout.ms", settings.session_timeout().as_millis().to_string());
        config.set("heartbeat.interval.ms", "3000");
    }
    with_properties(config, settings)
}

/// The configuration of a consumer that joins no group, and reads single records of partitions.
pub(super) fn reader(settings: &KafkaSettings) -> ClientConfig {
    let mut config = consumer(settings);
    // It needs the group's name but is no member: it assigns its partitions itself, and commits nothing.
    config.remove("group.instance.id");
    config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
    config.set("queued.min.messages", "1").set("fetch.wait.max.ms", "100");
    // The broker gives at least one batch, whatever its size.
    config.set("fetch.message.max.bytes", "65536");
    config.remove("max.partition.fetch.bytes");
    config
}

/// The configuration of the reader of the ledger topic: a member of no group, which reads much at once.
pub(super) fn ledger_reader(settings: &KafkaSettings) -> ClientConfig {
    let mut config = reader(settings);
    // 32 MiB of records wait for the store at most, and as much again is in the answers of the brokers.
    config.set("queued.min.messages", "100000").set("queued.max.messages.kbytes", "32768");
    config.set("fetch.message.max.bytes", "4194304").set("fetch.max.bytes", LEDGER_FETCH_BYTES.to_string());
    // A limit for the events may be too small for a fetch of the ledger topic.
    let limit = settings.properties.get("receive.message.max.bytes").and_then(|bytes| bytes.parse::<u64>().ok());
    if limit.is_some_and(|limit| limit < LEDGER_FETCH_BYTES + 512) {
        config.remove("receive.message.max.bytes");
    }
    config
}

/// The configuration of the consumer that reads parts of the parked topic. It joins no group either.
pub(super) fn parked_reader(settings: &KafkaSettings) -> ClientConfig {
    let mut config = reader(settings);
    config.set("queued.min.messages", "2000").set("queued.max.messages.kbytes", "4096");
    config.set("fetch.message.max.bytes", "1048576").set("fetch.wait.max.ms", "20");
    config
}

/// The configuration of the consumer that reads whole topics for a command. It joins no group, and reads much at once.
pub(super) fn scanner(settings: &KafkaSettings) -> ClientConfig {
    let mut config = reader(settings);
    // What Kafka has removed meanwhile is skipped.
    config.set("auto.offset.reset", "earliest");
    config.set("queued.min.messages", "100000").set("queued.max.messages.kbytes", "32768");
    config.set("fetch.message.max.bytes", "4194304");
    config
}

/// How long a record may have no answer before its producer is replaced: longer than librdkafka itself waits for one.
pub(super) const PATIENCE: Duration = Duration::from_secs(45);

/// The configuration of a producer that must not lose a record.
pub(super) fn producer(settings: &KafkaSettings) -> ClientConfig {
    let mut config = base(settings);
    config.set("acks", "all").set("enable.idempotence", "true");
    config.set("message.timeout.ms", "30000");
    config.set("message.max.bytes", MAX_RECORD_BYTES);
    // Bounded, and with room for the largest record.
    config.set("queue.buffering.max.kbytes", "131072").set("queue.buffering.max.messages", "10000");
    // The partitioner of the Java clients, so that a key has the same partition for all of them.
    config.set("partitioner", "murmur2_random");
    with_properties(config, settings)
}

/// The configuration of the producer of the ledger topic: it gives up no record by itself.
pub(super) fn ledger_producer(settings: &KafkaSettings) -> ClientConfig {
    let mut config = producer(settings);
    config.set("message.timeout.ms", "0");
    // A topic limits batches: below the smallest limit that is accepted for the ledger topic.
    config.set("batch.size", "1000000");
    // Records of one ledger are much alike.
    if !settings.properties.contains_key("compression.type") && !settings.properties.contains_key("compression.codec") {
        config.set("compression.type", "lz4");
    }
    config
}

/// The configuration of the producer of the one record that finds out whether our user may write. An idempotent producer
/// sends nothing in its first half second, and this record may well be there twice.
pub(super) fn probing_producer(settings: &KafkaSettings, timeout: Duration) -> ClientConfig {
    let mut config = producer(settings);
    config.set("message.timeout.ms", timeout.as_millis().to_string());
    config.set("enable.idempotence", "false").remove("enable.gapless.guarantee");
    config
}

fn with_properties(mut config: ClientConfig, settings: &KafkaSettings) -> ClientConfig {
    for (name, value) in &settings.properties {
        config.set(name, value);
    }
    config
}

/// Drops a client on a thread of its own, because that takes a tenth of a second or more. `None` without another thread:
/// then it has been dropped.
pub(super) fn end<T: Send + 'static>(client: T) -> Option<thread::JoinHandle<()>> {
    thread::Builder::new().name("kafka-client-end".into()).spawn(move || drop(client)).ok()
}

/// Whether a consumer and a producer can be made of the settings. Connects to no broker.
pub(super) fn probe(settings: &KafkaSettings) -> Result<(), String> {
    let mut consuming = consumer(settings);
    // Without a group the client looks for no coordinator.
    consuming.remove("group.id");
    BaseConsumer::<DefaultConsumerContext>::from_config_and_context(&consuming, DefaultConsumerContext)
        .map_err(|error| reason(&error))?;
    BaseProducer::<DefaultProducerContext>::from_config_and_context(&producer(settings), DefaultProducerContext)
        .map(drop)
        .map_err(|error| reason(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_can_be_made_of_whatever_settings_the_producer_can() {
        let mut settings = KafkaSettings::default();
        settings.properties.insert("enable.gapless.guarantee".into(), "true".into());
        probe(&settings).unwrap();
        let config = probing_producer(&settings, Duration::from_secs(5));
        assert_eq!(config.get("enable.idempotence"), Some("false"));
        BaseProducer::<DefaultProducerContext>::from_config_and_context(&config, DefaultProducerContext).unwrap();
    }
}
