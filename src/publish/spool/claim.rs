//! Taking events out: who may publish one, and what becomes of it.
//!
//! An event that waits is taken by renaming it, which one process alone can do, and the claim is
//! locked from then on. A claim whose lock can be had is a dead process's and is taken over at once.
//! A claim that is locked, or where there are no locks, is taken over when it is older than
//! [`STALE`]: its owner may have been forked, and the child keeps the lock for as long as it lives.
//! The worst that a wrong takeover does is a second copy in the topic, which the bridge knows by its
//! event_id.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::Instant,
};

use rustix::io::Errno;
use tracing::debug;

use super::{
    MAX_EVENT_BYTES, Spool, SpoolError, dir,
    entry::{Entry, Unreadable},
    folder::{self, Found, Owner},
    lock::{self, Locked},
    name, now_ms, number, quarantine,
    stats::header,
    write,
};
use crate::{connection::bad_topic, publish::Record};

/// How old a claim may become, in milliseconds: far above what any drain holds one.
pub(super) const STALE: u64 = 15 * 60 * 1000;
/// How many files are looked at for their topics before a short drain.
const MIXED: usize = 2_000;
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

    /// It could not be published now: it waits again, there.
    ///
    /// # Errors
    /// The file could not be renamed; its claim is taken over by the next who looks.
    pub fn release(mut self) -> Result<PathBuf, SpoolError> {
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

    fn put_back(&mut self) -> io::Result<PathBuf> {
        self.ended = true;
        // The lock first: whoever takes the file over between the two has it, and the rename fails.
        lock::unlock(&self.file);
        let waiting = self.folder.join(format!("{}{}", self.stem, name::WAITING));
        match fs::rename(&self.path, &waiting) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(waiting),
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
    is_cut: bool,
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

/// What becomes of one file of the listing.
enum Verdict {
    Take(Box<Claimed>),
    Pass(Reason),
    /// The folder is at fault, or this process: the file waits for the next pass.
    Stop(SpoolError),
}

/// What a step towards a claim gives, or the verdict that ends it.
type Step<T> = Result<T, Verdict>;

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
    pub(super) fn open(spool: &Spool, destination: Option<&str>, until: Option<Instant>) -> Result<Self, SpoolError> {
        let mut queue = Self {
            spool: spool.clone(),
            owner: folder::look(spool.folder())?,
            found: VecDeque::new(),
            destination: destination.map(name::normalised),
            skipped: HashSet::new(),
            passed: Passed::default(),
            is_cut: false,
        };
        let Some(owner) = queue.owner else { return Ok(queue) };
        let tag = destination.map(name::destination_tag);
        let listing = folder::list(spool.folder(), tag.as_deref(), until)?;
        for temporary in &listing.temporary {
            if folder::is_late(until) {
                break;
            }
            write::sweep(spool.folder(), owner, temporary, spool.try_lock());
        }
        queue.found = listing.events.into();
        queue.is_cut = listing.is_cut;
        Ok(queue)
    }

    /// Puts the oldest event of each topic first, then the second of each, and so on, so that no topic
    /// has all of a short drain. Looks at the oldest [`MIXED`] files, and no longer than until then.
    pub(in crate::publish) fn mix(&mut self, until: Instant) {
        let end = self.found.len().min(MIXED);
        let mut mixed = Vec::with_capacity(end);
        let mut seen: HashMap<Option<String>, usize> = HashMap::new();
        for found in self.found.iter().take(end) {
            if Instant::now() >= until {
                return;
            }
            let round =
                seen.entry(header(&self.spool.folder().join(&found.file)).map(|header| header.topic)).or_default();
            mixed.push((*round, found.clone()));
            *round += 1;
        }
        // Stable: within a round, and so within a topic, the oldest stays first.
        mixed.sort_by_key(|(round, _)| *round);
        self.found.drain(..end);
        mixed.into_iter().rev().for_each(|(_, found)| self.found.push_front(found));
    }

    /// Whether there was no time to list all of the folder.
    pub(in crate::publish) fn is_cut(&self) -> bool {
        self.is_cut
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
    /// The folder itself is at fault, or this process can open no more files. What was taken until then
    /// is given first, and the error the next time, if it is still there.
    pub(in crate::publish) fn take(
        &mut self,
        limit: usize,
        bytes: usize,
        until: Option<Instant>,
    ) -> Result<Vec<Claimed>, SpoolError> {
        let mut taken = Vec::new();
        let mut size = 0;
        let Some(owner) = self.owner else { return Ok(taken) };
        while taken.len() < limit && size < bytes && !folder::is_late(until) {
            let Some(found) = self.found.pop_front() else { break };
            match self.judge(owner, &found) {
                Verdict::Take(claimed) => {
                    size += claimed.record.value.len();
                    taken.push(*claimed);
                }
                Verdict::Pass(reason) => self.count(&found, reason),
                Verdict::Stop(error) => {
                    self.found.push_front(found);
                    if taken.is_empty() {
                        return Err(error);
                    }
                    break;
                }
            }
        }
        Ok(taken)
    }

    fn count(&mut self, found: &Found, reason: Reason) {
        let passed = &mut self.passed;
        let path = self.spool.folder().join(&found.file);
        match reason {
            Reason::Gone | Reason::Elsewhere => {}
            Reason::Busy => passed.busy += 1,
            Reason::Skipped => passed.skipped += 1,
            Reason::LeftAlone(reason) => {
                // Told by whoever asked, once: it is seen at each pass.
                debug!(file = found.file, reason, "an event in the spool is left alone");
                passed.left_alone += 1;
                passed.note = Some(format!("{}: {reason}", path.display()));
            }
            Reason::Quarantined(reason) => {
                passed.quarantined += 1;
                passed.note = Some(format!("{}: {reason}", path.display()));
            }
        }
    }

    fn judge(&self, owner: Owner, found: &Found) -> Verdict {
        let path = self.spool.folder().join(&found.file);
        let opened = self.open_and_lock(owner, found, &path);
        let verdict = opened.and_then(|(file, size)| match self.read(found, &path, &file, size) {
            Ok(event) => Ok(self.claim(found, &path, file, event)),
            Err(verdict) => {
                lock::unlock(&file);
                Err(verdict)
            }
        });
        verdict.unwrap_or_else(|verdict| verdict)
    }

    /// The first step: the open file and its size, if it is a file that this process may take.
    fn open_and_lock(&self, owner: Owner, found: &Found, path: &Path) -> Step<(File, u64)> {
        if found.is_garbled {
            return Err(left_alone("its name is not UTF-8: rename it".into()));
        }
        let failed = |error| self.blame("opening the file", &error);
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
            if (self.spool.try_lock())(&file) != Locked::Ours && !is_stale {
                return Err(Verdict::Pass(Reason::Busy));
            }
        }
        Ok((file, metadata.len()))
    }

    /// The second: what is in it, and for which destination, if this pass wants it. Nothing but a damaged
    /// file is moved by this.
    fn read(&self, found: &Found, path: &Path, file: &File, size: u64) -> Step<(Record, String)> {
        let entry = match read(file, size) {
            Ok(bytes) => Entry::decode(bytes),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(Unreadable::Damaged(error.to_string())),
            Err(error) => return Err(self.blame("reading the file", &error)),
        };
        let entry = entry.and_then(|entry| {
            if let Some(problem) = bad_topic(&entry.topic) {
                return Err(Unreadable::Damaged(format!("no topic has this name: {problem}")));
            }
            let topic: Arc<str> = Arc::from(entry.topic.as_str());
            let record = Record::from_json(&entry.value, &topic, entry.traceparent.as_deref());
            let record =
                record.map_err(|poison| Unreadable::Damaged(format!("what it holds is no event: {poison}")))?;
            Ok((record, entry.bootstrap_servers))
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

    /// The third: it is this process's from now on.
    fn claim(&self, found: &Found, path: &Path, file: File, (record, bootstrap_servers): (Record, String)) -> Verdict {
        let folder = self.spool.folder();
        let claimed = folder.join(name::claim(&found.stem, now_ms(), process::id(), number()));
        if let Err(error) = fs::rename(path, &claimed) {
            lock::unlock(&file);
            return self.blame("claiming the event by a rename", &error);
        }
        if found.claimed.is_none() {
            // Who saw the claim before it was locked took it for a dead process's, and has it now.
            let locked = (self.spool.try_lock())(&file);
            if locked == Locked::Busy || !is_this(&claimed, &file).unwrap_or(false) {
                return Verdict::Pass(Reason::Busy);
            }
        }
        let (folder, stem) = (folder.to_owned(), found.stem.clone());
        let claim = Claim { folder, path: claimed, stem, file, pid: process::id(), ended: false };
        Verdict::Take(Box::new(Claimed { record, bootstrap_servers, claim }))
    }

    /// A damaged file goes to the quarantine, if it is the spool's own and the quarantine takes it.
    fn set_aside(&self, found: &Found, path: &Path, reason: String) -> Verdict {
        if !name::is_ours(&found.stem) {
            return left_alone(format!("neither its name nor what it holds is a spool's ({reason}): move it away"));
        }
        match quarantine::take(self.spool.folder(), path, &found.stem, &reason) {
            Ok(_) => Verdict::Pass(Reason::Quarantined(reason)),
            // Another process was faster.
            Err(_) if is_gone(path) => Verdict::Pass(Reason::Gone),
            Err(error @ SpoolError::Quarantine { .. }) => {
                left_alone(format!("it can never be published ({reason}), and it cannot be set aside: {error}"))
            }
            Err(error) => Verdict::Stop(error),
        }
    }

    /// What an error at one file means: only if the folder is at fault, or this process, does it end the
    /// pass, because every other file would meet it too.
    fn blame(&self, operation: &'static str, error: &io::Error) -> Verdict {
        let folder = self.spool.folder();
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

fn left_alone(reason: String) -> Verdict {
    Verdict::Pass(Reason::LeftAlone(reason))
}

fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
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
