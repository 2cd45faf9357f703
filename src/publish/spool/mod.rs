//! The spool: events that Kafka did not take in time, one file each, until it does.
//!
//! Owns the folder and everything in it. Its invariants: an event whose [`put`](Spool::put) returned
//! `Ok` is on the disk until it is published, withdrawn or in the quarantine; nothing older is ever
//! deleted for something newer; and an event may be published twice, never zero times. Any number of
//! processes may use one folder, and may be killed or forked at any moment: there is no lock in memory
//! and nothing to repair. It knows neither librdkafka nor the bridge, and connects to nobody.

mod claim;
mod dir;
mod entry;
mod error;
mod folder;
mod lock;
mod name;
mod quarantine;
mod stats;
mod write;

#[cfg(test)]
mod tests;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use jiff::Timestamp;

use self::{dir::Dir, lock::TryLock};
use super::Record;

pub(super) use claim::Queue;
pub use claim::{Claim, Claimed};
pub use error::SpoolError;
pub use stats::{SpoolStats, Waiting};

/// The size limit where none is given: 256 MiB.
pub const DEFAULT_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// The variable that names the folder.
pub const FOLDER_VARIABLE: &str = "WORKFLOW_EVENTS_SPOOL_DIR";

/// The largest event that is kept, in bytes; no sensible topic takes a tenth of it.
const MAX_EVENT_BYTES: u64 = 128 * 1024 * 1024;
/// How long a measurement of the folder is good for, at least.
const MEASURED_FOR: Duration = Duration::from_secs(1);
/// And at least that many times what it took.
const MEASURED_SHARE: u32 = 20;
/// How many events are put at once.
pub(super) const TOGETHER: usize = 100;
/// What a measurement may take of a call's time.
const MEASURE: Duration = Duration::from_millis(200);
/// A measurement that says `full` is not trusted for longer than this.
const FULL_FOR: Duration = Duration::from_millis(250);

/// Tells apart what one process does in one millisecond; nothing else depends on it.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Where the spool is and how large it may become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Its folder; made when it is first used.
    pub folder: PathBuf,
    /// What its events may take on the disk, in bytes. Many processes at once may pass it by what they
    /// put within a second.
    pub max_bytes: u64,
}

/// The folder of a spool where none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenFolder {
    /// Its path.
    pub folder: PathBuf,
    /// Why it is not where it usually is.
    pub warning: Option<String>,
}

/// A spool. Cheap to clone, and touches no disk until it is used.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

struct Shared {
    settings: SpoolSettings,
    try_lock: TryLock,
    began: Instant,
    /// The bytes in the folder when it was last measured, and what was put since.
    used: AtomicU64,
    /// Until when that is good, in milliseconds since `began`.
    good_until: AtomicU64,
    /// Until when a measurement that found the folder full is good.
    full_until: AtomicU64,
    /// What the last listing took, in milliseconds.
    listing: AtomicU64,
}

impl SpoolSettings {
    /// A folder with the default limit.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), max_bytes: DEFAULT_MAX_BYTES }
    }
}

impl Spool {
    /// A spool in this folder. A relative path is taken from the current folder of now; a leading `~` is the
    /// user's home, because an env file has no shell to say so.
    pub fn new(settings: SpoolSettings) -> Self {
        Self::with_lock(settings, lock::try_lock)
    }

    fn with_lock(mut settings: SpoolSettings, try_lock: TryLock) -> Self {
        if let (Ok(below), Some(home)) = (settings.folder.strip_prefix("~"), std::env::home_dir()) {
            settings.folder = home.join(below);
        }
        if let Ok(absolute) = std::path::absolute(&settings.folder) {
            settings.folder = absolute;
        }
        Self {
            shared: Arc::new(Shared {
                settings,
                try_lock,
                began: Instant::now(),
                used: AtomicU64::new(0),
                good_until: AtomicU64::new(0),
                full_until: AtomicU64::new(0),
                listing: AtomicU64::new(0),
            }),
        }
    }

    /// The folder that an environment asks for: `WORKFLOW_EVENTS_SPOOL_DIR` (`off` or nothing in it
    /// is `None`), else `workflow-events/spool` under `XDG_STATE_HOME`, else under `~/.local/state`, else
    /// `workflow-events-<user id>/spool` in the folder for temporary files. A home that cannot be written is
    /// passed over, with a warning.
    pub fn choose_folder(env: &dyn Fn(&str) -> Option<String>) -> Option<ChosenFolder> {
        Self::choose(env, &folder::obstacle)
    }

