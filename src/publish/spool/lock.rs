//! Locks on files, which tell a process that lives from one that ended.
//!
//! `flock` belongs to the open file: it is gone with the process that holds it, and a child that was
//! forked meanwhile holds it too until it ends or the parent unlocks. So whoever is done unlocks, and
//! does not leave it to the close. Where a file system refuses locks (some NFS), age decides instead.

use std::fs::{File, TryLockError};

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locked {
    /// We hold it.
    Ours,
    /// Another process holds it, and lives.
    Busy,
    /// The file system has no locks.
    Unsupported,
}

/// An attempt to lock a file: replaced in tests.
pub(super) type TryLock = fn(&File) -> Locked;

/// Locks a file if nobody else has.
pub(super) fn try_lock(file: &File) -> Locked {
    match file.try_lock() {
        Ok(()) => Locked::Ours,
        Err(TryLockError::WouldBlock) => Locked::Busy,
        Err(TryLockError::Error(_)) => Locked::Unsupported,
    }
}

/// Unlocks it, for children of a fork too.
pub(super) fn unlock(file: &File) {
    // Where there are no locks there is nothing to undo.
    let _ = file.unlock();
}
