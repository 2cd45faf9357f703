//! One assignment of one partition, and what is known of it.
//!
//! Each assignment has a [`Partition`] of its own, so the holder of a ticket of an earlier assignment holds a partition
//! that nobody commits any more: that is the fence. It decides what is committed and what was lost, and talks to no
//! broker.

mod identity;
mod ledger_gate;
mod stuck;

use std::{sync::Arc, time::Instant};

use self::{identity::LogIdentity, ledger_gate::LedgerGate, stuck::StuckDetector};
pub(super) use self::{
    identity::{Found, Lost, Verdict},
    stuck::StuckChange,
};
pub(crate) use self::{ledger_gate::LedgerProgress, stuck::Stuck};
use super::{
    anchor::{Anchor, CommitNote},
    catch_up::CatchUp,
    offsets::{Epoch, Frontier},
    ownership::Ownership,
    ticket::Completions,
};
use crate::{
    sync::{Mutex, MutexGuard},
    telemetry,
};

/// See the module.
#[derive(Debug)]
pub(super) struct Partition {
    topic: Arc<str>,
    number: i32,
    ownership: Arc<Ownership>,
    consumed: metrics::Counter,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    frontier: Frontier,
    /// The next offset to be read, once it is known.
    position: Option<i64>,
    /// The first offsets that were skipped since the watermarks were last updated.
    gap: Option<(i64, i64)>,
    /// The low and the high watermark.
    watermarks: Option<(i64, i64)>,
    /// Paused because its span is at the cap.
    capped: bool,
    /// Paused until the ledger topic was read.
    ledger: LedgerGate,
    /// How many partitions the topic had when the group began to read it; goes into each commit.
    initial_partitions: Option<i32>,
    identity: LogIdentity,
    stuck: StuckDetector,
    /// Up to which moment it has been read.
    catch_up: CatchUp,
}

/// A partition as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionStatus {
    /// The topic.
    pub topic: Arc<str>,
    /// The number of the partition.
    pub partition: i32,
    /// The next offset that the group would resume at, if it has committed one.
    pub committed: Option<i64>,
    /// The next offset that is read.
    pub position: Option<i64>,
    /// The end of the partition, updated every 2 s.
    pub high_watermark: Option<i64>,
    /// High watermark less the committed offset, or less the low one when there is none.
    pub lag: Option<i64>,
    /// High watermark less the position: records that Kafka holds and that were not received.
    pub unread: Option<i64>,
    /// Records from the first one without an outcome on.
    pub span: u64,
    /// Not fetched because its span is at the cap.
    pub capped: bool,
    /// Not fetched because the ledger topic is read first.
    pub ledger: Option<LedgerProgress>,
    /// It cannot be read further.
    pub stuck: Option<Stuck>,
}

