//! The ledger's folder: created if absent, refused if it holds something else, and marked once there
//! is a ledger in it.
//!
//! sled treats a file that was deleted, emptied or truncated as the result of an interrupted write and
//! opens silently with what is left. That is right after a crash and wrong at any other time. So the
//! folder is marked once it holds a ledger, and an orderly stop writes down the number of records: a
//! store that opens empty, or with another number of records, has lost some.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::error::OpenError;

const MARK: &str = "ledger.txt";
/// Holds the number of records at the last orderly stop; absent while the ledger is open.
const CLOSED: &str = "closed.txt";
const MARK_TEXT: &str = "\
This folder is the dedup ledger of a workflow-bridge: which events were delivered, so that none is
delivered again. Do not change, copy or delete single files while a bridge runs. docs/ledger.md of
the project says what is at risk without it.
";

/// A process that has just ended, or a ledger that was just dropped, may hold the lock for a moment.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_millis(500);
pub(super) const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Damaged stores that were moved aside, in the folder itself.
const BAD: &str = "bad";

/// The store's files. A snapshot's name continues after the dot.
const DATA: &str = "db";
const OURS: [&str; 5] = [DATA, "conf", "blobs", MARK, CLOSED];
const SNAPSHOT: &str = "snap.";

/// Creates the folder, or checks that it is empty or a ledger. True if it is marked as a ledger.
pub(super) fn prepare(dir: &Path) -> Result<bool, OpenError> {
    if let Ok(found) = fs::metadata(dir)
        && !found.is_dir()
    {
        return Err(OpenError::NotAFolder { dir: dir.to_owned(), found: "a file".into() });
    }
    let failed = |error| OpenError::from_io(dir, &error);
    fs::create_dir_all(dir).map_err(failed)?;

    let (mut ours, mut marked, mut foreign) = (false, false, None);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        marked |= name == MARK;
        if is_ours(&name) {
            ours = true;
        } else if !is_ignored(&name) {
            foreign = Some(name);
        }
    }
    if marked && fs::metadata(dir.join(DATA)).map_or(0, |data| data.len()) == 0 {
        return Err(lost(dir, "its file `db` is missing or empty"));
    }
    match foreign {
        Some(found) if !ours => Err(OpenError::NotALedger { dir: dir.to_owned(), found: format!("`{found}`") }),
        _ => Ok(marked),
    }
}

/// The error for a folder that is marked as a ledger, but whose records are gone.
pub(super) fn lost(dir: &Path, reason: &str) -> OpenError {
    OpenError::Corrupt { dir: dir.to_owned(), reason: reason.to_owned() }
}

/// Marks the folder, after an fsync of the ledger: a power loss must not leave a mark without a ledger.
pub(super) fn mark(dir: &Path) -> Result<(), OpenError> {
    let marked = sync(dir).and_then(|()| fs::write(dir.join(MARK), MARK_TEXT));
    marked.map_err(|error| OpenError::from_io(dir, &error))
}

/// Writes down an orderly stop, after an fsync of the ledger.
pub(super) fn close(dir: &Path, records: u64) -> io::Result<()> {
    sync(dir)?;
    fs::write(dir.join(CLOSED), format!("records {records}\n"))
}

/// Compares the number of records with that of the last stop, if it was orderly, and removes the note.
pub(super) fn reopen(dir: &Path, records: u64) -> Result<(), OpenError> {
    let note = dir.join(CLOSED);
    let Ok(text) = fs::read_to_string(&note) else { return Ok(()) };
    // A note without a newline was not written completely, and is ignored.
    let noted = text.strip_prefix("records ").and_then(|text| text.strip_suffix('\n')?.parse::<u64>().ok());
    if let Some(noted) = noted
        && noted != records
    {
        return Err(lost(dir, &format!("it was closed with {noted} records and opens with {records}")));
    }
    // Removed durably before the first write: after a crash the number may differ.
    let removed = fs::remove_file(&note).and_then(|()| File::open(dir)?.sync_all());
    removed.map_err(|error| OpenError::from_io(dir, &error))
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir.join(DATA))?.sync_all()
}

fn is_ours(name: &str) -> bool {
    OURS.contains(&name) || name.starts_with(SNAPSHOT)
}

/// A damaged store that was moved aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MovedAside {
    /// Where it is now.
    pub to: PathBuf,
    /// How many stores were moved aside and are still there.
    pub kept: usize,
    /// What they take, in bytes.
    pub kept_bytes: u64,
}

/// Whether the folder is marked as a ledger.
pub(super) fn is_marked(dir: &Path) -> bool {
    dir.join(MARK).is_file()
}

/// Moves the files of a damaged store into a folder of their own within its folder, which may be a mount. Nothing is
/// deleted. The mark is moved last: after a crash in between, the rest is found damaged and moved aside as well.
pub(super) fn move_aside(dir: &Path) -> Result<MovedAside, OpenError> {
    let failed = |error| OpenError::from_io(dir, &error);
    // Held until the files are moved: a bridge that uses them must not lose them.
    let _lock = lock(dir)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name.to_str().is_some_and(is_ours) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| name == MARK);
    let to = new_folder(dir).map_err(failed)?;
    for name in names {
        fs::rename(dir.join(&name), to.join(&name)).map_err(failed)?;
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    let (kept, kept_bytes) = moved_aside(dir).map_err(failed)?;
    Ok(MovedAside { to, kept, kept_bytes })
}

/// The store's own lock, if it has a file to lock.
fn lock(dir: &Path) -> Result<Option<File>, OpenError> {
    let data = match File::open(dir.join(DATA)) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::from_io(dir, &error)),
    };
    let began = Instant::now();
    loop {
        match data.try_lock() {
            Ok(()) => return Ok(Some(data)),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => thread::sleep(LOCK_RETRY),
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(OpenError::from_io(dir, &error)),
        }
    }
}

/// A new folder that is named after the time.
fn new_folder(dir: &Path) -> io::Result<PathBuf> {
    let mut at = Timestamp::now().as_millisecond();
    loop {
        let to = dir.join(format!("{at}.{BAD}"));
        match fs::create_dir(&to) {
            Ok(()) => return Ok(to),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => at += 1,
            Err(error) => return Err(error),
        }
    }
}

/// How many stores were moved aside, and what they take.
fn moved_aside(dir: &Path) -> io::Result<(usize, u64)> {
    let (mut kept, mut bytes) = (0, 0);
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if !path.is_dir() || path.extension().is_none_or(|extension| extension != BAD) {
            continue;
        }
        kept += 1;
        for file in fs::read_dir(&path)? {
            bytes += file?.metadata()?.len();
        }
    }
    Ok((kept, bytes))
}

/// Entries of a fresh volume, hidden files, and a ledger that was moved aside within the folder because
/// the folder itself is a mount.
fn is_ignored(name: &str) -> bool {
    let path = Path::new(name);
    name == "lost+found" || name.starts_with('.') || path.extension().is_some_and(|extension| extension == BAD)
}
