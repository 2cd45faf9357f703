//! The ledger: an event's record by its id, durable in groups.
//!
//! Owns the handle. It only gains knowledge: a write merges, and only `expire` removes. Calls other than [`Ledger::durable`] block for
//! microseconds, or for a read from disk.

use std::{fmt, io, sync::Arc, time::Duration};

use tracing::warn;

use super::{
    codec,
    commit::Committer,
    error::{LedgerError, OpenError},
    fail_stop::FailStopStore,
    filter::IdFilter,
    folder,
    header::Header,
    keys::{HEADER_KEY, record_key},
    losses::Losses,
    record::Record,
    store::{Store, StoreError, Swap},
};
use crate::sync::Mutex;

/// How to open a ledger.
#[derive(Debug, Clone)]
pub(crate) struct LedgerOptions {
    /// The consumer group whose offsets belong to the ledger.
    pub group: String,
    /// How long an event is remembered after it was first seen.
    pub window: Duration,
    /// The store's cache, in bytes. Resident memory is 3 to 7 times as much.
    pub cache_bytes: u64,
    /// How long the first that waits for a flush waits for others.
    pub flush_delay: Duration,
    /// Whether a damaged ledger is moved aside and an empty one opened. Only where the ledger topic can fill it again.
    pub replace_damaged: bool,
}

#[cfg(test)]
impl LedgerOptions {
    /// For tests in other rooms.
    pub(crate) fn sample() -> Self {
        Self {
            group: "test".into(),
            window: Duration::from_secs(3600),
            cache_bytes: 1 << 20,
            flush_delay: Duration::from_millis(3),
            replace_damaged: false,
        }
    }
}

/// What adding a record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The event had no record.
    Added,
    /// Its record knows more now.
    Changed,
    /// Its record knew all of it.
    None,
    /// Nothing, because its record would become too large.
    TooLarge,
}

/// A handle on the ledger; clones share it. Dropping the last one blocks for a flush and frees the
/// folder.
#[derive(Clone)]
pub(crate) struct Ledger {
    open: Arc<OpenLedger>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("dir", &self.store().dir()).field("records", &self.len()).finish_non_exhaustive()
    }
}

struct OpenLedger {
    committer: Committer,
    store: Arc<FailStopStore>,
    /// Has the ids of all records.
    ids: IdFilter,
    window: Duration,
    header: Mutex<Header>,
    losses: Mutex<Arc<Losses>>,
    recovered: bool,
}

impl Ledger {
    /// A handle on a store that was opened for this ledger, and the filter of its ids.
    pub(super) fn new(
        (store, ids): (FailStopStore, IdFilter),
        (header, recovered): (Header, bool),
        losses: Losses,
        options: &LedgerOptions,
    ) -> io::Result<Self> {
        let store = Arc::new(store);
        let flushed = Arc::clone(&store);
        let committer = Committer::start(options.flush_delay, move || flushed.flush())?;
        let (header, losses) = (Mutex::new(header), Mutex::new(Arc::new(losses)));
        let open = OpenLedger { committer, store, ids, window: options.window, header, losses, recovered };
        Ok(Self { open: Arc::new(open) })
    }

    /// Binds the ledger to a Kafka cluster for good, and blocks until that is durable. Binding it to
    /// the same cluster again does nothing.
    ///
    /// # Errors
    /// [`OpenError::Cluster`] when it is bound to another, [`OpenError::Failed`] when it cannot be
    /// written.
    pub(crate) fn bind_cluster(&self, cluster_id: &str) -> Result<(), OpenError> {
        let mut header = self.open.header.lock();
        match &header.cluster {
            Some(found) if found == cluster_id => Ok(()),
            Some(found) => Err(OpenError::Cluster {
                dir: self.store().dir().to_owned(),
                expected: cluster_id.to_owned(),
                found: found.clone(),
            }),
            None => {
                let bound = Header { group: header.group.clone(), cluster: Some(cluster_id.to_owned()) };
                let bytes = bound.encode();
                self.store().attempt("bind the cluster", |store| store.insert(HEADER_KEY, &bytes))?;
                self.flush_blocking()?;
                *header = bound;
                Ok(())
            }
        }
    }

    /// The record of an event.
    ///
    /// # Errors
    /// [`LedgerError::CorruptRecord`] when the record cannot be decoded; else the ledger's failure.
    pub(crate) fn get(&self, event_id: &str) -> Result<Option<Record>, LedgerError> {
        if self.open.ids.is_absent(event_id.as_bytes()) {
            return self.store().check().map(|()| None);
        }
        let key = record_key(event_id);
        let Some(bytes) = self.store().attempt("read a record", |store| store.get(&key))? else { return Ok(None) };
        self.decode(event_id, &bytes).map(Some)
    }

    /// Adds what a record knows of an event to the ledger, and returns the merged record: durable after
    /// [`durable`](Self::durable). Atomic: what another call adds meanwhile is kept.
    ///
    /// # Errors
    /// [`LedgerError::CorruptRecord`] when the event has a record that cannot be decoded; it is left as it is.
    pub(crate) fn merge(&self, event_id: &str, record: &Record) -> Result<Record, LedgerError> {
        self.add(event_id, record, usize::MAX).map(|(merged, _)| merged)
    }

