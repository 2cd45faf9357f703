//! Settings to librdkafka configurations: one for the consumer, one for each kind of producer.
//!
//! Owns which librdkafka property the bridge sets and why. A property of the user's wins over a
//! default here; those that must not be overridden are refused by the settings' validation.

use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, DefaultConsumerContext},
    producer::{BaseProducer, DefaultProducerContext},
};

use super::KafkaSettings;
use crate::connection::{self, SettingError, reason};

/// The largest record that the bridge can write: what librdkafka can read in one response.
const MAX_RECORD_BYTES: &str = "100000000";

fn base(settings: &KafkaSettings) -> ClientConfig {
    let mut config = connection::client_config(&settings.bootstrap_servers, &settings.client_id, &settings.security);
    // A topic that is created later, or gets more partitions, is seen this soon; only the topics
    // that are in use are asked for.
    config.set("topic.metadata.refresh.interval.ms", "10000");
    config
}

/// The consumer's configuration.
pub(super) fn consumer(settings: &KafkaSettings) -> ClientConfig {
    let mut config = base(settings);
    config.set("group.id", &settings.group_id);
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    // Where a *new* group begins is decided at the assignment. What librdkafka decides by this is
    // an offset that Kafka no longer holds, and then everything that is left has to be read.
    config.set("auto.offset.reset", "earliest");
    // Without it librdkafka stays idle for a second whenever the loop is faster than the broker.
    config.set("fetch.queue.backoff.ms", "10");
    // What waits in librdkafka counts for the process's memory: 16 MiB of records, and at most so
    // many small ones for each partition.
    config.set("queued.max.messages.kbytes", "16384").set("queued.min.messages", "20000");
    config.set("fetch.max.bytes", "16777216");
    if settings.properties.get("group.protocol").map(String::as_str) != Some("consumer") {
        config.set("partition.assignment.strategy", "cooperative-sticky");
    }
    with_properties(config, settings)
}

/// The configuration of a consumer that joins no group, and reads one record of a partition now and then.
pub(super) fn reader(settings: &KafkaSettings) -> ClientConfig {
    let mut config = consumer(settings);
    // It needs the group's name and is no member: it has partitions of its own choice, and commits nothing.
    config.remove("group.instance.id");
    config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
    config.set("queued.min.messages", "1").set("fetch.wait.max.ms", "100");
    // The broker gives at least one batch, whatever its size.
    config.set("fetch.message.max.bytes", "65536");
    config.remove("max.partition.fetch.bytes");
    config
}

/// The configuration of a producer whose every record counts.
pub(super) fn producer(settings: &KafkaSettings) -> ClientConfig {
    let mut config = base(settings);
    config.set("acks", "all").set("enable.idempotence", "true");
    config.set("message.timeout.ms", "30000");
    config.set("message.max.bytes", MAX_RECORD_BYTES);
    // Bounded, and with room for the largest record.
    config.set("queue.buffering.max.kbytes", "131072").set("queue.buffering.max.messages", "10000");
    // The partition that Java clients choose for the key, so that one key has one partition.
    config.set("partitioner", "murmur2_random");
    with_properties(config, settings)
}

fn with_properties(mut config: ClientConfig, settings: &KafkaSettings) -> ClientConfig {
    for (name, value) in &settings.properties {
        config.set(name, value);
    }
    config
}

/// Whether a consumer and a producer can be made of the settings; connects to nobody.
pub(super) fn probe(settings: &KafkaSettings) -> Result<(), String> {
    let mut consuming = consumer(settings);
    // Without a group the client has nobody to look for.
    consuming.remove("group.id");
    BaseConsumer::<DefaultConsumerContext>::from_config_and_context(&consuming, DefaultConsumerContext)
        .map_err(|error| reason(&error))?;
    BaseProducer::<DefaultProducerContext>::from_config_and_context(&producer(settings), DefaultProducerContext)
        .map(drop)
        .map_err(|error| reason(&error))
}

/// The settings' mistakes as one error.
pub(super) fn validated(settings: &KafkaSettings) -> Result<(), super::KafkaError> {
    let errors: Vec<SettingError> = settings.validate();
    if errors.is_empty() { Ok(()) } else { Err(super::KafkaError::Settings(errors)) }
}
