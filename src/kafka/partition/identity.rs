//! Whether the log of a partition is still the one that was read.
//!
//! Owns the anchor (see [`anchor`](super::super::anchor)) and what its comparisons showed. Its invariant: an anchor is
//! replaced only by a record that was received before a comparison which found the old one in its place. Pure.

use super::super::anchor::Anchor;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LogIdentity {
    anchor: Option<Anchor>,
    /// The next received record is to become the candidate.
    candidate_wanted: bool,
    /// The record that becomes the anchor when the present one is found in its place.
    candidate: Option<Anchor>,
    /// The end of the log when the anchor was last found.
    end: Option<i64>,
    /// The log was seen to end below the anchor, once.
    short: bool,
    /// The watermarks were read since the last comparison.
    watermarks_are_new: bool,
    log: Log,
}

/// Which log is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Log {
    /// The one that the partition's state is about.
    #[default]
    Ours,
    /// Another one: nothing of it counts until it is read from its start.
    Replaced,
    /// That of the state, and nothing of it was received: librdkafka's position may still be the old one.
    Rewound,
}

/// Offsets that Kafka dropped before they were read: from, and up to but not including.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Lost {
    pub(in super::super) from: i64,
    pub(in super::super) to: i64,
}

/// The result of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    /// It is the log that was read, or nothing says otherwise.
    Ours,
    /// It is another one; these records of the old one are known to have been left unread.
    Another { lost: Option<Lost> },
}

/// What is at the anchor's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Found {
    /// A record.
    Record(Anchor),
    /// No record: retention or compaction has removed it.
    Gone,
    /// The log ends at or below that offset.
    Beyond,
}

impl LogIdentity {
    /// The identity of the log that a commit with this anchor was about.
    pub(super) fn of(anchor: Option<Anchor>) -> Self {
        Self { anchor, ..Self::default() }
    }

    pub(super) fn anchor(&self) -> Option<Anchor> {
        self.anchor
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.log == Log::Replaced
    }

    pub(super) fn is_rewound(&self) -> bool {
        self.log == Log::Rewound
    }

    /// Reading went back, as after an offset that the log does not have: it may be another log from here on.
    pub(super) fn rewound(&mut self) {
        *self = Self::default();
    }

    /// From here on the records of the new log are received, from its start.
    pub(super) fn begin_again(&mut self) {
        *self = Self { log: Log::Rewound, ..Self::default() };
    }

    /// A record was received; `identify` is called for few of them.
    pub(super) fn received(&mut self, identify: impl FnOnce() -> Anchor) {
        if self.anchor.is_none() {
            self.anchor = Some(identify());
        } else if self.candidate_wanted {
            self.candidate_wanted = false;
            self.candidate = Some(identify());
        }
        self.log = Log::Ours;
    }

    pub(super) fn watermarks_updated(&mut self) {
        self.watermarks_are_new = true;
    }

    /// The anchor to compare, and what the watermarks say of its offset. Only new ones count: while a leader does not
    /// answer, old ones end below what was received since.
    pub(super) fn begin_check(&mut self, watermarks: Option<(i64, i64)>) -> Option<(Anchor, Option<Found>)> {
        let anchor = self.anchor.filter(|_| !self.is_replaced())?;
        let (low, high) = watermarks?;
        let known = match anchor.offset {
            _ if !std::mem::take(&mut self.watermarks_are_new) => None,
            offset if offset < low => Some(Found::Gone),
            offset if offset >= high => Some(Found::Beyond),
            _ => None,
        };
        Some((anchor, known))
    }

    /// The record that follows the anchor when a comparison that begins now finds it.
    pub(super) fn candidate(&self) -> Option<Anchor> {
        self.candidate
    }

    /// The end of a comparison of `anchor`; `candidate` is what [`candidate`](Self::candidate) said at its beginning.
    pub(super) fn end_check(
        &mut self,
        anchor: Anchor,
        candidate: Option<Anchor>,
        found: Found,
        position: Option<i64>,
        high_watermark: Option<i64>,
    ) -> Verdict {
        if self.anchor != Some(anchor) || self.is_replaced() {
            return Verdict::Ours;
        }
        let is_another = match found {
            Found::Record(record) => record != anchor,
            Found::Gone => false,
            // A new leader may not know for a moment how far its log goes: it has to end short twice.
            Found::Beyond => std::mem::replace(&mut self.short, true),
        };
        if is_another {
            let lost = self.end.zip(position).filter(|(end, position)| end > position);
            self.log = Log::Replaced;
            return Verdict::Another { lost: lost.map(|(end, position)| Lost { from: position, to: end }) };
        }
        if found != Found::Beyond {
            self.short = false;
            self.end = high_watermark;
            self.candidate_wanted = true;
            if candidate.is_some() {
                self.anchor = candidate;
                self.candidate = None;
            }
        }
        Verdict::Ours
    }
}
