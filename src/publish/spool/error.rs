//! What can go wrong with the spool, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The spool failed. An event whose `put` failed is not in it; all other events stay where they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// The spool holds as much as it may.
    #[error(
        "spool {folder}: expected room for {needed} more bytes, found {used} of {max} bytes in use: nothing older is \
         deleted for it. Bring Kafka back and drain it (`workflow-bridge spool drain`), or raise the size limit of the \
         spool", folder = folder.display()
    )]
    Full {
        /// The spool's folder.
        folder: PathBuf,
        /// What the event would take, in bytes.
        needed: u64,
        /// What is in use, in bytes.
        used: u64,
        /// The limit, in bytes.
        max: u64,
    },
    /// The quarantine holds as much as the spool may.
    #[error(
        "spool {folder}: expected room for {needed} more bytes in its quarantine, found {used} of {max} bytes in use. \
         Look at the .reason files there, and move back or delete what they are about", folder = folder.display()
    )]
    QuarantineFull {
        /// The spool's folder.
        folder: PathBuf,
        /// What the event would take, in bytes.
        needed: u64,
        /// What is in use, in bytes.
        used: u64,
        /// The limit, in bytes.
        max: u64,
    },
    /// What can never be published cannot be moved there, and stays where it is.
    #[error(
        "quarantine {path}: expected a folder of the spool's own disk that this process may write, found: {reason}. Move \
         away what stands in its place, give it to the user that this process runs as (`chown`), or free space",
        path = path.display()
    )]
    Quarantine {
        /// The quarantine's folder.
        path: PathBuf,
        /// What the file system said.
        reason: String,
    },
    /// One event is larger than any that is kept.
    #[error(
        "spool {folder}: expected an event of at most {max} bytes, found {bytes}: no topic takes it either; make the \
         payload smaller", folder = folder.display()
    )]
    TooLarge {
        /// The spool's folder.
        folder: PathBuf,
        /// The size of the event, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        max: u64,
    },
    /// No space is left on the disk.
    #[error(
        "spool {folder}: expected room to write, found the disk full or a limit reached: {reason}. Free space there, or \
         set WORKFLOW_EVENTS_SPOOL_DIR to a folder on another disk", folder = folder.display()
    )]
    DiskFull {
        /// The spool's folder.
        folder: PathBuf,
        /// What the file system said.
        reason: String,
    },
    /// This process may not write there.
    #[error(
        "spool {folder}: expected to be allowed to write there, found: {reason}. Give the folder to the user that this \
         process runs as (`chown`), mount it writable, or set WORKFLOW_EVENTS_SPOOL_DIR to another folder",
        folder = folder.display()
    )]
    NotWritable {
        /// The spool's folder.
        folder: PathBuf,
        /// What the file system said.
        reason: String,
    },
    /// The path is taken by something else.
    #[error(
        "spool {folder}: expected a folder, found {found}. Set WORKFLOW_EVENTS_SPOOL_DIR to another path",
        folder = folder.display()
    )]
    NotAFolder {
        /// The path.
        folder: PathBuf,
        /// What stands there.
        found: String,
    },
    /// The folder is another user's, who could read and forge what is in it.
    #[error(
        "spool {folder}: expected a folder of user {user} (or of root), found one of user {owner}. Set \
         WORKFLOW_EVENTS_SPOOL_DIR to a folder of this user, or run as user {owner}", folder = folder.display()
    )]
    NotOurs {
        /// The spool's folder.
        folder: PathBuf,
        /// The owner's user id.
        owner: u32,
        /// Our own user id.
        user: u32,
    },
    /// Another user may have made it: every user may write where it is.
    #[error(
        "spool {folder}: expected {path} to be a folder of user {user} that nobody else may write, found {found}. Remove \
         it, or set WORKFLOW_EVENTS_SPOOL_DIR to a folder of this user", folder = folder.display(), path = path.display()
    )]
    NotPrivate {
        /// The spool's folder.
        folder: PathBuf,
        /// The folder at fault: that, or the one above it.
        path: PathBuf,
        /// Our own user id.
        user: u32,
        /// What stands there.
        found: String,
    },
    /// The file system failed otherwise.
    #[error(
        "spool {folder}: {operation}: expected it to succeed, found: {reason}. Check the disk and the mount",
        folder = folder.display()
    )]
    Io {
        /// The spool's folder.
        folder: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the file system said.
        reason: String,
    },
}

impl SpoolError {
    pub(super) fn from_io(folder: &Path, operation: &'static str, error: &io::Error) -> Self {
        use io::ErrorKind as Kind;

        let (folder, reason) = (folder.to_owned(), format!("{operation}: {error}"));
        match error.kind() {
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => Self::DiskFull { folder, reason },
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Self::NotWritable { folder, reason },
            Kind::NotADirectory | Kind::AlreadyExists => {
                Self::NotAFolder { folder, found: format!("a file there or on the way to it ({reason})") }
            }
            _ => Self::Io { folder, operation, reason: error.to_string() },
        }
    }
}
