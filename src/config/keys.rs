//! Every setting of the bridge, in one table. The loader, the help of `run` and the table in
//! docs/configuration.md use it.

/// One setting.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its path in bridge.yaml, dotted.
    pub path: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// Its flag of `run`, if it has one.
    pub flag: Option<&'static str>,
    /// Its default as text; empty for none.
    pub default: &'static str,
    /// Its description, for the help and the documentation.
    pub help: &'static str,
}

macro_rules! keys {
    ($($constant:ident = $path:literal $env:literal $flag:expr, $default:literal, $help:literal;)+) => {
        $(pub(super) const $constant: &Key =
            &Key { path: $path, env: $env, flag: $flag, default: $default, help: $help };)+

        /// Every setting.
        pub(crate) const ALL: &[&Key] = &[$($constant),+];
    };
}

keys! {
    BOOTSTRAP = "kafka.bootstrap_servers" "KAFKA_BOOTSTRAP_SERVERS" Some("--brokers"), "localhost:9092", "brokers, comma-separated";
    GROUP = "kafka.group_id" "KAFKA_CONSUMER_GROUP_ID" Some("--group"), "workflow-bridge", "consumer group";
    TOPICS = "kafka.topics" "KAFKA_TOPIC" Some("--topic"), "workflow-events", "topics to read; a list, comma-separated in the environment";
    RESET = "kafka.auto_offset_reset" "KAFKA_CONSUMER_AUTO_OFFSET_RESET" None, "earliest", "where a new group starts: earliest or latest";
    CLIENT = "kafka.client_id" "KAFKA_SERVICE_NAME" None, "workflow-bridge", "client id that the brokers see";
    PROTOCOL = "kafka.security.protocol" "KAFKA_SECURITY_PROTOCOL" None, "PLAINTEXT", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL";
    MECHANISM = "kafka.security.sasl_mechanism" "KAFKA_SASL_MECHANISM" None, "", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";
    USERNAME = "kafka.security.sasl_username" "KAFKA_SASL_USERNAME" None, "", "SASL user";
    PASSWORD = "kafka.security.sasl_password" "KAFKA_SASL_PASSWORD" None, "", "SASL password; in bridge.yaml only as {env: NAME} or {file: PATH}";
    CA = "kafka.security.ssl_cafile" "KAFKA_SSL_CAFILE" None, "", "PEM file of the certificate authorities for the brokers";
    CERT = "kafka.security.ssl_certfile" "KAFKA_SSL_CERTFILE" None, "", "PEM file of the client certificate";
    KEYFILE = "kafka.security.ssl_keyfile" "KAFKA_SSL_KEYFILE" None, "", "PEM file of the client key";
    DEAD_LETTERS = "kafka.dead_letter_topic" "BRIDGE_DEAD_LETTER_TOPIC" None, "", "dead-letter topic; by default that of each topic: its name with dead_letter_suffix appended";
    DEAD_LETTER_SUFFIX = "kafka.dead_letter_suffix" "BRIDGE_DEAD_LETTER_SUFFIX" None, ".dlq", "what the name of a topic ends with to be that of its dead-letter topic";
    PARKED_TOPIC = "kafka.parked_topic" "BRIDGE_PARKED_TOPIC" None, "", "name of the topics where the deliveries to an agent that is down wait, before the source topic's name; by default the group's name with -parked appended";
    ROUTING = "routing_dir" "BRIDGE_ROUTING_DIR" Some("--routing"), "routing", "folder of routing files";
    ROUTING_RELOAD = "routing_reload" "BRIDGE_ROUTING_RELOAD" None, "5s", "how often the routing folder is looked at; a change is loaded while the bridge runs; off to load it only on SIGHUP and POST /api/reload";
    DATA = "data_dir" "BRIDGE_DATA_DIR" Some("--data-dir"), "data", "folder of the dedup ledger";
    SPOOL = "spool_dir" "WORKFLOW_EVENTS_SPOOL_DIR" None, "", "spool folder of publishers on this host, which the bridge drains; none by default";
    ADMIN = "admin_addr" "BRIDGE_ADMIN_ADDR" Some("--admin"), "127.0.0.1:9464", "listen address of /metrics, /healthz, /readyz, /api/status, /api/events, /api/events/ID and /api/reload";
    WINDOW = "dedup.window" "BRIDGE_DEDUP_WINDOW" None, "7d", "how long an event is remembered";
    CACHE = "dedup.cache_bytes" "BRIDGE_DEDUP_CACHE_BYTES" None, "33554432", "cache of the ledger, in bytes; it takes several times as much memory";
    LEDGER_TOPIC = "dedup.ledger_topic" "BRIDGE_LEDGER_TOPIC" None, "on", "topic that carries the ledger to the other replicas: on for GROUP-ledger, off (one replica), or a name";
    MAX_EVENTS = "kafka.budget.max_events" "BRIDGE_MAX_EVENTS" None, "10000", "maximum number of events in flight";
    MAX_BYTES = "kafka.budget.max_bytes" "BRIDGE_MAX_BYTES" None, "67108864", "maximum memory of events in flight, in bytes";
    MAX_RECORD = "kafka.budget.max_record_bytes" "BRIDGE_MAX_RECORD_BYTES" None, "4194304", "maximum size of a record, in bytes; larger ones are dead-lettered";
    MAX_SPAN = "kafka.budget.max_span_per_partition" "BRIDGE_MAX_SPAN" None, "100000", "maximum number of records received beyond the committed offset, for each partition";
    PARK_AFTER = "park_after" "BRIDGE_PARK_AFTER" None, "60s", "how long the breaker of an agent is open before its deliveries are parked, so that they delay nobody else; 5s while half of the budget is used; off to let them wait";
    DRAIN = "drain_timeout" "BRIDGE_DRAIN_TIMEOUT" None, "8s", "how long a stop waits for attempts in progress";
    LOG_OUTCOMES = "log_outcomes" "BRIDGE_LOG_OUTCOMES" None, "matched", "which outcomes of events are logged, a line each: all, matched (those that a rule matches), failures (dead letters) or none";
    LOG_FORMAT = "log_format" "BRIDGE_LOG_FORMAT" Some("--log-format"), "text", "log format: text or json";
}
