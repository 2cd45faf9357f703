//! A claimed event: the right to say what became of it.
//!
//! A process claims an event by renaming its file, which only one can do, and holds a lock on it from then on. Another
//! process takes a claim over at once if it gets the lock: then the owner is dead. A claim that is locked, or has no lock
//! because the file system has none, is taken over when it is older than [`STALE`]: its owner may have been forked, and
//! the child keeps the lock for as long as it lives. A wrong takeover costs a second copy in the topic, which the bridge
//! recognises by its event_id.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
};

use super::{SpoolError, lock, name, quarantine};
use crate::publish::{Record, fork};

/// How old a claim may become, in milliseconds: far longer than any drain keeps one.
pub(super) const STALE: u64 = 15 * 60 * 1000;

/// An event that this process claimed.
#[derive(Debug)]
pub struct Claimed {
    /// The event, ready to be published.
    pub record: Record,
    /// The destination it was spooled for.
    pub bootstrap_servers: String,
    /// Decides what happens to the file.
    pub claim: Claim,
}

/// The right to one file. Dropping it puts the file back.
#[derive(Debug)]
pub struct Claim {
    pub(super) folder: PathBuf,
    pub(super) path: PathBuf,
    pub(super) stem: String,
    /// Open for its lock.
    pub(super) file: File,
    /// Of the process that claimed it: a forked child has no part in its parent's claims.
    pub(super) generation: u32,
    pub(super) is_ended: bool,
}

impl Claim {
    /// It is published: removes the file.
    ///
    /// # Errors
    /// The file could not be removed, and the event would be published again.
    pub fn done(mut self) -> Result<(), SpoolError> {
        self.is_ended = true;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                lock::unlock(&self.file);
                Err(SpoolError::from_io(&self.folder, "removing a published event", &error))
            }
            _ => Ok(()),
        }
    }

    /// It could not be published now: puts it back, and returns its file.
    ///
    /// # Errors
    /// The file could not be renamed; the next pass takes its claim over.
    pub fn release(mut self) -> Result<PathBuf, SpoolError> {
        self.put_back().map_err(|error| SpoolError::from_io(&self.folder, "putting an event back", &error))
    }

    /// It can never be published: moves it to the quarantine, with the reason beside it.
    ///
    /// # Errors
    /// The file could not be moved.
    pub fn quarantine(mut self, reason: &str) -> Result<PathBuf, SpoolError> {
        let moved = quarantine::take(&self.folder, &self.path, &self.stem, reason);
        // Dropping puts a file back that could not be moved.
        self.is_ended = moved.is_ok();
        moved
    }

    /// As if this process was killed.
    #[cfg(test)]
    pub(super) fn abandon(&mut self) {
        self.is_ended = true;
        lock::unlock(&self.file);
    }

    fn put_back(&mut self) -> io::Result<PathBuf> {
        self.is_ended = true;
        // The lock first: if another process takes the file over in between, it has it, and the rename fails.
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
        if !self.is_ended && self.generation == fork::generation() {
            // After an error the next pass takes the claim over.
            let _ = self.put_back();
        }
    }
}
