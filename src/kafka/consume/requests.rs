//! Requests to the brokers about several partitions at once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaResult,
};

use super::super::{anchor::CommitNote, partition::Partition};

/// These partitions, without offsets.
pub(super) fn partition_list<'a>(partitions: impl IntoIterator<Item = &'a Arc<Partition>>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(partition.topic(), partition.number());
    }
    list
}

/// The committed offset of a partition and the note of that commit, if there is one.
pub(super) fn commit_in(list: &TopicPartitionList, topic: &str, partition: i32) -> Option<(i64, CommitNote)> {
    let entry = list.find_partition(topic, partition)?;
    let Offset::Offset(offset) = entry.offset() else { return None };
    // The binding panics on metadata that is not UTF-8, which any client of the group may have written.
    let note = catch_unwind(AssertUnwindSafe(|| CommitNote::parse(entry.metadata()))).unwrap_or_default();
    Some((offset, note))
}

/// Asks the broker for the committed offsets of these partitions, and tells them.
pub(super) fn refresh_committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[Arc<Partition>],
    timeout: Duration,
) -> KafkaResult<()> {
    let committed = consumer.committed_offsets(partition_list(partitions), timeout)?;
    for partition in partitions {
        let entry = committed.find_partition(partition.topic(), partition.number());
        match entry.map(|entry| entry.offset()) {
            Some(Offset::Offset(offset)) => partition.committed(Some(offset)),
            Some(_) => partition.committed(None),
            None => {}
        }
    }
    Ok(())
}

/// The first or the last offsets of all these partitions (`Offset::Beginning` or `Offset::End`), in one request to each
/// broker. Asking for the watermarks of one partition after the other takes a broker's long poll for each.
pub(super) fn fetch_offsets<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    mut list: TopicPartitionList,
    which: Offset,
    timeout: Duration,
) -> KafkaResult<TopicPartitionList> {
    if list.count() == 0 {
        return Ok(list);
    }
    // The protocol's timestamps for the two ends are librdkafka's logical offsets for them.
    list.set_all_offsets(which)?;
    consumer.offsets_for_times(list, timeout)
}
