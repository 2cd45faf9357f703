//! The errors of the ledger. Each message says what is at risk and what the operator should do.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{bytes::DecodeError, header::FORMAT, store::StoreError};

/// How to replace a ledger that cannot be used, and what is at risk without it.
struct Recovery<'a>(&'a Path);

impl fmt::Display for Recovery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.0.display();
        write!(
            f,
            "The bridge deleted nothing. Restore the folder from a copy, or begin a new ledger: `mv {dir} {dir}.bad` and start \
             the bridge; it reads everything above the committed offset again. At risk without this ledger: HTTP \
             agents may be sent events of the dedup window again, with the same Idempotency-Key; LangGraph agents still \
             run once, because the claim is on their server; no event is lost"
        )
    }
}

/// The ledger cannot be opened, or belongs to another group or cluster. The process exits with 74.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another process has it open.
    #[error(
        "ledger {dir}: expected to be the only user of this folder, found it locked: another bridge uses it. Nothing is \
         at risk. Stop the other one (`fuser -v {dir}/db` names it), or give this one its own data folder", dir = dir.display()
    )]
    Locked {
        /// The ledger's folder.
        dir: PathBuf,
    },
    /// Its files are damaged, or the store fails on them.
    #[error("ledger {dir}: expected a readable ledger, found it damaged: {reason}. {recovery}", dir = dir.display(), recovery = Recovery(dir))]
    Corrupt {
        /// The ledger's folder.
        dir: PathBuf,
        /// What the store said.
        reason: String,
    },
    /// It was written by another version of the bridge.
    #[error("ledger {dir}: expected format {expected}, found {found}: another version of the bridge wrote it. Start that version, or replace the ledger. {recovery}", dir = dir.display(), recovery = Recovery(dir))]
    Version {
        /// The ledger's folder.
        dir: PathBuf,
        /// The format of this version.
        expected: String,
        /// The format that was found.
        found: String,
    },
    /// It belongs to another consumer group.
    #[error(
        "ledger {dir}: expected the ledger of consumer group {expected:?}, found that of {found:?}: its records belong \
         to the other group's offsets. Nothing is at risk. Set the group back, or give this group its own data \
         folder", dir = dir.display()
    )]
    Group {
        /// The ledger's folder.
        dir: PathBuf,
        /// The group that the bridge was started with.
        expected: String,
        /// The group in the ledger.
        found: String,
    },
    /// It belongs to another Kafka cluster.
    #[error(
        "ledger {dir}: expected the ledger of Kafka cluster {expected:?}, which the broker says it is, found that of \
         {found:?}. Nothing is at risk. Check the bootstrap servers, or give this cluster its own data folder", dir = dir.display()
    )]
    Cluster {
        /// The ledger's folder.
        dir: PathBuf,
        /// The cluster that the broker named.
        expected: String,
        /// The cluster in the ledger.
        found: String,
    },
    /// The path exists and is not a folder.
    #[error("ledger {dir}: expected a folder, found {found}. Nothing is at risk. Name another data folder", dir = dir.display())]
    NotAFolder {
        /// The path.
        dir: PathBuf,
        /// What is there.
        found: String,
    },
    /// The folder holds something else.
    #[error(
        "ledger {dir}: expected an empty folder or a ledger, found {found}. Nothing was changed. Give the bridge \
         its own data folder", dir = dir.display()
    )]
    NotALedger {
        /// The folder.
        dir: PathBuf,
        /// What was found in it.
        found: String,
    },
    /// The process may not write there.
    #[error(
        "ledger {dir}: expected to be allowed to write there, found: {reason}. Nothing is at risk. Give the user that \
         the bridge runs as the folder (`chown`), or mount it writable", dir = dir.display()
    )]
    NotWritable {
        /// The folder.
        dir: PathBuf,
        /// What the file system said.
        reason: String,
    },
    /// No space is left.
    #[error(
        "ledger {dir}: expected room to write, found the disk full or a limit reached: {reason}. Nothing is at risk. \
         Free space (docs/ledger.md says how much a ledger takes) and start the bridge again", dir = dir.display()
    )]
    DiskFull {
        /// The folder.
        dir: PathBuf,
        /// What the file system said.
        reason: String,
    },
    /// Another failure of the file system.
    #[error(
        "ledger {dir}: expected to read and write it, found: {reason}. Nothing was deleted. Check the disk and the \
         mount, and start the bridge again", dir = dir.display()
    )]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the file system said.
        reason: String,
    },
    /// It was opened, but cannot be written.
    #[error(transparent)]
    Failed(#[from] LedgerError),
}

