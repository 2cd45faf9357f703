//! The partitions of the current assignment, and what is known of each.
//!
//! Owns one [`Partition`] for each assignment of one, so that whoever holds a ticket of an earlier
//! assignment holds a partition that nobody commits any more: that is the fence. It decides what
//! is to be committed and what was lost, and talks to no broker.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    catch_up::CatchUp,
    offsets::{Epoch, Frontier},
};

/// One assignment of one partition.
#[derive(Debug)]
pub(super) struct Partition {
    topic: Arc<str>,
    number: i32,
    consumed: metrics::Counter,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    frontier: Frontier,
    /// The next offset that is read, once it is known.
    position: Option<i64>,
    /// The first offsets that were skipped since the last look at the watermarks.
    gap: Option<(i64, i64)>,
    /// The low and the high watermark, as of the last look.
    watermarks: Option<(i64, i64)>,
    /// Paused because its span is at the cap.
    capped: bool,
    /// Up to which moment it has been read.
    catch_up: CatchUp,
}

/// Offsets that Kafka dropped before they were read: from, and up to but not including.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) from: i64,
    pub(super) to: i64,
}

/// A partition as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The topic.
    pub topic: Arc<str>,
    /// The number of the partition.
    pub partition: i32,
    /// The next offset that the group would resume at, if it has committed one.
    pub committed: Option<i64>,
    /// The next offset that is read.
    pub position: Option<i64>,
    /// The end of the partition, as of the last look (every 5 s).
    pub high_watermark: Option<i64>,
    /// High watermark less the committed offset, or less the low one when there is none.
    pub lag: Option<i64>,
    /// Records from the first one without an outcome on.
    pub span: u64,
    /// Not fetched because its span is at the cap.
    pub capped: bool,
}

impl Partition {
    pub(super) fn new(topic: Arc<str>, number: i32, frontier: Frontier, position: Option<i64>) -> Self {
        let consumed = metrics::counter!(crate::telemetry::RECORDS_CONSUMED, "topic" => topic.to_string());
        Self {
            topic,
            number,
            consumed,
            state: Mutex::new(State {
                frontier,
                position,
                gap: None,
                watermarks: None,
                capped: false,
                catch_up: CatchUp::default(),
            }),
        }
    }

    pub(super) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(super) fn number(&self) -> i32 {
        self.number
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a received record; the span after it comes with it.
    pub(super) fn receive(&self, offset: i64) -> (Epoch, u64) {
        self.consumed.increment(1);
        let mut state = self.state();
        if let Some(position) = state.position
            && offset > position
            && state.gap.is_none()
        {
            state.gap = Some((position, offset));
        }
        if state.position.is_some_and(|position| offset < position) {
            state.catch_up.rewound();
        }
        state.position = Some(offset + 1);
        let epoch = state.frontier.receive(offset);
        (epoch, state.frontier.span())
    }

    pub(super) fn complete(&self, epoch: Epoch, offset: i64) {
        if !self.state().frontier.complete(epoch, offset) {
            tracing::debug!(topic = %self.topic, partition = self.number, offset, "outcome of an offset that was read again");
        }
    }

    /// The offset to commit, if it is news to the broker; from here on it counts as asked for.
    pub(super) fn take_commit(&self) -> Option<i64> {
        let mut state = self.state();
        let offset = state.frontier.committable()?;
        state.frontier.mark_requested(offset);
        Some(offset)
    }

    /// The broker says that it has this offset, or none.
    pub(super) fn committed(&self, offset: Option<i64>) {
        self.state().frontier.mark_seen(offset);
    }

    /// A commit was asked for, and the broker was not seen to have it.
    pub(super) fn awaits_commit(&self) -> bool {
        self.state().frontier.requested().is_some()
    }

    pub(super) fn commit_failed(&self) {
        self.state().frontier.mark_failed();
    }

    pub(super) fn span(&self) -> u64 {
        self.state().frontier.span()
    }

    pub(super) fn set_capped(&self, capped: bool) {
        self.state().capped = capped;
    }

    pub(super) fn is_capped(&self) -> bool {
        self.state().capped
    }

    /// Takes note of the broker's watermarks, which were asked for before this call; says what was
    /// lost since the last time. An offset that was skipped counts as lost when it lies below the
    /// low watermark: above it stand only compacted records and the marks of transactions.
    pub(super) fn look(&self, low: i64, high: i64) -> Option<Lost> {
        let mut state = self.state();
        state.watermarks = Some((low, high));
        if let Some((from, to)) = state.gap.take()
            && low > from
        {
            return Some(Lost { from, to: low.min(to) });
        }
        let from = state.position.filter(|position| low > *position)?;
        state.position = Some(low);
        Some(Lost { from, to: low })
    }

    /// Takes note of the same watermarks for [`read_through_ms`](Self::read_through_ms); they were
    /// asked for at `asked_ms` (ms since 1970).
    pub(super) fn looked(&self, low: i64, high: i64, asked_ms: u64) {
        let mut state = self.state();
        let position = state.position;
        state.catch_up.looked(position, low, high, asked_ms);
    }

    /// Every record that was appended before this moment has been received.
    pub(super) fn read_through_ms(&self) -> Option<u64> {
        let state = self.state();
        state.catch_up.through(state.position)
    }

    /// The committed offset, as the broker was last seen to have it.
    pub(super) fn committed_offset(&self) -> Option<i64> {
        self.state().frontier.committed()
    }

    pub(super) fn status(&self) -> PartitionStatus {
        let state = self.state();
        let committed = state.frontier.committed();
        PartitionStatus {
            topic: Arc::clone(&self.topic),
            partition: self.number,
            committed,
            position: state.position,
            high_watermark: state.watermarks.map(|(_, high)| high),
            lag: state.watermarks.map(|(low, high)| (high - committed.unwrap_or(low)).max(0)),
            span: state.frontier.span(),
            capped: state.capped,
        }
    }
}

/// The current assignment.
#[derive(Debug, Default)]
pub(super) struct Table {
    topics: HashMap<Arc<str>, HashMap<i32, Arc<Partition>>>,
    last: Option<Arc<Partition>>,
}

impl Table {
    pub(super) fn insert(&mut self, partition: Arc<Partition>) {
        self.last = None;
        self.topics.entry(Arc::clone(&partition.topic)).or_default().insert(partition.number, partition);
    }

