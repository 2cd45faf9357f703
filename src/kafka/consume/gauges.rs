//! What the metrics say of each partition, and that they stop saying it when the partition goes.

use super::super::partitions::PartitionStatus;
use crate::telemetry;

fn labels(topic: &str, number: i32) -> [(&'static str, String); 2] {
    [("topic", topic.to_owned()), ("partition", number.to_string())]
}

/// Shows a partition as it is.
pub(super) fn show(status: &PartitionStatus) {
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

/// The partition is another's by now: a series cannot be taken back, so it says what is true of us, 0. (The
/// committed offset stays: the largest of all replicas is the right one.)
pub(super) fn forget(topic: &str, number: i32) {
    let labels = labels(topic, number);
    for gauge in [telemetry::LAG, telemetry::UNREAD, telemetry::PARTITION_STUCK] {
        metrics::gauge!(gauge, &labels).set(0.0);
    }
}
