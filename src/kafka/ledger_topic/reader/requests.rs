//! Requests for the ends of several partitions of one topic.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaResult,
};

use crate::connection;

const TIMEOUT: Duration = Duration::from_secs(1);

/// The first and the last offset of a partition, or why they are not known.
pub(super) type Ends = Result<(i64, i64), String>;

/// The ends of these partitions.
pub(super) fn ends<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
) -> BTreeMap<i32, Ends> {
    match together(consumer, topic, partitions) {
        Ok(found) => found,
        // One without a leader must not hold up the others.
        Err(_) if partitions.len() > 1 => partitions
            .iter()
            .flat_map(|partition| match together(consumer, topic, &[*partition]) {
                Ok(found) => found,
                Err(error) => BTreeMap::from([(*partition, Err(connection::reason(&error)))]),
            })
            .collect(),
        Err(error) => {
            let reason = connection::reason(&error);
            partitions.iter().map(|partition| (*partition, Err(reason.clone()))).collect()
        }
    }
}

fn together<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
) -> KafkaResult<BTreeMap<i32, Ends>> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(topic, *partition);
    }
    let ask = |which| {
        let mut list = list.clone();
        // The protocol's timestamps for the two ends are librdkafka's logical offsets for them.
        list.set_all_offsets(which)?;
        consumer.offsets_for_times(list, TIMEOUT)
    };
    let lows = ask(Offset::Beginning)?;
    let highs = ask(Offset::End)?;
    let at = |list: &TopicPartitionList, partition| {
        let entry = list.find_partition(topic, partition).ok_or("no answer")?;
        entry.error().map_err(|error| connection::reason(&error))?;
        match entry.offset() {
            Offset::Offset(offset) => Ok(offset),
            _ => Err(String::from("no leader answers")),
        }
    };
    Ok(partitions
        .iter()
        .map(|partition| {
            let ends = at(&lows, *partition).and_then(|low| Ok((low, at(&highs, *partition)?)));
            (*partition, ends)
        })
        .collect())
}
