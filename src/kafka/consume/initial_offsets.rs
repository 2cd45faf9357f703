//! Where reading begins after an assignment: the group's committed offsets and, for `latest`, what stands in for those
//! that do not exist.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaResult,
    metadata::MetadataTopic,
};

use super::{
    super::{anchor::CommitNote, settings::OffsetReset},
    group_history::{GroupHistory, Start},
    requests::{commit_in, fetch_offsets},
    state::ConsumerState,
};

/// A topic and the number of a partition.
pub(super) type TopicPartition = (String, i32);

/// The least time for the newest offsets, whatever the requests before them took: `latest` is about them. With the whole time of an
/// assignment it is below the 2 s within which the loop polls.
const ENDS_TIMEOUT: Duration = Duration::from_millis(400);
/// How long a list of all topics may take.
const TOPICS_TIMEOUT: Duration = Duration::from_secs(2);

/// For `latest`: notes which topics do not exist. Lists all of them: a broker that creates topics on request would create those that
/// are requested by name.
pub(super) fn note_absent_topics<C: ConsumerContext>(state: &ConsumerState, consumer: &BaseConsumer<C>) {
    if state.reset != OffsetReset::Latest {
        return;
    }
    let metadata = match consumer.fetch_metadata(None, TOPICS_TIMEOUT) {
        Ok(metadata) => metadata,
        Err(error) => {
            let advice = "a topic that does not exist yet begins at its newest record when it is made, because auto_offset_reset is latest: restart once the brokers answer";
            state.reporter.report_failure("other", advice, "Metadata", &error.to_string());
            return;
        }
    };
    let present: HashSet<_> = metadata.topics().iter().map(MetadataTopic::name).collect();
    let absent = state.topics.iter().filter(|topic| !present.contains(&***topic));
    state.set_absent(absent.map(ToString::to_string).collect());
}

/// The topics and partitions of a list.
pub(super) fn topic_partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}

/// The group's committed offsets; `None` when they cannot be had in time.
pub(super) fn committed<C: ConsumerContext>(
    state: &ConsumerState,
    consumer: &BaseConsumer<C>,
    list: &TopicPartitionList,
    deadline: Instant,
) -> Option<TopicPartitionList> {
    match consumer.committed_offsets(list.clone(), left(deadline)) {
        Ok(committed) => Some(committed),
        Err(error) => {
            let advice = "reading begins where librdkafka finds the group's offsets; a partition that has none begins at its oldest record, whatever auto_offset_reset says";
            state.reporter.report_failure("other", advice, "CommittedOffsets", &error.to_string());
            None
        }
    }
}

/// For `latest`: where those partitions begin for which nothing is committed.
pub(super) fn without_commit<C: ConsumerContext>(
    state: &ConsumerState,
    consumer: &BaseConsumer<C>,
    partitions: &[TopicPartition],
    committed: Option<&TopicPartitionList>,
    deadline: Instant,
) -> HashMap<TopicPartition, (Offset, CommitNote)> {
    let mut starts = HashMap::new();
    let Some(committed) = committed.filter(|_| state.reset == OffsetReset::Latest) else { return starts };
    let uncommitted: Vec<_> =
        partitions.iter().filter(|(topic, partition)| commit_in(committed, topic, *partition).is_none()).collect();
    let mut ends = [Offset::End, Offset::Beginning].map(|end| (end, TopicPartitionList::new()));
    for topic in uncommitted.iter().map(|(topic, _)| topic).collect::<HashSet<_>>() {
        let history = match group_history(state, consumer, topic, deadline) {
            Ok(history) => history,
            Err(error) => {
                let advice = "its partitions without a committed offset are read from their oldest record";
                state.reporter.report_failure("other", advice, "CommittedOffsets", &error.to_string());
                continue;
            }
        };
        for (_, partition) in uncommitted.iter().filter(|(other, _)| other == topic) {
            let note = CommitNote { anchor: None, partitions: history.began_with() };
            let start = match history.start(*partition, state.had_commit(topic, *partition)) {
                Start::Beginning => Offset::Beginning,
                Start::End => Offset::End,
            };
            tracing::info!(%topic, partition, from = ?start, "nothing is committed for this partition yet");
            for (_, list) in ends.iter_mut().filter(|(end, _)| *end == start) {
                list.add_partition(topic, *partition);
            }
            starts.insert((topic.clone(), *partition), (start, note));
        }
    }
    // As a number, so that it can be committed at once: a restart must not choose again.
    for (end, list) in ends.into_iter().filter(|(_, list)| list.count() > 0) {
        let least = if end == Offset::End { ENDS_TIMEOUT } else { Duration::ZERO };
        let offsets = match fetch_offsets(consumer, list, end, left(deadline).max(least)) {
            Ok(offsets) => offsets,
            Err(error) => {
                let advice = "reading begins there all the same, but nothing is committed before the first record: a restart before it chooses again";
                state.reporter.report_failure("other", advice, "ListOffsets", &error.to_string());
                continue;
            }
        };
        for element in offsets.elements() {
            if let (Offset::Offset(offset), Some((start, _))) =
                (element.offset(), starts.get_mut(&(element.topic().to_owned(), element.partition())))
            {
                *start = Offset::Offset(offset);
            }
        }
    }
    starts
}

/// What the group has committed on all partitions of a topic.
fn group_history<C: ConsumerContext>(
    state: &ConsumerState,
    consumer: &BaseConsumer<C>,
    topic: &str,
    deadline: Instant,
) -> KafkaResult<GroupHistory> {
    let metadata = consumer.fetch_metadata(Some(topic), left(deadline))?;
    let count = metadata.topics().iter().map(|topic| topic.partitions().len()).sum::<usize>();
    let partitions = i32::try_from(count).unwrap_or(i32::MAX);
    let mut all = TopicPartitionList::with_capacity(count);
    all.add_partition_range(topic, 0, partitions - 1);
    let committed = consumer.committed_offsets(all, left(deadline))?;
    let notes = (0..partitions).filter_map(|number| commit_in(&committed, topic, number)).map(|(_, note)| note);
    Ok(GroupHistory { notes: notes.collect(), partitions, was_absent: state.was_absent(topic) })
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}
