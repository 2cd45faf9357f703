//! The names of the metrics: a documented interface, one constant each.
//!
//! Every room records its own; this file owns the names, so that a rename is a reviewed diff, and
//! docs/metrics.md is compared with [`ALL`] by a test. Labels are bounded: an id goes to a log.

/// The kinds of metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// A state.
    Gauge,
    /// A distribution, in seconds.
    Histogram,
}

/// One metric, as it is exported.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in Prometheus.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, and when to alert.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($kind:ident $constant:ident = $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(#[doc = $help] pub const $constant: &str = concat!("workflow_bridge_", $name);)+

        /// Every metric of the bridge.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $constant, kind: Kind::$kind, labels: &[$($label),*], help: $help },)+
        ];
    };
}

metrics! {
    Gauge BUILD_INFO = "build_info" ["version"] "Always 1; the label says which version runs.";
    Counter RECORDS_CONSUMED = "records_consumed_total" ["topic"] "Records received from Kafka.";
    Counter RECORDS_LOST = "records_lost_total" ["topic"] "Records that Kafka dropped before they were read: by retention, or with a topic that was deleted. Alert on any increase.";
    Counter EVENTS = "events_total" ["outcome"] "Events that reached their outcome: delivered, duplicate, unmatched or dead_lettered.";
    Counter ATTEMPTS = "attempts_total" ["agent", "result"] "Delivery attempts by agent and answer: a status class such as 2xx, timeout, connect, io, or found when a look settled it.";
    Histogram ATTEMPT_DURATION = "attempt_duration_seconds" ["agent"] "How long one attempt took.";
    Histogram ACCEPTANCE_LATENCY = "acceptance_latency_seconds" ["agent"] "From the broker's append of the record to the agent's acceptance.";
    Gauge IN_FLIGHT_EVENTS = "in_flight_events" [] "Events received and without an outcome yet.";
    Gauge IN_FLIGHT_BYTES = "in_flight_bytes" [] "What those events are charged in memory.";
    Gauge HELD_DELIVERIES = "held_deliveries" ["agent"] "Deliveries that wait for this agent or are under way: when partitions are paused, the agent with the most holds them.";
    Gauge BREAKER_OPEN = "breaker_open" ["agent"] "1 while deliveries to the agent are held and only probes go out. Alert when it lasts.";
    Gauge PARTITIONS_ASSIGNED = "partitions_assigned" [] "Partitions that the consumer group gave to this replica.";
    Gauge PARTITIONS_PAUSED = "partitions_paused" [] "Partitions not fetched because the in-flight budget or a partition's span is used up.";
    Gauge LAG = "consumer_lag_records" ["topic", "partition"] "High watermark less the committed offset: records without an outcome. Alert when it grows.";
    Gauge UNREAD = "unread_records" ["topic", "partition"] "High watermark less the next offset to read: what Kafka holds and this replica has not received yet.";
    Gauge PARTITION_STUCK = "partition_stuck" ["topic", "partition"] "1 while every fetch of a partition fails and its position has not moved for 15 s. Alert at once.";
    Gauge KAFKA_REACHABLE = "kafka_reachable" [] "1 while a broker answers, 0 when none does. Alert when it lasts.";
    Gauge COMMITTED_OFFSET = "committed_offset" ["topic", "partition"] "The last committed offset.";
    Counter KAFKA_ERRORS = "kafka_errors_total" ["kind"] "Errors that the Kafka client reported: transport, authentication, tls, topic, fetch, commit, other.";
    Counter DEAD_LETTERS = "dead_letters_total" ["reason"] "Records written to the dead-letter topic, acknowledged. Alert on any increase.";
    Counter DEAD_LETTER_FAILURES = "dead_letter_failures_total" [] "Attempts to write a dead letter that failed and are tried again.";
    Gauge DEDUP_RECORDS = "dedup_records" [] "Records in the ledger.";
    Counter DEDUP_EXPIRED = "dedup_expired_total" [] "Records that left the ledger at the end of the window.";
    Histogram DEDUP_FLUSH_DURATION = "dedup_flush_duration_seconds" [] "How long a flush of the ledger took.";
    Counter SPOOL_EVENTS = "spool_events_total" ["outcome"] "Events of the spool folder: published, put_back when Kafka did not take them, or quarantined.";
    Gauge SPOOL_WAITING = "spool_waiting_events" [] "Events that wait in the spool folder. Alert when it lasts.";
    Gauge SPOOL_OLDEST = "spool_oldest_event_seconds" [] "How long the oldest of them has waited; 0 when none does.";
    Gauge SPOOL_QUARANTINED = "spool_quarantined_events" [] "Events in the spool folder that can never be published. Alert above 0.";
    Gauge RULES_LOADED = "rules_loaded" [] "Rules in force.";
    Counter ROUTING_LOADS = "routing_loads_total" ["result"] "Loads of the routing folder: ok or error.";
}

/// Gives every metric its description, for the exporter.
#[cfg(feature = "service")]
pub fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metrics::Unit::Seconds, metric.help),
        }
    }
}
