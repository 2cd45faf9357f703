//! What the group has committed, asked without joining it.

use std::collections::BTreeMap;

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer as _};

use super::{REQUEST_TIMEOUT, ScanError, TopicReader};

impl TopicReader {
    /// The committed offsets of partitions of a topic; nothing of those for which there is none.
    ///
    /// # Errors
    /// No broker answers, or our user may not see the group.
    pub(crate) fn committed(&self, topic: &str, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, ScanError> {
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            asked.add_partition(topic, *partition);
        }
        let found = self.consumer.committed_offsets(asked, REQUEST_TIMEOUT);
        let found = found.map_err(|error| self.failed(topic, &error))?;
        let known = found.elements().into_iter().filter_map(|entry| match entry.offset() {
            Offset::Offset(offset) => Some((entry.partition(), offset)),
            _ => None,
        });
        Ok(known.collect())
    }
}
