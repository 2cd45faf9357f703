//! How to reach Kafka: addresses, security, the properties of librdkafka, and what its errors mean.
//!
//! Owns what the bridge and the publish client have in common, so that a setting means the same in both. Its invariant:
//! settings without a mistake make a client, and no secret is shown. It reads no environment, and knows neither consumers
//! nor producers.

mod advice;
mod check;
mod security;

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

pub(crate) use advice::{advice, speaks_another_protocol};
pub use check::SettingError;
#[cfg(feature = "service")]
pub(crate) use check::is_secret;
pub(crate) use check::{bad_topic, check_property, check_servers, reason, shown, without_trailing_comma};
pub use security::{Password, Security};

/// The base configuration of every client.
pub(crate) fn client_config(bootstrap_servers: &str, client_id: &str, security: &Security) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    config.set("bootstrap.servers", without_trailing_comma(bootstrap_servers)).set("client.id", client_id);
    config.set("client.software.name", "workflow-bridge").set("client.software.version", env!("CARGO_PKG_VERSION"));
    // Reconnect to a broker every second, not every ten.
    config.set("reconnect.backoff.max.ms", "1000");
    security.apply(&mut config);
    config
}

/// The versions of librdkafka and of the OpenSSL that it uses.
#[cfg(feature = "service")]
pub(crate) fn library_versions() -> (String, &'static str) {
    let openssl = openssl::version::version();
    (rdkafka::util::get_rdkafka_version().1, openssl.strip_prefix("OpenSSL ").unwrap_or(openssl))
}
