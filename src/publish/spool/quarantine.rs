//! What can never be published: kept, with the reason beside it, until a person has looked.
//!
//! It is not counted against the size limit: what cannot be published must not keep out what can.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tracing::{error, warn};

use super::{
    SpoolError,
    folder::{self, Owner, QUARANTINE},
    name, write,
};

const REASON: &str = ".reason";

/// Moves a file there, and writes why.
pub(super) fn take(folder: &Path, owner: Owner, path: &Path, stem: &str, reason: &str) -> Result<PathBuf, SpoolError> {
    let quarantine = folder.join(QUARANTINE);
    let to = quarantine.join(format!("{stem}{}", name::WAITING));
    let failed = |error: io::Error| SpoolError::from_io(folder, "moving an event to the quarantine", &error);
    folder::make(&quarantine).map_err(failed)?;
    fs::File::open(&quarantine).and_then(|made| owner.hand_over(&made)).map_err(failed)?;
    // The reason first: a crash between the two leaves a reason without a file, and the file where it was.
    if let Err(error) = write::note(&quarantine.join(format!("{stem}{REASON}")), owner, &format!("{reason}\n")) {
        warn!(%error, reason, "the reason could not be written beside the event in the quarantine");
    }
    fs::rename(path, &to).map_err(failed)?;
    error!(file = %to.display(), reason, "an event in the spool can never be published: it is in the quarantine");
    Ok(to)
}

/// How many events are there, and their bytes.
pub(super) fn measure(folder: &Path) -> Result<(u64, u64), SpoolError> {
    folder::measure(&folder.join(QUARANTINE))
}
