//! What the group has committed, asked without joining it.

use std::collections::BTreeMap;

use rdkafka::{Offset, TopicPartitionList};

use super::{ScanError, TopicReader, ranges::REQUEST_TIMEOUT};

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
        let found = self.questions().committed(asked, REQUEST_TIMEOUT).map_err(|error| {
            let (reason, advice) = self.questions().explain(&error);
            ScanError::Group { group: self.group.clone(), topic: topic.to_owned(), reason, advice }
        })?;
        let known = found.elements().into_iter().filter_map(|entry| match entry.offset() {
            Offset::Offset(offset) => Some((entry.partition(), offset)),
            _ => None,
        });
        Ok(known.collect())
    }
}
