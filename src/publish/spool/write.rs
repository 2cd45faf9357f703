//! Writes an event in five steps: a temporary name, all bytes, fsync, the real name, fsync of the folder.
//!
//! A crash between any two steps leaves nothing, a temporary file, or the event. A temporary file is swept an hour later:
//! a whole event gets its real name, because its `put` may have returned; anything else is removed.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use tracing::warn;

use super::{
    SpoolError,
    dir::{self, Dir},
    entry::Entry,
    listing::Found,
    lock::{self, Locked, TryLock},
    name,
    permissions::Owner,
};
use crate::sync::Mutex;

/// How many threads sync files at once.
const SYNCERS: usize = 4;
/// A temporary file of this age has no writer any more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A file with all its bytes under its temporary name, not synced yet.
pub(super) struct Begun {
    stem: String,
    file: File,
}

/// Writes a file and returns its path. After an error there is no file, not even a part of it.
pub(super) fn write(
    dir: &Dir,
    folder: &Path,
    stem: &str,
    bytes: &[u8],
    try_lock: TryLock,
    sync: fn(&Dir) -> io::Result<()>,
) -> Result<PathBuf, SpoolError> {
    let begun = begin(dir, folder, stem, bytes, try_lock)?;
    let failed = || SpoolError::from_io(folder, "writing a file", &io::ErrorKind::Other.into());
    finish(dir, folder, vec![begun], sync).pop().unwrap_or_else(|| Err(failed()))
}

/// The first steps: the temporary name and all bytes.
pub(super) fn begin(
    dir: &Dir,
    folder: &Path,
    stem: &str,
    bytes: &[u8],
    try_lock: TryLock,
) -> Result<Begun, SpoolError> {
    let mut file =
        dir.create(&temporary(stem)).map_err(|error| SpoolError::from_io(folder, "making a file", &error))?;
    // Shows that its writer lives. Correctness does not depend on it: the file is only swept later.
    try_lock(&file);
    if let Err(error) = file.write_all(bytes) {
        // If this fails too, it is swept later.
        let _ = dir.remove(&temporary(stem));
        return Err(SpoolError::from_io(folder, "writing a file", &error));
    }
    Ok(Begun { stem: stem.to_owned(), file })
}

/// The other steps, for many files at once: each is as safe as one alone, with a few waits for the disk instead of two
/// for each.
pub(super) fn finish(
    dir: &Dir,
    folder: &Path,
    begun: Vec<Begun>,
    sync: fn(&Dir) -> io::Result<()>,
) -> Vec<Result<PathBuf, SpoolError>> {
    let failed = |operation, error: &io::Error| SpoolError::from_io(folder, operation, error);
    let synced = sync_all(&begun);
    let mut named = Vec::with_capacity(begun.len());
    for (Begun { stem, file }, synced) in begun.into_iter().zip(synced) {
        // Before it gets its name: a child that was forked meanwhile must not keep it locked.
        lock::unlock(&file);
        let name = format!("{stem}{}", name::WAITING);
        let renamed = synced
            .map_err(|error| failed("writing a file", &error))
            .and_then(|()| dir.rename(&temporary(&stem), &name).map_err(|error| failed("naming a file", &error)));
        if renamed.is_err() {
            // If this fails too, it is swept later.
            let _ = dir.remove(&temporary(&stem));
        }
        named.push(renamed.map(|()| name));
    }
    let is_safe = if named.iter().any(Result::is_ok) { sync(dir) } else { Ok(()) };
    let path = |name: String| match &is_safe {
        Ok(()) => Ok(dir.path(&name)),
        Err(error) => {
            // The caller gets an error, and may publish it elsewhere.
            let _ = dir.remove(&name);
            Err(failed("writing the folder", error))
        }
    };
    named.into_iter().map(|name| name.and_then(path)).collect()
}

/// Syncs the files from a few threads: a disk syncs several at once in the time of one. The calling thread takes part, so
/// it works without any other: a host may be at its limit of threads.
fn sync_all(begun: &[Begun]) -> Vec<io::Result<()>> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(Begun { file, .. }) = begun.get(index) else { return };
            if let Err(error) = file.sync_all() {
                failures.lock().push((index, error));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..begun.len().min(SYNCERS) {
            let started = thread::Builder::new().name("wfe-sync".into()).spawn_scoped(scope, work);
            if started.is_err() {
                break;
            }
        }
        work();
    });
    let mut synced: Vec<_> = begun.iter().map(|_| Ok(())).collect();
    for (index, error) in failures.into_inner() {
        synced[index] = Err(error);
    }
    synced
}

fn temporary(stem: &str) -> String {
    format!(".{stem}{}", name::TEMPORARY)
}

/// Sweeps what a writer left behind. A file that cannot be moved is left for the next sweep.
pub(super) fn sweep(folder: &Path, owner: Owner, found: &Found, try_lock: TryLock) {
    let path = folder.join(&found.file);
    let Ok(mut file) = dir::open_plain(&path, true) else { return };
    let Ok(metadata) = file.metadata() else { return };
    if !metadata.is_file() || !owner.trusts(metadata.uid()) || !is_abandoned(metadata.modified()) {
        return;
    }
    if try_lock(&file) == Locked::Busy {
        return;
    }
    let mut bytes = Vec::new();
    let whole = file.read_to_end(&mut bytes).is_ok() && Entry::decode(bytes).is_ok();
    lock::unlock(&file);
    let done = if whole {
        fs::rename(&path, folder.join(format!("{}{}", found.stem, name::WAITING)))
    } else {
        fs::remove_file(&path)
    };
    if done.is_ok() {
        warn!(file = %path.display(), kept = whole, "an unfinished file of a writer that ended was swept from the spool");
    }
}

/// A time far in the future counts like one far in the past.
fn is_abandoned(modified: io::Result<SystemTime>) -> bool {
    modified.is_ok_and(|modified| match modified.elapsed() {
        Ok(age) => age >= ABANDONED,
        Err(ahead) => ahead.duration() >= ABANDONED,
    })
}