    fn choose(
        env: &dyn Fn(&str) -> Option<String>,
        obstacle: &dyn Fn(&Path) -> Option<String>,
    ) -> Option<ChosenFolder> {
        if let Some(folder) = env(FOLDER_VARIABLE) {
            let folder = folder.trim();
            let is_on = !folder.is_empty() && !folder.eq_ignore_ascii_case("off");
            return is_on.then(|| ChosenFolder { folder: folder.into(), warning: None });
        }
        let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
        // Users without a home have one of these.
        let home = absolute("HOME").filter(|home| home != Path::new("/") && home != Path::new("/nonexistent"));
        let states =
            [("XDG_STATE_HOME", absolute("XDG_STATE_HOME")), ("HOME", home.map(|home| home.join(".local/state")))];
        let mut obstacles = Vec::new();
        let mut usable = states.into_iter().filter_map(|(name, state)| {
            let folder = state?.join("workflow-events/spool");
            match obstacle(&folder) {
                Some(why) => {
                    obstacles.push(format!("below {name} ({why})"));
                    None
                }
                None => Some(folder),
            }
        });
        let folder = usable.next().unwrap_or_else(folder::temporary);
        let warning = (!obstacles.is_empty()).then(|| {
            format!(
                "the spool cannot be {}: it is {}; set {FOLDER_VARIABLE} to a folder that lasts",
                obstacles.join(" or "),
                folder.display(),
            )
        });
        Some(ChosenFolder { folder, warning })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.shared.settings.folder
    }

    /// Keeps an event for a destination (its bootstrap servers), and says where. When it returns `Ok` the
    /// event survives the end of the process and of the power. `reason` is for people.
    ///
    /// # Errors
    /// The event is not in the spool, and there is no half of it either.
    pub fn put(&self, record: &Record, destination: &str, reason: &str) -> Result<PathBuf, SpoolError> {
        let folder = self.folder();
        let bytes = self.encode(record, destination, reason)?;
        let dir = folder::prepare(folder)?;
        self.check_room(bytes.len() as u64)?;
        let stem = name::stem(now_ms(), destination, &record.event_id, process::id(), number());
        let path = write::write(&dir, folder, &stem, &bytes, self.try_lock(), Dir::sync)?;
        self.shared.used.fetch_add(bytes.len() as u64, Relaxed);
        Ok(path)
    }

    /// Keeps many events, each as safe as [`put`](Self::put) does, in a fraction of the time; the answers
    /// come in the same order. Each comes with the reason for it.
    pub fn put_many(&self, records: &[(&Record, &str)], destination: &str) -> Vec<Result<PathBuf, SpoolError>> {
        records.chunks(TOGETHER).flat_map(|chunk| self.put_together(chunk, destination)).collect()
    }

