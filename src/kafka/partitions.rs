//! The partitions of the current assignment, and what is known of each.
//!
//! Owns one [`Partition`] for each assignment of one, so that whoever holds a ticket of an earlier
//! assignment holds a partition that nobody commits any more: that is the fence. It decides what
//! is to be committed and what was lost, and talks to no broker.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    anchor::{Anchor, CommitNote},
    catch_up::CatchUp,
    offsets::{Epoch, Frontier},
};

/// A partition that has something to read, gets nothing but errors and does not move for so long is stuck.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(15);

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
    /// What the next commit carries.
    note: CommitNote,
    identity: Identity,
    /// Where reading stood at the last look, and since when.
    stood: Option<(i64, Instant)>,
    stuck: Option<Stuck>,
    /// Up to which moment it has been read.
    catch_up: CatchUp,
}

/// How the log is told from one that took its place.
#[derive(Debug, Default)]
struct Identity {
    /// The next received record is to be the next anchor.
    wanted: bool,
    /// The record that becomes the anchor when the present one was found in its place.
    next: Option<Anchor>,
    /// The end of the log when the anchor was last found.
    end: Option<i64>,
    /// The log was seen to end below the anchor, once.
    short: bool,
    /// The watermarks were read since the last comparison.
    looked: bool,
    log: Log,
}

/// Which log is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Log {
    /// The one that the state is about.
    #[default]
    Ours,
    /// Another one stands there: nothing of it counts until it is read from its start.
    Replaced,
    /// That of the state, and nothing of it was received: librdkafka's position may still be the old one.
    Rewound,
}

/// What a comparison says of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the one that was read, or nothing says otherwise.
    Ours,
    /// It is another one; of the old one these records are known to have been left unread.
    Another { lost: Option<Lost> },
}

/// What stands where the anchor was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A record.
    Record(Anchor),
    /// No record: retention or compaction has taken it.
    Gone,
    /// The log ends at or below that offset.
    Beyond,
}

/// A partition that cannot be read at this offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The offset that cannot be read.
    pub offset: i64,
    /// How long it was tried when the status was asked for.
    pub seconds: u64,
    /// What the Kafka client says.
    pub reason: String,
    since: Instant,
}

/// What a partition's state of being stuck became at a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Stuck(Stuck),
    Moves,
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
    /// The end of the partition, as of the last look (every 2 s).
    pub high_watermark: Option<i64>,
    /// High watermark less the committed offset, or less the low one when there is none.
    pub lag: Option<i64>,
    /// High watermark less the position: records that Kafka holds and that were not received.
    pub unread: Option<i64>,
    /// Records from the first one without an outcome on.
    pub span: u64,
    /// Not fetched because its span is at the cap.
    pub capped: bool,
    /// It cannot be read further.
    pub stuck: Option<Stuck>,
}

impl State {
    /// The next offset to be read, as far as it is known.
    fn at(&self) -> Option<i64> {
        self.position.or(self.frontier.committed()).or(self.watermarks.map(|(low, _)| low))
    }

    fn unread(&self) -> Option<i64> {
        self.watermarks.zip(self.at()).map(|((_, high), at)| (high - at).max(0))
    }
}

