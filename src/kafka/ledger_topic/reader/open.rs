//! Where reading begins, and to which end: the part of the reader that asks the brokers.

use std::time::Instant;

use super::{
    super::{
        super::report::Area,
        entries::Entries,
        start::{LedgerPosition, Start},
    },
    Reader, requests,
};
use crate::{connection, telemetry};

impl Reader {
    /// Asks for the ends of the partitions that are due, and begins to read those that are not read.
    pub(super) fn open_due(&mut self, now: Instant) {
        let mut due: Vec<i32> =
            self.followed.iter().filter(|(_, followed)| followed.is_due(now)).map(|(number, _)| *number).collect();
        if due.is_empty() {
            return;
        }
        let count = match self.partition_count(&due) {
            Ok(count) => count,
            Err(problem) => {
                for (_, followed) in self.followed.iter_mut().filter(|(number, _)| due.contains(number)) {
                    followed.end_unknown(&problem, now);
                }
                return;
            }
        };
        if due.iter().any(|number| *number >= count) {
            self.grow(&mut due, count, now);
        }
        for (number, ends) in requests::ends(&self.consumer, self.topic.name(), &due) {
            match ends {
                Ok((low, high)) => self.open(number, low, high, now),
                Err(reason) => {
                    if let Some(followed) = self.followed.get_mut(&number) {
                        let problem = format!("the end of the ledger topic is not known: {reason}");
                        followed.end_unknown(&problem, now);
                    }
                }
            }
        }
    }

    /// How many partitions the topic has. Creates it when it was deleted.
    fn partition_count(&self, due: &[i32]) -> Result<i32, String> {
        match self.topic.partitions(&self.consumer) {
            Ok(Some(count)) => {
                self.following.set_partitions(count);
                Ok(count)
            }
            Ok(None) => {
                let needed = due.iter().max().map_or(1, |number| number + 1);
                let partitions = self.topic.wanted_partitions(&self.consumer).max(needed);
                match self.topic.create(partitions) {
                    Ok(()) => Err("the ledger topic does not exist and is created again".into()),
                    Err(error) => Err(error.to_string()),
                }
            }
            Err(error) => Err(format!("no broker tells of the ledger topic: {}", connection::reason(&error))),
        }
    }

    /// Adds the partitions that are missing. Those that cannot be added leave `due`.
    fn grow(&mut self, due: &mut Vec<i32>, count: i32, now: Instant) {
        let needed = due.iter().max().map_or(1, |number| number + 1);
        let problem = match self.topic.grow(self.topic.wanted_partitions(&self.consumer).max(needed)) {
            Ok(()) => "the ledger topic gets this partition".to_owned(),
            Err(problem) => {
                if self.throttle.admit("grow", now).is_some() {
                    tracing::error!(topic = self.topic.name(), error = problem, "partitions wait for the ledger topic");
                }
                problem
            }
        };
        due.retain(|number| {
            if *number >= count
                && let Some(followed) = self.followed.get_mut(number)
            {
                followed.end_unknown(&problem, now);
            }
            *number < count
        });
    }

    fn open(&mut self, number: i32, low: i64, high: i64, now: Instant) {
        let stored = self.apply.position(number);
        let Some(followed) = self.followed.get_mut(&number) else { return };
        if followed.is_closed() {
            let known = |offset| LedgerPosition { offset, anchor: stored.map_or(0, |stored| stored.anchor) };
            match Start::of(stored, low, high) {
                Start::At(offset) => self.begin(number, known(offset), low, false),
                Start::Emptied(offset) => self.begin_from(number, offset),
                Start::Compare(position) => self.begin(number, position, low, true),
                Start::Another { low } => self.begin_another(number, low),
                Start::Removed { from, low } => {
                    let records = u64::try_from(low - from).unwrap_or(0);
                    metrics::counter!(telemetry::LEDGER_RECORDS_REMOVED).increment(records);
                    tracing::warn!(
                        topic = self.topic.name(),
                        partition = number,
                        first = from,
                        last = low - 1,
                        records,
                        advice = "events of these records may be delivered again; keep retention.ms of the ledger topic above the dedup window plus the longest time that a replica is away",
                        "records left the ledger topic before this store read them"
                    );
                    self.begin_from(number, low);
                }
            }
        }
        if let Some(followed) = self.followed.get_mut(&number) {
            followed.set_end(high, now);
            followed.release(None, &self.following);
        }
    }

    fn begin(&mut self, number: i32, position: LedgerPosition, low: i64, compare: bool) {
        let Some(followed) = self.followed.get_mut(&number) else { return };
        let first = followed.begin(position, low, compare);
        tracing::debug!(partition = number, offset = position.offset, compare, "reading the ledger topic");
        self.assign(number, first);
    }

    /// The topic is not the one that this store has read: reads it from its beginning.
    pub(super) fn begin_another(&mut self, number: i32, low: i64) {
        tracing::warn!(
            topic = self.topic.name(),
            partition = number,
            offset = low,
            advice = "if nobody deleted the topic on purpose, look into it: what no replica has in its data folder may be delivered again",
            "the ledger topic was deleted and created again, or lost records that were read: it is read from its beginning, and what this ledger knows is written to it again"
        );
        self.begin_from(number, low);
    }

    /// Reads from here whatever was read before, and notes so at once: the next start must not report it again.
    fn begin_from(&mut self, number: i32, low: i64) {
        // Before the position, so that a crash in between finds it again.
        self.lost(number);
        let position = LedgerPosition { offset: low, anchor: 0 };
        if let Err(error) = self.apply.apply(number, &Entries::default(), position) {
            tracing::warn!(partition = number, error, "the position in the ledger topic was not stored");
        }
        self.unassign(number);
        if let Some(followed) = self.followed.get_mut(&number) {
            followed.forget_end();
        }
        self.begin(number, position, low, false);
    }

    fn lost(&mut self, number: i32) {
        if let Err(error) = self.apply.lost(number) {
            tracing::warn!(partition = number, error, "the loss of the ledger topic's records was not noted");
        }
    }

    /// Finds logs that end below what was read, or hold nothing of it any more, and partitions of which more is to be read.
    pub(super) fn check_ends(&mut self) {
        let open: Vec<i32> =
            self.followed.values().filter(|followed| !followed.is_closed()).map(|followed| followed.number).collect();
        if open.is_empty() {
            return;
        }
        let mut unread = 0;
        let mut all_answered = true;
        for (number, ends) in requests::ends(&self.consumer, self.topic.name(), &open) {
            let Some(followed) = self.followed.get(&number) else { continue };
            let applied = followed.applied();
            match ends {
                Ok((_, high)) if high < applied => self.close(number),
                Ok((low, _)) if low >= applied && followed.has_read() => self.close(number),
                Ok((_, high)) => unread += high - applied,
                Err(_) => all_answered = false,
            }
        }
        metrics::gauge!(telemetry::LEDGER_UNREAD).set(unread as f64);
        let reporter = &self.following.reporter;
        if all_answered {
            reporter.resolved(Area::Connection);
            reporter.resolved(Area::Other);
        }
        // That the ends are known does not say that the records can be fetched.
        if all_answered && unread == 0 {
            reporter.resolved(Area::Topic);
            reporter.resolved(Area::Fetch);
        }
    }
}
