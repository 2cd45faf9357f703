//! What the group has committed, asked without joining it.

use std::collections::BTreeMap;

use rdkafka::{Offset, TopicPartitionList, error::KafkaError as RdError};

use super::{ScanError, TopicReader, ranges::REQUEST_TIMEOUT};

/// What the group has committed of some partitions of a topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CommittedOffsets {
    /// By partition; `None` when nothing is committed. Those of which it is not known are left out.
    pub(crate) known: BTreeMap<i32, Option<i64>>,
    /// Why some are not known.
    pub(crate) problem: Option<ScanError>,
}

impl TopicReader {
    /// The committed offsets of partitions of a topic, as far as they are known: perhaps no broker answers, or our user may not
    /// see the group.
    pub(crate) fn committed(&self, topic: &str, partitions: &[i32]) -> CommittedOffsets {
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            asked.add_partition(topic, *partition);
        }
        let failed = |error: &RdError| {
            let (reason, advice) = self.questions().explain(error);
            ScanError::Group { group: self.group.clone(), topic: topic.to_owned(), reason, advice }
        };
        match self.questions().committed(asked, REQUEST_TIMEOUT) {
            Ok(found) => {
                let (mut known, mut problem) = (BTreeMap::new(), None);
                for entry in found.elements() {
                    if let Err(error) = entry.error() {
                        problem = Some(failed(&error));
                        continue;
                    }
                    let offset = match entry.offset() {
                        Offset::Offset(offset) => Some(offset),
                        _ => None,
                    };
                    known.insert(entry.partition(), offset);
                }
                CommittedOffsets { known, problem }
            }
            Err(error) => CommittedOffsets { known: BTreeMap::new(), problem: Some(failed(&error)) },
        }
    }
}
