//! The names of the metrics: a documented interface, one constant each.
//!
//! Every room records its own metrics. This file owns the names, so that a rename is a reviewed diff, and
//! a test compares docs/metrics.md with [`ALL`]. Labels are bounded: an id goes to a log.

/// The kinds of metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only increases.
    Counter,
    /// A current value.
    Gauge,
    /// A distribution, in seconds.
    Histogram,
}

/// One metric, as it is exported.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metric {
    /// Its name in Prometheus.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it measures, and when to alert.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($kind:ident $constant:ident = $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(#[doc = $help] pub(crate) const $constant: &str = concat!("workflow_bridge_", $name);)+

        /// Every metric of the bridge.
        pub(crate) const ALL: &[Metric] = &[
            $(Metric { name: $constant, kind: Kind::$kind, labels: &[$($label),*], help: $help },)+
        ];
    };
}

metrics! {
    Gauge BUILD_INFO = "build_info" ["version"] "Always 1; the label says which version runs.";
    Counter RECORDS_CONSUMED = "records_consumed_total" ["topic"] "Records received from Kafka.";
    Counter RECORDS_LOST = "records_lost_total" ["topic"] "Records that Kafka dropped before they were read: by retention, or with a topic that was deleted. Alert on any increase.";
    Counter EVENTS = "events_total" ["outcome"] "Events that reached their outcome: delivered, parked, duplicate, unmatched or dead_lettered.";
    Counter ATTEMPTS = "attempts_total" ["agent", "result"] "Delivery attempts by agent and answer: a status class such as 2xx, timeout, connect, io, found when a search found the run, or inconclusive when an earlier request may still arrive.";
    Histogram ATTEMPT_DURATION = "attempt_duration_seconds" ["agent"] "How long one attempt took.";
    Histogram ACCEPTANCE_LATENCY = "acceptance_latency_seconds" ["agent"] "From the broker's append of the record to the agent's acceptance.";
    Gauge IN_FLIGHT_EVENTS = "in_flight_events" [] "Events received that have no outcome yet.";
    Gauge IN_FLIGHT_BYTES = "in_flight_bytes" [] "The memory that those events are charged for.";
    Gauge PENDING_DELIVERIES = "pending_deliveries" ["agent"] "Deliveries that wait for this agent or are in flight. When partitions are paused, the agent with the most is the cause.";
    Gauge BREAKER_OPEN = "breaker_open" ["agent"] "1 while the breaker of the agent is open or half-open: deliveries wait, only probes are sent. Alert when it lasts.";
    Counter PARKED_TOTAL = "parked_deliveries_total" ["agent", "outcome"] "Deliveries that were parked because the agent was down (parked), and those of them that were delivered or dead_lettered since. too_large: the record does not fit the parked topic, and the delivery waits instead; refused: the topic cannot be written.";
    Gauge PARKED_DELIVERIES = "parked_deliveries" ["agent"] "Deliveries that wait in the parked topic for the agent, of this replica's partitions.";
    Gauge PARKED_OLDEST = "parked_oldest_seconds" ["agent"] "How long the oldest of them has been parked; 0 when none is. Alert when it grows although the agent works.";
    Gauge PARTITIONS_ASSIGNED = "partitions_assigned" [] "Partitions that the consumer group gave to this replica.";
    Gauge LEASE_VALID = "lease_valid" [] "0 while the consumer group has not confirmed that the assigned partitions are still this replica's: deliveries wait. Alert when it lasts.";
    Gauge PARTITIONS_PAUSED = "partitions_paused" [] "Partitions not fetched because the in-flight budget or a partition's span is used up, or because the ledger topic is read first.";
    Gauge LAG = "consumer_lag_records" ["topic", "partition"] "High watermark less the committed offset: records without an outcome. Alert when it grows.";
    Gauge UNREAD = "unread_records" ["topic", "partition"] "High watermark less the next offset to read: what Kafka holds and this replica has not received yet.";
    Gauge PARTITION_STUCK = "partition_stuck" ["topic", "partition"] "1 while every fetch of a partition fails and its position has not moved for 15 s. Alert at once.";
    Gauge KAFKA_REACHABLE = "kafka_reachable" [] "1 while a broker answers, 0 when none does. Alert when it lasts.";
    Gauge COMMITTED_OFFSET = "committed_offset" ["topic", "partition"] "The last committed offset.";
    Counter KAFKA_ERRORS = "kafka_errors_total" ["kind"] "Errors that the Kafka client reported: transport, authentication, tls, topic, fetch, commit, other.";
    Counter DEAD_LETTERS = "dead_letters_total" ["reason"] "Records written to the dead-letter topic, acknowledged. Alert on any increase.";
    Counter REDRIVES = "redrives_total" ["outcome"] "Records that ask for a redrive of a delivery: redriven, duplicate (that generation, or a later one, was made or is under way; or its delivery was accepted; or a greater --again was sent), refused (a dead letter again, redrive_refused).";
    Counter DEAD_LETTER_FAILURES = "dead_letter_failures_total" [] "Attempts to write a dead letter that failed and are tried again.";
    Gauge DEDUP_RECORDS = "dedup_records" [] "Records in the ledger.";
    Counter DEDUP_EXPIRED = "dedup_expired_total" [] "Records that left the ledger at the end of the window.";
    Counter LEDGER_REPLACED = "ledger_replaced_total" [] "Damaged ledgers that were moved aside and replaced at a start. Alert on it.";
    Histogram DEDUP_FLUSH_DURATION = "dedup_flush_duration_seconds" [] "How long a flush of the ledger took.";
    Counter LEDGER_APPENDS = "ledger_topic_appends_total" [] "Records written to the ledger topic, acknowledged.";
    Counter LEDGER_APPEND_FAILURES = "ledger_topic_append_failures_total" [] "Records that the ledger topic refused and that are sent again. Alert on any increase.";
    Gauge LEDGER_UNACKNOWLEDGED = "ledger_topic_unacknowledged_records" [] "Records that wait for the acknowledgement of the ledger topic. Offsets are committed after it. Alert when it lasts.";
    Counter LEDGER_RECORDS_READ = "ledger_topic_records_read_total" [] "Records read from the ledger topic.";
    Counter LEDGER_RECORDS_REMOVED = "ledger_topic_records_removed_total" [] "Records that left the ledger topic before this replica read them. Alert on any increase.";
    Gauge LEDGER_UNREAD = "ledger_topic_unread_records" [] "Records of the followed ledger partitions that this replica has not read yet, updated every 10 s.";
    Gauge LEDGER_CATCHING_UP = "ledger_topic_partitions_catching_up" [] "Ledger partitions that are read before their source partitions. Alert when it lasts.";
    Counter LEDGER_ENTRIES_IGNORED = "ledger_entries_ignored_total" ["reason"] "Records of the ledger topic that were ignored: foreign (of another consumer group) or unreadable. Alert on any increase.";
    Counter SPOOL_EVENTS = "spool_events_total" ["outcome"] "Events of the spool folder: published, put_back when Kafka did not take them, or quarantined.";
    Gauge SPOOL_WAITING = "spool_waiting_events" [] "Events that wait in the spool folder. Alert when it lasts.";
    Gauge SPOOL_OLDEST = "spool_oldest_event_seconds" [] "How long the oldest of them has waited; 0 when none does.";
    Gauge SPOOL_QUARANTINED = "spool_quarantined_events" [] "Events in the spool folder that can never be published. Alert above 0.";
    Gauge RULES_LOADED = "rules_loaded" [] "Rules of the routing folder in force.";
    Counter ROUTING_LOADS = "routing_loads_total" ["result"] "Loads of the routing folder, at the start and after each change: ok or error.";
    Gauge ROUTING_LOADED = "routing_loaded_timestamp_seconds" [] "When the rules in force were loaded, in seconds since 1970.";
    Gauge ROUTING_REFUSED = "routing_refused" [] "1 while the routing folder has a mistake and the rules before it stay in force. Alert when it lasts.";
}

/// Gives every metric its description, for the exporter.
#[cfg(feature = "service")]
pub(crate) fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metrics::Unit::Seconds, metric.help),
        }
    }
}
