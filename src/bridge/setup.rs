//! What is loaded and opened before the parts start.

use std::{path::Path, sync::Arc, time::Duration};

use metrics::{counter, gauge};
use tracing::{info, warn};

use super::error::BridgeError;
use crate::{
    config::{Config, LogOutcomes},
    dedup::{Ledger, LedgerOptions, OpenError},
    handlers::Handlers,
    kafka::{Consumer, LedgerAppender, LedgerTopicSettings},
    pipeline::{DeadLetterReason, Outcome, OutcomeLog, Replication, now_ms, replicate},
    routing::{Fingerprint, LoadOptions, Routing, Snapshot},
    telemetry,
};

/// The delay that collects several writes of the ledger into one flush.
const FLUSH_DELAY: Duration = Duration::from_millis(3);

/// An environment that tests can replace.
pub(crate) type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The environment of this process.
pub(crate) fn process_environment() -> Environment {
    Arc::new(|name| std::env::var(name).ok())
}

/// Loads the routing folder as `run` and `check` do.
pub(crate) fn load_routing(folder: &Path, window: Duration, environment: &Environment) -> Result<Routing, BridgeError> {
    load_snapshot(folder, window, environment).map(|(routing, _)| routing)
}

/// The same, with the fingerprint of what was read.
pub(super) fn load_snapshot(
    folder: &Path,
    window: Duration,
    environment: &Environment,
) -> Result<(Routing, Fingerprint), BridgeError> {
    let snapshot = Snapshot::read(folder);
    let fingerprint = snapshot.fingerprint();
    let loaded = Routing::compile(snapshot, &load_options(window, environment));
    let result = if loaded.is_ok() { "ok" } else { "error" };
    counter!(telemetry::ROUTING_LOADS, "result" => result).increment(1);
    let routing = loaded.map_err(|problems| BridgeError::Routing { folder: folder.to_owned(), problems })?;
    Ok((routing, fingerprint))
}

pub(super) fn load_options(window: Duration, environment: &Environment) -> LoadOptions {
    let environment = Arc::clone(environment);
    LoadOptions { env: Box::new(move |name| environment(name)), dedup_window: window }
}

/// Logs what the bridge starts with.
pub(super) fn log_start(config: &Config, routing: Option<&Routing>, handlers: &Handlers) {
    for warning in routing.into_iter().flat_map(Routing::warnings) {
        warn!(%warning, "routing");
    }
    info!(
        version = env!("CARGO_PKG_VERSION"),
        brokers = config.kafka.bootstrap_servers,
        group = config.kafka.group_id,
        topics = config.kafka.topics.join(","),
        routing = routing.map(|_| config.routing_dir.display().to_string()),
        rules = routing.map(|routing| routing.rules().count()),
        agents = routing.map(|routing| routing.agents().count()),
        handlers = handlers.len(),
        "starting"
    );
}

/// Registers at 0 every series that an alert watches, so that `increase()` sees the first increment.
pub(super) fn register_series(config: &Config, routing: Option<&Routing>) {
    gauge!(telemetry::RULES_LOADED).set(routing.map_or(0, |routing| routing.rules().count()) as f64);
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
    for topic in &config.kafka.topics {
        counter!(telemetry::RECORDS_LOST, "topic" => topic.clone()).increment(0);
        counter!(telemetry::RECORDS_CONSUMED, "topic" => topic.clone()).increment(0);
    }
}

pub(super) fn open_ledger(config: &Config) -> Result<Ledger, OpenError> {
    let (ledger, opened) = Ledger::open(
        &config.data_dir,
        &LedgerOptions {
            group: config.kafka.group_id.clone(),
            window: config.dedup_window,
            cache_bytes: config.dedup_cache_bytes,
            flush_delay: FLUSH_DELAY,
            replace_damaged: config.ledger_topic.is_some(),
        },
    )?;
    info!(
        folder = %config.data_dir.display(), records = opened.records, existing = opened.recovered, "ledger opened"
    );
    Ok(ledger)
}

/// The consumer, and the two ends of the ledger topic unless that is off.
pub(super) fn consumer(
    config: &Config,
    ledger: &Ledger,
) -> Result<(Consumer, Option<Replication>, Option<LedgerAppender>), BridgeError> {
    let consumer = Consumer::new(&config.kafka)?;
    let another = ledger.bind_ledger_topic(config.ledger_topic.as_deref(), now_ms())?;
    let Some(topic) = &config.ledger_topic else { return Ok((consumer, None, None)) };
    if another {
        info!(topic, "the ledger topic is another one than before: it is read from its beginning");
    }
    let settings = LedgerTopicSettings { topic: topic.clone(), window: config.dedup_window };
    let appender = LedgerAppender::connect(&config.kafka, &settings)?;
    let (replication, applier) = replicate(ledger, &config.kafka.group_id, appender.clone());
    let consumer = consumer.following(&settings, Box::new(applier))?;
    Ok((consumer, Some(replication), Some(appender)))
}

pub(super) fn outcome_log(config: &Config) -> OutcomeLog {
    OutcomeLog {
        failures: config.log_outcomes >= LogOutcomes::Failures,
        matched: config.log_outcomes >= LogOutcomes::Matched,
        unmatched: config.log_outcomes >= LogOutcomes::All,
    }
}
