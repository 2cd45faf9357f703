//! Parking in one assignment of one source partition, as a pure state machine.
//!
//! Owns, for each agent, whether a delivery that has its turn is attempted, parked or held back, and which parked
//! deliveries have no end yet. It does not know Kafka, the ledger, the breaker or the clock: what happened is told to it.
//!
//! A delivery of an event that was just read is *live*; one that was read from the parked topic is *fed*. Each has a lane
//! of its own for each key. Invariants:
//!
//! 1. Order: a live delivery is attempted only when no delivery that was parked before it is without an end. So live
//!    deliveries are attempted in [`Mode::Attempt`] alone, and that mode is entered only when the feeder has read to the
//!    end of what is parked, everything that it fed has ended, and nothing is being parked.
//! 2. Nothing is lost: [`Position`] never passes a parked delivery without an end, nor one that is being parked: its
//!    offset is at or above the end that was known when its parking began.

mod line;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::time::Instant;

use line::Line;
pub(in crate::pipeline) use line::Mode;

/// A delivery that is being parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::pipeline) struct ParkingId(u64);

/// The part of the parked partition that is to be read for an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) struct ReadRange {
    pub(in crate::pipeline) from: i64,
    /// Nothing of this agent is known at or above.
    pub(in crate::pipeline) until: i64,
    /// Which log the offsets are of.
    pub(in crate::pipeline) epoch: u32,
}

/// What a scan found for one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) struct Found {
    pub(in crate::pipeline) first: i64,
    pub(in crate::pipeline) last: i64,
    pub(in crate::pipeline) count: u64,
    /// When the first was parked, ms since 1970.
    pub(in crate::pipeline) oldest_ms: u64,
}

/// How far the parked partition may be committed, as far as this source partition is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) enum Position {
    /// It is not known yet what is parked.
    Unknown,
    /// Everything below has its end.
    Before(i64),
    /// Nothing is parked; the partition ends here, or later.
    Drained(i64),
}

/// What the status shows of one agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::pipeline) struct Backlog {
    /// Parked deliveries without an end. Copies that a crash left behind are counted until they are read.
    pub(in crate::pipeline) count: u64,
    /// When the oldest of them was parked, ms since 1970.
    pub(in crate::pipeline) oldest_ms: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(in crate::pipeline) struct PartitionParking {
    scanning: bool,
    /// What is parked may not be read: deliveries are attempted, and none is parked.
    refused: bool,
    /// Counts the logs that the topic had.
    epoch: u32,
    /// The end of the parked partition, as far as it is known.
    end: i64,
    lines: HashMap<Arc<str>, Line>,
    /// Fed deliveries of former logs without an end.
    former: HashMap<Arc<str>, usize>,
    /// What is being parked, each with the end that was known when it began.
    parking: BTreeMap<ParkingId, (Arc<str>, i64)>,
    next_parking: u64,
}

impl PartitionParking {
    /// Before the first scan: everything is held.
    pub(in crate::pipeline) fn new() -> Self {
        Self {
            scanning: true,
            refused: false,
            epoch: 0,
            end: 0,
            lines: HashMap::new(),
            former: HashMap::new(),
            parking: BTreeMap::new(),
            next_parking: 0,
        }
    }

    /// The topic was created again, or may not be read any more: another scan follows. What was read back from the former
    /// log goes on, and counts only as taken.
    pub(in crate::pipeline) fn reset(&mut self) {
        self.epoch += 1;
        (self.scanning, self.refused, self.end) = (true, false, 0);
        for (agent, line) in self.lines.drain().filter(|(_, line)| !line.open.is_empty()) {
            *self.former.entry(agent).or_default() += line.open.len();
        }
        for (_, since) in self.parking.values_mut() {
            *since = 0;
        }
    }

    /// What is parked may not be read, and another scan follows.
    pub(in crate::pipeline) fn refused(&mut self) {
        self.refused = self.scanning;
    }

    /// What is parked, and where the partition ends. Without `may_park` new deliveries wait for what is parked.
    pub(in crate::pipeline) fn scanned(
        &mut self,
        found: impl IntoIterator<Item = (Arc<str>, Found)>,
        end: i64,
        may_park: bool,
    ) {
        (self.scanning, self.refused) = (false, false);
        for (agent, found) in found {
            let line = self.lines.entry(agent).or_insert_with(|| Line::new(found.first));
            line.mode = if may_park { Mode::Park } else { Mode::Hold };
            line.cursor = line.cursor.min(found.first);
            line.end = line.end.max(found.last + 1);
            line.count += found.count;
            line.oldest_ms.get_or_insert(found.oldest_ms);
        }
        self.end = self.end.max(end);
    }

