//! Taking events out: who may publish one, and what becomes of it.
//!
//! An event that waits is taken by renaming it, which one process alone can do, and the claim is
//! locked from then on. A claim whose lock can be had is a dead process's and is taken over at once.
//! A claim that is locked, or where there are no locks, is taken over when it is older than
//! [`STALE`]: its owner may have been forked, and the child keeps the lock for as long as it lives.
//! The worst that a wrong takeover does is a second copy in the topic, which the bridge knows by its
//! event_id.

use std::{
    collections::{HashSet, VecDeque},
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::Instant,
};

use tracing::debug;

use super::{
    MAX_EVENT_BYTES, Spool, SpoolError, dir,
    entry::{Entry, Unreadable},
    folder::{self, Found, Owner},
    lock::{self, Locked},
    name, now_ms, number, quarantine, write,
};
use crate::publish::Record;

/// How old a claim may become, in milliseconds: far above what any drain holds one.
pub(super) const STALE: u64 = 15 * 60 * 1000;
/// What a header may take beyond the event, in bytes.
const HEADER_BYTES: u64 = 64 * 1024;

/// An event that was taken, and the right to say what became of it.
#[derive(Debug)]
pub struct Claimed {
    /// The event, ready to be published.
    pub record: Record,
    /// The destination it was spooled for.
    pub bootstrap_servers: String,
    /// What is done with the file afterwards.
    pub claim: Claim,
}

/// The right to one file. Dropped without a word it is put back.
#[derive(Debug)]
pub struct Claim {
    folder: PathBuf,
    path: PathBuf,
    stem: String,
    /// Held for its lock.
    file: File,
    /// A child of a fork has no part in its parent's claims.
    pid: u32,
    ended: bool,
}

impl Claim {
    /// It is published: the file goes.
    ///
    /// # Errors
    /// The file could not be removed, and the event would be published again.
    pub fn done(mut self) -> Result<(), SpoolError> {
        self.ended = true;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                lock::unlock(&self.file);
                Err(SpoolError::from_io(&self.folder, "removing a published event", &error))
            }
            _ => Ok(()),
        }
    }

    /// It could not be published now: it waits again.
    ///
    /// # Errors
    /// The file could not be renamed; its claim is taken over by the next who looks.
    pub fn release(mut self) -> Result<(), SpoolError> {
        self.put_back().map_err(|error| SpoolError::from_io(&self.folder, "putting an event back", &error))
    }

    /// It can never be published: it goes to the quarantine, with the reason beside it.
    ///
    /// # Errors
    /// The file could not be moved.
    pub fn quarantine(mut self, reason: &str) -> Result<PathBuf, SpoolError> {
        let moved = quarantine::take(&self.folder, &self.path, &self.stem, reason);
        // A file that could not be moved is put back by the drop.
        self.ended = moved.is_ok();
        moved
    }

    /// What a process leaves that is killed.
    #[cfg(test)]
    pub(super) fn abandon(&mut self) {
        self.ended = true;
        lock::unlock(&self.file);
    }

    fn put_back(&mut self) -> io::Result<()> {
        self.ended = true;
        // The lock first: whoever takes the file over between the two has it, and the rename fails.
        lock::unlock(&self.file);
        match fs::rename(&self.path, self.folder.join(format!("{}{}", self.stem, name::WAITING))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.ended && self.pid == process::id() {
            // The claim is taken over by the next who looks.
            let _ = self.put_back();
        }
    }
}

/// One pass over the spool, the oldest first: what was listed at its beginning and not looked at yet.
pub(in crate::publish) struct Queue {
    spool: Spool,
    owner: Option<Owner>,
    found: VecDeque<Found>,
    destination: Option<String>,
    skipped: HashSet<Arc<str>>,
    passed: Passed,
}

/// What a pass came by and did not take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::publish) struct Passed {
    /// Events that another process has at the moment.
    pub(in crate::publish) busy: u64,
    /// Events for a topic that is skipped.
    pub(in crate::publish) skipped: u64,
    /// Events that are left where they are, for the reason in `note`.
    pub(in crate::publish) left_alone: u64,
    /// Files that were no events.
    pub(in crate::publish) quarantined: u64,
    /// Why events are left alone, or were quarantined: the last of the reasons.
    pub(in crate::publish) note: Option<String>,
}

