//! Partitions that the group has revoked and that are not released yet.

use std::{sync::Arc, time::Instant};

use rdkafka::TopicPartitionList;

use super::super::partition::Partition;

/// See the module.
#[derive(Debug)]
pub(super) struct Revocation {
    pub(super) list: TopicPartitionList,
    pub(super) partitions: Vec<Arc<Partition>>,
    pub(super) began: Instant,
}

impl Revocation {
    pub(super) fn new(list: &TopicPartitionList, partitions: Vec<Arc<Partition>>) -> Self {
        Self { list: list.clone(), partitions, began: Instant::now() }
    }

    /// How many attempts for events of these partitions are under way.
    pub(super) fn attempts(&self) -> usize {
        self.partitions.iter().map(|partition| partition.ownership().attempts()).sum()
    }
}
