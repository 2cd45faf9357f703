//! Which part of a topic is read.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList, consumer::Consumer as _, error::KafkaError as RdError, metadata::MetadataPartition,
    types::RDKafkaRespErr,
};

use super::{PartitionRange, ScanError, TopicReader};

/// How long a request may take.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

impl TopicReader {
    /// The partitions of a topic, with the records from `since` to `until`, milliseconds since 1970.
    ///
    /// # Errors
    /// There is no such topic, no broker answers, or our user may not read it.
    pub(crate) fn ranges(
        &self,
        topic: &str,
        since: Option<i64>,
        until: Option<i64>,
    ) -> Result<Vec<PartitionRange>, ScanError> {
        let mut ranges = Vec::new();
        for partition in self.partitions(topic)? {
            let watermarks = self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT);
            let (from, end) = watermarks.map_err(|error| self.failed(topic, &error))?;
            ranges.push(PartitionRange { partition, from, until: end, end });
        }
        let offsets_at = |ms| self.offsets_at(topic, &ranges, ms).map_err(|error| self.failed(topic, &error));
        let first = since.filter(|ms| *ms > 0).map(offsets_at).transpose()?;
        let last = until.map(offsets_at).transpose()?;
        for range in &mut ranges {
            // Without one, no record is as new.
            let at = |offsets: &BTreeMap<i32, i64>| offsets.get(&range.partition).copied().unwrap_or(range.end);
            let (first, last) = (first.as_ref().map(at), last.as_ref().map(at));
            range.from = first.map_or(range.from, |offset| offset.clamp(range.from, range.end));
            range.until = last.map_or(range.end, |offset| offset.clamp(range.from, range.end));
        }
        Ok(ranges)
    }

    fn partitions(&self, topic: &str) -> Result<Vec<i32>, ScanError> {
        let metadata = self.questions().metadata(Some(topic), Instant::now() + REQUEST_TIMEOUT, &|| false);
        let metadata = metadata.map_err(|error| self.failed(topic, &error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found.map(|found| (found.error(), found.partitions())) {
            Some((None, partitions)) if !partitions.is_empty() => {
                Ok(partitions.iter().map(MetadataPartition::id).collect())
            }
            Some((Some(error), _)) if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => {
                Err(self.failed(topic, &RdError::MetadataFetch(error.into())))
            }
            _ => Err(ScanError::NoTopic(topic.to_owned())),
        }
    }

    /// The first offset of each partition whose record was written at this time or later; none where there is no such one.
    fn offsets_at(&self, topic: &str, ranges: &[PartitionRange], ms: i64) -> Result<BTreeMap<i32, i64>, RdError> {
        let mut times = TopicPartitionList::new();
        for range in ranges {
            times.add_partition_offset(topic, range.partition, Offset::Offset(ms.max(0)))?;
        }
        let mut offsets = BTreeMap::new();
        for found in self.consumer.offsets_for_times(times, REQUEST_TIMEOUT)?.elements() {
            found.error()?;
            if let Offset::Offset(offset) = found.offset() {
                offsets.insert(found.partition(), offset);
            }
        }
        Ok(offsets)
    }
}
