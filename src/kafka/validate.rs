//! The validation of the settings for Kafka.
//!
//! Its invariant: settings without a mistake make a client, and no message contains a secret.

use super::{client, error::KafkaError, settings::KafkaSettings};
use crate::connection::{self, SettingError, bad_topic};

/// The most events in flight, for which the queue is made.
const MAX_EVENTS: u64 = 1_000_000;

/// The smallest limit for a record: about the size of an event without data.
const MIN_RECORD_BYTES: u64 = 1_024;

/// How the message about a property that the bridge owns begins.
pub(crate) const OWNED_PROPERTY: &str = "the bridge owns this property";

/// Properties that the bridge sets itself, and why a user must not.
pub(crate) const OWNED: &[(&str, &str)] = &[
    ("acks", "a dead letter counts only when every in-sync replica has it"),
    ("request.required.acks", "a dead letter counts only when every in-sync replica has it"),
    ("enable.idempotence", "the producer is always idempotent"),
    ("message.timeout.ms", "the bridge says how long each of its records may wait"),
    ("delivery.timeout.ms", "the bridge says how long each of its records may wait"),
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
    /// Every mistake, in the order of the settings; without one, a client can be made of them. Reads the TLS files, and
    /// makes no request.
    pub(crate) fn validate(&self) -> Vec<SettingError> {
        let mut errors = Vec::new();
        connection::check_servers(&self.bootstrap_servers, &mut errors);
        self.validate_topics(&mut errors);
        self.validate_parked_topics(&mut errors);
        for (setting, value) in [("group_id", &self.group_id), ("client_id", &self.client_id)] {
            if is_bad_name(value) {
                let problem = format!("expected a name without control characters, found `{}`", value.escape_debug());
                errors.push(SettingError::new(setting, problem));
            }
        }
        self.validate_budget(&mut errors);
        self.security.validate(&mut errors);
        self.validate_properties(&mut errors);
        if errors.is_empty()
            && let Err(reason) = client::probe(self)
        {
            errors.push(SettingError::new("properties", reason));
        }
        errors
    }

    fn validate_parked_topics(&self, errors: &mut Vec<SettingError>) {
        // A bad name of the group or of a topic is reported by itself.
        let is_reported = self.parked_topic.is_none() && is_bad_name(&self.group_id);
        let sources = self.topics.iter().filter(|source| bad_topic(source).is_none());
        for topic in sources.filter(|_| !is_reported).map(|source| self.parked_topic(source)) {
            let is_for_letters = |source| self.writes_dead_letters && self.dead_letter_topic(source) == topic;
            let is_read = self.topics.iter().any(|source| *source == topic || is_for_letters(source));
            let problem = match bad_topic(&topic) {
                Some(problem) if self.parked_topic.is_none() => {
                    format!("{problem}, which follows from group_id and the topic: set this to something else")
                }
                Some(problem) => format!("{problem}, which is this with the name of the topic appended"),
                None if is_read => {
                    format!("`{topic}` is a topic of events or of dead letters: set this to something else")
                }
                None => continue,
            };
            errors.push(SettingError::new("parked_topic", problem));
            return;
        }
    }

    fn validate_topics(&self, errors: &mut Vec<SettingError>) {
        let mut error = |setting: &str, problem: String| errors.push(SettingError::new(setting, problem));
        if self.topics.is_empty() {
            error("topics", "expected at least one topic, found none".into());
        }
        let has_no_suffix = self.dead_letter_topic.is_none() && self.dead_letter_suffix.is_empty();
        if self.writes_dead_letters && has_no_suffix {
            let problem = "expected at least one character: a dead letter would go to the topic that it comes from, and be read for ever";
            error("dead_letter_suffix", problem.into());
        }
        for (index, topic) in self.topics.iter().enumerate() {
            if let Some(problem) = bad_topic(topic) {
                error(&format!("topics[{index}]"), problem);
            } else if self.topics[..index].contains(topic) {
                error(&format!("topics[{index}]"), format!("`{topic}` is listed twice"));
            } else if !self.writes_dead_letters || has_no_suffix {
                // There are no topics of dead letters, or that is the mistake.
            } else if self.dead_letter_topic(topic) == *topic || self.topics.contains(&self.dead_letter_topic(topic)) {
                error(
                    &format!("topics[{index}]"),
                    format!(
                        "its dead letters go to `{}`, which the bridge reads: a dead letter would come back for ever",
                        self.dead_letter_topic(topic)
                    ),
                );
            } else if let Some(problem) = bad_topic(&self.dead_letter_topic(topic)) {
                let setting = match self.dead_letter_topic {
                    Some(_) => "dead_letter_topic",
                    None if self.dead_letter_suffix == KafkaSettings::default().dead_letter_suffix => "topics",
                    None => "dead_letter_suffix",
                };
                error(setting, problem);
            }
        }
    }

    fn validate_budget(&self, errors: &mut Vec<SettingError>) {
        for (setting, value) in [
            ("budget.max_events", self.budget.max_events),
            ("budget.max_bytes", self.budget.max_bytes),
            ("budget.max_span_per_partition", self.budget.max_span_per_partition),
        ] {
            if value == 0 {
                errors.push(SettingError::new(setting, "expected at least 1, found 0"));
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
    }

    fn validate_properties(&self, errors: &mut Vec<SettingError>) {
        for (name, value) in &self.properties {
            let setting = format!("properties.{name}");
            if let Some((_, reason)) = OWNED.iter().find(|(owned, _)| owned == name) {
                errors.push(SettingError::new(setting, format!("{OWNED_PROPERTY}: {reason}")));
            } else if let Err(reason) = connection::check_property(name, value) {
                errors.push(SettingError::new(setting, reason));
            }
        }
    }
}

/// The mistakes of the settings as one error.
pub(super) fn validated(settings: &KafkaSettings) -> Result<(), KafkaError> {
    let errors = settings.validate();
    if errors.is_empty() { Ok(()) } else { Err(KafkaError::Settings(errors)) }
}

fn is_bad_name(name: &str) -> bool {
    name.trim().is_empty() || name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
