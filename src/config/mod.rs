//! The bridge's own settings: flags, environment, bridge.yaml and defaults, in that order.
//!
//! Owns the precedence and the checks between settings; all mistakes are reported at once, each with
//! the place it comes from. What a setting means belongs to the room that it is for.

mod file;
mod keys;
mod resolve;
mod variables;

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use crate::{
    connection::{Password, Security},
    kafka::{BudgetSettings, KafkaSettings},
};

pub use keys::{ALL, Key, environment_help};
pub use variables::{OF_PUBLISHERS, OTHERS, unread};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything that `run` needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The Kafka client.
    pub kafka: KafkaSettings,
    /// The folder of routing files.
    pub routing_dir: PathBuf,
    /// The folder of the ledger.
    pub data_dir: PathBuf,
    /// The spool folder that the bridge empties, if any.
    pub spool_dir: Option<PathBuf>,
    /// Where the admin pages listen.
    pub admin_addr: String,
    /// How long an event is remembered.
    pub dedup_window: Duration,
    /// The ledger's cache, in bytes.
    pub dedup_cache_bytes: u64,
    /// How long a stop waits for attempts under way.
    pub drain_timeout: Duration,
    /// How log lines are written.
    pub log_format: LogFormat,
}

/// Where settings come from, but for the file: an environment that can be replaced in tests, and flags.
pub struct Sources<'a> {
    /// Flags given, by their setting's path.
    pub flags: BTreeMap<&'static str, String>,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// bridge.yaml: a path that must exist when it was asked for by name.
    pub file: Option<PathBuf>,
}

/// Every mistake found in the settings.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// One message each, with its place.
    pub problems: Vec<String>,
    /// The routing folder all the same, so that `check` can go on with it.
    pub routing_dir: PathBuf,
    /// The dedup window, likewise.
    pub dedup_window: Duration,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl Config {
    /// Reads and checks every setting.
    ///
    /// # Errors
    /// All mistakes at once, each with where the value came from and what was expected.
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let file = file::read(sources.file.as_deref(), &mut problems);
        let mut get = resolve::Resolver { sources, file: &file, problems: &mut problems, places: BTreeMap::new() };

        let security = Security {
            protocol: get.text(keys::PROTOCOL),
            sasl_mechanism: get.optional(keys::MECHANISM),
            sasl_username: get.optional(keys::USERNAME),
            sasl_password: get.secret(keys::PASSWORD).map(Password::new),
            ssl_cafile: get.optional(keys::CA).map(PathBuf::from),
            ssl_certfile: get.optional(keys::CERT).map(PathBuf::from),
            ssl_keyfile: get.optional(keys::KEYFILE).map(PathBuf::from),
        };
        let kafka = KafkaSettings {
            bootstrap_servers: get.text(keys::BOOTSTRAP),
            topics: get.list(keys::TOPICS),
            group_id: get.text(keys::GROUP),
            client_id: get.text(keys::CLIENT),
            auto_offset_reset: get.parsed(keys::RESET, "earliest or latest"),
            security,
            properties: get.properties(),
            dead_letter_topic: get.optional(keys::DEAD_LETTERS),
            budget: BudgetSettings {
                max_events: get.parsed(keys::MAX_EVENTS, "a whole number such as 10000"),
                max_bytes: get.parsed(keys::MAX_BYTES, "a number of bytes such as 67108864"),
                max_record_bytes: get.parsed(keys::MAX_RECORD, "a number of bytes such as 4194304"),
                max_span_per_partition: get.parsed(keys::MAX_SPAN, "a whole number such as 100000"),
            },
        };
        let config = Self {
            routing_dir: get.text(keys::ROUTING).into(),
            data_dir: get.text(keys::DATA).into(),
            spool_dir: get.optional(keys::SPOOL).filter(|folder| !is_off(folder)).map(PathBuf::from),
            admin_addr: get.text(keys::ADMIN),
            dedup_window: get.duration(keys::WINDOW),
            dedup_cache_bytes: get.parsed(keys::CACHE, "a number of bytes such as 33554432"),
            drain_timeout: get.duration(keys::DRAIN),
            log_format: get.parsed(keys::LOG_FORMAT, "text or json"),
            kafka,
        };
        let places = get.places;
        config.check_kafka(&places, &file, &mut problems);
        config.cross_check(&places, &mut problems);
        if problems.is_empty() {
            Ok(config)
        } else {
            let Self { routing_dir, dedup_window, .. } = config;
            Err(ConfigError { problems, routing_dir, dedup_window })
        }
    }

    /// What the Kafka room finds, with the place that the value came from.
    fn check_kafka(&self, places: &BTreeMap<&'static str, String>, file: &file::File, problems: &mut Vec<String>) {
        for error in self.kafka.validate() {
            let setting = format!("kafka.{}", error.setting);
            // What was reported where it stands: a secret that could not be had, or a control character.
            let reported = |problem: &String| {
                problem.contains(&format!("`{setting}`: ")) || problem.contains(&format!("`{setting}` stands"))
            };
            if problems.iter().any(reported) {
                continue;
            }
            let key = setting.split('[').next().unwrap_or_default();
            let property = error.setting.strip_prefix("properties.").and_then(|name| file.properties.get(name));
            let place = property.map(|(place, _)| place).or_else(|| places.get(key));
            let place = place.map_or("default", String::as_str);
            problems.push(format!("{place}: `{setting}`: {}", error.problem));
        }
    }

    fn cross_check(&self, places: &BTreeMap<&'static str, String>, problems: &mut Vec<String>) {
        let place = |path: &str| places.get(path).map_or("default", String::as_str);
        let session = self.kafka.session_timeout();
        if self.drain_timeout >= session {
            problems.push(format!(
                "{}: `drain_timeout`: {} is not below the session time-out of the consumer group ({}): the group would \
                 give the partitions away during the drain; shorten drain_timeout or raise session.timeout.ms",
                place(keys::DRAIN.path),
                humantime::format_duration(self.drain_timeout),
                humantime::format_duration(session),
            ));
        }
        let port =
            self.admin_addr.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            problems.push(format!(
                "{}: `admin_addr`: expected HOST:PORT such as 127.0.0.1:9464, found `{}`",
                place(keys::ADMIN.path),
                self.admin_addr.escape_debug()
            ));
        }
        if self.dedup_window < Duration::from_secs(60) {
            problems.push(format!(
                "{}: `dedup.window`: expected at least 1m, found {}: an event is forgotten after that, and would run again",
                place(keys::WINDOW.path),
                humantime::format_duration(self.dedup_window)
            ));
        }
    }
}

/// How publishers are told to have no spool, by the same variable.
fn is_off(folder: &str) -> bool {
    folder.trim().eq_ignore_ascii_case("off")
}

impl std::str::FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests;
