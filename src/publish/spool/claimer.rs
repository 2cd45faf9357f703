//! Claims one file of the listing, in three steps: open and lock, read, rename.
//!
//! Owns the decision whether a file is this pass's, another's, or nobody's. Its invariant: a file that it does not claim
//! stays where it is, unless it is damaged and goes to the quarantine.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use rustix::io::Errno;

use super::{
    SpoolError,
    claim::{Claim, Claimed, STALE},
    clock::{now_ms, number},
    dir,
    entry::{Entry, MAX_EVENT_BYTES, Unreadable},
    folder,
    listing::Found,
    lock::{self, Locked, TryLock},
    name,
    permissions::Owner,
    quarantine,
};
use crate::{
    connection::bad_topic,
    publish::{Record, fork},
};

/// What a header may add to the event, in bytes.
const MAX_HEADER_BYTES: u64 = 128 * 1024;

/// What one pass claims.
pub(super) struct Claimer {
    pub(super) folder: PathBuf,
    pub(super) try_lock: TryLock,
    /// Only events for this destination.
    pub(super) destination: Option<String>,
    /// No events for these topics.
    pub(super) skipped: HashSet<Arc<str>>,
}

/// What to do about one file of the listing.
pub(super) enum Verdict {
    Take(Box<Claimed>),
    Pass(Reason),
    /// The folder is at fault, or this process: every other file would fail too.
    Stop(SpoolError),
}

/// The result of a step towards a claim, or the verdict that ends it.
type Step<T> = Result<T, Verdict>;

/// Why a file was not taken.
pub(super) enum Reason {
    Gone,
    Busy,
    Elsewhere,
    Skipped,
    LeftAlone(String),
    Quarantined(String),
}

impl Claimer {
    /// Claims a file, or says why not.
    pub(super) fn claim(&self, owner: Owner, found: &Found) -> Verdict {
        let path = self.folder.join(&found.file);
        let opened = self.open_and_lock(owner, found, &path);
        let verdict = opened.and_then(|(file, size)| match self.read(found, &path, &file, size) {
            Ok(event) => Ok(self.rename(found, &path, file, event)),
            Err(verdict) => {
                lock::unlock(&file);
                Err(verdict)
            }
        });
        verdict.unwrap_or_else(|verdict| verdict)
    }

    /// Step 1: the open file and its size, if this process may take it.
    fn open_and_lock(&self, owner: Owner, found: &Found, path: &Path) -> Step<(File, u64)> {
        if found.is_not_utf8 {
            return Err(left_alone("its name is not UTF-8: rename it".into()));
        }
        let failed = |error| self.classify("opening the file", &error);
        let file = dir::open_plain(path, true).map_err(failed)?;
        if !is_this(path, &file).map_err(failed)? {
            return Err(Verdict::Pass(Reason::Gone));
        }
        let metadata = file.metadata().map_err(failed)?;
        if !owner.trusts(metadata.uid()) {
            let (file, user) = (metadata.uid(), owner.user);
            return Err(left_alone(format!("it belongs to user {file}, and this process is user {user}")));
        }
        if let Some(since) = found.claimed {
            let is_stale = now_ms().abs_diff(since) >= STALE;
            if (self.try_lock)(&file) != Locked::Ours && !is_stale {
                return Err(Verdict::Pass(Reason::Busy));
            }
        }
        Ok((file, metadata.len()))
    }

    /// Step 2: the event and its destination, if this pass wants it. Only a damaged file is moved here.
    fn read(&self, found: &Found, path: &Path, file: &File, size: u64) -> Step<(Record, String)> {
        let entry = match read_whole(file, size) {
            Ok(bytes) => Entry::decode(bytes),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(Unreadable::Damaged(error.to_string())),
            Err(error) => return Err(self.classify("reading the file", &error)),
        };
        let entry = entry.and_then(|entry| {
            if let Some(problem) = bad_topic(&entry.topic) {
                return Err(Unreadable::Damaged(format!("no topic has this name: {problem}")));
            }
            let servers = entry.bootstrap_servers.clone();
            record(entry).map(|record| (record, servers)).map_err(Unreadable::Damaged)
        });
        let (record, servers) = entry.map_err(|unreadable| match unreadable {
            Unreadable::Newer(format) => {
                left_alone(format!("it has format {format}, which a newer version wrote: drain it with that version"))
            }
            Unreadable::Damaged(reason) => self.set_aside(found, path, reason),
        })?;
        if self.destination.as_ref().is_some_and(|here| name::normalised(&servers) != *here) {
            return Err(Verdict::Pass(Reason::Elsewhere));
        }
        if self.skipped.contains(&record.topic) {
            return Err(Verdict::Pass(Reason::Skipped));
        }
        Ok((record, servers))
    }