enum Taken {
    Claimed(Box<Claimed>),
    Passed(Reason),
}

/// Why a file was not taken.
enum Reason {
    Gone,
    Busy,
    Elsewhere,
    Skipped,
    LeftAlone(String),
    Quarantined(String),
}

impl Queue {
    pub(super) fn open(spool: &Spool, destination: Option<&str>) -> Result<Self, SpoolError> {
        let mut queue = Self {
            spool: spool.clone(),
            owner: folder::look(spool.folder())?,
            found: VecDeque::new(),
            destination: destination.map(name::normalised),
            skipped: HashSet::new(),
            passed: Passed::default(),
        };
        let Some(owner) = queue.owner else { return Ok(queue) };
        let mut listing = folder::list(spool.folder())?;
        for temporary in &listing.temporary {
            write::sweep(spool.folder(), owner, temporary, spool.try_lock());
        }
        if let Some(tag) = destination.map(name::destination_tag) {
            // A name without a tag was made by hand: its header decides.
            listing.events.retain(|found| name::tag(&found.stem).is_none_or(|has| has == tag));
        }
        queue.found = listing.events.into();
        Ok(queue)
    }

    /// How many files were not looked at yet.
    pub(in crate::publish) fn remaining(&self) -> u64 {
        self.found.len() as u64
    }

    /// What was passed by so far.
    pub(in crate::publish) fn passed(&self) -> &Passed {
        &self.passed
    }

    /// Passes by what is for this topic, from now on.
    pub(in crate::publish) fn skip(&mut self, topic: Arc<str>) {
        self.skipped.insert(topic);
    }

    /// Takes the next events: at most `limit`, and no further one once they have `bytes` together, or
    /// when it is later than `until`. Fewer, or none, when there are no more.
    ///
    /// # Errors
    /// The folder itself is at fault. What was taken until then is put back.
    pub(in crate::publish) fn take(
        &mut self,
        limit: usize,
        bytes: usize,
        until: Option<Instant>,
    ) -> Result<Vec<Claimed>, SpoolError> {
        let mut taken = Vec::new();
        let mut size = 0;
        let Some(owner) = self.owner else { return Ok(taken) };
        while taken.len() < limit && size < bytes && until.is_none_or(|until| Instant::now() < until) {
            let Some(found) = self.found.pop_front() else { break };
            match self.take_one(owner, &found)? {
                Taken::Claimed(claimed) => {
                    size += claimed.record.value.len();
                    taken.push(*claimed);
                }
                Taken::Passed(reason) => self.count(&found, reason),
            }
        }
        Ok(taken)
    }

    fn count(&mut self, found: &Found, reason: Reason) {
        let passed = &mut self.passed;
        match reason {
            Reason::Gone | Reason::Elsewhere => {}
            Reason::Busy => passed.busy += 1,
            Reason::Skipped => passed.skipped += 1,
            Reason::LeftAlone(reason) => {
                // Told by whoever asked, once: it is seen at each pass.
                debug!(file = found.file, reason, "an event in the spool is left alone");
                passed.left_alone += 1;
                passed.note = Some(format!("{}: {reason}", found.file));
            }
            Reason::Quarantined(reason) => {
                passed.quarantined += 1;
                passed.note = Some(format!("{}: {reason}", found.file));
            }
        }
    }

    fn take_one(&self, owner: Owner, found: &Found) -> Result<Taken, SpoolError> {
        let folder = self.spool.folder();
        let path = folder.join(&found.file);
        let file = match dir::open_plain(&path, true) {
            Ok(file) => file,
            Err(error) => return passed_by(folder, &error).map(Taken::Passed),
        };
        let (record, bootstrap_servers) = match self.examine(owner, found, &path, &file) {
            Ok(Ok(read)) => read,
            Ok(Err(reason)) => {
                lock::unlock(&file);
                return Ok(Taken::Passed(reason));
            }
            Err(error) => return Err(error),
        };

        let claimed = folder.join(name::claim(&found.stem, now_ms(), process::id(), number()));
        if let Err(error) = fs::rename(&path, &claimed) {
            return match error.kind() {
                io::ErrorKind::NotFound => Ok(Taken::Passed(Reason::Gone)),
                _ => Err(SpoolError::from_io(folder, "claiming an event", &error)),
            };
        }
        if found.claimed.is_none() {
            // Who saw the claim before it was locked took it for a dead process's, and has it now.
            let locked = (self.spool.try_lock())(&file);
            if locked == Locked::Busy || !is_this(&claimed, &file).unwrap_or(false) {
                return Ok(Taken::Passed(Reason::Busy));
            }
        }
        let (folder, stem) = (folder.to_owned(), found.stem.clone());
        let claim = Claim { folder, path: claimed, stem, file, pid: process::id(), ended: false };
        Ok(Taken::Claimed(Box::new(Claimed { record, bootstrap_servers, claim })))
    }