    pub(in crate::pipeline) fn mode(&self, agent: &str) -> Mode {
        match self.lines.get(agent) {
            _ if self.is_held() => Mode::Hold,
            Some(line) if !self.scanning => line.mode,
            _ => Mode::Attempt,
        }
    }

    /// It is not known what is parked, and everything waits for that.
    pub(in crate::pipeline) fn is_held(&self) -> bool {
        self.scanning && !self.refused
    }

    /// Every agent that may be anywhere but in [`Mode::Attempt`].
    pub(in crate::pipeline) fn agents(&self) -> impl Iterator<Item = &Arc<str>> {
        self.lines.keys()
    }

    /// Follows the breaker of an agent. `overdue`: it has been open for `park_after`; never without `may_park`. True when
    /// the mode changed.
    pub(in crate::pipeline) fn breaker(
        &mut self,
        agent: &Arc<str>,
        (is_open, overdue): (bool, bool),
        may_park: bool,
        now: Instant,
    ) -> bool {
        if self.scanning {
            return false;
        }
        let is_being_parked = self.parking.values().any(|(parking, _)| parking == agent);
        if !overdue && !self.lines.contains_key(agent) {
            return false;
        }
        let end = self.end;
        let line = self.lines.entry(Arc::clone(agent)).or_insert_with(|| Line::new(end));
        let before = line.mode;
        if overdue {
            line.mode = Mode::Park;
        } else {
            line.follow(is_open, may_park, is_being_parked, now);
        }
        let now = line.mode;
        if now == Mode::Attempt {
            self.lines.remove(agent);
        }
        now != before
    }

    /// Begins to park the delivery that has its turn. `None` when deliveries are not parked (any more).
    pub(in crate::pipeline) fn begin_parking(&mut self, agent: &Arc<str>) -> Option<ParkingId> {
        if self.mode(agent) != Mode::Park {
            return None;
        }
        let id = ParkingId(self.next_parking);
        self.next_parking += 1;
        self.parking.insert(id, (Arc::clone(agent), self.end));
        Some(id)
    }

    /// The delivery is parked at this offset, and the ledger has it. False when the topic was created again, and what is
    /// parked is to be scanned.
    pub(in crate::pipeline) fn parked(&mut self, id: ParkingId, offset: i64, now_ms: u64) -> bool {
        let Some((agent, since)) = self.parking.remove(&id) else { return true };
        if offset < since {
            self.reset();
            return false;
        }
        let line = self.lines.entry(agent).or_insert_with(|| Line { mode: Mode::Park, ..Line::new(offset) });
        line.cursor = line.cursor.min(offset);
        line.end = line.end.max(offset + 1);
        line.count += 1;
        line.oldest_ms.get_or_insert(now_ms);
        self.end = self.end.max(offset + 1);
        true
    }

    /// It could not be parked, or the process gives it up: the event is read again.
    pub(in crate::pipeline) fn not_parked(&mut self, id: ParkingId) {
        self.parking.remove(&id);
    }

    /// What is parked now, for a live delivery that cannot be parked: it has its turn once all of that has ended.
    pub(in crate::pipeline) fn end_of(&self, agent: &str) -> i64 {
        self.lines.get(agent).map_or(self.end, |line| line.end)
    }

    /// Whether every delivery that was parked below `end` has its end.
    pub(in crate::pipeline) fn ended_before(&self, agent: &str, end: i64) -> bool {
        !self.is_held() && self.lines.get(agent).and_then(Line::first_open).is_none_or(|first| first >= end)
    }

    /// Fed deliveries to an agent without an end.
    pub(in crate::pipeline) fn fed_open(&self, agent: &str) -> usize {
        self.lines.get(agent).map_or(0, |line| line.open.len())
    }

    /// What was read back for an agent and has no end, of former logs too, or may come of the read that is under way.
    pub(in crate::pipeline) fn taken(&self, agent: &str) -> usize {
        let former = self.former.get(agent).copied().unwrap_or_default();
        former + self.lines.get(agent).map_or(0, |line| line.open.len() + line.reading)
    }

