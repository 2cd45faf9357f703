//! The partitions of the current assignment.

use std::{collections::HashMap, sync::Arc};

use super::partition::Partition;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Assignment {
    topics: HashMap<Arc<str>, HashMap<i32, Arc<Partition>>>,
    last: Option<Arc<Partition>>,
}

impl Assignment {
    pub(super) fn insert(&mut self, partition: Arc<Partition>) {
        self.last = None;
        self.topics.entry(Arc::clone(partition.topic())).or_default().insert(partition.number(), partition);
    }

    pub(super) fn remove(&mut self, topic: &str, number: i32) -> Option<Arc<Partition>> {
        self.last = None;
        self.topics.get_mut(topic)?.remove(&number)
    }

    /// Records come in runs of one partition, so the last one is tried first.
    pub(super) fn find(&mut self, topic: &str, number: i32) -> Option<&Arc<Partition>> {
        if self.last.as_ref().is_none_or(|last| last.number() != number || **last.topic() != *topic) {
            self.last = self.get(topic, number).cloned();
        }
        self.last.as_ref()
    }

    pub(super) fn get(&self, topic: &str, number: i32) -> Option<&Arc<Partition>> {
        self.topics.get(topic)?.get(&number)
    }

    pub(super) fn has_topic(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|partitions| !partitions.is_empty())
    }

    /// All of them, ordered by topic and number.
    pub(super) fn all(&self) -> Vec<Arc<Partition>> {
        let mut all: Vec<_> = self.topics.values().flat_map(HashMap::values).cloned().collect();
        all.sort_by(|a, b| (a.topic(), a.number()).cmp(&(b.topic(), b.number())));
        all
    }
}
