//! What can never be published: kept, with the reason beside it, until a person acts.
//!
//! It does not count against the size limit: what cannot be published must not keep out what can. Nothing in it is ever
//! overwritten.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::{error, warn};

use super::{
    SpoolError,
    dir::Dir,
    folder::{self, QUARANTINE},
    listing,
    lock::TryLock,
    name, write,
};

const REASON: &str = ".reason";
/// If this many names are taken, something else is wrong.
const MAX_NAMES: u32 = 1_000;

/// Moves a file there, and writes why.
pub(super) fn take(folder: &Path, path: &Path, stem: &str, reason: &str) -> Result<PathBuf, SpoolError> {
    let failed = |error: io::Error| at_fault(folder, "moving an event there", &error);
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let spool = Dir::open(folder).map_err(failed)?;
    let quarantine = spool.sub(QUARANTINE).map_err(failed)?;
    // The reason first: a crash in between leaves a reason without a file, and the file where it was.
    let stem = write_reason(&quarantine, stem, reason).map_err(failed)?;
    let to = format!("{stem}{}", name::WAITING);
    if let Err(error) = spool.move_to(file, &quarantine, &to) {
        // A reason without a file says nothing.
        let _ = quarantine.remove(&format!("{stem}{REASON}"));
        return Err(failed(error));
    }
    let to = quarantine.path(&to);
    error!(file = %to.display(), reason, "an event in the spool can never be published: it is in the quarantine");
    Ok(to)
}

/// Writes an event there, and why.
pub(super) fn keep(
    spool: &Dir,
    folder: &Path,
    stem: &str,
    bytes: &[u8],
    reason: &str,
    try_lock: TryLock,
) -> Result<PathBuf, SpoolError> {
    let failed = |error: io::Error| at_fault(folder, "keeping an event there", &error);
    let quarantine = spool.sub(QUARANTINE).map_err(failed)?;
    let stem = write_reason(&quarantine, stem, reason).map_err(failed)?;
    write::write(&quarantine, folder, &stem, bytes, try_lock, Dir::sync).map_err(|error| {
        // A reason without a file says nothing.
        let _ = quarantine.remove(&format!("{stem}{REASON}"));
        match error {
            SpoolError::NotWritable { reason, .. } => SpoolError::Quarantine { path: folder.join(QUARANTINE), reason },
            other => other,
        }
    })
}

/// The spool's folder is at fault if it cannot be written; else the quarantine or the file is.
fn at_fault(folder: &Path, operation: &'static str, error: &io::Error) -> SpoolError {
    match folder::fault(folder) {
        Some(fault) => SpoolError::from_io(folder, operation, &fault),
        None => SpoolError::Quarantine { path: folder.join(QUARANTINE), reason: format!("{operation}: {error}") },
    }
}

/// Writes why, under a name that is free for the event too. Returns the name without its ending.
fn write_reason(quarantine: &Dir, stem: &str, reason: &str) -> io::Result<String> {
    for n in 0..MAX_NAMES {
        let stem = if n == 0 { stem.to_owned() } else { format!("{stem}-{n}") };
        if quarantine.has(&format!("{stem}{}", name::WAITING)) {
            continue;
        }
        let made = quarantine.create(&format!("{stem}{REASON}"));
        match made.and_then(|mut file| file.write_all(format!("{reason}\n").as_bytes())) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => warn!(%error, reason, "the reason could not be written beside the event in the quarantine"),
            Ok(()) => {}
        }
        return Ok(stem);
    }
    Err(io::Error::other(format!("{MAX_NAMES} names for it are taken there: look at what is in it")))
}

/// How many events are there, and their bytes; as [`listing::measure`]. If it is not a folder it has none: moving an event
/// there reports that, and the spool remains usable.
pub(super) fn measure(folder: &Path, within: Option<Duration>) -> Result<(u64, u64), SpoolError> {
    let quarantine = folder.join(QUARANTINE);
    if !fs::symlink_metadata(&quarantine).is_ok_and(|found| found.is_dir()) {
        return Ok((0, 0));
    }
    listing::measure(&quarantine, within)
}
