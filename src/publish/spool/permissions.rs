//! Whose a folder and its files are, and the modes that they get.

use std::{
    fs::{File, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
};

use rustix::{io::Errno, process::geteuid};

pub(super) const FILE_MODE: u32 = 0o600;
pub(super) const FOLDER_MODE: u32 = 0o700;

/// Who owns the folder, and who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) folder: u32,
    pub(super) group: u32,
    pub(super) user: u32,
}

impl Owner {
    /// Of a folder.
    pub(super) fn of(folder: &Metadata) -> Self {
        Self { folder: folder.uid(), group: folder.gid(), user: geteuid().as_raw() }
    }

    /// Root may use every folder, and everybody may use root's (a mounted volume often is).
    pub(super) fn may_use_folder(self) -> bool {
        self.user == 0 || self.folder == 0 || self.folder == self.user
    }

    /// A file is trusted if its owner could have written anything there in any case.
    pub(super) fn trusts(self, file: u32) -> bool {
        self.user == 0 || file == 0 || file == self.user || file == self.folder
    }

    /// What root makes in another user's folder becomes that user's, who could not drain it otherwise.
    pub(super) fn hand_over(self, file: &File) -> io::Result<()> {
        if self.user != 0 || self.folder == 0 {
            return Ok(());
        }
        ignore_unsupported(fchown(file, Some(self.folder), Some(self.group)))
    }
}

/// Removes what a mode grants to others, and grants what a umask took from the owner.
pub(super) fn restrict(file: &File, mode: u32) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    ignore_unsupported(file.set_permissions(Permissions::from_mode(mode)))
}

/// File systems without owners or modes of their own (CIFS, FUSE, NFS that squashes root) refuse to set them. That costs
/// no event.
pub(super) fn ignore_unsupported(result: io::Result<()>) -> io::Result<()> {
    match result.as_ref().err().and_then(Errno::from_io_error) {
        Some(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        _ => result,
    }
}