    /// Step 3: claims it by a rename.
    fn rename(&self, found: &Found, path: &Path, file: File, (record, bootstrap_servers): (Record, String)) -> Verdict {
        let folder = &self.folder;
        let claimed = folder.join(name::claim(&found.stem, now_ms(), process::id(), number()));
        if let Err(error) = fs::rename(path, &claimed) {
            lock::unlock(&file);
            return self.classify("claiming the event by a rename", &error);
        }
        if found.claimed.is_none() {
            // A process that saw the claim before it was locked took it over, as a dead process's.
            let locked = (self.try_lock)(&file);
            if locked == Locked::Busy || !is_this(&claimed, &file).unwrap_or(false) {
                return Verdict::Pass(Reason::Busy);
            }
        }
        let (folder, stem) = (folder.to_owned(), found.stem.clone());
        let claim = Claim { folder, path: claimed, stem, file, generation: fork::generation(), is_ended: false };
        Verdict::Take(Box::new(Claimed { record, bootstrap_servers, claim }))
    }

    /// Moves a damaged file to the quarantine, if it is the spool's own and the quarantine takes it.
    fn set_aside(&self, found: &Found, path: &Path, reason: String) -> Verdict {
        if !name::is_ours(&found.stem) {
            return left_alone(format!("neither its name nor what it holds is a spool's ({reason}): move it away"));
        }
        match quarantine::take(&self.folder, path, &found.stem, &reason) {
            Ok(_) => Verdict::Pass(Reason::Quarantined(reason)),
            // Another process was faster.
            Err(_) if is_gone(path) => Verdict::Pass(Reason::Gone),
            Err(error @ SpoolError::Quarantine { .. }) => {
                left_alone(format!("it can never be published ({reason}), and it cannot be set aside: {error}"))
            }
            Err(error) => Verdict::Stop(error),
        }
    }

    /// What an error at one file means. It ends the pass only if the folder is at fault, or this process.
    fn classify(&self, operation: &'static str, error: &io::Error) -> Verdict {
        let folder = &self.folder;
        if let Some(fault) = folder::fault(folder) {
            return Verdict::Stop(SpoolError::from_io(folder, operation, &fault));
        }
        if let Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) = Errno::from_io_error(error) {
            return Verdict::Stop(SpoolError::from_io(folder, operation, error));
        }
        let advice = match error.kind() {
            io::ErrorKind::NotFound => return Verdict::Pass(Reason::Gone),
            io::ErrorKind::InvalidFilename => "give it a shorter name",
            io::ErrorKind::PermissionDenied => "give it to the user that this process runs as (`chown`)",
            _ => "check the disk, or move it away",
        };
        left_alone(format!("{operation}: {error}: {advice}"))
    }
}

/// The record of an entry, or why it holds none.
fn record(entry: Entry) -> Result<Record, String> {
    let topic: Arc<str> = Arc::from(entry.topic.as_str());
    let Some(chosen) = entry.chosen else {
        let record = Record::from_json(&entry.value, &topic, entry.traceparent.as_deref());
        return record.map_err(|poison| format!("what it holds is no event: {poison}"));
    };
    let headers: Vec<_> = chosen.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let record = Record::chosen(&topic, &entry.event_id, chosen.key.as_deref(), &headers, entry.value);
    record.map_err(|invalid| format!("what it holds can be no record: {invalid}"))
}

fn left_alone(reason: String) -> Verdict {
    Verdict::Pass(Reason::LeftAlone(reason))
}

fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether the open file is the one at the path: not a link, and not replaced meanwhile.
fn is_this(path: &Path, file: &File) -> io::Result<bool> {
    let (there, open) = (fs::symlink_metadata(path)?, file.metadata()?);
    Ok(there.is_file() && (there.dev(), there.ino()) == (open.dev(), open.ino()))
}

fn read_whole(mut file: &File, size: u64) -> io::Result<Vec<u8>> {
    let max = MAX_EVENT_BYTES + MAX_HEADER_BYTES;
    if size > max {
        let reason = format!("it has {size} bytes, more than the {max} of any event");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
