//! The store: sled, which no other file uses. To replace it, change this file.
//!
//! Owns the options that sled is opened with and the translation of its errors. Keys and values are
//! bytes; it does not know what they mean.
//!
//! sled 0.34 panics on some damaged files and failed reads instead of returning an error. Each call
//! is therefore guarded: a panic in it is a [`StoreError::Defect`], after which the caller never
//! uses the store again, so that no inconsistent state of sled is read.

use std::{
    io,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// The interval of sled's own background flush. Only that one is a true fsync: it is the power-loss
/// window of docs/ledger.md.
const FSYNC_EVERY_MS: u64 = 100;

/// Why a call failed.
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
            // This file never changes the settings, so `unsupported` means a damaged `conf`.
            sled::Error::Unsupported(reason) => Self::Corrupt(format!("its file `conf`: {reason}")),
            sled::Error::CollectionNotFound(_) | sled::Error::ReportableBug(_) => Self::Defect(error.to_string()),
        }
    }
}

/// What became of a conditional write.
pub(super) enum Swap {
    Written,
    /// Nothing was written: the key has this value.
    Found(Option<Vec<u8>>),
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
    /// Opens the store in a folder, or creates one there.
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::LowSpace)
            .use_compression(false)
            .flush_every_ms(Some(FSYNC_EVERY_MS));
        match guarded(|| config.open()) {
            Ok(db) => Ok(Self { db }),
            // The version is pinned, and a test checks this text.
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

    /// Writes a value if the key still has the expected one (`None`: if it is absent). Otherwise returns what it has.
    pub(super) fn replace(&self, key: &[u8], expected: Option<&[u8]>, value: &[u8]) -> Result<Swap, StoreError> {
        let swapped = guarded(|| self.db.compare_and_swap(key, expected, Some(value)))?;
        Ok(swapped.map_or_else(|found| Swap::Found(found.current.map(|value| value.to_vec())), |()| Swap::Written))
    }

    /// Removes a key if its value is still the expected one; true when it was.
    pub(super) fn remove_if(&self, key: &[u8], expected: &[u8]) -> Result<bool, StoreError> {
        guarded(|| self.db.compare_and_swap(key, Some(expected), None::<&[u8]>)).map(|swapped| swapped.is_ok())
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> Result<bool, StoreError> {
        guarded(|| self.db.first()).map(|first| first.is_none())
    }

    /// Removes a key.
    pub(super) fn remove(&self, key: &[u8]) -> Result<(), StoreError> {
        guarded(|| self.db.remove(key)).map(|_| ())
    }

    /// Makes every write that has returned survive the end of this process.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        guarded(|| self.db.flush()).map(|_| ())
    }

    /// Calls `each` with up to `max` keys and values between `after` and `before`, without these two, in order;
    /// returns how many.
    pub(super) fn scan(
        &self,
        after: &[u8],
        before: &[u8],
        max: usize,
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize, StoreError> {
        guarded(|| {
            let mut scanned = 0;
            for entry in self.db.range::<&[u8], _>((Bound::Excluded(after), Bound::Excluded(before))).take(max) {
                let (key, value) = entry?;
                each(&key, &value);
                scanned += 1;
            }
            Ok(scanned)
        })
    }
}
