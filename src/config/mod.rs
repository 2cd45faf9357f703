//! The bridge's settings: flags, environment, bridge.yaml and defaults, in this order of precedence.
//!
//! Owns the precedence and the checks across settings. All problems are reported at once, each with
//! its location. It does not know what a setting is for.

mod admin_addr;
mod file;
mod help;
mod keys;
mod ledger_topic;
mod problem;
mod resolve;
mod schema;
mod sources;
mod variables;

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use crate::{
    connection::{Password, Security},
    kafka::{BudgetSettings, KafkaSettings, OWNED_PROPERTY},
};

pub(crate) use help::environment_help;
pub(crate) use keys::ALL;
pub(crate) use problem::{Location, Problem};
pub(crate) use schema::SCHEMA;
pub(crate) use sources::Sources;
pub(crate) use variables::{OF_PUBLISHERS, unread};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Which outcomes of events are logged: each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum LogOutcomes {
    /// None.
    None,
    /// Dead letters.
    Failures,
    /// Whatever became of an event that a rule matches.
    #[default]
    Matched,
    /// Also events that no rule matches.
    All,
}

/// All settings of `run`.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The Kafka client.
    pub kafka: KafkaSettings,
    /// The folder of routing files.
    pub routing_dir: PathBuf,
    /// How often the routing folder is looked at; only when somebody asks when absent.
    pub routing_reload: Option<Duration>,
    /// The folder of the ledger.
    pub data_dir: PathBuf,
    /// The spool folder that the bridge drains, if any.
    pub spool_dir: Option<PathBuf>,
    /// The listen address of the admin pages.
    pub admin_addr: String,
    /// How long an event is remembered.
    pub dedup_window: Duration,
    /// The ledger's cache, in bytes.
    pub dedup_cache_bytes: u64,
    /// The topic that carries the ledger to the other replicas; none when that is off.
    pub ledger_topic: Option<String>,
    /// How long the breaker of an agent is open before its deliveries are parked; never when absent.
    pub park_after: Option<Duration>,
    /// How long a stop waits for attempts in progress.
    pub drain_timeout: Duration,
    /// Which outcomes of events are logged.
    pub log_outcomes: LogOutcomes,
    /// How log lines are written.
    pub log_format: LogFormat,
}

/// Every problem found in the settings.
#[derive(Debug, thiserror::Error)]
pub(crate) struct ConfigError {
    /// All of them.
    pub problems: Vec<Problem>,
    /// The routing folder, so that `check` can go on with it.
    pub routing_dir: PathBuf,
    /// The dedup window, for the same purpose.
    pub dedup_window: Duration,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads and checks every setting.
    ///
    /// # Errors
    /// All problems at once, each with the location of the value and what was expected.
    pub(crate) fn load(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let file = file::read(sources.file.as_deref(), &mut problems);
        Self::resolve(sources, &file, problems, |_| {})
    }

