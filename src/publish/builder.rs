//! The producer's builder: checks every setting and turns them into librdkafka's configuration.
//!
//! The settings themselves are declared in `settings`. It reads no environment.

mod settings;
mod value;

use std::sync::Arc;

use rdkafka::ClientConfig;

use super::{
    PublishError, Publisher,
    spool::{Spool, SpoolSettings},
};
use crate::connection::{
    Security, SettingError, bad_topic, check_property, check_servers, client_config, without_trailing_comma,
};

pub use settings::{Builder, SETTINGS, Setting};
pub use value::{Millis, Number, Properties, SettingKind, SettingValue};

#[cfg(test)]
mod tests;

/// Properties that would bypass a setting that is checked. Any other property overrides its setting.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "bootstrap_servers"),
    ("metadata.broker.list", "bootstrap_servers"),
    ("client.id", "client_id"),
    ("acks", "acks"),
    ("request.required.acks", "acks"),
    ("enable.idempotence", "acks, retries and max_in_flight_requests_per_connection, which decide it"),
    ("transactional.id", "nothing: the client writes no transactions"),
    ("delivery.report.only.error", "nothing: an event counts when it is acknowledged"),
    ("security.protocol", "security_protocol"),
    ("sasl.mechanism", "sasl_mechanism"),
    ("sasl.mechanisms", "sasl_mechanism"),
    ("sasl.username", "sasl_username"),
    ("sasl.password", "sasl_password"),
    ("ssl.ca.location", "ssl_cafile"),
    ("ssl.certificate.location", "ssl_certfile"),
    ("ssl.key.location", "ssl_keyfile"),
];

