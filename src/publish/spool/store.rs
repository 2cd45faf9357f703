//! The spool as its users see it: put an event, withdraw one, begin a pass.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    ChosenFolder, Claimed, SpoolError, SpoolSettings, SpoolStats,
    clock::{millis, new_stem},
    dir::Dir,
    entry::{ChosenHeader, MAX_EVENT_BYTES, NewEntry},
    folder,
    lock::{self, TryLock},
    pass::DrainPass,
    quarantine, settings, stats,
    usage::{MEASURE_TIME, Usage},
    write,
};
use crate::publish::Record;

/// How many events are put at once.
pub(in crate::publish) const MAX_TOGETHER: usize = 100;

/// A spool. Cheap to clone, and touches no disk until it is used.
#[derive(Clone)]
pub struct Spool {
    store: Arc<Store>,
}

struct Store {
    settings: SpoolSettings,
    try_lock: TryLock,
    usage: Usage,
    /// What the last listing took, in milliseconds.
    listing_ms: AtomicU64,
}

impl Spool {
    /// A spool in this folder. A relative path is relative to the current folder of now; a leading `~` is the user's
    /// home, because an env file has no shell to expand it.
    pub fn new(settings: SpoolSettings) -> Self {
        Self::with_lock(settings, lock::try_lock)
    }

    pub(super) fn with_lock(settings: SpoolSettings, try_lock: TryLock) -> Self {
        let settings = settings.resolved();
        Self { store: Arc::new(Store { settings, try_lock, usage: Usage::new(), listing_ms: AtomicU64::new(0) }) }
    }

    /// The folder that an environment asks for: `WORKFLOW_EVENTS_SPOOL_DIR` (`off` or nothing in it is `None`), else
    /// `workflow-events/spool` under `XDG_STATE_HOME`, else under `~/.local/state`, else `workflow-events-<user
    /// id>/spool` in the folder for temporary files. A home that cannot be written is skipped, with a warning.
    pub fn choose_folder(env: &dyn Fn(&str) -> Option<String>) -> Option<ChosenFolder> {
        settings::choose(env, &folder::obstacle)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.store.settings.folder
    }

    /// Keeps an event for a destination (its bootstrap servers), and returns its file. After `Ok` the event survives the
    /// end of the process and a power loss. `reason` is for people.
    ///
    /// # Errors
    /// The event is not in the spool, not even a part of it.
    pub fn put(&self, record: &Record, destination: &str, reason: &str) -> Result<PathBuf, SpoolError> {
        let folder = self.folder();
        let bytes = self.encode(record, destination, reason)?;
        let dir = folder::prepare(folder)?;
        self.check_room(bytes.len() as u64)?;
        let stem = new_stem(destination, &record.event_id);
        let path = write::write(&dir, folder, &stem, &bytes, self.store.try_lock, Dir::sync)?;
        self.store.usage.add(bytes.len() as u64);
        Ok(path)
    }

    /// Keeps many events, each as safely as [`put`](Self::put), in a fraction of the time; the answers come in the same
    /// order. Each comes with the reason for it.
    pub fn put_many(&self, records: &[(&Record, &str)], destination: &str) -> Vec<Result<PathBuf, SpoolError>> {
        records.chunks(MAX_TOGETHER).flat_map(|chunk| self.put_together(chunk, destination)).collect()
    }