    /// The settings of a program: these values by their paths, and defaults. No variable and no file is read.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn of(
        values: BTreeMap<&'static str, String>,
        security: Security,
        properties: BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let sources = Sources { flags: values, env: &|_| None, file: None };
        Self::resolve(&sources, &file::SettingsFile::default(), Vec::new(), |kafka| {
            kafka.security = security;
            kafka.properties = properties;
        })
    }

    fn resolve(
        sources: &Sources<'_>,
        file: &file::SettingsFile,
        mut problems: Vec<Problem>,
        adjust: impl FnOnce(&mut KafkaSettings),
    ) -> Result<Self, ConfigError> {
        let mut get = resolve::Resolver { sources, file, problems: &mut problems, locations: BTreeMap::new() };

        let mut kafka = Self::kafka(&mut get);
        adjust(&mut kafka);
        let config = Self {
            routing_dir: get.text(keys::ROUTING).into(),
            routing_reload: get.duration_or_off(keys::ROUTING_RELOAD),
            data_dir: get.text(keys::DATA).into(),
            spool_dir: get.optional(keys::SPOOL).filter(|folder| !is_off(folder)).map(PathBuf::from),
            admin_addr: get.text(keys::ADMIN),
            dedup_window: get.duration(keys::WINDOW),
            dedup_cache_bytes: get.parsed(keys::CACHE, "a number of bytes such as 33554432"),
            ledger_topic: get.ledger_topic(&kafka),
            park_after: get.duration_or_off(keys::PARK_AFTER),
            drain_timeout: kafka.drain_timeout,
            log_outcomes: get.parsed(keys::LOG_OUTCOMES, "all, matched, failures or none"),
            log_format: get.parsed(keys::LOG_FORMAT, "text or json"),
            kafka,
        };
        let locations = get.locations;
        config.check_kafka(&locations, file, &mut problems);
        config.cross_check(&locations, &mut problems);
        if problems.is_empty() {
            Ok(config)
        } else {
            let Self { routing_dir, dedup_window, .. } = config;
            Err(ConfigError { problems, routing_dir, dedup_window })
        }
    }

    fn kafka(get: &mut resolve::Resolver<'_>) -> KafkaSettings {
        let security = Security {
            protocol: get.text(keys::PROTOCOL),
            sasl_mechanism: get.optional(keys::MECHANISM),
            sasl_username: get.optional(keys::USERNAME),
            sasl_password: get.secret(keys::PASSWORD).map(Password::new),
            ssl_cafile: get.optional(keys::CA).map(PathBuf::from),
            ssl_certfile: get.optional(keys::CERT).map(PathBuf::from),
            ssl_keyfile: get.optional(keys::KEYFILE).map(PathBuf::from),
        };
        let drain_timeout = get.duration(keys::DRAIN);
        KafkaSettings {
            bootstrap_servers: get.text(keys::BOOTSTRAP),
            topics: get.list(keys::TOPICS),
            group_id: get.text(keys::GROUP),
            client_id: get.text(keys::CLIENT),
            auto_offset_reset: get.parsed(keys::RESET, "earliest or latest"),
            security,
            properties: get.properties(),
            dead_letter_topic: get.optional(keys::DEAD_LETTERS),
            dead_letter_suffix: get.text(keys::DEAD_LETTER_SUFFIX),
            writes_dead_letters: true,
            parked_topic: get.optional(keys::PARKED_TOPIC),
            budget: BudgetSettings {
                max_events: get.parsed(keys::MAX_EVENTS, "a whole number such as 10000"),
                max_bytes: get.parsed(keys::MAX_BYTES, "a number of bytes such as 67108864"),
                max_record_bytes: get.parsed(keys::MAX_RECORD, "a number of bytes such as 4194304"),
                max_span_per_partition: get.parsed(keys::MAX_SPAN, "a whole number such as 100000"),
            },
            drain_timeout,
        }
    }

    /// Adds the problems that the `kafka` room finds, with the location of the value.
    fn check_kafka(
        &self,
        locations: &BTreeMap<&'static str, Location>,
        file: &file::SettingsFile,
        problems: &mut Vec<Problem>,
    ) {
        for error in self.kafka.validate() {
            let setting = format!("kafka.{}", error.setting);
            // Already reported, for example a secret that cannot be read, or a control character.
            if problems.iter().any(|problem| problem.message.contains(&format!("`{setting}`: "))) {
                continue;
            }
            let key = setting.split('[').next().unwrap_or_default();
            let name = error.setting.strip_prefix("properties.");
            let property = name.and_then(|name| file.properties.get(name));
            // One that a program sets may be a secret.
            let is_secret = name.is_some() && property.is_none_or(|(_, value)| value.is_secret());
            let is_owned = error.problem.starts_with(OWNED_PROPERTY);
            // librdkafka repeats the value.
            let problem = if is_secret && !is_owned {
                "librdkafka refuses the property or its value (not shown: it is not in the file)".to_owned()
            } else {
                error.problem
            };
            let location = property.map(|(location, _)| location).or_else(|| locations.get(key));
            let location = location.cloned().unwrap_or(Location::Default);
            problems.push(Problem { location, message: format!("`{setting}`: {problem}") });
        }
    }

    fn cross_check(&self, locations: &BTreeMap<&'static str, Location>, problems: &mut Vec<Problem>) {
        let mut problem = |path: &str, message| {
            let location = locations.get(path).cloned().unwrap_or(Location::Default);
            problems.push(Problem { location, message });
        };
        let session = self.kafka.session_timeout();
        if self.drain_timeout >= session {
            problem(
                keys::DRAIN.path,
                format!(
                    "`drain_timeout`: {} is not below the session time-out of the consumer group ({}): the group would \
                 reassign the partitions during the drain; shorten drain_timeout or raise session.timeout.ms",
                    humantime::format_duration(self.drain_timeout),
                    humantime::format_duration(session),
                ),
            );
        }
        if let Some(found) = admin_addr::problem(&self.admin_addr) {
            problem(
                keys::ADMIN.path,
                format!("`admin_addr`: expected HOST:PORT such as 127.0.0.1:9464, found {found}"),
            );
        }
        let mut parked_topics = self.kafka.topics.iter().map(|topic| self.kafka.parked_topic(topic));
        if let Some(parked_topic) = parked_topics.find(|topic| self.ledger_topic.as_ref() == Some(topic)) {
            problem(
                keys::PARKED_TOPIC.path,
                format!("`kafka.parked_topic`: `{parked_topic}` is the ledger topic: set this to something else"),
            );
        }
        let often = Duration::from_millis(100)..=Duration::from_secs(3_600);
        if let Some(every) = self.routing_reload.filter(|every| !often.contains(every)) {
            let every = humantime::format_duration(every);
            problem(
                keys::ROUTING_RELOAD.path,
                format!("`routing_reload`: expected 100ms to 1h, or off, found {every}: set it to 5s, for example"),
            );
        }
        if self.dedup_window < Duration::from_secs(60) {
            problem(
                keys::WINDOW.path,
                format!(
                    "`dedup.window`: expected at least 1m, found {}: an event is forgotten after that, and would run again",
                    humantime::format_duration(self.dedup_window)
                ),
            );
        }
    }
}

/// `off` disables the spool: publishers use the same variable.
fn is_off(folder: &str) -> bool {
    folder.trim().eq_ignore_ascii_case("off")
}

impl std::str::FromStr for LogOutcomes {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "none" => Ok(Self::None),
            "failures" => Ok(Self::Failures),
            "matched" => Ok(Self::Matched),
            "all" => Ok(Self::All),
            _ => Err(()),
        }
    }
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
