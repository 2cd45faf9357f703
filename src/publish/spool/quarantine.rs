//! What can never be published: kept, with the reason beside it, until a person has looked.
//!
//! It is not counted against the size limit: what cannot be published must not keep out what can.
//! Nothing in it is ever overwritten.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use tracing::{error, warn};

use super::{
    SpoolError,
    dir::Dir,
    folder::{self, QUARANTINE},
    name,
};

const REASON: &str = ".reason";
/// After as many taken names something else is wrong.
const NAMES: u32 = 1_000;

/// Moves a file there, and writes why.
pub(super) fn take(folder: &Path, path: &Path, stem: &str, reason: &str) -> Result<PathBuf, SpoolError> {
    let failed = |error: io::Error| SpoolError::from_io(folder, "moving an event to the quarantine", &error);
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

/// How many events are there, and their bytes.
pub(super) fn measure(folder: &Path) -> Result<(u64, u64), SpoolError> {
    folder::measure(&folder.join(QUARANTINE))
}