    /// Whether the file may be taken, and what is in it. Nothing but a damaged file is moved by this.
    fn examine(
        &self,
        owner: Owner,
        found: &Found,
        path: &Path,
        file: &File,
    ) -> Result<Result<(Record, String), Reason>, SpoolError> {
        let folder = self.spool.folder();
        let metadata = match is_this(path, file).and_then(|is_this| Ok(is_this.then_some(file.metadata()?))) {
            Ok(Some(metadata)) => metadata,
            Ok(None) => return Ok(Err(Reason::Gone)),
            Err(error) => return passed_by(folder, &error).map(Err),
        };
        if !owner.trusts(metadata.uid()) {
            let (file, user) = (metadata.uid(), owner.user);
            return Ok(Err(Reason::LeftAlone(format!("it belongs to user {file}, and this process is user {user}"))));
        }
        if let Some(since) = found.claimed {
            let is_stale = now_ms().abs_diff(since) >= STALE;
            if (self.spool.try_lock())(file) != Locked::Ours && !is_stale {
                return Ok(Err(Reason::Busy));
            }
        }
        let entry = match read(file, metadata.len()) {
            Ok(bytes) => Entry::decode(bytes),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(Unreadable::Damaged(error.to_string())),
            Err(error) => return passed_by(folder, &error).map(Err),
        };
        let entry = entry.and_then(|entry| {
            let topic: Arc<str> = Arc::from(entry.topic.as_str());
            let record = Record::from_json(&entry.value, &topic, entry.traceparent.as_deref());
            let record =
                record.map_err(|poison| Unreadable::Damaged(format!("what it holds is no event: {poison}")))?;
            Ok((record, entry.bootstrap_servers))
        });
        let (record, servers) = match entry {
            Ok(read) => read,
            Err(Unreadable::Newer(format)) => {
                return Ok(Err(Reason::LeftAlone(format!(
                    "it has format {format}, which a newer version wrote: drain it with that version"
                ))));
            }
            Err(Unreadable::Damaged(reason)) => {
                return match quarantine::take(folder, path, &found.stem, &reason) {
                    Ok(_) => Ok(Err(Reason::Quarantined(reason))),
                    // Another process was faster.
                    Err(_) if fs::symlink_metadata(path).is_err() => Ok(Err(Reason::Gone)),
                    Err(error) => Err(error),
                };
            }
        };
        if self.destination.as_ref().is_some_and(|here| name::normalised(&servers) != *here) {
            return Ok(Err(Reason::Elsewhere));
        }
        if self.skipped.contains(&record.topic) {
            return Ok(Err(Reason::Skipped));
        }
        Ok(Ok((record, servers)))
    }
}

/// Whether the open file is what stands at the path: no link, and not another file by now.
fn is_this(path: &Path, file: &File) -> io::Result<bool> {
    let (there, open) = (fs::symlink_metadata(path)?, file.metadata()?);
    Ok(there.is_file() && (there.dev(), there.ino()) == (open.dev(), open.ino()))
}

fn read(mut file: &File, size: u64) -> io::Result<Vec<u8>> {
    let most = MAX_EVENT_BYTES + HEADER_BYTES;
    if size > most {
        let reason = format!("it has {size} bytes, more than the {most} of any event");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file that cannot be opened or read is left alone; a folder that cannot be written ends the pass.
fn passed_by(folder: &Path, error: &io::Error) -> Result<Reason, SpoolError> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(Reason::Gone),
        io::ErrorKind::ReadOnlyFilesystem => Err(SpoolError::from_io(folder, "opening an event", error)),
        _ => Ok(Reason::LeftAlone(format!("it cannot be read: {error}"))),
    }
}
