//! Expiry: records leave the ledger at the end of the window, a few at a time.

use metrics::counter;
use tracing::debug;

use super::{Ledger, LedgerError, codec, ledger::RECORD_KEY};
use crate::telemetry;

/// A plan that is not finished is kept for this many windows: it must outlive its event, which Kafka
/// holds and which may be retried long after it was first seen.
pub const UNFINISHED_WINDOWS: u32 = 4;

/// Where a scan goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

/// What one step of a scan did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Records removed.
    pub expired: usize,
    /// Records looked at.
    pub scanned: usize,
    /// Records that cannot be read; they are left alone, and logged.
    pub unreadable: usize,
    /// Where the next step goes on; `None` at the end, from where a new scan begins.
    pub next: Option<Cursor>,
}

/// The clock that ages records: the local one, held back by the newest record consumed, so that a
/// local clock that jumps ahead expires nothing. `None` before anything was consumed: expire nothing.
/// All in ms since 1970.
pub fn ledger_now(local_ms: u64, newest_record_ms: Option<u64>) -> Option<u64> {
    newest_record_ms.map(|newest| newest.min(local_ms))
}

impl Ledger {
    /// Looks at up to `max` records after the cursor (`None`: from the start) and removes those whose
    /// time is over: finished ones older than the window, unfinished ones older than
    /// [`UNFINISHED_WINDOWS`] of it, by when they were first seen, and never one that is in flight.
    /// `now_ms` is [`ledger_now`]. A record that changes meanwhile stays.
    pub fn expire_chunk(
        &self,
        cursor: Option<Cursor>,
        now_ms: u64,
        in_flight: &dyn Fn(&str) -> bool,
        max: usize,
    ) -> Result<Chunk, LedgerError> {
        let window = u64::try_from(self.window().as_millis()).unwrap_or(u64::MAX);
        let after = cursor.map_or_else(|| vec![RECORD_KEY], |cursor| cursor.0);

        let mut over = Vec::new();
        let mut last = None;
        let mut unreadable = 0;
        let scanned = self.disk().attempt("look for expired records", |store| {
            store.scan(&after, max, &mut |key, value| {
                last = Some(key.to_vec());
                let event_id = std::str::from_utf8(key.get(1..).unwrap_or_default());
                match (event_id, codec::decode(value)) {
                    (Ok(event_id), Ok(record)) => {
                        let windows = if record.state().is_final() { 1 } else { u64::from(UNFINISHED_WINDOWS) };
                        let age = now_ms.saturating_sub(record.first_seen_ms());
                        if age > window.saturating_mul(windows) && !in_flight(event_id) {
                            over.push((key.to_vec(), value.to_vec()));
                        }
                    }
                    (event_id, decoded) => {
                        unreadable += 1;
                        let reason = decoded.err().map(|reason| reason.to_string());
                        debug!(event_id = event_id.ok(), reason, "a ledger record cannot be read and is left alone");
                    }
                }
            })
        })?;

        let mut expired = 0;
        for (key, value) in over {
            // Compared with what was judged: a record that was written meanwhile is another one.
            if self.disk().attempt("remove an expired record", |store| store.remove_if(&key, &value))? {
                expired += 1;
            }
        }
        if expired > 0 {
            self.disk().removed(expired as u64);
            counter!(telemetry::DEDUP_EXPIRED).increment(expired as u64);
        }
        let next = if scanned < max { None } else { last.map(Cursor) };
        Ok(Chunk { expired, scanned, unreadable, next })
    }
}
