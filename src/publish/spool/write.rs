//! One event onto the disk: a temporary name, all bytes, fsync, the real name, fsync of the folder.
//!
//! A crash between any two steps leaves either nothing, a temporary file, or the event. What a writer
//! left behind is looked at an hour later: a whole event gets its name after all (its `put` may have
//! been as good as done), anything else goes.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
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

/// No writer takes that long.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Writes a file and gives its path. On an error there is none, not even half of it.
pub(super) fn write(
    dir: &Dir,
    folder: &Path,
    stem: &str,
    bytes: &[u8],
    try_lock: TryLock,
    sync: fn(&Dir) -> io::Result<()>,
) -> Result<PathBuf, SpoolError> {
    let temporary = format!(".{stem}{}", name::TEMPORARY);
    let name = format!("{stem}{}", name::WAITING);
    let failed = |operation| move |error: io::Error| SpoolError::from_io(folder, operation, &error);

    let mut file = dir.create(&temporary).map_err(failed("making a file"))?;
    let written = fill(&mut file, bytes, try_lock)
        .map_err(failed("writing a file"))
        .and_then(|()| dir.rename(&temporary, &name).map_err(failed("naming a file")));
    if let Err(error) = written {
        // If this fails too, it is swept later.
        let _ = dir.remove(&temporary);
        return Err(error);
    }
    if let Err(error) = sync(dir) {
        // The caller is told that it is not kept, and may publish it elsewhere.
        let _ = dir.remove(&name);
        return Err(failed("writing the folder")(error));
    }
    Ok(dir.path(&name))
}

fn fill(file: &mut File, bytes: &[u8], try_lock: TryLock) -> io::Result<()> {
    // Says that its writer lives. Not needed to be right, only to be swept late.
    try_lock(file);
    file.write_all(bytes)?;
    file.sync_all()?;
    // Before it has its name: a child that was forked meanwhile must not keep it from being claimed.
    lock::unlock(file);
    Ok(())
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