    fn put_together(&self, records: &[(&Record, &str)], destination: &str) -> Vec<Result<PathBuf, SpoolError>> {
        let folder = self.folder();
        let dir = match folder::prepare(folder) {
            Ok(dir) => dir,
            Err(error) => return records.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut unfinished = Vec::with_capacity(records.len());
        let mut begin = |record: &Record, reason: &str| {
            let bytes = self.encode(record, destination, reason)?;
            self.check_room(bytes.len() as u64)?;
            let stem = new_stem(destination, &record.event_id);
            unfinished.push(write::begin(&dir, folder, &stem, &bytes, self.store.try_lock)?);
            // At once: a measurement meanwhile counts the file too.
            self.store.usage.add(bytes.len() as u64);
            Ok(bytes.len() as u64)
        };
        let sizes: Vec<Result<u64, SpoolError>> =
            records.iter().map(|(record, reason)| begin(record, reason)).collect();
        let mut written = write::finish(&dir, folder, unfinished, Dir::sync).into_iter();
        let settle = |(size, (record, reason)): (Result<u64, SpoolError>, &(&Record, &str))| match size {
            Ok(size) => written.next().map(|path| {
                let Err(error) = path else { return path };
                self.store.usage.subtract(size);
                if matches!(error, SpoolError::Io { .. }) { self.put(record, destination, reason) } else { Err(error) }
            }),
            // What fails for many at once (too many open files, say) may succeed for one.
            Err(SpoolError::Io { .. }) => Some(self.put(record, destination, reason)),
            Err(error) => Some(Err(error)),
        };
        sizes.into_iter().zip(records).filter_map(settle).collect()
    }

    /// Keeps an event that its topic will never accept as it is: in the quarantine, with the reason beside it, as safely
    /// as [`put`](Self::put). The quarantine may grow in this way to the size limit of the spool.
    ///
    /// # Errors
    /// It is not kept.
    pub fn keep_refused(&self, record: &Record, destination: &str, reason: &str) -> Result<PathBuf, SpoolError> {
        let folder = self.folder();
        let bytes = self.encode(record, destination, reason)?;
        let dir = folder::prepare(folder)?;
        let (needed, max) = (bytes.len() as u64, self.store.settings.max_bytes);
        let (_, used) = quarantine::measure(folder, Some(MEASURE_TIME))?;
        if used.saturating_add(needed) > max {
            return Err(SpoolError::QuarantineFull { folder: folder.to_owned(), needed, used, max });
        }
        let stem = new_stem(destination, &record.event_id);
        quarantine::keep(&dir, folder, &stem, &bytes, reason, self.store.try_lock)
    }

    fn encode(&self, record: &Record, destination: &str, reason: &str) -> Result<Vec<u8>, SpoolError> {
        let folder = self.folder().to_owned();
        let size = record.value.len() as u64;
        if size > MAX_EVENT_BYTES {
            return Err(SpoolError::TooLarge { folder, bytes: size, max: MAX_EVENT_BYTES });
        }
        let entry = NewEntry {
            topic: &record.topic,
            bootstrap_servers: destination,
            event_id: &record.event_id,
            traceparent: record.traceparent(),
            chosen: record.chosen_envelope().map(|chosen| ChosenHeader {
                key: chosen.key.as_deref().map(str::to_owned),
                headers: chosen.headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            }),
            spooled_at: &Timestamp::now().to_string(),
            reason,
            value: &record.value,
        };
        let operation = "writing a header";
        entry.encode().map_err(|error| SpoolError::Io { folder, operation, reason: error.to_string() })
    }

    fn check_room(&self, needed: u64) -> Result<(), SpoolError> {
        self.store.usage.check(self.folder(), needed, self.store.settings.max_bytes)
    }

    /// Removes what [`put`](Self::put) kept, because it was published after all. If a process has claimed it meanwhile,
    /// that process publishes it again.
    pub fn withdraw(&self, path: &Path) {
        if path.parent() == Some(self.folder()) {
            // An error means that it was claimed or drained meanwhile.
            let _ = fs::remove_file(path);
        }
    }

    /// Claims the oldest events, for one destination or for all.
    ///
    /// # Errors
    /// The folder cannot be listed or written, or is another user's.
    pub fn claim(&self, destination: Option<&str>, limit: usize) -> Result<Vec<Claimed>, SpoolError> {
        self.pass(destination, None)?.take(limit, usize::MAX, None)
    }

    /// Begins a pass over what can be listed until then.
    pub(in crate::publish) fn pass(
        &self,
        destination: Option<&str>,
        until: Option<Instant>,
    ) -> Result<DrainPass, SpoolError> {
        let began = Instant::now();
        let pass = DrainPass::open(self.folder(), self.store.try_lock, destination, until);
        self.store.listing_ms.store(millis(began.elapsed()), Relaxed);
        pass
    }

    /// What it took to begin the last pass.
    pub(in crate::publish) fn listing_time(&self) -> Duration {
        Duration::from_millis(self.store.listing_ms.load(Relaxed))
    }

    /// As if the last listing had taken so long.
    #[cfg(test)]
    pub(in crate::publish) fn set_listing_time(&self, took: Duration) {
        self.store.listing_ms.store(millis(took), Relaxed);
    }

    /// Counts what is in the folder. A folder that is absent is empty.
    ///
    /// # Errors
    /// The folder cannot be listed, or is another user's.
    pub fn stats(&self) -> Result<SpoolStats, SpoolError> {
        stats::collect(self.folder())
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("settings", &self.store.settings).finish_non_exhaustive()
    }
}
