//! Locks on files, which distinguish a process that lives from one that ended.
//!
//! `flock` belongs to the open file: it ends with the process that holds it, and a child that was forked meanwhile holds
//! it too until it ends or the parent unlocks. So whoever is done unlocks explicitly. Where a file system refuses locks
//! (some NFS), age decides instead.

use std::fs::{File, TryLockError};

/// The result of an attempt.
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

/// Unlocks it, also for forked children.
pub(super) fn unlock(file: &File) {
    // Without locks there is nothing to undo.
    let _ = file.unlock();
}
