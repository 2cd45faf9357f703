//! The settings for Kafka.
//!
//! It reads no file and no environment (the config does), and a secret is never part of `Debug`.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use super::budget::BudgetSettings;
use crate::connection::{Security, SettingError, shown};

/// The session of a member, unless `session.timeout.ms` says otherwise.
const SESSION: Duration = Duration::from_secs(10);
/// The longest that the bridge chooses by itself, for a long drain.
const LONGEST_SESSION: Duration = Duration::from_secs(45);
/// The brokers' default for `group.protocol=consumer`.
const BROKERS_SESSION: Duration = Duration::from_secs(45);

/// Where Kafka is, what to read, and how.
#[derive(Clone)]
pub(crate) struct KafkaSettings {
    /// `host:port`, comma-separated.
    pub bootstrap_servers: String,
    /// The topics to read.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group_id: String,
    /// The name of the client for the brokers.
    pub client_id: String,
    /// Where a group begins that has committed nothing yet.
    pub auto_offset_reset: OffsetReset,
    /// Encryption and authentication.
    pub security: Security,
    /// Any librdkafka property that the bridge does not own.
    pub properties: BTreeMap<String, String>,
    /// Where dead letters go; the name of each topic with `dead_letter_suffix` appended when absent.
    pub dead_letter_topic: Option<String>,
    /// See `dead_letter_topic`.
    pub dead_letter_suffix: String,
    /// Off: no dead letter is written, and no topic for them is named.
    pub writes_dead_letters: bool,
    /// Where deliveries are parked: the name before that of the source topic; `<group>-parked` when absent.
    pub parked_topic: Option<String>,
    /// What may be in flight.
    pub budget: BudgetSettings,
    /// How long attempts under way are waited for when the group revokes their partition.
    pub drain_timeout: Duration,
}

/// Where a group begins that has committed nothing yet. For an offset that Kafka no longer holds, reading continues at
/// the oldest record that is left, whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OffsetReset {
    /// At the oldest record.
    #[default]
    Earliest,
    /// At the end: only records that are published from now on.
    Latest,
}

impl FromStr for OffsetReset {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            other => {
                Err(SettingError::new("auto_offset_reset", format!("expected `earliest` or `latest`, found `{other}`")))
            }
        }
    }
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            bootstrap_servers: "localhost:9092".into(),
            topics: vec!["workflow-events".into()],
            group_id: "workflow-bridge".into(),
            client_id: "workflow-bridge".into(),
            auto_offset_reset: OffsetReset::default(),
            security: Security::default(),
            properties: BTreeMap::new(),
            dead_letter_topic: None,
            dead_letter_suffix: ".dlq".into(),
            writes_dead_letters: true,
            parked_topic: None,
            budget: BudgetSettings::default(),
            drain_timeout: Duration::from_secs(8),
        }
    }
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSettings")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("topics", &self.topics)
            .field("group_id", &self.group_id)
            .field("client_id", &self.client_id)
            .field("auto_offset_reset", &self.auto_offset_reset)
            .field("security", &self.security)
            .field("properties", &shown(&self.properties))
            .field("dead_letter_topic", &self.dead_letter_topic)
            .field("dead_letter_suffix", &self.dead_letter_suffix)
            .field("writes_dead_letters", &self.writes_dead_letters)
            .field("parked_topic", &self.parked_topic)
            .field("budget", &self.budget)
            .field("drain_timeout", &self.drain_timeout)
            .finish()
    }
}

impl KafkaSettings {
    /// Where the dead letters of a topic go.
    pub(crate) fn dead_letter_topic(&self, topic: &str) -> String {
        self.dead_letter_topic.clone().unwrap_or_else(|| format!("{topic}{}", self.dead_letter_suffix))
    }

    /// Where deliveries of events of a topic are parked.
    pub(crate) fn parked_topic(&self, topic: &str) -> String {
        match &self.parked_topic {
            Some(prefix) => format!("{prefix}-{topic}"),
            None => format!("{}-parked-{topic}", self.group_id),
        }
    }

    /// How long the group waits for a silent member: `session.timeout.ms`, by default 10 s, and longer for a longer drain.
    /// With `group.protocol=consumer` the brokers decide (`group.consumer.session.timeout.ms`, 45 s by default).
    pub(crate) fn session_timeout(&self) -> Duration {
        let configured = self.properties.get("session.timeout.ms").and_then(|ms| ms.parse().ok());
        match configured {
            Some(ms) => Duration::from_millis(ms),
            None if self.uses_next_generation() => BROKERS_SESSION,
            None => self.drain_timeout.saturating_add(SESSION / 5).clamp(SESSION, LONGEST_SESSION),
        }
    }

    /// How long attempts under way are waited for when the group revokes their partition. Heartbeats go on meanwhile; it is
    /// below the session all the same, so that nobody waits for longer than for a member that was lost.
    pub(crate) fn release_timeout(&self) -> Duration {
        self.drain_timeout
    }

    /// Whether `group.protocol` is `consumer` (KIP-848).
    pub(crate) fn uses_next_generation(&self) -> bool {
        self.properties.get("group.protocol").is_some_and(|protocol| protocol == "consumer")
    }
}
