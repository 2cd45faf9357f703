//! The publish client's settings, their defaults, and every mistake in them.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use rdkafka::ClientConfig;

use super::{PublishError, Publisher, spool::Spool};
use crate::connection::{
    Security, SettingError, bad_topic, check_property, check_servers, client_config, shown, without_trailing_comma,
};

/// Settings of a [`Publisher`]. Every method takes the setting of its name.
#[derive(Clone)]
pub struct Builder {
    bootstrap_servers: String,
    topic: String,
    client_id: String,
    acks: String,
    retries: u32,
    max_in_flight: u32,
    request_timeout: Duration,
    delivery_timeout: Duration,
    linger: Duration,
    batch_bytes: Option<u32>,
    compression: String,
    security: Security,
    properties: BTreeMap<String, String>,
    spool: Option<Spool>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            bootstrap_servers: "localhost:9092".into(),
            topic: "workflow-events".into(),
            client_id: "workflow-events".into(),
            acks: "all".into(),
            retries: 3,
            max_in_flight: 1,
            request_timeout: Duration::from_secs(30),
            delivery_timeout: Duration::from_secs(120),
            linger: Duration::ZERO,
            batch_bytes: None,
            compression: "none".into(),
            security: Security::default(),
            properties: BTreeMap::new(),
            spool: None,
        }
    }
}

/// Properties that would go round a setting that is checked. Any other goes before its setting.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "bootstrap_servers"),
    ("metadata.broker.list", "bootstrap_servers"),
    ("client.id", "client_id"),
    ("acks", "acks"),
    ("request.required.acks", "acks"),
    ("enable.idempotence", "acks, retries and max_in_flight_requests_per_connection, which decide it"),
    ("transactional.id", "nothing: the client writes no transactions"),
    ("delivery.report.only.error", "nothing: an event counts when its acknowledgement was heard"),
    ("security.protocol", "security_protocol"),
    ("sasl.mechanism", "sasl_mechanism"),
    ("sasl.mechanisms", "sasl_mechanism"),
    ("sasl.username", "sasl_username"),
    ("sasl.password", "sasl_password"),
    ("ssl.ca.location", "ssl_cafile"),
    ("ssl.certificate.location", "ssl_certfile"),
    ("ssl.key.location", "ssl_keyfile"),
];

