//! The ledger: records on disk, durable in groups, fail-stop.
//!
//! Owns opening, keys, and the first failure: once a call has failed for a reason that is not one
//! record's, every later one fails the same way, so that nothing is ever confirmed on a store in
//! doubt. Calls but [`Ledger::durable`] block for microseconds (a read from disk at worst).

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use metrics::{gauge, histogram};
use tracing::warn;

use super::{
    Record, codec,
    commit::Committer,
    error::{LedgerError, OpenError},
    folder,
    header::{FORMAT, Header, HeaderError},
    store::{Store, StoreError},
};
use crate::telemetry;

/// The header's key sorts before every record's.
const HEADER_KEY: &[u8] = &[0];
/// The first byte of a record's key: the version of the keys.
pub(super) const RECORD_KEY: u8 = 1;
/// A process that has just ended, or a ledger that was just dropped, may hold the lock a moment longer.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_RETRY: Duration = Duration::from_millis(20);
/// How many entries one step of the count at open looks at.
const COUNT_STEP: usize = 4096;

/// How a ledger is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// The consumer group whose offsets the ledger goes with.
    pub group: String,
    /// How long an event is remembered after it was first seen.
    pub window: Duration,
    /// The store's cache, in bytes. Resident memory is 3 to 7 times as much.
    pub cache_bytes: u64,
    /// How long the first that waits for a flush waits for others.
    pub flush_delay: Duration,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// A ledger was there; false when this one is new.
    pub recovered: bool,
    /// How many records it has.
    pub records: u64,
}

/// A handle on the ledger; clones share it. The folder is free for another when the last is dropped,
/// which blocks for a flush.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("dir", &self.disk().dir).field("records", &self.len()).finish_non_exhaustive()
    }
}

struct Inner {
    committer: Committer,
    disk: Arc<Disk>,
    window: Duration,
    binding: Mutex<Header>,
}

/// The store and what is known of its health.
pub(super) struct Disk {
    dir: PathBuf,
    store: Store,
    records: AtomicU64,
    failure: OnceLock<LedgerError>,
}

impl Ledger {
    /// Opens the ledger in a folder, or begins one there. Reads all of it once; blocks.
    ///
    /// # Errors
    /// [`OpenError`] says what is at risk and what to do. Nothing is deleted.
    pub fn open(dir: &Path, options: &Options) -> Result<(Self, Opened), OpenError> {
        let marked = folder::prepare(dir)?;
        let failed = |error| OpenError::from_store(dir, error);
        let store = open_patiently(dir, options.cache_bytes).map_err(failed)?;

        let found = store.get(HEADER_KEY).map_err(failed)?;
        let recovered = found.is_some();
        let header = match found {
            Some(bytes) => read_header(dir, &options.group, &bytes)?,
            None if marked => {
                return Err(folder::lost(dir, "its store came up empty: the file `db` was cut short or damaged"));
            }
            None => begin(dir, &options.group, &store)?,
        };
        if !marked {
            folder::mark(dir)?;
        }

        let records = count(&store).map_err(failed)?;
        folder::reopen(dir, records)?;
        let disk =
            Arc::new(Disk { dir: dir.to_owned(), store, records: AtomicU64::new(records), failure: OnceLock::new() });
        let flushed = Arc::clone(&disk);
        let committer = Committer::start(options.flush_delay, move || flushed.flush())
            .map_err(|error| OpenError::from_io(dir, &error))?;
        gauge!(telemetry::DEDUP_RECORDS).set(records as f64);
        let inner = Inner { committer, disk, window: options.window, binding: Mutex::new(header) };
        Ok((Self { inner: Arc::new(inner) }, Opened { recovered, records }))
    }

    /// Binds the ledger to a Kafka cluster, for good; blocks until that is durable. The same cluster
    /// again is fine.
    ///
    /// # Errors
    /// [`OpenError::Cluster`] when it is bound to another, [`OpenError::Failed`] when it cannot be
    /// written.
    pub fn bind_cluster(&self, cluster_id: &str) -> Result<(), OpenError> {
        let mut header = self.inner.binding.lock().unwrap_or_else(PoisonError::into_inner);
        match &header.cluster {
            Some(found) if found == cluster_id => Ok(()),
            Some(found) => Err(OpenError::Cluster {
                dir: self.disk().dir.clone(),
                expected: cluster_id.to_owned(),
                found: found.clone(),
            }),
            None => {
                let bound = Header { group: header.group.clone(), cluster: Some(cluster_id.to_owned()) };
                let bytes = bound.encode();
                self.disk().attempt("bind the cluster", |store| store.insert(HEADER_KEY, &bytes))?;
                self.flush_blocking()?;
                *header = bound;
                Ok(())
            }
        }
    }

    /// What is known of an event.
    ///
    /// # Errors
    /// [`LedgerError::CorruptRecord`] when its record cannot be read; else the ledger's failure.
    pub fn get(&self, event_id: &str) -> Result<Option<Record>, LedgerError> {
        let key = record_key(event_id);
        let Some(bytes) = self.disk().attempt("read a record", |store| store.get(&key))? else { return Ok(None) };
        codec::decode(&bytes).map(Some).map_err(|reason| LedgerError::CorruptRecord {
            dir: self.disk().dir.clone(),
            event_id: event_id.to_owned(),
            reason,
        })
    }

