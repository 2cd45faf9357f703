//! How a ledger is opened: checked, created, upgraded, counted, and replaced if it is damaged.

use std::{path::Path, thread, time::Instant};

use metrics::counter;
use tracing::{info, warn};

use super::{
    error::OpenError,
    fail_stop::FailStopStore,
    filter::IdFilter,
    folder::{self, LOCK_PATIENCE, LOCK_RETRY, MovedAside},
    header::{FORMAT, FORMAT_1, Header, HeaderError},
    keys::{HEADER_KEY, RECORDS_END},
    ledger::{Ledger, LedgerOptions},
    losses::Losses,
    store::{Store, StoreError},
};
use crate::telemetry;

/// How many entries one step of the count at open reads.
const COUNT_STEP: usize = 4096;

/// The largest filter of ids is this part of the cache, which it is beside.
const FILTER_PART: u64 = 8;

/// What was in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Whether there was a ledger already.
    pub recovered: bool,
    /// How many records it has.
    pub records: u64,
    /// The damaged store that was there, if it was replaced.
    pub replaced: Option<MovedAside>,
}

impl Ledger {
    /// Opens the ledger in a folder, or creates one there. Reads all of it once; blocks. A ledger of format 1
    /// is upgraded.
    ///
    /// # Errors
    /// [`OpenError`] says what is at risk and what to do. Nothing is deleted.
    pub(crate) fn open(dir: &Path, options: &LedgerOptions) -> Result<(Self, Opened), OpenError> {
        let error = match Self::open_sound(dir, options) {
            // Only what is marked as a ledger may be moved.
            Err(error @ OpenError::Corrupt { .. }) if options.replace_damaged && folder::is_marked(dir) => error,
            opened => return opened,
        };
        let moved = folder::move_aside(dir)?;
        warn!(
            folder = %dir.display(), moved_to = %moved.to.display(), kept = moved.kept, kept_bytes = moved.kept_bytes,
            %error, "the ledger is damaged and was replaced by an empty one, to be filled from the ledger topic"
        );
        counter!(telemetry::LEDGER_REPLACED).increment(1);
        let (ledger, opened) = Self::open_sound(dir, options)?;
        Ok((ledger, Opened { replaced: Some(moved), ..opened }))
    }

    fn open_sound(dir: &Path, options: &LedgerOptions) -> Result<(Self, Opened), OpenError> {
        let marked = folder::prepare(dir)?;
        let failed = |error| OpenError::from_store(dir, error);
        let store = open_store(dir, options.cache_bytes).map_err(failed)?;

        let found = store.get(HEADER_KEY).map_err(failed)?;
        let recovered = found.is_some();
        let header = match found {
            Some(bytes) => {
                let (header, format) = read_header(dir, &options.group, &bytes)?;
                if format != FORMAT {
                    upgrade(dir, &store, &header, format).map_err(failed)?;
                }
                header
            }
            None if marked => {
                return Err(folder::lost(dir, "its store came up empty: the file `db` was cut short or damaged"));
            }
            None => create(dir, &options.group, &store)?,
        };
        if !marked {
            folder::mark(dir)?;
        }

        let ids = IdFilter::new(options.cache_bytes / FILTER_PART);
        let records = count(&store, &ids).map_err(failed)?;
        let losses = Losses::read(&store).map_err(failed)?;
        folder::reopen(dir, records)?;
        let store = FailStopStore::new(dir, store, records);
        let ledger = Self::new((store, ids), (header, recovered), losses, options)
            .map_err(|error| OpenError::from_io(dir, &error))?;
        Ok((ledger, Opened { recovered, records, replaced: None }))
    }
}

/// Makes a ledger of an earlier format one of this format. Its records stay as they are: they are read in every format, and
/// written in this one. So the header is the only write, and it must be durable before the first record of this format is: a
/// bridge that does not know the format refuses the ledger from then on.
fn upgrade(dir: &Path, store: &Store, header: &Header, from: u8) -> Result<(), StoreError> {
    store.insert(HEADER_KEY, &header.encode())?;
    store.flush()?;
    info!(folder = %dir.display(), from, to = FORMAT, "the ledger was upgraded: an older bridge cannot open it");
    Ok(())
}

/// Opens the store, and waits a little for its lock.
fn open_store(dir: &Path, cache_bytes: u64) -> Result<Store, StoreError> {
    let began = Instant::now();
    loop {
        match Store::open(dir, cache_bytes) {
            Err(StoreError::Locked) if began.elapsed() < LOCK_PATIENCE => thread::sleep(LOCK_RETRY),
            opened => return opened,
        }
    }
}

/// Writes the header into a store that is empty.
fn create(dir: &Path, group: &str, store: &Store) -> Result<Header, OpenError> {
    let failed = |error| OpenError::from_store(dir, error);
    if !store.is_empty().map_err(failed)? {
        return Err(OpenError::NotALedger { dir: dir.to_owned(), found: "a sled database of another program".into() });
    }
    let header = Header { group: group.to_owned(), cluster: None };
    store.insert(HEADER_KEY, &header.encode()).map_err(failed)?;
    store.flush().map_err(failed)?;
    Ok(header)
}

fn read_header(dir: &Path, group: &str, bytes: &[u8]) -> Result<(Header, u8), OpenError> {
    let dir = || dir.to_owned();
    let (header, format) = Header::decode(bytes).map_err(|error| match error {
        HeaderError::NotALedger => {
            OpenError::NotALedger { dir: dir(), found: "a sled database of another program".into() }
        }
        HeaderError::Format(found) => {
            OpenError::Version { dir: dir(), expected: format!("{FORMAT_1} to {FORMAT}"), found: found.to_string() }
        }
        HeaderError::Damaged(reason) => OpenError::Corrupt { dir: dir(), reason: format!("its header: {reason}") },
    })?;
    if header.group != group {
        return Err(OpenError::Group { dir: dir(), expected: group.to_owned(), found: header.group });
    }
    Ok((header, format))
}

/// Counts the records by reading all of them, which also finds damage before the first event does; and adds their ids.
fn count(store: &Store, ids: &IdFilter) -> Result<u64, StoreError> {
    let mut records = 0;
    let mut after = HEADER_KEY.to_vec();
    loop {
        let scanned = store.scan(&after.clone(), RECORDS_END, COUNT_STEP, &mut |key, _| {
            ids.add(key.get(1..).unwrap_or_default());
            after = key.to_vec();
        })?;
        records += scanned as u64;
        if scanned < COUNT_STEP {
            return Ok(records);
        }
    }
}
