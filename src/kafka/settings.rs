//! What the bridge is told about Kafka, and every mistake in it.
//!
//! Owns the settings and their validation. Its invariant: settings without a mistake make a client.
//! It reads no file and no environment (the config does), and a secret is never part of a message
//! or of `Debug`.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use super::{budget::BudgetSettings, client};
use crate::connection::{self, Security, SettingError, bad_topic, shown};

/// Where Kafka is, what to read, and how.
#[derive(Clone)]
pub struct KafkaSettings {
    /// `host:port`, comma-separated.
    pub bootstrap_servers: String,
    /// The topics to read.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group_id: String,
    /// How the bridge introduces itself to the brokers.
    pub client_id: String,
    /// Where a group begins that has committed nothing yet.
    pub auto_offset_reset: OffsetReset,
    /// How to prove who we are, and to see who they are.
    pub security: Security,
    /// Any librdkafka property that the bridge does not own.
    pub properties: BTreeMap<String, String>,
    /// Where dead letters go; `<topic>.dlq` for each topic when absent.
    pub dead_letter_topic: Option<String>,
    /// What may be in flight.
    pub budget: BudgetSettings,
}

/// Where a group begins that has committed nothing yet. An offset that Kafka no longer holds is
/// another matter: then reading goes on at the oldest record that is left, whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OffsetReset {
    /// At the oldest record.
    #[default]
    Earliest,
    /// At the end: only what is published from now on.
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
            budget: BudgetSettings::default(),
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
            .field("budget", &self.budget)
            .finish()
    }
}

/// The largest number of events in flight that a queue is made for.
const MAX_EVENTS: u64 = 1_000_000;

/// The smallest limit for a record, which is about what an event without data has.
const MIN_RECORD_BYTES: u64 = 1_024;

/// Properties that the bridge sets itself, and why they may not be set beside it.
const OWNED: &[(&str, &str)] = &[
    ("acks", "a dead letter counts only when every in-sync replica has it"),
    ("request.required.acks", "a dead letter counts only when every in-sync replica has it"),
    ("enable.idempotence", "the producer is always idempotent"),
    ("transactional.id", "the bridge writes no transactions"),
    ("enable.auto.commit", "the bridge commits what has its outcome, and nothing else"),
    ("auto.commit.interval.ms", "the bridge commits what has its outcome, and nothing else"),
    ("enable.auto.offset.store", "the bridge keeps the offsets itself"),
    ("auto.offset.reset", "use the setting auto_offset_reset"),
    ("bootstrap.servers", "use the setting bootstrap_servers"),
    ("metadata.broker.list", "use the setting bootstrap_servers"),
    ("client.id", "use the setting client_id"),
    ("group.id", "use the setting group_id"),
    ("enable.partition.eof", "the bridge has no use for it"),
    ("security.protocol", "use the setting security.protocol"),
    ("sasl.mechanism", "use the setting security.sasl_mechanism"),
    ("sasl.mechanisms", "use the setting security.sasl_mechanism"),
    ("sasl.username", "use the setting security.sasl_username"),
    ("sasl.password", "use the setting security.sasl_password"),
    ("ssl.ca.location", "use the setting security.ssl_cafile"),
    ("ssl.certificate.location", "use the setting security.ssl_certfile"),
    ("ssl.key.location", "use the setting security.ssl_keyfile"),
];

