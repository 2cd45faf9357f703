//! sled, and nothing of it outside this file: another store would be put in its place here.
//!
//! Owns the options that sled is opened with and the translation of its errors. Keys and values are
//! bytes; what they mean is known to its callers.
//!
//! sled 0.34 panics on some damaged files and failed reads instead of returning an error. Each call
//! is therefore guarded: a panic in it is a [`StoreError::Defect`], after which the caller never
//! touches the store again, so that no half-changed state of sled is ever looked at.

use std::{
    io,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// sled's own background flush, which is also the only one that is a true fsync: the power-loss
/// window of docs/ledger.md.
const FSYNC_EVERY_MS: u64 = 100;

/// What a store has to say.
#[derive(Debug)]
pub(super) enum StoreError {
    /// Another process, or another part of this one, has it open.
    Locked,
    /// The file system refused.
    Io(io::Error),
    /// The bytes on disk are not what was written.
    Corrupt(String),
    /// It was written by another version of the store.
    Version(String),
    /// The store itself failed.
    Defect(String),
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::Io(error),
            sled::Error::Corruption { .. } => Self::Corrupt(error.to_string()),
            sled::Error::Unsupported(reason) if reason.contains("pagecache version") => Self::Version(reason),
            // Settings that this file never changes: what sled calls unsupported is a damaged `conf`.
            sled::Error::Unsupported(reason) => Self::Corrupt(format!("its file `conf`: {reason}")),
            sled::Error::CollectionNotFound(_) | sled::Error::ReportableBug(_) => Self::Defect(error.to_string()),
        }
    }
}

fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(StoreError::Defect(format!("sled panicked: {text}")))
        }
    }
}

/// An ordered map of bytes on disk.
pub(super) struct Store {
    db: sled::Db,
}

impl Store {
    /// Opens the store in a folder, or begins one there.
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::LowSpace)
            .use_compression(false)
            .flush_every_ms(Some(FSYNC_EVERY_MS));
        match guarded(|| config.open()) {
            Ok(db) => Ok(Self { db }),
            // The version is pinned, and a test holds this text against it.
            Err(StoreError::Io(error)) if error.to_string().starts_with("could not acquire lock") => {
                Err(StoreError::Locked)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        guarded(|| self.db.get(key)).map(|value| value.map(|value| value.to_vec()))
    }

    /// Writes a value; true when the key is new.
    pub(super) fn insert(&self, key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        guarded(|| self.db.insert(key, value)).map(|before| before.is_none())
    }

    /// Removes a key if its value is still the expected one; true when it was.
    pub(super) fn remove_if(&self, key: &[u8], expected: &[u8]) -> Result<bool, StoreError> {
        guarded(|| self.db.compare_and_swap(key, Some(expected), None::<&[u8]>)).map(|swapped| swapped.is_ok())
    }

    /// Makes every write that has returned survive the end of this process.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        guarded(|| self.db.flush()).map(|_| ())
    }

    /// Calls `each` with up to `max` keys and values above `after`, in order; returns how many.
    pub(super) fn scan(
        &self,
        after: &[u8],
        max: usize,
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize, StoreError> {
        guarded(|| {
            let mut scanned = 0;
            for entry in self.db.range::<&[u8], _>((Bound::Excluded(after), Bound::Unbounded)).take(max) {
                let (key, value) = entry?;
                each(&key, &value);
                scanned += 1;
            }
            Ok(scanned)
        })
    }
}
