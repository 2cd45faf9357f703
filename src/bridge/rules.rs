//! The routing folder as it is loaded at the start, and what the service logs of it.

use std::{path::Path, sync::Arc, time::Duration};

use metrics::counter;
use tracing::{info, warn};

use super::error::BridgeError;
use crate::{
    config::{Config, LogOutcomes},
    handlers::Handlers,
    pipeline::OutcomeLog,
    routing::{Fingerprint, LoadOptions, Routing, Snapshot},
    telemetry,
};

/// The most warnings of the routing folder that a start logs.
const MAX_WARNINGS: usize = 20;

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
    let warnings = routing.map(Routing::warnings).unwrap_or_default();
    for warning in warnings.iter().take(MAX_WARNINGS) {
        warn!(%warning, "routing");
    }
    if let Some(more) = warnings.len().checked_sub(MAX_WARNINGS).filter(|more| *more > 0) {
        warn!(more, "the routing folder has more warnings: `workflow-bridge check` shows all");
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

pub(super) fn outcome_log(config: &Config) -> OutcomeLog {
    OutcomeLog {
        failures: config.log_outcomes >= LogOutcomes::Failures,
        matched: config.log_outcomes >= LogOutcomes::Matched,
        unmatched: config.log_outcomes >= LogOutcomes::All,
    }
}