    /// As [`merge`](Self::merge), for a record that was changed, and that is appended to the ledger topic next, all of it:
    /// written at `now_ms`, in ms since 1970. One that the topic lost counts as written when the broker has it, and is rewritten
    /// until then.
    pub(crate) fn merge_appended(&self, event_id: &str, record: &Record, now_ms: u64) -> Result<Record, LedgerError> {
        self.add_appended(event_id, record, usize::MAX, Some(now_ms)).map(|(merged, _)| merged)
    }

    /// As [`merge`](Self::merge), with what it changed. A record that would become larger than `most` bytes stays as it is.
    pub(super) fn add(&self, event_id: &str, record: &Record, most: usize) -> Result<(Record, Change), LedgerError> {
        self.add_appended(event_id, record, most, None)
    }

    /// As [`add`](Self::add); `appended_ms` is as for [`merge_appended`](Self::merge_appended).
    fn add_appended(
        &self,
        event_id: &str,
        record: &Record,
        most: usize,
        appended_ms: Option<u64>,
    ) -> Result<(Record, Change), LedgerError> {
        let key = record_key(event_id);
        self.open.ids.add(event_id.as_bytes());
        // Most events are new: the first write is tried without a read, and says what is there if it fails.
        let mut known: Option<Vec<u8>> = None;
        loop {
            let mut merged =
                known.as_deref().map_or_else(|| Ok(record.clone()), |bytes| self.decode(event_id, bytes))?;
            // What was there of this event: there may be another one with its id.
            let before = if merged.digest() == record.digest() { &merged } else { record };
            let written = appended_ms.filter(|_| !self.is_lost(before));
            // Not before that was written: after a loss this may be later than now.
            let written = written.map(|now_ms| before.written_ms().map_or(now_ms, |before| before.max(now_ms)));
            let mut changed = match (&known, appended_ms) {
                (None, _) => true,
                (Some(_), None) => merged.merge(record),
                (Some(_), Some(_)) => merged.merge_changed(record),
            };
            let written = written.filter(|_| merged.digest() == record.digest());
            changed |= written.is_some_and(|written| merged.record_written(written));
            if !changed {
                return Ok((merged, Change::None));
            }
            let value = codec::encode(&merged);
            if value.len() > most {
                return Ok((merged, Change::TooLarge));
            }
            let swap = |store: &Store| store.replace(&key, known.as_deref(), &value);
            match self.store().attempt("write a record", swap)? {
                Swap::Found(found) => known = found,
                Swap::Written if known.is_some() => return Ok((merged, Change::Changed)),
                Swap::Written => {
                    self.store().count_added();
                    return Ok((merged, Change::Added));
                }
            }
        }
    }

    fn decode(&self, event_id: &str, bytes: &[u8]) -> Result<Record, LedgerError> {
        codec::decode(bytes).map_err(|reason| LedgerError::CorruptRecord {
            dir: self.store().dir().to_owned(),
            event_id: event_id.to_owned(),
            reason,
        })
    }

    /// Resolves when every [`merge`](Self::merge) that returned before this call survives the end of the
    /// process: after a flush that starts later, shared with the other waiters. Dropping the future
    /// is safe.
    pub(crate) async fn durable(&self) -> Result<(), LedgerError> {
        self.store().check()?;
        let result = self.open.committer.durable().await;
        result.unwrap_or_else(|| {
            let ended = StoreError::Defect("the flush thread ended".into());
            Err(self.store().fail("flush", ended))
        })
    }

    /// As [`durable`](Self::durable), at once and on this thread.
    pub(super) fn flush_blocking(&self) -> Result<(), LedgerError> {
        self.open.committer.flush_now()
    }

    /// Replaces an event's record by one that cannot be decoded.
    #[cfg(test)]
    pub(crate) fn spoil(&self, event_id: &str) {
        self.open.ids.add(event_id.as_bytes());
        let spoil = |store: &Store| store.insert(&record_key(event_id), b"\x09rubbish");
        if self.store().attempt("spoil a record", spoil).unwrap() {
            self.store().count_added();
        }
    }

    /// How many records it has.
    pub(crate) fn len(&self) -> u64 {
        self.store().records()
    }

    pub(super) fn store(&self) -> &FailStopStore {
        &self.open.store
    }

    pub(super) fn losses_slot(&self) -> &Mutex<Arc<Losses>> {
        &self.open.losses
    }

    /// Whether there was a ledger in the folder when it was opened.
    pub(crate) fn is_recovered(&self) -> bool {
        self.open.recovered
    }

    /// How long an event is remembered.
    pub(crate) fn window(&self) -> Duration {
        self.open.window
    }
}

impl Drop for OpenLedger {
    fn drop(&mut self) {
        let dir = self.store.dir();
        let flushed = self.committer.flush_now().map_err(|failure| failure.to_string());
        let closed = flushed.and_then(|()| folder::close(dir, self.store.records()).map_err(|error| error.to_string()));
        if let Err(error) = closed {
            // Nothing acknowledged is lost; only the number of records is not compared at the next start.
            warn!(folder = %dir.display(), error, "the ledger was not closed in order");
        }
    }
}
