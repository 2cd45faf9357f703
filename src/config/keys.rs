//! Every setting of the bridge, in one table: the help of `run`, docs/configuration.md and the
//! reader itself all come from here.

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Its place in bridge.yaml, dotted.
    pub path: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// Its flag of `run`, if it has one.
    pub flag: Option<&'static str>,
    /// Its default, as one would write it; empty is none.
    pub default: &'static str,
    /// What it is.
    pub help: &'static str,
}

macro_rules! keys {
    ($($constant:ident = $path:literal $env:literal $flag:expr, $default:literal, $help:literal;)+) => {
        $(pub(super) const $constant: &Key =
            &Key { path: $path, env: $env, flag: $flag, default: $default, help: $help };)+

        /// Every setting.
        pub const ALL: &[&Key] = &[$($constant),+];
    };
}

keys! {
    BOOTSTRAP = "kafka.bootstrap_servers" "KAFKA_BOOTSTRAP_SERVERS" Some("--brokers"), "localhost:9092", "brokers, comma-separated";
    GROUP = "kafka.group_id" "KAFKA_CONSUMER_GROUP_ID" Some("--group"), "workflow-bridge", "consumer group";
    TOPICS = "kafka.topics" "KAFKA_TOPIC" Some("--topic"), "workflow-events", "topic, or several: a list, comma-separated in the environment";
    RESET = "kafka.auto_offset_reset" "KAFKA_CONSUMER_AUTO_OFFSET_RESET" None, "earliest", "where a new group starts: earliest or latest";
    CLIENT = "kafka.client_id" "KAFKA_SERVICE_NAME" None, "workflow-bridge", "client id, as the brokers see it";
    PROTOCOL = "kafka.security.protocol" "KAFKA_SECURITY_PROTOCOL" None, "PLAINTEXT", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL";
    MECHANISM = "kafka.security.sasl_mechanism" "KAFKA_SASL_MECHANISM" None, "", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";
    USERNAME = "kafka.security.sasl_username" "KAFKA_SASL_USERNAME" None, "", "SASL user";
    PASSWORD = "kafka.security.sasl_password" "KAFKA_SASL_PASSWORD" None, "", "SASL password; in bridge.yaml only as {env: NAME} or {file: PATH}";
    CA = "kafka.security.ssl_cafile" "KAFKA_SSL_CAFILE" None, "", "PEM file of the authorities that signed the brokers' certificates";
    CERT = "kafka.security.ssl_certfile" "KAFKA_SSL_CERTFILE" None, "", "PEM file of the client's certificate";
    KEYFILE = "kafka.security.ssl_keyfile" "KAFKA_SSL_KEYFILE" None, "", "PEM file of the client's key";
    DEAD_LETTERS = "kafka.dead_letter_topic" "BRIDGE_DEAD_LETTER_TOPIC" None, "", "dead-letter topic; by default the topic's name and .dlq";
    ROUTING = "routing_dir" "BRIDGE_ROUTING_DIR" Some("--routing"), "routing", "folder of routing files";
    DATA = "data_dir" "BRIDGE_DATA_DIR" Some("--data-dir"), "data", "folder of the dedup ledger";
    SPOOL = "spool_dir" "WORKFLOW_EVENTS_SPOOL_DIR" None, "", "spool folder of publishers on this host, which the bridge empties; none by default";
    ADMIN = "admin_addr" "BRIDGE_ADMIN_ADDR" Some("--admin"), "127.0.0.1:9464", "address of /metrics, /healthz, /readyz and /api/status";
    WINDOW = "dedup.window" "BRIDGE_DEDUP_WINDOW" None, "7d", "how long an event is remembered";
    CACHE = "dedup.cache_bytes" "BRIDGE_DEDUP_CACHE_BYTES" None, "33554432", "cache of the ledger, in bytes; the process takes several times that";
    MAX_EVENTS = "kafka.budget.max_events" "BRIDGE_MAX_EVENTS" None, "10000", "events in flight at most";
    MAX_BYTES = "kafka.budget.max_bytes" "BRIDGE_MAX_BYTES" None, "67108864", "memory of events in flight at most, in bytes";
    MAX_RECORD = "kafka.budget.max_record_bytes" "BRIDGE_MAX_RECORD_BYTES" None, "4194304", "largest record that is read as an event, in bytes; larger ones are dead letters";
    MAX_SPAN = "kafka.budget.max_span_per_partition" "BRIDGE_MAX_SPAN" None, "100000", "records of a partition received beyond its committed offset at most";
    DRAIN = "drain_timeout" "BRIDGE_DRAIN_TIMEOUT" None, "8s", "how long a stop waits for attempts under way";
    LOG_FORMAT = "log_format" "BRIDGE_LOG_FORMAT" Some("--log-format"), "text", "text or json";
}

/// The environment section of `run --help`.
pub fn environment_help() -> String {
    use std::fmt::Write as _;

    let mut text = String::from("Environment (a flag goes before it, bridge.yaml and the default after it):\n");
    for key in ALL {
        let default = if key.default.is_empty() { String::new() } else { format!(" [{}]", key.default) };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<34} {}{default}", key.env, key.help);
    }
    text.push_str("\nEnvironment of other parts:\n");
    for (name, help) in super::variables::OTHERS {
        let _ = writeln!(text, "  {name:<34} {help}");
    }
    text
}
