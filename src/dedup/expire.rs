//! Expiry: removes records from the ledger after the window, a few at a time.

use metrics::counter;
use tracing::debug;

use super::{
    codec,
    error::LedgerError,
    keys::{RECORD_KEY, RECORDS_END},
    ledger::Ledger,
    record::Record,
};
use crate::telemetry;

/// An unfinished record is kept for this many windows: it must outlive its event, which Kafka holds
/// and which may be retried long after it was first seen.
const UNFINISHED_WINDOWS: u32 = 4;

/// A record of a partition that this process does not own is kept longer than the window by a seventh of it, and at
/// least by this: as long as the ledger topic keeps it.
const SHORTEST_MARGIN_MS: u64 = 24 * 3_600 * 1_000;

/// The clocks by which records age, in ms since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExpiryClock {
    /// [`ledger_now`]: for the records of owned partitions, and those whose partition is not known.
    pub owned_ms: u64,
    /// [`ledger_now`] with the local clock: for the others, which another process reads.
    pub others_ms: u64,
    /// The local clock: for what is to be written to the ledger topic again, and for what that would have forgotten by now.
    pub local_ms: u64,
}

/// Which records stay.
pub(crate) struct ExpiryRules<'a> {
    /// Whether the event of this id still needs its record.
    pub is_needed: &'a dyn Fn(&str) -> bool,
    /// Whether this process owns the partition of the topic.
    pub is_owned: &'a dyn Fn(&str, i32) -> bool,
}

/// Where the next step of a scan continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpiryCursor(Vec<u8>);

/// The result of one step of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpiryStep {
    /// Records removed.
    pub expired: usize,
    /// Records examined.
    pub scanned: usize,
    /// Records that cannot be decoded. They are logged and kept.
    pub unreadable: usize,
    /// Records that are to be written to the ledger topic again: it lost them, or will soon, because they are of an owned
    /// partition, unfinished, or needed, and were last written there more than half a window ago. At most as many as were
    /// examined.
    pub rewrite_due: Vec<(String, Record)>,
    /// Where the next step continues; `None` after the last record.
    pub next: Option<ExpiryCursor>,
}

/// The clock for the age of records: the earlier of the local clock and the newest record consumed,
/// so a local clock that jumps ahead expires nothing. `None` before a record was consumed: nothing
/// expires. All in ms since 1970.
pub(crate) fn ledger_now(local_ms: u64, newest_record_ms: Option<u64>) -> Option<u64> {
    newest_record_ms.map(|newest| newest.min(local_ms))
}

impl Ledger {
    /// Examines up to `max` records after the cursor (`None`: from the start) and removes the expired
    /// ones: finished records that were first seen more than one window ago, and unfinished ones after
    /// [`UNFINISHED_WINDOWS`]. A record that is needed stays, and so does one that is written meanwhile.
    pub(crate) fn expire_step(
        &self,
        cursor: Option<ExpiryCursor>,
        clock: ExpiryClock,
        rules: &ExpiryRules<'_>,
        max: usize,
    ) -> Result<ExpiryStep, LedgerError> {
        let window = u64::try_from(self.window().as_millis()).unwrap_or(u64::MAX);
        let after = cursor.map_or_else(|| vec![RECORD_KEY], |cursor| cursor.0);

        let losses = self.losses();
        let (mut candidates, mut rewrite_due) = (Vec::new(), Vec::new());
        let mut last = None;
        let mut unreadable = 0;
        let scanned = self.store().attempt("look for expired records", |store| {
            store.scan(&after, RECORDS_END, max, &mut |key, value| {
                last = Some(key.to_vec());
                let event_id = std::str::from_utf8(key.get(1..).unwrap_or_default());
                match (event_id, codec::decode(value)) {
                    (Ok(event_id), Ok(record)) => {
                        let is_owned = rules.owner_of(&record);
                        let is_kept = || !record.state().is_final() || (rules.is_needed)(event_id);
                        if is_expired(&record, is_owned, window, clock) && !(rules.is_needed)(event_id) {
                            candidates.push((key.to_vec(), value.to_vec()));
                        } else if losses.include(&record) && is_kept_by_topic(&record, window, clock)
                            || is_owned == Some(true) && is_rewrite_due(&record, window, clock) && is_kept()
                        {
                            rewrite_due.push((event_id.to_owned(), record));
                        }
                    }
                    (event_id, decoded) => {
                        unreadable += 1;
                        let error = decoded.err().map(|error| error.to_string());
                        debug!(event_id = event_id.ok(), error, "a ledger record cannot be read and is left alone");
                    }
                }
            })
        })?;

        let mut expired = 0;
        for (key, value) in candidates {
            // Compare and remove: a record that was written meanwhile has another value.
            if self.store().attempt("remove an expired record", |store| store.remove_if(&key, &value))? {
                expired += 1;
            }
        }
        if expired > 0 {
            self.store().count_removed(expired as u64);
            counter!(telemetry::DEDUP_EXPIRED).increment(expired as u64);
        }
        let next = if scanned < max { None } else { last.map(ExpiryCursor) };
        Ok(ExpiryStep { expired, scanned, unreadable, rewrite_due, next })
    }
}

impl ExpiryRules<'_> {
    /// Whether this process owns the partition that the record was read from; `None` if that is not known.
    fn owner_of(&self, record: &Record) -> Option<bool> {
        record.source().map(|source| (self.is_owned)(&source.topic, source.partition))
    }
}

fn is_expired(record: &Record, is_owned: Option<bool>, window: u64, clock: ExpiryClock) -> bool {
    let is_final = record.state().is_final();
    let usual = window.saturating_mul(if is_final { 1 } else { u64::from(UNFINISHED_WINDOWS) });
    let (now, kept) = if is_owned.unwrap_or(true) {
        (clock.owned_ms, usual)
    } else {
        (clock.others_ms, usual.max(kept_by_topic(window)))
    };
    now.saturating_sub(record.first_seen_ms()) > kept
}

/// How long the ledger topic keeps a record.
fn kept_by_topic(window: u64) -> u64 {
    window.saturating_add(SHORTEST_MARGIN_MS.max(window / 7))
}

/// Whether the ledger topic would still have the record, if it had lost none.
fn is_kept_by_topic(record: &Record, window: u64, clock: ExpiryClock) -> bool {
    !record.state().is_final() || clock.local_ms.saturating_sub(record.first_seen_ms()) <= kept_by_topic(window)
}

fn is_rewrite_due(record: &Record, window: u64, clock: ExpiryClock) -> bool {
    let written = record.written_ms().unwrap_or(record.first_seen_ms());
    clock.local_ms.saturating_sub(written) > window / 2
}