/// Other names of properties that a setting sets. librdkafka takes the one that is set last.
const ALIASES: &[(&str, &str)] = &[
    ("message.send.max.retries", "retries"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("compression.codec", "compression.type"),
];

impl Builder {
    /// Sets a setting by its name.
    ///
    /// # Errors
    /// There is no setting of this name, or its value is of another kind. Everything else is checked by
    /// [`build`](Self::build).
    pub fn set(mut self, name: &str, value: SettingValue) -> Result<Self, SettingError> {
        self.settings.set(name, value)?;
        Ok(self)
    }

    /// Transport and authentication. Default: neither.
    #[must_use]
    pub fn security(mut self, security: Security) -> Self {
        self.settings.set_security(security);
        self
    }

    /// One librdkafka property. It overrides the setting of the same meaning, where there is one.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.properties.0.insert(name.into(), value.into());
        self
    }

    /// The spool for events that Kafka does not acknowledge in time, instead of `spool_dir` and `spool_max_bytes`.
    /// Default: none, and the caller gets the event back.
    #[must_use]
    pub fn spool(mut self, spool: impl Into<Option<Spool>>) -> Self {
        self.spool = spool.into();
        self
    }

    /// Makes the client. Reads the TLS files, and connects to no broker.
    ///
    /// # Errors
    /// [`PublishError::Settings`] with every mistake.
    pub fn build(self) -> Result<Publisher, PublishError> {
        let errors = self.mistakes();
        if !errors.is_empty() {
            return Err(PublishError::Settings(errors));
        }
        let config = self.config();
        let settings = self.settings;
        let max_bytes = settings.spool_max_bytes.0;
        let spool =
            self.spool.or_else(|| settings.spool_dir.map(|folder| Spool::new(SpoolSettings { folder, max_bytes })));
        let servers = without_trailing_comma(&settings.bootstrap_servers).into();
        Ok(Publisher::new(config, servers, Arc::from(settings.topic), spool))
    }

    fn mistakes(&self) -> Vec<SettingError> {
        let settings = &self.settings;
        let mut errors = Vec::new();
        check_servers(&settings.bootstrap_servers, &mut errors);
        let mut error = |setting: &str, problem: String| errors.push(SettingError::new(setting, problem));
        if let Some(problem) = bad_topic(&settings.topic) {
            error("topic", problem);
        }
        let client_id = &settings.client_id;
        if client_id.trim().is_empty() || client_id.chars().any(char::is_control) {
            let found = client_id.escape_debug();
            error("client_id", format!("expected a name without control characters, found `{found}`"));
        }
        if !["all", "-1", "0", "1"].contains(&settings.acks.as_str()) {
            error("acks", format!("expected `all`, `1` or `0`, found `{}`", settings.acks));
        }
        for setting in SETTINGS {
            if let (Some(range), Some(SettingValue::Number(found))) = (&setting.range, settings.get(setting.name))
                && !range.contains(&found)
            {
                let unit = if setting.name.ends_with("_ms") { " ms" } else { "" };
                error(setting.name, format!("expected {} to {}{unit}, found {found}", range.start(), range.end()));
            }
        }
        if settings.linger_ms.0 >= settings.delivery_timeout_ms.0 {
            error("linger_ms", "expected less than delivery_timeout_ms: no event could be sent in time".into());
        }
        if !["none", "gzip", "snappy", "lz4", "zstd"].contains(&settings.compression_type.as_str()) {
            let found = &settings.compression_type;
            error("compression_type", format!("expected none, gzip, snappy, lz4 or zstd, found `{found}`"));
        }
        errors.extend(self.security_mistakes());
        errors.extend(self.property_mistakes());
        errors
    }

    /// The mistakes in transport and authentication, under the names that the settings have here.
    fn security_mistakes(&self) -> impl Iterator<Item = SettingError> {
        let mut errors = Vec::new();
        self.settings.security().validate(&mut errors);
        errors.into_iter().map(|SettingError { setting, problem }| match setting.strip_prefix("security.") {
            Some("protocol") => SettingError::new("security_protocol", problem),
            Some(name) => SettingError::new(name, problem),
            None => SettingError::new(setting, problem),
        })
    }

    fn property_mistakes(&self) -> impl Iterator<Item = SettingError> {
        self.settings.properties.0.iter().filter_map(|(name, value)| {
            let owned = OWNED.iter().find(|(owned, _)| owned == name);
            let problem = match owned {
                Some((_, instead)) => format!("use the setting {instead}"),
                None => check_property(name, value).err()?,
            };
            Some(SettingError::new(format!("properties.{name}"), problem))
        })
    }

    fn config(&self) -> ClientConfig {
        let settings = &self.settings;
        let mut config = client_config(&settings.bootstrap_servers, &settings.client_id, &settings.security());
        let max_in_flight = settings.max_in_flight_requests_per_connection.0;
        let acked_by_all = matches!(settings.acks.as_str(), "all" | "-1");
        let is_idempotent = acked_by_all && max_in_flight <= 5 && settings.retries.0 > 0;
        config.set("acks", &settings.acks);
        config.set("retries", settings.retries.0.to_string());
        config.set("max.in.flight.requests.per.connection", max_in_flight.to_string());
        config.set("enable.idempotence", is_idempotent.to_string());
        config.set("request.timeout.ms", settings.request_timeout_ms.0.to_string());
        config.set("message.timeout.ms", settings.delivery_timeout_ms.0.to_string());
        config.set("linger.ms", settings.linger_ms.0.to_string());
        config.set("batch.size", settings.batch_size.0.to_string());
        config.set("compression.type", &settings.compression_type);
        // The broker decides what is too large; its limit differs by topic.
        config.set("message.max.bytes", "100000000");
        // A missing topic is reported well before a task's deadline. A topic that the broker creates for its first event is
        // there within 0.3 s, on a busy machine within 4 s: then that event waits in the spool for the next publish.
        config.set("topic.metadata.propagation.max.ms", "3000");
        // Send each request at once; do not wait for more data.
        config.set("socket.nagle.disable", "true");
        config.set("queue.buffering.max.kbytes", "131072");
        // The same partition for a key as in Java clients.
        config.set("partitioner", "murmur2_random");
        for (name, value) in &settings.properties.0 {
            let alias = ALIASES.iter().find(|(alias, _)| alias == name);
            config.set(alias.map_or(name.as_str(), |(_, property)| property), value);
        }
        config
    }
}
