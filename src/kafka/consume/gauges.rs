//! The gauges of the consumer and of each partition.

use std::sync::Arc;

use super::{
    super::partition::{Partition, PartitionStatus},
    state::ConsumerState,
};
use crate::telemetry;

fn labels(topic: &str, partition: i32) -> [(&'static str, String); 2] {
    [("topic", topic.to_owned()), ("partition", partition.to_string())]
}

/// Sets all of them. `paused` says that no partition is fetched.
pub(super) fn set_all(state: &ConsumerState, partitions: &[Arc<Partition>], paused: bool) {
    let usage = state.budget.usage();
    metrics::gauge!(telemetry::IN_FLIGHT_EVENTS).set(usage.events as f64);
    metrics::gauge!(telemetry::IN_FLIGHT_BYTES).set(usage.bytes as f64);
    metrics::gauge!(telemetry::PARTITIONS_ASSIGNED).set(partitions.len() as f64);
    let paused = partitions.iter().filter(|partition| paused || partition.is_held()).count();
    metrics::gauge!(telemetry::PARTITIONS_PAUSED).set(paused as f64);
    for partition in partitions {
        set(&partition.status());
    }
}

fn set(status: &PartitionStatus) {
    let labels = labels(&status.topic, status.partition);
    if let Some(lag) = status.lag {
        metrics::gauge!(telemetry::LAG, &labels).set(lag as f64);
    }
    if let Some(unread) = status.unread {
        metrics::gauge!(telemetry::UNREAD, &labels).set(unread as f64);
    }
    if let Some(committed) = status.committed {
        metrics::gauge!(telemetry::COMMITTED_OFFSET, &labels).set(committed as f64);
    }
    metrics::gauge!(telemetry::PARTITION_STUCK, &labels).set(if status.stuck.is_some() { 1.0 } else { 0.0 });
}

/// The partition was revoked: a series cannot be removed, so it is 0. The committed offset stays, because the largest of
/// all replicas is the right one.
pub(super) fn clear(topic: &str, partition: i32) {
    let labels = labels(topic, partition);
    for gauge in [telemetry::LAG, telemetry::UNREAD, telemetry::PARTITION_STUCK] {
        metrics::gauge!(gauge, &labels).set(0.0);
    }
}