    /// Writes what is known of an event: one write, durable after [`durable`](Self::durable).
    pub fn put(&self, event_id: &str, record: &Record) -> Result<(), LedgerError> {
        let (key, value) = (record_key(event_id), codec::encode(record));
        if self.disk().attempt("write a record", |store| store.insert(&key, &value))? {
            self.disk().records.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Resolves when every [`put`](Self::put) that returned before this call survives the end of the
    /// process: after a flush that started later, shared with whoever else waits. Dropping the future
    /// is safe.
    pub async fn durable(&self) -> Result<(), LedgerError> {
        self.disk().healthy()?;
        let answer = self.inner.committer.durable().await;
        answer.unwrap_or_else(|| {
            let ended = StoreError::Defect("the flush thread ended".into());
            Err(self.disk().fail("flush", ended))
        })
    }

    /// The same, at once and on this thread: for a revoked partition and the orderly stop.
    pub fn flush_blocking(&self) -> Result<(), LedgerError> {
        self.inner.committer.flush_now()
    }

    /// Makes an event's record one that cannot be read.
    #[cfg(test)]
    pub(crate) fn spoil(&self, event_id: &str) {
        self.disk().attempt("spoil a record", |store| store.insert(&record_key(event_id), b"\x09rubbish")).unwrap();
    }

    /// How many records it has.
    pub fn len(&self) -> u64 {
        self.disk().records.load(Ordering::Relaxed)
    }

    /// It has no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why it can no longer be used, if so: for readiness.
    pub fn failure(&self) -> Option<LedgerError> {
        self.disk().failure.get().cloned()
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.inner.disk
    }

    /// How long an event is remembered.
    pub fn window(&self) -> Duration {
        self.inner.window
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let records = self.disk.records.load(Ordering::Relaxed);
        let closed = self.committer.flush_now().map_err(|failure| failure.to_string());
        let closed = closed.and_then(|()| folder::close(&self.disk.dir, records).map_err(|error| error.to_string()));
        if let Err(reason) = closed {
            // Nothing acknowledged is lost by it; only the count is not compared at the next start.
            warn!(folder = %self.disk.dir.display(), reason, "the ledger was not closed in order");
        }
    }
}

impl Disk {
    /// Does something with the store, unless it has failed before.
    pub(super) fn attempt<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Store) -> Result<T, StoreError>,
    ) -> Result<T, LedgerError> {
        self.healthy()?;
        work(&self.store).map_err(|error| self.fail(operation, error))
    }

    fn healthy(&self) -> Result<(), LedgerError> {
        self.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// The first failure stands for all that follow.
    pub(super) fn fail(&self, operation: &'static str, error: StoreError) -> LedgerError {
        self.failure.get_or_init(|| LedgerError::from_store(&self.dir, operation, error)).clone()
    }

    fn flush(&self) -> Result<(), LedgerError> {
        let began = Instant::now();
        self.attempt("flush", Store::flush)?;
        histogram!(telemetry::DEDUP_FLUSH_DURATION).record(began.elapsed());
        self.tell_records();
        Ok(())
    }

    pub(super) fn removed(&self, records: u64) {
        self.records.fetch_sub(records, Ordering::Relaxed);
        self.tell_records();
    }

    fn tell_records(&self) {
        gauge!(telemetry::DEDUP_RECORDS).set(self.records.load(Ordering::Relaxed) as f64);
    }
}

fn record_key(event_id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + event_id.len());
    key.push(RECORD_KEY);
    key.extend_from_slice(event_id.as_bytes());
    key
}

fn open_patiently(dir: &Path, cache_bytes: u64) -> Result<Store, StoreError> {
    let began = Instant::now();
    loop {
        match Store::open(dir, cache_bytes) {
            Err(StoreError::Locked) if began.elapsed() < LOCK_PATIENCE => thread::sleep(LOCK_RETRY),
            opened => return opened,
        }
    }
}

/// Begins a ledger in a store that has none.
fn begin(dir: &Path, group: &str, store: &Store) -> Result<Header, OpenError> {
    let failed = |error| OpenError::from_store(dir, error);
    if store.scan(&[], 1, &mut |_, _| ()).map_err(failed)? > 0 {
        return Err(OpenError::NotALedger { dir: dir.to_owned(), found: "a sled database of another program".into() });
    }
    let header = Header { group: group.to_owned(), cluster: None };
    store.insert(HEADER_KEY, &header.encode()).map_err(failed)?;
    store.flush().map_err(failed)?;
    Ok(header)
}

fn read_header(dir: &Path, group: &str, bytes: &[u8]) -> Result<Header, OpenError> {
    let dir = || dir.to_owned();
    let header = Header::decode(bytes).map_err(|error| match error {
        HeaderError::NotALedger => {
            OpenError::NotALedger { dir: dir(), found: "a sled database of another program".into() }
        }
        HeaderError::Format(found) => {
            OpenError::Version { dir: dir(), expected: FORMAT.to_string(), found: found.to_string() }
        }
        HeaderError::Damaged(reason) => OpenError::Corrupt { dir: dir(), reason: format!("its header: {reason}") },
    })?;
    if header.group != group {
        return Err(OpenError::Group { dir: dir(), expected: group.to_owned(), found: header.group });
    }
    Ok(header)
}

/// Counts the records by reading all of them, which also finds damage before the first event does.
fn count(store: &Store) -> Result<u64, StoreError> {
    let mut records = 0;
    let mut after = HEADER_KEY.to_vec();
    loop {
        let scanned = store.scan(&after.clone(), COUNT_STEP, &mut |key, _| after = key.to_vec())?;
        records += scanned as u64;
        if scanned < COUNT_STEP {
            return Ok(records);
        }
    }
}