impl Partition {
    /// `note` is what the last commit carried.
    pub(super) fn new(
        topic: Arc<str>,
        number: i32,
        frontier: Frontier,
        position: Option<i64>,
        note: CommitNote,
    ) -> Self {
        let consumed = metrics::counter!(crate::telemetry::RECORDS_CONSUMED, "topic" => topic.to_string());
        let state = State {
            frontier,
            position,
            gap: None,
            watermarks: None,
            capped: false,
            note,
            identity: Identity::default(),
            stood: None,
            stuck: None,
            catch_up: CatchUp::default(),
        };
        Self { topic, number, consumed, state: Mutex::new(state) }
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

    /// Takes note of a received record; the span after it comes with it. `None` when the record is to be
    /// dropped: it is read again, from the start of its log. `identify` is called for few records.
    pub(super) fn receive(&self, offset: i64, identify: impl FnOnce() -> Anchor) -> Option<(Epoch, u64)> {
        let mut state = self.state();
        if state.identity.log == Log::Replaced {
            return None;
        }
        self.consumed.increment(1);
        match state.position {
            Some(position) if offset > position && state.gap.is_none() => state.gap = Some((position, offset)),
            // Read again from further back, as after an offset that the log does not have: from here on it
            // may be another log.
            Some(position) if offset < position => {
                state.note.anchor = None;
                state.identity = Identity::default();
                state.catch_up.rewound();
            }
            _ => {}
        }
        if state.note.anchor.is_none() {
            state.note.anchor = Some(identify());
        } else if state.identity.wanted {
            state.identity.wanted = false;
            state.identity.next = Some(identify());
        }
        state.identity.log = Log::Ours;
        state.position = Some(offset + 1);
        let epoch = state.frontier.receive(offset);
        Some((epoch, state.frontier.span()))
    }

    /// librdkafka is at this offset: what lies below it and was not received are marks of transactions.
    pub(super) fn advance_to(&self, offset: i64) {
        let mut state = self.state();
        if state.identity.log != Log::Ours {
            return;
        }
        if state.at().is_none_or(|at| at < offset) {
            state.position = Some(offset);
            state.frontier.skip_to(offset);
        }
    }

    pub(super) fn complete(&self, epoch: Epoch, offset: i64) {
        if !self.state().frontier.complete(epoch, offset) {
            tracing::debug!(topic = %self.topic, partition = self.number, offset, "outcome of an offset that was read again");
        }
    }

    /// The offset to commit and what goes with it, if it is news to the broker; from here on it counts as
    /// asked for.
    pub(super) fn take_commit(&self) -> Option<(i64, String)> {
        let mut state = self.state();
        if state.identity.log == Log::Replaced {
            return None;
        }
        let offset = state.frontier.committable()?;
        state.frontier.mark_requested(offset);
        Some((offset, state.note.text()))
    }

    /// The broker says that it has this offset, or none.
    pub(super) fn committed(&self, offset: Option<i64>) {
        self.state().frontier.mark_seen(offset);
    }

    /// A commit was asked for, and the broker was not seen to have it.
    pub(super) fn awaits_commit(&self) -> bool {
        self.state().frontier.requested().is_some()
    }

    /// Nothing is to be committed, and nothing is on its way.
    pub(super) fn is_committed(&self) -> bool {
        let state = self.state();
        state.frontier.requested().is_none() && state.frontier.committable().is_none()
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
        state.identity.looked = true;
        if state.identity.log == Log::Rewound {
            // Worth a commit before anything is received: with `latest` a restart would begin at the end.
            state.frontier.skip_to(low);
        }
        if let Some((from, to)) = state.gap.take()
            && low > from
        {
            return Some(Lost { from, to: low.min(to) });
        }
        let from = state.position.filter(|position| low > *position)?;
        state.position = Some(low);
        // Worth a commit: the same loss is not to be counted again after a restart.
        state.frontier.skip_to(low);
        Some(Lost { from, to: low })
    }

    /// The anchor to look for now, and what the watermarks say of its place, if they were read since the last
    /// comparison: older ones end below what was received since, while a leader does not answer.
    pub(super) fn begin_check(&self) -> Option<(Anchor, Option<Found>)> {
        let mut state = self.state();
        let anchor = state.note.anchor.filter(|_| state.identity.log != Log::Replaced)?;
        let (low, high) = state.watermarks?;
        let known = match anchor.offset {
            _ if !std::mem::take(&mut state.identity.looked) => None,
            offset if offset < low => Some(Found::Gone),
            offset if offset >= high => Some(Found::Beyond),
            _ => None,
        };
        Some((anchor, known))
    }

    /// The record that is to follow the anchor when [`end_check`](Self::end_check) finds it: one that was
    /// received before the comparison, so that the comparison vouches for it.
    pub(super) fn next_anchor(&self) -> Option<Anchor> {
        self.state().identity.next
    }

    /// Says what stands where the anchor is, and hears what that means.
    pub(super) fn end_check(&self, anchor: Anchor, next: Option<Anchor>, found: Found) -> Verdict {
        let mut state = self.state();
        if state.note.anchor != Some(anchor) || state.identity.log == Log::Replaced {
            return Verdict::Ours;
        }
        let another = match found {
            Found::Record(record) => record != anchor,
            Found::Gone => false,
            // A new leader may not know for a moment how far its log goes: two looks have to say so.
            Found::Beyond => std::mem::replace(&mut state.identity.short, true),
        };
        if another {
            let lost = state.identity.end.zip(state.position).filter(|(end, position)| end > position);
            state.identity.log = Log::Replaced;
            return Verdict::Another { lost: lost.map(|(end, position)| Lost { from: position, to: end }) };
        }
        if found != Found::Beyond {
            state.identity.short = false;
            state.identity.end = state.watermarks.map(|(_, high)| high);
            state.identity.wanted = true;
            if next.is_some() {
                state.note.anchor = next;
                state.identity.next = None;
            }
        }
        Verdict::Ours
    }

    /// The log is another one and waits to be read from its start.
    pub(super) fn is_replaced(&self) -> bool {
        self.state().identity.log == Log::Replaced
    }

    /// From here on the records of the new log are received, from its start.
    pub(super) fn begin_again(&self) {
        let mut state = self.state();
        state.frontier.begin_again();
        state.position = None;
        state.gap = None;
        state.watermarks = None;
        state.stood = None;
        state.note.anchor = None;
        state.catch_up.rewound();
        state.identity = Identity { log: Log::Rewound, ..Identity::default() };
    }

    /// Whether it can be read, as of now. `reads` is false while nothing is to be fetched; `trouble` is what
    /// the client complained about for an offset, since a point in time.
    pub(super) fn progress(
        &self,
        now: Instant,
        reads: bool,
        trouble: impl FnOnce(i64, Instant) -> Option<String>,
    ) -> Option<Change> {
        let mut state = self.state();
        let at = state.at().filter(|_| state.unread().is_some_and(|unread| unread > 0));
        if !reads {
            state.stood = at.map(|at| (at, now));
            return None;
        }
        let since = match (at, state.stood) {
            (Some(at), Some((stood, since))) if at == stood => since,
            _ => {
                state.stood = at.map(|at| (at, now));
                return state.stuck.take().map(|_| Change::Moves);
            }
        };
        let (offset, stood_for) = (at?, now.duration_since(since));
        if stood_for < STUCK_AFTER {
            return None;
        }
        let reason = trouble(offset, since)?;
        let stuck = Stuck { offset, seconds: stood_for.as_secs(), reason, since };
        let news = state.stuck.is_none();
        state.stuck = Some(stuck.clone());
        news.then_some(Change::Stuck(stuck))
    }

    /// Whether reading has moved since then, or has nothing to move to.
    pub(super) fn moved_since(&self, then: Instant) -> bool {
        let state = self.state();
        state.unread() == Some(0) || state.stood.is_some_and(|(_, since)| since > then)
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
            unread: state.unread(),
            span: state.frontier.span(),
            capped: state.capped,
            stuck: state.stuck.clone().map(|stuck| Stuck { seconds: stuck.since.elapsed().as_secs(), ..stuck }),
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
mod tests;
