//! The producer's settings, declared once: name, type, default, range, environment variable and help.
//!
//! The table makes the fields, the methods of [`Builder`], the setter by name and [`SETTINGS`]. The Python package
//! reads `SETTINGS`; its tests compare the parameters of its producers and the table in docs/python.md with it.

use std::{ops::RangeInclusive, path::PathBuf};

use super::value::{Millis, Number, Properties, SettingKind, SettingType, SettingValue};
use crate::{
    connection::{Password, Security, SettingError},
    publish::spool::{DEFAULT_MAX_BYTES, Spool},
};

/// Settings of a [`Publisher`](crate::publish::Publisher). Each method sets the setting of its name; [`SETTINGS`] lists them with their defaults.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    pub(super) settings: Settings,
    /// Instead of `spool_dir` and `spool_max_bytes`.
    pub(super) spool: Option<Spool>,
}

/// A setting of the producer.
#[derive(Debug)]
pub struct Setting {
    /// Its name, as parameters and messages spell it.
    pub name: &'static str,
    /// Its type.
    pub kind: SettingKind,
    /// The values of a number that are accepted.
    pub range: Option<RangeInclusive<u64>>,
    /// The environment variable that a caller may take it from. The builder itself reads no environment.
    pub variable: Option<&'static str>,
    /// What it is, in Markdown.
    pub help: &'static str,
}

impl Setting {
    /// Its value when it is not set.
    pub fn default(&self) -> Option<SettingValue> {
        Settings::default().get(self.name)
    }
}

/// `Some` of an optional part of a row.
macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

macro_rules! settings {
    ($(
        #[doc = $help:literal]
        $name:ident: $type:ty = $default:expr $(, in $range:expr)? $(, variable $variable:literal)?;
    )+) => {
        /// Every setting, in the order of the documentation.
        pub static SETTINGS: &[Setting] = &[$(Setting {
            name: stringify!($name),
            kind: <$type as SettingType>::KIND,
            range: optional!($($range)?),
            variable: optional!($($variable)?),
            help: $help.trim_ascii(),
        }),+];

        /// The values of the settings.
        #[derive(Debug, Clone)]
        pub(super) struct Settings {
            $(pub(super) $name: $type,)+
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Settings {
            pub(super) fn get(&self, name: &str) -> Option<SettingValue> {
                match name {
                    $(stringify!($name) => self.$name.value(),)+
                    _ => None,
                }
            }

            pub(super) fn set(&mut self, name: &str, value: SettingValue) -> Result<(), SettingError> {
                match name {
                    $(stringify!($name) => match SettingType::read(value) {
                        Some(value) => self.$name = value,
                        None => {
                            let expected = <$type as SettingType>::KIND.name();
                            return Err(SettingError::new(name, format!("expected a value of the kind {expected}")));
                        }
                    },)+
                    _ => return Err(SettingError::new(name, "the producer has no setting of this name")),
                }
                Ok(())
            }
        }

        /// Each method sets the setting of its name.
        impl Builder {
            $(
                #[doc = $help]
                #[must_use]
                pub fn $name(mut self, $name: impl Into<$type>) -> Self {
                    self.settings.$name = $name.into();
                    self
                }
            )+
        }
    };
}

const MAX_INT: u64 = i32::MAX as u64;

settings! {
    /// brokers, `host:port`, comma-separated or as a list; one trailing comma is left out
    bootstrap_servers: String = "localhost:9092".into(), variable "KAFKA_BOOTSTRAP_SERVERS";
    /// which replicas must acknowledge an event: all in sync, the leader (`1`), or none (`0`: `True` means that it was sent, and it may be lost unnoticed; such a producer drains no spool)
    acks: String = "all".into();
    /// how often a request that failed for a transient reason is sent again
    retries: Number = Number(3), in 0..=MAX_INT;
    /// requests in flight on one connection; with `acks="all"`, a retry and up to 5 of these, a retry never duplicates a record
    max_in_flight_requests_per_connection: Number = Number(1), in 1..=1_000_000;
    /// milliseconds that the broker has for one request
    request_timeout_ms: Millis = Millis(30_000), in 1..=900_000;
    /// milliseconds for which the client retries one event in the background
    delivery_timeout_ms: Millis = Millis(120_000), in 1..=MAX_INT;
    /// where an event goes that names no topic
    topic: String = "workflow-events".into(), variable "KAFKA_TOPIC";
    /// the client id that the brokers see
    client_id: String = "workflow-events".into();
    /// `gzip`, `snappy`, `lz4` or `zstd`
    compression_type: String = "none".into();
    /// milliseconds that an event waits for others to share its batch
    linger_ms: Millis = Millis(0), in 0..=900_000;
    /// bytes of the largest batch
    batch_size: Number = Number(1_000_000), in 1..=MAX_INT;
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`
    security_protocol: String = Security::default().protocol, variable "KAFKA_SECURITY_PROTOCOL";
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`
    sasl_mechanism: Option<String> = None, variable "KAFKA_SASL_MECHANISM";
    /// with a SASL protocol
    sasl_username: Option<String> = None, variable "KAFKA_SASL_USERNAME";
    /// with a SASL protocol; shown nowhere
    sasl_password: Option<Password> = None, variable "KAFKA_SASL_PASSWORD";
    /// PEM file: who may sign the brokers' certificates
    ssl_cafile: Option<PathBuf> = None, variable "KAFKA_SSL_CAFILE";
    /// PEM file, when the brokers ask for a client certificate
    ssl_certfile: Option<PathBuf> = None, variable "KAFKA_SSL_CERTFILE";
    /// PEM file with its key
    ssl_keyfile: Option<PathBuf> = None, variable "KAFKA_SSL_KEYFILE";
    /// librdkafka's properties that have no parameter of their own
    properties: Properties = Properties::default();
    /// the spool's folder; `False`, or `off` in the variable: no spool
    spool_dir: Option<PathBuf> = None, variable "WORKFLOW_EVENTS_SPOOL_DIR";
    /// bytes that the spool may take on the disk
    spool_max_bytes: Number = Number(DEFAULT_MAX_BYTES), in 0..=i64::MAX as u64, variable "WORKFLOW_EVENTS_SPOOL_MAX_BYTES";
}

impl Settings {
    /// Transport and authentication.
    pub(super) fn security(&self) -> Security {
        Security {
            protocol: self.security_protocol.clone(),
            sasl_mechanism: self.sasl_mechanism.clone(),
            sasl_username: self.sasl_username.clone(),
            sasl_password: self.sasl_password.clone(),
            ssl_cafile: self.ssl_cafile.clone(),
            ssl_certfile: self.ssl_certfile.clone(),
            ssl_keyfile: self.ssl_keyfile.clone(),
        }
    }

    pub(super) fn set_security(&mut self, security: Security) {
        self.security_protocol = security.protocol;
        self.sasl_mechanism = security.sasl_mechanism;
        self.sasl_username = security.sasl_username;
        self.sasl_password = security.sasl_password;
        self.ssl_cafile = security.ssl_cafile;
        self.ssl_certfile = security.ssl_certfile;
        self.ssl_keyfile = security.ssl_keyfile;
    }
}