impl KafkaSettings {
    /// Every mistake, in the order of the settings; without one, a client can be made of them.
    /// Reads the TLS files, and asks nobody on the network.
    pub fn validate(&self) -> Vec<SettingError> {
        let mut errors = Vec::new();
        connection::check_servers(&self.bootstrap_servers, &mut errors);
        let mut error = |setting: &str, problem: String| errors.push(SettingError::new(setting, problem));
        if self.topics.is_empty() {
            error("topics", "expected at least one topic, found none".into());
        }
        for (index, topic) in self.topics.iter().enumerate() {
            if let Some(problem) = bad_topic(topic) {
                error(&format!("topics[{index}]"), problem);
            } else if self.topics[..index].contains(topic) {
                error(&format!("topics[{index}]"), format!("`{topic}` is listed twice"));
            } else if self.dead_letter_topic(topic) == *topic || self.topics.contains(&self.dead_letter_topic(topic)) {
                error(
                    &format!("topics[{index}]"),
                    format!(
                        "its dead letters go to `{}`, which the bridge reads: a dead letter would come back for ever",
                        self.dead_letter_topic(topic)
                    ),
                );
            } else if let Some(problem) = bad_topic(&self.dead_letter_topic(topic)) {
                error(if self.dead_letter_topic.is_some() { "dead_letter_topic" } else { "topics" }, problem);
            }
        }
        for (setting, value) in [("group_id", &self.group_id), ("client_id", &self.client_id)] {
            if value.trim().is_empty() || value.chars().any(char::is_control) {
                error(setting, format!("expected a name without control characters, found `{}`", value.escape_debug()));
            }
        }
        for (setting, value) in [
            ("budget.max_events", self.budget.max_events),
            ("budget.max_bytes", self.budget.max_bytes),
            ("budget.max_span_per_partition", self.budget.max_span_per_partition),
        ] {
            if value == 0 {
                error(setting, "expected at least 1, found 0".into());
            }
        }
        if self.budget.max_events > MAX_EVENTS {
            let found = self.budget.max_events;
            let problem = format!("expected at most {MAX_EVENTS}, found {found}: the bytes are what bounds memory");
            errors.push(SettingError::new("budget.max_events", problem));
        }
        let (record, budget) = (self.budget.max_record_bytes, self.budget.max_bytes);
        if record < MIN_RECORD_BYTES {
            let problem = format!("expected at least {MIN_RECORD_BYTES}, found {record}: no event would be read");
            errors.push(SettingError::new("budget.max_record_bytes", problem));
        } else if record > budget && budget > 0 {
            let problem = format!(
                "expected at most budget.max_bytes ({budget}), found {record}: a single record must fit into the memory of \
                 all events in flight; lower the one or raise the other"
            );
            errors.push(SettingError::new("budget.max_record_bytes", problem));
        }
        self.security.validate(&mut errors);
        self.validate_properties(&mut errors);
        if errors.is_empty()
            && let Err(reason) = client::probe(self)
        {
            errors.push(SettingError::new("properties", reason));
        }
        errors
    }

    fn validate_properties(&self, errors: &mut Vec<SettingError>) {
        for (name, value) in &self.properties {
            let setting = format!("properties.{name}");
            if let Some((_, reason)) = OWNED.iter().find(|(owned, _)| owned == name) {
                errors.push(SettingError::new(setting, format!("the bridge owns this property: {reason}")));
            } else if let Err(reason) = connection::check_property(name, value) {
                errors.push(SettingError::new(setting, reason));
            }
        }
    }

    /// Where the dead letters of a topic go.
    pub fn dead_letter_topic(&self, topic: &str) -> String {
        self.dead_letter_topic.clone().unwrap_or_else(|| format!("{topic}.dlq"))
    }

    /// How long the group waits for a silent member. With `group.protocol=consumer` the broker
    /// decides (`group.consumer.session.timeout.ms`, 45 s unless it was changed there).
    pub fn session_timeout(&self) -> Duration {
        self.millis("session.timeout.ms", 45_000)
    }

    /// How long the consumer loop may stay away from polling before the group gives it up.
    pub fn max_poll_interval(&self) -> Duration {
        self.millis("max.poll.interval.ms", 300_000)
    }

    fn millis(&self, property: &str, default: u64) -> Duration {
        Duration::from_millis(self.properties.get(property).and_then(|ms| ms.parse().ok()).unwrap_or(default))
    }
}

#[cfg(test)]
mod tests;