    pub(super) fn remove(&mut self, topic: &str, number: i32) -> Option<Arc<Partition>> {
        self.last = None;
        self.topics.get_mut(topic)?.remove(&number)
    }

    /// Records come in runs of one partition: the last one is looked at first.
    pub(super) fn find(&mut self, topic: &str, number: i32) -> Option<&Arc<Partition>> {
        if self.last.as_ref().is_none_or(|last| last.number != number || *last.topic != *topic) {
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
        all.sort_by(|a, b| (&a.topic, a.number).cmp(&(&b.topic, b.number)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(committed: Option<i64>) -> Partition {
        Partition::new("events".into(), 0, Frontier::new(committed), committed)
    }

    #[test]
    fn a_committed_offset_below_the_low_watermark_is_a_loss_counted_once() {
        let partition = partition(Some(100));
        assert_eq!(partition.look(600, 1_000), Some(Lost { from: 100, to: 600 }));
        assert_eq!(partition.look(600, 1_000), None);
        partition.receive(600);
        assert_eq!(partition.look(600, 1_000), None);
    }

    #[test]
    fn a_loss_is_found_even_after_the_first_records_beyond_it_were_read() {
        let partition = partition(Some(100));
        partition.receive(600);
        partition.receive(601);
        assert_eq!(partition.look(600, 1_000), Some(Lost { from: 100, to: 600 }));
        assert_eq!(partition.look(602, 1_000), None, "read before it was dropped");
    }

    #[test]
    fn a_log_that_outruns_a_paused_reader_is_a_loss() {
        let partition = partition(None);
        partition.receive(0);
        assert_eq!(partition.look(0, 50), None);
        assert_eq!(partition.look(30, 50), Some(Lost { from: 1, to: 30 }));
    }

    #[test]
    fn compaction_is_no_loss() {
        let partition = partition(Some(3));
        partition.receive(990);
        assert_eq!(partition.look(0, 1_000), None);
    }

    #[test]
    fn lag_is_the_end_less_what_is_committed() {
        let partition = partition(Some(40));
        partition.receive(40);
        partition.look(0, 100);
        let status = partition.status();
        assert_eq!((status.lag, status.position, status.committed, status.span), (Some(60), Some(41), Some(40), 1));
    }
}
