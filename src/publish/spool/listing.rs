//! What is in the folder, by the names of its files.

use std::{
    fs::{self, DirEntry},
    io,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    SpoolError,
    folder::QUARANTINE,
    name::{self, Named},
};

/// No event is smaller with its header, in bytes.
const SMALLEST: u64 = 256;

/// One file of the folder, by its name.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) file: String,
    pub(super) stem: String,
    /// Since when it is claimed, in unix milliseconds.
    pub(super) claimed: Option<u64>,
    /// The file's name is not UTF-8: `file` only shows it.
    pub(super) is_not_utf8: bool,
}

/// What is in the folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Events, claimed ones too, the oldest first.
    pub(super) events: Vec<Found>,
    /// Files that are being written, or were when their writer ended.
    pub(super) temporary: Vec<Found>,
    /// Files that are not the spool's, and are left alone. A hidden file counts if its name resembles ours.
    pub(super) strangers: u64,
    /// There was no time to list all of it.
    pub(super) is_incomplete: bool,
}

/// Lists as much of the folder as there is time for; one that is absent is empty. With the tag of a destination, only
/// the events that may be for it.
pub(super) fn list(folder: &Path, destination: Option<&str>, until: Option<Instant>) -> Result<Listing, SpoolError> {
    let mut listing = Listing::default();
    // A name without a tag was made by hand: its header decides.
    let is_wanted = |stem: &str| destination.is_none_or(|here| name::tag(stem).is_none_or(|has| has == here));
    each(folder, |entry, file, named| {
        if is_late(until) {
            listing.is_incomplete = true;
            return false;
        }
        let found = |stem: &str, claimed| {
            let is_not_utf8 = entry.file_name().to_str().is_none();
            Found { file: file.to_owned(), stem: stem.to_owned(), claimed, is_not_utf8 }
        };
        let is_dir = || entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_file = || entry.file_type().is_ok_and(|kind| kind.is_file());
        match named {
            Named::Waiting { stem } | Named::Claimed { stem, .. } if !is_wanted(stem) => {}
            Named::Waiting { stem } if is_file() => listing.events.push(found(stem, None)),
            Named::Claimed { stem, since } if is_file() => listing.events.push(found(stem, Some(since))),
            Named::Temporary { stem } if is_file() => listing.temporary.push(found(stem, None)),
            _ if (file == QUARANTINE && is_dir()) || (file.starts_with('.') && !file.ends_with(name::TEMPORARY)) => {}
            _ => listing.strangers += 1,
        }
        true
    })?;
    // The time first, as a number: a name that was made by hand need not have thirteen digits.
    listing
        .events
        .sort_by_cached_key(|found| (name::spooled_at(&found.stem), name::number(&found.stem), found.stem.clone()));
    Ok(listing)
}

/// How many files a folder has, and their bytes; the quarantine is measured by itself. With a time limit, the bytes are a
/// lower bound: a call must not wait while a slow disk looks up 200,000 files, and keeping an event above the limit is
/// better than losing it. After half of the time each file counts as the smallest event, which needs only its name; after
/// all of it counting stops.
pub(super) fn measure(folder: &Path, within: Option<Duration>) -> Result<(u64, u64), SpoolError> {
    let after = |time: Duration| Instant::now().checked_add(time);
    let (half, until) = (within.and_then(|time| after(time / 2)), within.and_then(after));
    let (mut files, mut bytes) = (0, 0);
    each(folder, |entry, _, named| {
        if named == Named::Other {
            return !is_late(until);
        }
        if is_late(half) {
            files += 1;
            bytes += SMALLEST;
            return !is_late(until);
        }
        // A file that is gone by now takes no space.
        if let Ok(found) = entry.metadata()
            && found.is_file()
        {
            files += 1;
            bytes += found.len();
        }
        true
    })?;
    Ok((files, bytes))
}

/// Whether it is later than that.
pub(super) fn is_late(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() >= until)
}

/// Passes each entry, its name and what that means to `show`, until that returns false.
fn each(folder: &Path, mut show: impl FnMut(&DirEntry, &str, Named<'_>) -> bool) -> Result<(), SpoolError> {
    let failed = |error: io::Error| SpoolError::from_io(folder, "listing the folder", &error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let file = entry.file_name();
        let file = file.to_string_lossy();
        if !show(&entry, &file, name::read(&file)) {
            break;
        }
    }
    Ok(())
}
