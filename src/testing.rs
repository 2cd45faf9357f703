//! The parts of the crate that this repository's own tests use beyond the public interface. They are not stable.

#[cfg(test)]
pub(crate) mod examples;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
#[cfg(test)]
pub(crate) mod json_schema;
mod ledger_topic;
pub mod work;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::sync::oneshot;

pub use self::ledger_topic::{LedgerReplica, ReadRecords};
pub use crate::kafka::embedded::EmbeddedBroker;
use crate::{
    bridge::{self, Environment, Hooks},
    config::{self, Config, Sources},
    dedup::decode_entry,
    telemetry, yaml,
};

/// A setting as it is documented.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its path in bridge.yaml.
    pub path: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// Its flag, if it has one.
    pub flag: Option<&'static str>,
    /// Its default; empty for none.
    pub default: &'static str,
    /// Its description.
    pub help: &'static str,
}

/// Every setting of the bridge.
pub fn settings() -> Vec<Setting> {
    config::ALL
        .iter()
        .map(|key| Setting { path: key.path, env: key.env, flag: key.flag, default: key.default, help: key.help })
        .collect()
}

/// The environment variables that only publishers read.
pub fn publisher_variables() -> &'static [&'static str] {
    config::OF_PUBLISHERS
}

/// A metric as it is documented.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in Prometheus.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Its description, and when to alert.
    pub help: &'static str,
}

/// Every metric of the bridge.
pub fn metrics() -> Vec<Metric> {
    telemetry::ALL
        .iter()
        .map(|metric| Metric {
            name: metric.name,
            kind: match metric.kind {
                telemetry::Kind::Counter => "counter",
                telemetry::Kind::Gauge => "gauge",
                telemetry::Kind::Histogram => "histogram",
            },
            labels: metric.labels,
            help: metric.help,
        })
        .collect()
}

/// Runs the bridge in this process until `until` resolves. The dedup window may be shorter than the settings allow.
///
/// # Errors
/// Why the bridge did not start, or why it ended by itself.
pub async fn run_bridge(
    environment: BTreeMap<&'static str, String>,
    dedup_window: Option<Duration>,
    listening: oneshot::Sender<SocketAddr>,
    until: impl Future<Output = ()>,
) -> Result<(), String> {
    let environment: Environment = std::sync::Arc::new(move |name| environment.get(name).cloned());
    let sources = Sources { flags: BTreeMap::new(), env: &*environment, file: None };
    let mut config = Config::load(&sources).map_err(|problems| problems.to_string())?;
    config.dedup_window = dedup_window.unwrap_or(config.dedup_window);
    let hooks = Hooks { listening: Some(listening), ..Hooks::default() };
    bridge::run(config, &environment, hooks, until).await.map_err(|error| error.to_string())
}

/// What a value of the ledger topic says of each delivery: its rule, its agent and its status. `None` if it cannot be read.
pub fn ledger_entry(value: &[u8]) -> Option<Vec<(String, String, &'static str)>> {
    let record = decode_entry(value).ok()?.record;
    let deliveries = record.deliveries().iter();
    Some(deliveries.map(|of| (of.rule.to_string(), of.agent.to_string(), of.status.as_str())).collect())
}

/// Reads a YAML document as the bridge does, as JSON.
///
/// # Errors
/// The problems, with their locations.
pub fn yaml(text: &str) -> Result<serde_json::Value, String> {
    let mut faults = Vec::new();
    match yaml::read(text, &mut faults) {
        Some(document) if faults.is_empty() => Ok(document.to_json()),
        Some(_) => Err(format!("{faults:?}")),
        None => Err(format!("the document is empty: {faults:?}")),
    }
}
