//! The settings of a consumer, and their checks.
//!
//! Invariant: settings without a mistake make a consumer, and every mistake is reported at once, by the setting's name here. Nothing is
//! opened and nothing is read but the TLS files.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use super::slot;
use crate::{
    connection::{self, Security, SettingError, bad_topic},
    kafka::{BudgetSettings, KafkaSettings},
    pipeline::OutcomeLog,
    publish::spool,
    running,
};

/// How long an event is remembered.
const WINDOW: Duration = Duration::from_secs(7 * 86_400);
/// Of the ledger, in bytes. It takes several times as much memory.
const CACHE_BYTES: u64 = 32 << 20;
const PARK_AFTER: Duration = Duration::from_secs(60);
const MAX_SESSION_MS: u64 = 3_600_000;

/// The settings of a consumer, each with a default but the group and the topics.
#[derive(Clone)]
pub struct Settings {
    /// The brokers, `host:port`, comma-separated.
    pub bootstrap_servers: String,
    /// How Kafka is encrypted and authenticated.
    pub security: Security,
    /// The client id that the brokers see.
    pub client_id: String,
    /// librdkafka's properties that have no setting of their own.
    pub properties: BTreeMap<String, String>,
    /// The consumer group. Required.
    pub group_id: String,
    /// The topics to read. Required.
    pub topics: Vec<String>,
    /// The folder of the ledger; one of this process below the user's state folder when absent.
    pub data_dir: Option<PathBuf>,
    /// The variable `XDG_STATE_HOME`, for the default of `data_dir`.
    pub state_home: Option<String>,
    /// The variable `HOME`, likewise.
    pub home: Option<String>,
    /// Where a group begins that has committed nothing: `earliest` or `latest`.
    pub auto_offset_reset: String,
    /// The most events in flight.
    pub max_poll_records: u64,
    /// How long the group waits for a silent member.
    pub session_timeout_ms: u64,
    /// How often a member shows that it lives.
    pub heartbeat_interval_ms: u64,
    /// What the name of a topic ends with to be that of its dead-letter topic; absent: what would be a dead letter is passed over, and
    /// reported as a critical [`Notice`](super::Notice).
    pub dlq_topic_suffix: Option<String>,
    /// How long calls may take when the group takes their partition away.
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let kafka = KafkaSettings::default();
        Self {
            bootstrap_servers: kafka.bootstrap_servers,
            security: Security::default(),
            client_id: "workflow-events".into(),
            properties: BTreeMap::new(),
            group_id: String::new(),
            topics: Vec::new(),
            data_dir: None,
            state_home: None,
            home: None,
            auto_offset_reset: "earliest".into(),
            max_poll_records: 500,
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 3_000,
            dlq_topic_suffix: Some(kafka.dead_letter_suffix),
            drain_timeout: kafka.drain_timeout,
        }
    }
}

impl fmt::Debug for Settings {
    /// Without the values of properties: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("security", &self.security)
            .field("client_id", &self.client_id)
            .field("properties", &connection::shown(&self.properties))
            .field("group_id", &self.group_id)
            .field("topics", &self.topics)
            .field("data_dir", &self.data_dir)
            .field("auto_offset_reset", &self.auto_offset_reset)
            .field("dlq_topic_suffix", &self.dlq_topic_suffix)
            .finish_non_exhaustive()
    }
}

/// Where the ledger is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DataDir {
    Chosen(PathBuf),
    /// A folder below this one, for each process.
    Below(PathBuf),
}

impl Settings {
    /// What the bridge is run with. Adds every mistake.
    pub(super) fn checked(&self, mistakes: &mut Vec<SettingError>) -> (running::Settings, DataDir) {
        self.check_times(mistakes);
        let kafka = self.kafka(mistakes);
        let ledger_topic = format!("{}-ledger", self.group_id);
        mistakes.extend(self.topic_mistake(&ledger_topic));
        let data_dir = self.folder().unwrap_or_else(|problem| {
            mistakes.push(SettingError::new("data_dir", problem));
            DataDir::Chosen(PathBuf::new())
        });
        let settings = running::Settings {
            kafka,
            data_dir: PathBuf::new(),
            dedup_window: WINDOW,
            dedup_cache_bytes: CACHE_BYTES,
            ledger_topic: Some(ledger_topic),
            park_after: Some(PARK_AFTER),
            drain_timeout: self.drain_timeout,
            outcome_log: OutcomeLog { failures: true, matched: false, unmatched: false },
        };
        (settings, data_dir)
    }

