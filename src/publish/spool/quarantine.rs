//! What can never be published: kept, with the reason beside it, until a person has looked.
//!
//! It is not counted against the size limit: what cannot be published must not keep out what can.
//! Nothing in it is ever overwritten.

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
    lock::TryLock,
    name, write,
};

const REASON: &str = ".reason";
/// After as many taken names something else is wrong.
const NAMES: u32 = 1_000;

/// Moves a file there, and writes why.
pub(super) fn take(folder: &Path, path: &Path, stem: &str, reason: &str) -> Result<PathBuf, SpoolError> {
    let failed = |error: io::Error| at_fault(folder, "moving an event there", &error);
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let spool = Dir::open(folder).map_err(failed)?;
    let quarantine = spool.sub(QUARANTINE).map_err(failed)?;
    // The reason first: a crash between the two leaves a reason without a file, and the file where it was.
    let stem = note(&quarantine, stem, reason).map_err(failed)?;
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
    let stem = note(&quarantine, stem, reason).map_err(failed)?;
    write::write(&quarantine, folder, &stem, bytes, try_lock, Dir::sync).map_err(|error| {
        // A reason without a file says nothing.
        let _ = quarantine.remove(&format!("{stem}{REASON}"));
        match error {
            SpoolError::NotWritable { reason, .. } => SpoolError::Quarantine { path: folder.join(QUARANTINE), reason },
            other => other,
        }
    })
}

/// The spool's folder, if that cannot be written; else it is the quarantine's fault, or the file's.
fn at_fault(folder: &Path, operation: &'static str, error: &io::Error) -> SpoolError {
    match folder::fault(folder) {
        Some(fault) => SpoolError::from_io(folder, operation, &fault),
        None => SpoolError::Quarantine { path: folder.join(QUARANTINE), reason: format!("{operation}: {error}") },
    }
}

/// Writes why, under a name that is free there for the event too: the name, without its ending.
fn note(quarantine: &Dir, stem: &str, reason: &str) -> io::Result<String> {
    for n in 0..NAMES {
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
    Err(io::Error::other(format!("{NAMES} names for it are taken there: look at what is in it")))
}

/// How many events are there, and their bytes; as [`folder::measure`]. Nothing is in one that is no
/// folder: what is moved there says so, and the spool is usable all the same.
pub(super) fn measure(folder: &Path, within: Option<Duration>) -> Result<(u64, u64), SpoolError> {
    let quarantine = folder.join(QUARANTINE);
    if !fs::symlink_metadata(&quarantine).is_ok_and(|found| found.is_dir()) {
        return Ok((0, 0));
    }
    folder::measure(&quarantine, within)
}