    fn put_together(&self, records: &[(&Record, &str)], destination: &str) -> Vec<Result<PathBuf, SpoolError>> {
        let folder = self.folder();
        let dir = match folder::prepare(folder) {
            Ok(dir) => dir,
            Err(error) => return records.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut begun = Vec::with_capacity(records.len());
        let mut start = |record: &Record, reason: &str| {
            let bytes = self.encode(record, destination, reason)?;
            self.check_room(bytes.len() as u64)?;
            let stem = name::stem(now_ms(), destination, &record.event_id, process::id(), number());
            begun.push(write::begin(&dir, folder, &stem, &bytes, self.try_lock())?);
            // At once: a measurement on the way counts the file too.
            self.shared.used.fetch_add(bytes.len() as u64, Relaxed);
            Ok(bytes.len() as u64)
        };
        let sizes: Vec<Result<u64, SpoolError>> =
            records.iter().map(|(record, reason)| start(record, reason)).collect();
        let mut written = write::finish(&dir, folder, begun, Dir::sync).into_iter();
        let settle = |(size, (record, reason)): (Result<u64, SpoolError>, &(&Record, &str))| match size {
            Ok(size) => written.next().map(|path| {
                let Err(error) = path else { return path };
                let _ = self.shared.used.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(size)));
                if matches!(error, SpoolError::Io { .. }) { self.put(record, destination, reason) } else { Err(error) }
            }),
            // What went wrong with many at once (so many open files, say) may go well with one.
            Err(SpoolError::Io { .. }) => Some(self.put(record, destination, reason)),
            Err(error) => Some(Err(error)),
        };
        sizes.into_iter().zip(records).filter_map(settle).collect()
    }

    /// Keeps an event that its topic will never take as it is: in the quarantine, with the reason beside
    /// it, as safe as [`put`](Self::put) does. The quarantine may grow in this way to the size limit of
    /// the spool.
    ///
    /// # Errors
    /// It is not kept.
    pub fn keep_refused(&self, record: &Record, destination: &str, reason: &str) -> Result<PathBuf, SpoolError> {
        let folder = self.folder();
        let bytes = self.encode(record, destination, reason)?;
        let dir = folder::prepare(folder)?;
        let (needed, max) = (bytes.len() as u64, self.shared.settings.max_bytes);
        let (_, used) = quarantine::measure(folder, Some(MEASURE))?;
        if used.saturating_add(needed) > max {
            return Err(SpoolError::QuarantineFull { folder: folder.to_owned(), needed, used, max });
        }
        let stem = name::stem(now_ms(), destination, &record.event_id, process::id(), number());
        quarantine::keep(&dir, folder, &stem, &bytes, reason, self.try_lock())
    }

    fn encode(&self, record: &Record, destination: &str, reason: &str) -> Result<Vec<u8>, SpoolError> {
        let folder = self.folder().to_owned();
        let size = record.value.len() as u64;
        if size > MAX_EVENT_BYTES {
            return Err(SpoolError::TooLarge { folder, bytes: size, max: MAX_EVENT_BYTES });
        }
        let entry = entry::NewEntry {
            topic: &record.topic,
            bootstrap_servers: destination,
            event_id: &record.event_id,
            traceparent: record.traceparent.as_deref(),
            spooled_at: &Timestamp::now().to_string(),
            reason,
            value: &record.value,
        };
        let operation = "writing a header";
        entry.encode().map_err(|error| SpoolError::Io { folder, operation, reason: error.to_string() })
    }

    /// Takes back what [`put`](Self::put) kept, because it was published after all. If a process has
    /// claimed it meanwhile, that process publishes it again.
    pub fn withdraw(&self, path: &Path) {
        if path.parent() == Some(self.folder()) {
            // Claimed, drained or gone: nothing to take back.
            let _ = fs::remove_file(path);
        }
    }

    /// Takes the oldest events, for one destination or for all.
    ///
    /// # Errors
    /// The folder cannot be listed or written, or is another's.
    pub fn claim(&self, destination: Option<&str>, limit: usize) -> Result<Vec<Claimed>, SpoolError> {
        self.queue(destination, None)?.take(limit, usize::MAX, None)
    }

    /// Begins a pass over the spool: over what can be listed until then.
    pub(super) fn queue(&self, destination: Option<&str>, until: Option<Instant>) -> Result<Queue, SpoolError> {
        let began = Instant::now();
        let queue = Queue::open(self, destination, until);
        self.shared.listing.store(millis(began.elapsed()), Relaxed);
        queue
    }

    /// What it took to begin the last pass.
    pub(super) fn listing(&self) -> Duration {
        Duration::from_millis(self.shared.listing.load(Relaxed))
    }

    /// As if the last listing had taken so long.
    #[cfg(test)]
    pub(super) fn listed_in(&self, took: Duration) {
        self.shared.listing.store(millis(took), Relaxed);
    }

    fn try_lock(&self) -> TryLock {
        self.shared.try_lock
    }

    /// The folder is not measured for each event: a folder of 100,000 takes a tenth of a second.
    fn check_room(&self, needed: u64) -> Result<(), SpoolError> {
        let Shared { settings, used, good_until, full_until, .. } = &*self.shared;
        let now = self.elapsed();
        let fits = |used: u64| used.saturating_add(needed) <= settings.max_bytes;
        let is_good = now < if fits(used.load(Relaxed)) { good_until } else { full_until }.load(Relaxed);
        if !is_good {
            let begin = Instant::now();
            used.store(folder::measure(self.folder(), Some(MEASURE))?.1, Relaxed);
            let until = |good_for: Duration| now.saturating_add(millis(good_for));
            good_until.store(until(MEASURED_FOR.max(begin.elapsed() * MEASURED_SHARE)), Relaxed);
            if !fits(used.load(Relaxed)) {
                full_until.store(until(FULL_FOR), Relaxed);
            }
        }
        let (used, max) = (used.load(Relaxed), settings.max_bytes);
        if fits(used) {
            return Ok(());
        }
        Err(SpoolError::Full { folder: self.folder().to_owned(), needed, used, max })
    }

    fn elapsed(&self) -> u64 {
        millis(self.shared.began.elapsed())
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// Whether two lists of bootstrap servers are one destination.
pub fn same_destination(one: &str, other: &str) -> bool {
    name::normalised(one) == name::normalised(other)
}

fn number() -> u64 {
    NUMBER.fetch_add(1, Relaxed)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock, in unix milliseconds.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis)
}