impl Progress {
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
        ownership: Arc<Ownership>,
    ) -> Self {
        let consumed = metrics::counter!(telemetry::RECORDS_CONSUMED, "topic" => topic.to_string());
        let progress = Progress {
            frontier,
            position,
            gap: None,
            watermarks: None,
            capped: false,
            ledger: LedgerGate::default(),
            initial_partitions: note.partitions,
            identity: LogIdentity::of(note.anchor),
            stuck: StuckDetector::default(),
            catch_up: CatchUp::default(),
        };
        Self { topic, number, ownership, consumed, progress: Mutex::new(progress) }
    }

    pub(super) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(super) fn number(&self) -> i32 {
        self.number
    }

    /// The right to make attempts for its events.
    pub(super) fn ownership(&self) -> &Arc<Ownership> {
        &self.ownership
    }

    /// It was revoked or lost: nothing more of it is received.
    pub(super) fn is_given_up(&self) -> bool {
        self.ownership.is_given_up()
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock()
    }

    /// Records that a record was received, and returns the span after it. `None` when the record is to be dropped: it
    /// is read again, from the start of its log. `identify` is called for few records.
    pub(super) fn receive(&self, offset: i64, identify: impl FnOnce() -> Anchor) -> Option<(Epoch, u64)> {
        let mut progress = self.lock();
        if progress.identity.is_replaced() {
            return None;
        }
        self.consumed.increment(1);
        match progress.position {
            Some(position) if offset > position && progress.gap.is_none() => progress.gap = Some((position, offset)),
            Some(position) if offset < position => {
                progress.identity.rewound();
                progress.catch_up.rewound();
            }
            _ => {}
        }
        progress.identity.received(identify);
        progress.position = Some(offset + 1);
        let epoch = progress.frontier.receive(offset);
        Some((epoch, progress.frontier.span()))
    }

    /// librdkafka is at this offset: what was not received below it are marks of transactions.
    pub(super) fn advance_to(&self, offset: i64) {
        let mut progress = self.lock();
        if progress.identity.is_replaced() || progress.identity.is_rewound() {
            return;
        }
        if progress.at().is_none_or(|at| at < offset) {
            progress.position = Some(offset);
            progress.frontier.skip_to(offset);
        }
    }

    /// The offset to commit and the metadata of the commit, when the broker does not have it; it counts as requested
    /// from here on.
    pub(super) fn take_commit(&self) -> Option<(i64, String)> {
        let mut progress = self.lock();
        if progress.identity.is_replaced() {
            return None;
        }
        let offset = progress.frontier.committable()?;
        progress.frontier.mark_requested(offset);
        let note = CommitNote { anchor: progress.identity.anchor(), partitions: progress.initial_partitions };
        Some((offset, note.text()))
    }

    /// The broker says that it has this offset, or none.
    pub(super) fn committed(&self, offset: Option<i64>) {
        self.lock().frontier.mark_seen(offset);
    }

    /// A commit was requested, and the broker was not seen to have it.
    pub(super) fn awaits_commit(&self) -> bool {
        self.lock().frontier.requested().is_some()
    }

    /// Nothing is left to commit, and no commit is under way.
    pub(super) fn is_committed(&self) -> bool {
        let progress = self.lock();
        progress.frontier.requested().is_none() && progress.frontier.committable().is_none()
    }

    pub(super) fn commit_failed(&self) {
        self.lock().frontier.mark_failed();
    }

    /// The committed offset, as the broker was last seen to have it.
    pub(super) fn committed_offset(&self) -> Option<i64> {
        self.lock().frontier.committed()
    }

    pub(super) fn span(&self) -> u64 {
        self.lock().frontier.span()
    }

    pub(super) fn set_capped(&self, capped: bool) {
        self.lock().capped = capped;
    }

    pub(super) fn is_capped(&self) -> bool {
        self.lock().capped
    }

    /// It is not to be read before the ledger topic was.
    pub(super) fn await_ledger(&self) {
        self.lock().ledger = LedgerGate::waiting();
    }

    pub(super) fn set_ledger_progress(&self, progress: LedgerProgress) {
        self.lock().ledger.set_progress(progress);
    }

    pub(super) fn ledger_caught_up(&self) {
        self.lock().ledger.caught_up();
    }

    /// Its part of the ledger topic was not read yet.
    pub(super) fn awaits_ledger(&self) -> bool {
        !self.lock().ledger.is_open()
    }

    /// Whether the ledger topic was read since the last call, so that it may be resumed.
    pub(super) fn open_after_ledger(&self) -> bool {
        self.lock().ledger.open()
    }

    /// Paused for a reason of its own.
    pub(super) fn is_held(&self) -> bool {
        let progress = self.lock();
        progress.capped || !progress.ledger.is_open()
    }

    /// Updates the watermarks, which were requested at `asked_ms` (ms since 1970), and returns what was lost since the
    /// last update. A skipped offset is lost when it lies below the low watermark: above it there are only compacted
    /// records and the marks of transactions.
    pub(super) fn update_watermarks(&self, low: i64, high: i64, asked_ms: u64) -> Option<Lost> {
        let mut progress = self.lock();
        let position = progress.position;
        progress.catch_up.update(position, low, high, asked_ms);
        progress.watermarks = Some((low, high));
        progress.identity.watermarks_updated();
        if progress.identity.is_rewound() {
            // Commit it before anything is received: with `latest` a restart would begin at the end.
            progress.frontier.skip_to(low);
        }
        if let Some((from, to)) = progress.gap.take()
            && low > from
        {
            return Some(Lost { from, to: low.min(to) });
        }
        let from = progress.position.filter(|position| low > *position)?;
        progress.position = Some(low);
        // Commit it: a restart must not count the same loss again.
        progress.frontier.skip_to(low);
        Some(Lost { from, to: low })
    }

    /// Every record that was appended before this moment (ms since 1970) has been received. `None` before its part of the ledger
    /// topic was read: until then it is not known what is parked either, for which the ledger must keep its records.
    pub(super) fn read_through_ms(&self) -> Option<u64> {
        let progress = self.lock();
        progress.catch_up.through(progress.position).filter(|_| progress.ledger.is_open())
    }

    /// See [`LogIdentity::begin_check`].
    pub(super) fn begin_check(&self) -> Option<(Anchor, Option<Found>)> {
        let mut progress = self.lock();
        let watermarks = progress.watermarks;
        progress.identity.begin_check(watermarks)
    }

    /// See [`LogIdentity::candidate`].
    pub(super) fn next_anchor(&self) -> Option<Anchor> {
        self.lock().identity.candidate()
    }

    /// See [`LogIdentity::end_check`].
    pub(super) fn end_check(&self, anchor: Anchor, next: Option<Anchor>, found: Found) -> Verdict {
        let mut progress = self.lock();
        let (position, high) = (progress.position, progress.watermarks.map(|(_, high)| high));
        progress.identity.end_check(anchor, next, found, position, high)
    }

    /// The log is another one and waits to be read from its start.
    pub(super) fn is_replaced(&self) -> bool {
        self.lock().identity.is_replaced()
    }

    /// From here on the records of the new log are received, from its start.
    pub(super) fn begin_again(&self) {
        let mut progress = self.lock();
        progress.frontier.begin_again();
        progress.position = None;
        progress.gap = None;
        progress.watermarks = None;
        progress.stuck.log_replaced();
        progress.catch_up.rewound();
        progress.identity.begin_again();
    }

    /// Whether it can be read, as of now; see [`StuckDetector::check`].
    pub(super) fn check_progress(
        &self,
        now: Instant,
        is_fetched: bool,
        error_at: impl FnOnce(i64, Instant) -> Option<String>,
    ) -> Option<StuckChange> {
        let mut progress = self.lock();
        let unread_at = progress.at().filter(|_| progress.unread().is_some_and(|unread| unread > 0));
        progress.stuck.check(now, unread_at, is_fetched, error_at)
    }

    /// Whether reading has moved since then, or has nothing to read.
    pub(super) fn moved_since(&self, then: Instant) -> bool {
        let progress = self.lock();
        progress.unread() == Some(0) || progress.stuck.moved_since(then)
    }

    pub(super) fn status(&self) -> PartitionStatus {
        let progress = self.lock();
        let committed = progress.frontier.committed();
        PartitionStatus {
            topic: Arc::clone(&self.topic),
            partition: self.number,
            committed,
            position: progress.position,
            high_watermark: progress.watermarks.map(|(_, high)| high),
            lag: progress.watermarks.map(|(low, high)| (high - committed.unwrap_or(low)).max(0)),
            unread: progress.unread(),
            span: progress.frontier.span(),
            capped: progress.capped,
            ledger: progress.ledger.progress().cloned(),
            stuck: progress.stuck.stuck(),
        }
    }
}

impl Completions for Partition {
    fn complete(&self, epoch: Epoch, offset: i64) {
        if !self.lock().frontier.complete(epoch, offset) {
            tracing::debug!(topic = %self.topic, partition = self.number, offset, "outcome of an offset that was read again");
        }
    }
}

#[cfg(test)]
mod tests;
