//! The ledger's folder, around the store: made when absent, refused when it is another's, and marked
//! once there is a ledger in it.
//!
//! sled takes a file that was deleted, emptied or cut short for the work of an interrupted write, and
//! opens with what is left, without a word. That is right after a crash and wrong at any other time.
//! So a folder is marked once it holds a ledger, and an orderly end notes how many records there
//! were: a store that comes up empty, or with another number of records, has lost some.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use super::error::OpenError;

const MARK: &str = "ledger.txt";
/// Says how many records there were at an orderly end; absent while the ledger is open.
const CLOSED: &str = "closed.txt";
const MARK_TEXT: &str = "\
This folder is the dedup ledger of a workflow-bridge: which events were delivered, so that none is
delivered again. Do not change, copy or delete single files while a bridge runs. docs/ledger.md of
the project says what is at risk without it.
";

/// The store's data, and what else it puts into the folder; a snapshot's name goes on after the dot.
const DATA: &str = "db";
const OURS: [&str; 5] = [DATA, "conf", "blobs", MARK, CLOSED];
const SNAPSHOT: &str = "snap.";

/// Makes the folder, or checks that it is empty or a ledger; true when a ledger was begun there.
pub(super) fn prepare(dir: &Path) -> Result<bool, OpenError> {
    if let Ok(found) = fs::metadata(dir)
        && !found.is_dir()
    {
        return Err(OpenError::NotAFolder { dir: dir.to_owned(), found: "a file".into() });
    }
    let failed = |error| OpenError::from_io(dir, &error);
    fs::create_dir_all(dir).map_err(failed)?;

    let (mut ours, mut marked, mut stranger) = (false, false, None);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        marked |= name == MARK;
        if OURS.contains(&name.as_str()) || name.starts_with(SNAPSHOT) {
            ours = true;
        } else if !is_ignored(&name) {
            stranger = Some(name);
        }
    }
    if marked && fs::metadata(dir.join(DATA)).map_or(0, |data| data.len()) == 0 {
        return Err(lost(dir, "its file `db` is missing or empty"));
    }
    match stranger {
        Some(found) if !ours => Err(OpenError::NotALedger { dir: dir.to_owned(), found: format!("`{found}`") }),
        _ => Ok(marked),
    }
}

/// The ledger that the folder is marked for is not in its store any more.
pub(super) fn lost(dir: &Path, reason: &str) -> OpenError {
    OpenError::Corrupt { dir: dir.to_owned(), reason: reason.to_owned() }
}

/// Marks the folder, after its ledger has reached the disk itself: a loss of power must not leave a
/// mark without a ledger.
pub(super) fn mark(dir: &Path) -> Result<(), OpenError> {
    let marked = sync(dir).and_then(|()| fs::write(dir.join(MARK), MARK_TEXT));
    marked.map_err(|error| OpenError::from_io(dir, &error))
}

/// Notes an orderly end, after everything has reached the disk itself.
pub(super) fn close(dir: &Path, records: u64) -> io::Result<()> {
    sync(dir)?;
    fs::write(dir.join(CLOSED), format!("records {records}\n"))
}

/// Takes note of the last end, if it was orderly: the store must have as many records as then.
pub(super) fn reopen(dir: &Path, records: u64) -> Result<(), OpenError> {
    let note = dir.join(CLOSED);
    let Ok(text) = fs::read_to_string(&note) else { return Ok(()) };
    // A note without its line's end was not written to its end, and says nothing.
    let noted = text.strip_prefix("records ").and_then(|text| text.strip_suffix('\n')?.parse::<u64>().ok());
    if let Some(noted) = noted
        && noted != records
    {
        return Err(lost(dir, &format!("it was closed with {noted} records and opens with {records}")));
    }
    // Gone from the disk before the first write: after a crash the number may be another one.
    let removed = fs::remove_file(&note).and_then(|()| File::open(dir)?.sync_all());
    removed.map_err(|error| OpenError::from_io(dir, &error))
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir.join(DATA))?.sync_all()
}

/// What a fresh volume holds, what is hidden, and a ledger that was moved aside within the folder
/// because the folder itself is a mount.
fn is_ignored(name: &str) -> bool {
    let path = Path::new(name);
    name == "lost+found" || name.starts_with('.') || path.extension().is_some_and(|extension| extension == "bad")
}