/// Other names of properties that a setting sets. librdkafka takes the one that it is told last.
const ALIASES: &[(&str, &str)] = &[
    ("message.send.max.retries", "retries"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("compression.codec", "compression.type"),
];

impl Builder {
    /// `host:port`, comma-separated. Default `localhost:9092`.
    #[must_use]
    pub fn bootstrap_servers(mut self, servers: impl Into<String>) -> Self {
        self.bootstrap_servers = servers.into();
        self
    }

    /// Where events go that name no topic of their own. Default `workflow-events`.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = topic.into();
        self
    }

    /// How the client introduces itself to the brokers. Default `workflow-events`.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }

    /// Who has to have an event before it counts: `all` in-sync replicas (the default), the leader
    /// alone (`1`), or nobody (`0`: an event may be lost without a word).
    #[must_use]
    pub fn acks(mut self, acks: impl Into<String>) -> Self {
        self.acks = acks.into();
        self
    }

    /// How often a request that failed for a passing reason is sent again. Default 3.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Requests under way on a connection at once. Default 1. With acks `all`, at least one retry
    /// and at most 5 of these the producer is idempotent: a retry of its own never doubles a record.
    #[must_use]
    pub fn max_in_flight(mut self, requests: u32) -> Self {
        self.max_in_flight = requests;
        self
    }

    /// How long the broker has for one request. Default 30 s.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long librdkafka goes on trying with one event, in the background. Default 120 s. A call's
    /// own deadline is another matter: past it the event is in the spool.
    #[must_use]
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// How long an event waits for company in its batch. Default 0.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// The largest batch, in bytes. Default: librdkafka's, 1,000,000.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: u32) -> Self {
        self.batch_bytes = Some(bytes);
        self
    }

    /// `none` (the default), `gzip`, `snappy`, `lz4` or `zstd`.
    #[must_use]
    pub fn compression(mut self, codec: impl Into<String>) -> Self {
        self.compression = codec.into();
        self
    }

    /// Transport and authentication. Default: neither.
    #[must_use]
    pub fn security(mut self, security: Security) -> Self {
        self.security = security;
        self
    }

    /// A librdkafka property. It goes before the setting of the same meaning, where there is one.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Where events go that Kafka does not take in time. Default: nowhere, and the caller is told.
    #[must_use]
    pub fn spool(mut self, spool: impl Into<Option<Spool>>) -> Self {
        self.spool = spool.into();
        self
    }

    /// Makes the client. Reads the TLS files, and connects to nobody.
    ///
    /// # Errors
    /// [`PublishError::Settings`] with every mistake.
    pub fn build(self) -> Result<Publisher, PublishError> {
        let errors = self.mistakes();
        if !errors.is_empty() {
            return Err(PublishError::Settings(errors));
        }
        let config = self.config();
        let topic = Arc::from(self.topic);
        Ok(Publisher::new(config, without_trailing_comma(&self.bootstrap_servers).into(), topic, self.spool))
    }

    fn mistakes(&self) -> Vec<SettingError> {
        let mut errors = Vec::new();
        check_servers(&self.bootstrap_servers, &mut errors);
        let mut error = |setting: &str, problem: String| errors.push(SettingError::new(setting, problem));
        if let Some(problem) = bad_topic(&self.topic) {
            error("topic", problem);
        }
        if self.client_id.trim().is_empty() || self.client_id.chars().any(char::is_control) {
            let found = self.client_id.escape_debug();
            error("client_id", format!("expected a name without control characters, found `{found}`"));
        }
        if !["all", "-1", "0", "1"].contains(&self.acks.as_str()) {
            error("acks", format!("expected `all`, `1` or `0`, found `{}`", self.acks));
        }
        if self.retries > i32::MAX as u32 {
            error("retries", format!("expected at most {}, found {}", i32::MAX, self.retries));
        }
        if !(1..=1_000_000).contains(&self.max_in_flight) {
            let found = self.max_in_flight;
            error("max_in_flight_requests_per_connection", format!("expected 1 to 1000000, found {found}"));
        }
        for (setting, timeout, least, most) in [
            ("request_timeout_ms", self.request_timeout, 1, 900_000),
            ("delivery_timeout_ms", self.delivery_timeout, 1, i32::MAX as u128),
            ("linger_ms", self.linger, 0, 900_000),
        ] {
            if !(least..=most).contains(&timeout.as_millis()) {
                error(setting, format!("expected {least} to {most} ms, found {}", timeout.as_millis()));
            }
        }
        if self.linger >= self.delivery_timeout {
            error("linger_ms", "expected less than delivery_timeout_ms: no event could be sent in time".into());
        }
        if let Some(bytes) = self.batch_bytes
            && !(1..=i32::MAX as u32).contains(&bytes)
        {
            error("batch_size", format!("expected 1 to {} bytes, found {bytes}", i32::MAX));
        }
        if !["none", "gzip", "snappy", "lz4", "zstd"].contains(&self.compression.as_str()) {
            let found = &self.compression;
            error("compression_type", format!("expected none, gzip, snappy, lz4 or zstd, found `{found}`"));
        }
        let mut security = Vec::new();
        self.security.validate(&mut security);
        errors.extend(security);
        for (name, value) in &self.properties {
            let setting = format!("properties.{name}");
            if let Some((_, instead)) = OWNED.iter().find(|(owned, _)| owned == name) {
                errors.push(SettingError::new(setting, format!("use the setting {instead}")));
            } else if let Err(reason) = check_property(name, value) {
                errors.push(SettingError::new(setting, reason));
            }
        }
        errors
    }

    fn config(&self) -> ClientConfig {
        let mut config = client_config(&self.bootstrap_servers, &self.client_id, &self.security);
        let millis = |duration: Duration| duration.as_millis().to_string();
        config.set("acks", &self.acks).set("retries", self.retries.to_string());
        config.set("max.in.flight.requests.per.connection", self.max_in_flight.to_string());
        let idempotent = matches!(self.acks.as_str(), "all" | "-1") && self.max_in_flight <= 5 && self.retries > 0;
        config.set("enable.idempotence", idempotent.to_string());
        config.set("request.timeout.ms", millis(self.request_timeout));
        config.set("message.timeout.ms", millis(self.delivery_timeout));
        config.set("linger.ms", millis(self.linger)).set("compression.type", &self.compression);
        if let Some(bytes) = self.batch_bytes {
            config.set("batch.size", bytes.to_string());
        }
        // The broker says what is too large; its limit differs by topic.
        config.set("message.max.bytes", "100000000");
        // A topic that is not there is said to be that before a task's deadline; one that the broker makes for its first
        // event takes a tenth of this.
        config.set("topic.metadata.propagation.max.ms", "3000");
        // A request is sent when it is there, not when the kernel has more.
        config.set("socket.nagle.disable", "true");
        config.set("queue.buffering.max.kbytes", "131072");
        // The partition that Java clients choose for the key, so that one key has one partition.
        config.set("partitioner", "murmur2_random");
        for (name, value) in &self.properties {
            let alias = ALIASES.iter().find(|(alias, _)| alias == name);
            config.set(alias.map_or(name.as_str(), |(_, property)| property), value);
        }
        config
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("topic", &self.topic)
            .field("client_id", &self.client_id)
            .field("acks", &self.acks)
            .field("retries", &self.retries)
            .field("max_in_flight", &self.max_in_flight)
            .field("request_timeout", &self.request_timeout)
            .field("delivery_timeout", &self.delivery_timeout)
            .field("linger", &self.linger)
            .field("batch_bytes", &self.batch_bytes)
            .field("compression", &self.compression)
            .field("security", &self.security)
            .field("properties", &shown(&self.properties))
            .field("spool", &self.spool)
            .finish()
    }
}