    fn check_times(&self, mistakes: &mut Vec<SettingError>) {
        let mut mistake = |setting: &str, problem: String| mistakes.push(SettingError::new(setting, problem));
        let (session, heartbeat) = (self.session_timeout_ms, self.heartbeat_interval_ms);
        for (setting, found) in [("session_timeout_ms", session), ("heartbeat_interval_ms", heartbeat)] {
            if !(1..=MAX_SESSION_MS).contains(&found) {
                mistake(setting, format!("expected 1 to {MAX_SESSION_MS} ms, found {found}"));
            }
        }
        if heartbeat >= session {
            let problem = format!("expected less than session_timeout_ms, found {heartbeat} and {session}");
            mistake("heartbeat_interval_ms", problem);
        }
        if self.drain_timeout >= Duration::from_millis(session) {
            let found = self.drain_timeout;
            mistake("drain_timeout", format!("expected less than session_timeout_ms ({session} ms), found {found:?}"));
        }
    }

    fn kafka(&self, mistakes: &mut Vec<SettingError>) -> KafkaSettings {
        let defaults = KafkaSettings::default();
        let mut properties = self.properties.clone();
        for (name, ms) in
            [("session.timeout.ms", self.session_timeout_ms), ("heartbeat.interval.ms", self.heartbeat_interval_ms)]
        {
            properties.entry(name.to_owned()).or_insert_with(|| ms.to_string());
        }
        let auto_offset_reset = self.auto_offset_reset.parse().unwrap_or_else(|error: SettingError| {
            mistakes.push(error);
            defaults.auto_offset_reset
        });
        let kafka = KafkaSettings {
            bootstrap_servers: self.bootstrap_servers.clone(),
            topics: self.topics.clone(),
            group_id: self.group_id.clone(),
            client_id: self.client_id.clone(),
            auto_offset_reset,
            security: self.security.clone(),
            properties,
            writes_dead_letters: self.dlq_topic_suffix.is_some(),
            dead_letter_suffix: self.dlq_topic_suffix.clone().unwrap_or(defaults.dead_letter_suffix),
            budget: BudgetSettings { max_events: self.max_poll_records, ..defaults.budget },
            drain_timeout: self.drain_timeout,
            ..KafkaSettings::default()
        };
        let found = kafka.validate().into_iter();
        mistakes.extend(found.map(|error| SettingError::new(name_here(&error.setting), error.problem)));
        kafka
    }

    /// What is wrong with the name of the ledger topic. An empty group is reported by itself.
    fn topic_mistake(&self, ledger_topic: &String) -> Option<SettingError> {
        if self.group_id.is_empty() {
            return None;
        }
        if let Some(problem) = bad_topic(ledger_topic) {
            let problem = format!("{problem}: the consumer names its topics after the group");
            return Some(SettingError::new("group_id", problem));
        }
        let is_read = self.topics.contains(ledger_topic);
        is_read.then(|| {
            let problem = format!("`{ledger_topic}` is a topic of the consumer's own, named after the group");
            SettingError::new("topics", problem)
        })
    }

    fn folder(&self) -> Result<DataDir, String> {
        if let Some(folder) = &self.data_dir {
            let is_empty = folder.as_os_str().is_empty();
            return if is_empty {
                Err("expected a folder, found an empty text".into())
            } else {
                Ok(DataDir::Chosen(folder.clone()))
            };
        }
        let env = |name: &str| match name {
            "XDG_STATE_HOME" => self.state_home.clone(),
            "HOME" => self.home.clone(),
            _ => None,
        };
        let below = spool::state_folder(&env, "workflow-events/consumers").map_err(|obstacles| {
            let why = if obstacles.is_empty() {
                "neither XDG_STATE_HOME nor HOME is set".to_owned()
            } else {
                obstacles.join(" nor ")
            };
            format!("there is no folder for the state of this user ({why}): set data_dir to a folder that lasts")
        })?;
        Ok(DataDir::Below(slot::root(&below, &self.group_id, &self.bootstrap_servers)))
    }
}

