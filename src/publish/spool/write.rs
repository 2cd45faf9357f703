//! Events onto the disk, each so: a temporary name, all bytes, fsync, the real name, fsync of the folder.
//!
//! A crash between any two steps leaves either nothing, a temporary file, or the event. What a writer
//! left behind is looked at an hour later: a whole event gets its name after all (its `put` may have
//! been as good as done), anything else goes.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use tracing::warn;

use super::{
    SpoolError,
    dir::{self, Dir},
    entry::Entry,
    folder::{Found, Owner},
    lock::{self, Locked, TryLock},
    name,
};

/// How many threads wait for the disk at once.
const SYNCERS: usize = 4;
/// No writer takes that long.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A file with all its bytes under its temporary name, which may not have reached the disk.
pub(super) struct Begun {
    stem: String,
    file: File,
}

/// Writes a file and gives its path. On an error there is none, not even half of it.
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
    // Says that its writer lives. Not needed to be right, only to be swept late.
    try_lock(&file);
    if let Err(error) = file.write_all(bytes) {
        // If this fails too, it is swept later.
        let _ = dir.remove(&temporary(stem));
        return Err(SpoolError::from_io(folder, "writing a file", &error));
    }
    Ok(Begun { stem: stem.to_owned(), file })
}

/// The others, for many at once: each file is as safe as one alone, and the disk is waited for a few
/// times instead of twice for each.
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
        // Before it has its name: a child that was forked meanwhile must not keep it from being claimed.
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
            // The caller is told that it is not kept, and may publish it elsewhere.
            let _ = dir.remove(&name);
            Err(failed("writing the folder", error))
        }
    };
    named.into_iter().map(|name| name.and_then(path)).collect()
}

/// Has the files reach the disk, from a few threads: a disk takes several at once in the time of one. The
/// calling thread does what no other does, so none need be started: a host may be at its limit.
fn sync_all(begun: &[Begun]) -> Vec<io::Result<()>> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(Begun { file, .. }) = begun.get(index) else { return };
            if let Err(error) = file.sync_all() {
                failures.lock().unwrap_or_else(PoisonError::into_inner).push((index, error));
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
    for (index, error) in failures.into_inner().unwrap_or_else(PoisonError::into_inner) {
        synced[index] = Err(error);
    }
    synced
}

fn temporary(stem: &str) -> String {
    format!(".{stem}{}", name::TEMPORARY)
}

/// Looks at what a writer left behind. A file that cannot be helped is left for the next time.
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

/// A time that is far in the future is no better than one that is far in the past.
fn is_abandoned(modified: io::Result<SystemTime>) -> bool {
    modified.is_ok_and(|modified| match modified.elapsed() {
        Ok(age) => age >= ABANDONED,
        Err(ahead) => ahead.duration() >= ABANDONED,
    })
}