    /// Every agent that has taken something, or may, with how much; true when more of it may be read.
    pub(in crate::pipeline) fn all_taken(&self) -> Vec<(Arc<str>, usize, bool)> {
        let former = self.former.keys().filter(|agent| !self.lines.contains_key(*agent));
        let agents = former.map(|agent| (agent, false)).chain(self.lines.keys().map(|agent| (agent, true)));
        agents.map(|(agent, is_parked)| (Arc::clone(agent), self.taken(agent), is_parked)).collect()
    }

    /// Begins a read of so many deliveries for an agent, if something of it is parked and no read is under way. It ends
    /// with [`fed`](Self::fed) or [`read_failed`](Self::read_failed).
    pub(in crate::pipeline) fn begin_read(&mut self, agent: &str, room: usize) -> Option<ReadRange> {
        let under_way = self.parking.values().filter(|(parking, _)| **parking == *agent).map(|(_, since)| *since).min();
        let line = self.lines.get_mut(agent).filter(|line| !self.scanning && line.reading == 0)?;
        // A delivery that is being parked may stand there already, and the ledger does not say so yet.
        let until = under_way.map_or(line.end, |since| since.min(line.end));
        if line.cursor >= until {
            return None;
        }
        line.reading = room.max(1);
        Some(ReadRange { from: line.cursor, until, epoch: self.epoch })
    }

    /// These deliveries, with the times at which they were parked, were read and are in their lanes. Below `next` nothing
    /// else is to be delivered to the agent. False when they are of a former log.
    pub(in crate::pipeline) fn fed(
        &mut self,
        agent: &str,
        (epoch, next): (u32, i64),
        deliveries: impl IntoIterator<Item = (i64, u64)>,
    ) -> bool {
        let Some(line) = self.lines.get_mut(agent).filter(|_| self.epoch == epoch) else { return false };
        line.reading = 0;
        line.cursor = line.cursor.max(next);
        line.open.extend(deliveries);
        line.oldest_ms = line.open.first_key_value().map(|(_, parked_ms)| *parked_ms).or(line.oldest_ms);
        line.forget_if_drained();
        true
    }

    /// Whether offsets of this log count.
    pub(in crate::pipeline) fn is_current(&self, epoch: u32) -> bool {
        self.epoch == epoch
    }

    /// The read failed; the same is read again.
    pub(in crate::pipeline) fn read_failed(&mut self, agent: &str, epoch: u32) {
        if let Some(line) = self.lines.get_mut(agent).filter(|_| self.epoch == epoch) {
            line.reading = 0;
        }
    }

    /// A fed delivery has its end in the ledger.
    pub(in crate::pipeline) fn ended(&mut self, agent: &str, (epoch, offset): (u32, i64)) {
        if self.epoch != epoch {
            if let Some(former) = self.former.get_mut(agent) {
                *former = former.saturating_sub(1);
            }
            self.former.retain(|_, former| *former > 0);
            return;
        }
        let Some(line) = self.lines.get_mut(agent) else { return };
        if line.open.remove(&offset).is_some() {
            line.count = line.count.saturating_sub(1);
            line.oldest_ms = line.open.first_key_value().map(|(_, parked_ms)| *parked_ms).or(line.oldest_ms);
            line.forget_if_drained();
        }
    }

    pub(in crate::pipeline) fn position(&self) -> Position {
        if self.scanning {
            return Position::Unknown;
        }
        let under_way = self.parking.values().map(|(_, since)| *since);
        match self.lines.values().filter_map(Line::first_open).chain(under_way).min() {
            Some(first) => Position::Before(first),
            None => Position::Drained(self.end),
        }
    }

    /// What is to be committed. Where nothing was ever parked there is nothing, and the topic need not exist.
    pub(in crate::pipeline) fn commit(&self) -> Option<i64> {
        let exists = self.lines.values().any(|line| line.first_open() == Some(0));
        match self.position() {
            Position::Before(offset) | Position::Drained(offset) => (offset > 0 || exists).then_some(offset),
            Position::Unknown => None,
        }
    }

    /// Whether deliveries to the agent are parked or held back.
    pub(in crate::pipeline) fn is_known(&self, agent: &str) -> bool {
        self.lines.contains_key(agent)
    }

    /// When the oldest parked delivery was parked, ms since 1970.
    pub(in crate::pipeline) fn oldest_ms(&self) -> Option<u64> {
        self.lines.values().filter_map(|line| line.oldest_ms).min()
    }

    pub(in crate::pipeline) fn backlog(&self, agent: &str) -> Backlog {
        self.lines.get(agent).map(|line| Backlog { count: line.count, oldest_ms: line.oldest_ms }).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