/// A setting's name here by its name in the room `kafka`.
fn name_here(setting: &str) -> &str {
    match setting {
        "budget.max_events" => "max_poll_records",
        // Named after the group.
        "parked_topic" => "group_id",
        "dead_letter_suffix" => "dlq_topic_suffix",
        "security.protocol" => "security_protocol",
        "properties.session.timeout.ms" => "session_timeout_ms",
        "properties.heartbeat.interval.ms" => "heartbeat_interval_ms",
        setting if setting.starts_with("topics[") => "topics",
        setting => setting.strip_prefix("security.").unwrap_or(setting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            group_id: "orders".into(),
            topics: vec!["integration-events.order_placed".into()],
            home: Some("/home/me".into()),
            ..Settings::default()
        }
    }

    fn mistakes(settings: &Settings) -> Vec<(String, String)> {
        let mut mistakes = Vec::new();
        settings.checked(&mut mistakes);
        mistakes.into_iter().map(|SettingError { setting, problem }| (setting, problem)).collect()
    }

    #[test]
    fn the_group_and_the_topics_are_enough() {
        let mut mistakes = Vec::new();
        let (found, folder) = settings().checked(&mut mistakes);
        assert_eq!(mistakes, []);
        assert_eq!(found.kafka.session_timeout(), Duration::from_secs(45));
        assert_eq!(found.kafka.dead_letter_topic("a"), "a.dlq");
        let DataDir::Below(root) = folder else { panic!("{folder:?}") };
        assert!(root.starts_with("/home/me/.local/state/workflow-events/consumers/orders"), "{}", root.display());
    }

    #[test]
    fn every_mistake_is_reported_at_once_by_its_name_here() {
        let wrong = Settings {
            bootstrap_servers: String::new(),
            security: Security { protocol: "TLS".into(), sasl_mechanism: Some("X".into()), ..Security::default() },
            group_id: "a group".into(),
            topics: vec!["a b".into()],
            auto_offset_reset: "newest".into(),
            max_poll_records: 0,
            session_timeout_ms: 3_000,
            dlq_topic_suffix: Some("/dead".into()),
            home: Some("/nonexistent".into()),
            ..settings()
        };
        let found: std::collections::BTreeSet<_> = mistakes(&wrong).into_iter().map(|(setting, _)| setting).collect();
        let expected = [
            "auto_offset_reset",
            "bootstrap_servers",
            "data_dir",
            "drain_timeout",
            "group_id",
            "heartbeat_interval_ms",
            "max_poll_records",
            "security_protocol",
            "topics",
        ];
        assert!(expected.iter().all(|name| found.contains(*name)), "{found:?}");
        let suffix = mistakes(&Settings { dlq_topic_suffix: Some("/dead".into()), ..settings() });
        assert_eq!(suffix[0].0, "dlq_topic_suffix");
        let missing = mistakes(&Settings { home: Some("/home/me".into()), ..Settings::default() });
        assert_eq!(missing.iter().map(|(setting, _)| &**setting).collect::<Vec<_>>(), ["topics", "group_id"]);
    }

    #[test]
    fn dead_letters_that_are_off_make_no_topic_a_mistake() {
        let topics = vec!["a".to_owned(), "a.dlq".to_owned()];
        let off = Settings { topics: topics.clone(), dlq_topic_suffix: None, ..settings() };
        assert_eq!(mistakes(&off), []);
        let on = mistakes(&Settings { topics, ..settings() });
        assert_eq!(on.iter().map(|(setting, _)| &**setting).collect::<Vec<_>>(), ["topics"], "{on:?}");
        let empty = mistakes(&Settings { dlq_topic_suffix: Some(String::new()), ..settings() });
        assert_eq!(empty.iter().map(|(setting, _)| &**setting).collect::<Vec<_>>(), ["dlq_topic_suffix"], "{empty:?}");
    }

    #[test]
    fn each_topic_has_a_dead_letter_topic_of_its_own() {
        let two = Settings {
            topics: vec!["a".into(), "b".into()],
            dlq_topic_suffix: Some("-dead.letters".into()),
            ..settings()
        };
        let (found, _) = two.checked(&mut Vec::new());
        assert_eq!(["a", "b"].map(|topic| found.kafka.dead_letter_topic(topic)), ["a-dead.letters", "b-dead.letters"]);
    }
}
