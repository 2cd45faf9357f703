//! What is opened before the parts start.

use std::time::Duration;

use metrics::{counter, gauge};
use tracing::info;

use super::{error::PartError, settings::Settings};
use crate::{
    dedup::{Ledger, LedgerOptions, OpenError},
    kafka::{Consumer, KafkaSettings, LedgerAppender, LedgerTopicSettings},
    pipeline::{DeadLetterReason, Outcome, Replication, now_ms, replicate},
    telemetry,
};

/// The delay that collects several writes of the ledger into one flush.
const FLUSH_DELAY: Duration = Duration::from_millis(3);

/// Registers at 0 every series that an alert watches, so that `increase()` sees the first increment.
pub(crate) fn register_series(kafka: &KafkaSettings, rules: usize) {
    gauge!(telemetry::RULES_LOADED).set(rules as f64);
    for reason in DeadLetterReason::labels() {
        counter!(telemetry::DEAD_LETTERS, "reason" => reason).increment(0);
    }
    for outcome in ["redriven", "duplicate", "refused"] {
        counter!(telemetry::REDRIVES, "outcome" => outcome).increment(0);
    }
    for outcome in Outcome::ALL {
        counter!(telemetry::EVENTS, "outcome" => outcome.as_str()).increment(0);
    }
    counter!(telemetry::LEDGER_REPLACED).increment(0);
    counter!(telemetry::ROUTING_LOADS, "result" => "error").increment(0);
    gauge!(telemetry::KAFKA_REACHABLE).set(0.0);
    for topic in &kafka.topics {
        counter!(telemetry::RECORDS_LOST, "topic" => topic.clone()).increment(0);
        counter!(telemetry::RECORDS_CONSUMED, "topic" => topic.clone()).increment(0);
    }
}

pub(super) fn open_ledger(settings: &Settings) -> Result<Ledger, OpenError> {
    let (ledger, opened) = Ledger::open(
        &settings.data_dir,
        &LedgerOptions {
            group: settings.kafka.group_id.clone(),
            window: settings.dedup_window,
            cache_bytes: settings.dedup_cache_bytes,
            flush_delay: FLUSH_DELAY,
            replace_damaged: settings.ledger_topic.is_some(),
        },
    )?;
    info!(
        folder = %settings.data_dir.display(), records = opened.records, existing = opened.recovered, "ledger opened"
    );
    Ok(ledger)
}

/// The consumer, and the two ends of the ledger topic unless that is off.
pub(super) fn consumer(
    settings: &Settings,
    ledger: &Ledger,
) -> Result<(Consumer, Option<Replication>, Option<LedgerAppender>), PartError> {
    let consumer = Consumer::new(&settings.kafka)?;
    let another = ledger.bind_ledger_topic(settings.ledger_topic.as_deref(), now_ms())?;
    let Some(topic) = &settings.ledger_topic else { return Ok((consumer, None, None)) };
    if another {
        info!(topic, "the ledger topic is another one than before: it is read from its beginning");
    }
    let ledger_topic = LedgerTopicSettings { topic: topic.clone(), window: settings.dedup_window };
    let appender = LedgerAppender::connect(&settings.kafka, &ledger_topic)?;
    let (replication, applier) = replicate(ledger, &settings.kafka.group_id, appender.clone());
    let consumer = consumer.following(&ledger_topic, Box::new(applier))?;
    Ok((consumer, Some(replication), Some(appender)))
}