impl OpenError {
    pub(super) fn from_io(dir: &Path, error: &io::Error) -> Self {
        let (dir, reason) = (dir.to_owned(), error.to_string());
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NotWritable { dir, reason },
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                Self::NotAFolder { dir, found: format!("a file there or on the way to it ({reason})") }
            }
            kind if is_full(kind) => Self::DiskFull { dir, reason },
            _ => Self::Io { dir, reason },
        }
    }

    pub(super) fn from_store(dir: &Path, error: StoreError) -> Self {
        match error {
            StoreError::Locked => Self::Locked { dir: dir.to_owned() },
            StoreError::Io(error) if is_damage(error.kind()) => {
                Self::Corrupt { dir: dir.to_owned(), reason: error.to_string() }
            }
            StoreError::Io(error) => Self::from_io(dir, &error),
            StoreError::Corrupt(reason) | StoreError::Defect(reason) => Self::Corrupt { dir: dir.to_owned(), reason },
            StoreError::Version(found) => {
                Self::Version { dir: dir.to_owned(), expected: format!("{FORMAT} in a store of sled 0.34"), found }
            }
        }
    }
}

/// The ledger can no longer be read or written: the bridge stops without a commit, with exit code 74.
/// After any of these except [`LedgerError::CorruptRecord`], every later call fails the same way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LedgerError {
    /// No space is left.
    #[error(
        "ledger {dir}: {operation}: expected room to write, found the disk full or a limit reached: {reason}. Nothing \
         is lost: no offset was committed over it. Free space and start the bridge again", dir = dir.display()
    )]
    DiskFull {
        /// The ledger's folder.
        dir: PathBuf,
        /// The operation that failed.
        operation: &'static str,
        /// What the file system said.
        reason: String,
    },
    /// The file system failed.
    #[error(
        "ledger {dir}: {operation}: expected it to succeed, found: {reason}. Nothing is lost: no offset was committed \
         over it. Check the disk and the mount, and start the bridge again", dir = dir.display()
    )]
    Io {
        /// The ledger's folder.
        dir: PathBuf,
        /// The operation that failed.
        operation: &'static str,
        /// What the file system said.
        reason: String,
    },
    /// The files are damaged, or the store fails on them.
    #[error("ledger {dir}: {operation}: expected a sound ledger, found it damaged: {reason}. Start the bridge again. If it stops here again, replace the ledger. {recovery}", dir = dir.display(), recovery = Recovery(dir))]
    Corrupt {
        /// The ledger's folder.
        dir: PathBuf,
        /// The operation that failed.
        operation: &'static str,
        /// What the store said.
        reason: String,
    },
    /// One event's record cannot be read.
    #[error("ledger {dir}: record of event {event_id:?}: {reason}. {recovery}", dir = dir.display(), recovery = Recovery(dir))]
    CorruptRecord {
        /// The ledger's folder.
        dir: PathBuf,
        /// The event.
        event_id: String,
        /// What is wrong with its record.
        reason: DecodeError,
    },
}

impl LedgerError {
    pub(super) fn from_store(dir: &Path, operation: &'static str, error: StoreError) -> Self {
        let dir = dir.to_owned();
        match error {
            StoreError::Io(error) if is_full(error.kind()) => {
                Self::DiskFull { dir, operation, reason: error.to_string() }
            }
            StoreError::Io(error) if !is_damage(error.kind()) => Self::Io { dir, operation, reason: error.to_string() },
            StoreError::Io(error) => Self::Corrupt { dir, operation, reason: error.to_string() },
            StoreError::Corrupt(reason) | StoreError::Defect(reason) | StoreError::Version(reason) => {
                Self::Corrupt { dir, operation, reason }
            }
            StoreError::Locked => Self::Io { dir, operation, reason: "the store is locked".into() },
        }
    }
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge | io::ErrorKind::QuotaExceeded)
}

/// Whether a file is truncated or has impossible content.
fn is_damage(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}
