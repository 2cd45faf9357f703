//! An open folder: every operation through it happens in that very folder, and follows no link in it.
//!
//! Owns every step that root may take in a folder of another user, who may change anything in it at any moment. Its
//! invariant: a call writes, truncates and gives away only what it made itself.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, fsync, mkdirat, open, openat, renameat, statat, unlinkat},
    io::Errno,
};

use super::permissions::{FILE_MODE, FOLDER_MODE, Owner, restrict};

/// A folder that is open.
#[derive(Debug)]
pub(super) struct Dir {
    file: File,
    path: PathBuf,
    owner: Owner,
}

impl Dir {
    /// Opens an existing folder.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::from(open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?);
        let owner = Owner::of(&file.metadata()?);
        Ok(Self { file, path: path.to_owned(), owner })
    }

    /// Opens a folder in it, and makes it if it is absent. A link is not a folder.
    pub(super) fn sub(&self, name: &str) -> io::Result<Self> {
        let is_new = match mkdirat(&self.file, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&self.file, name, flags, Mode::empty())?);
        // Another user may have replaced it meanwhile.
        if is_new && file.metadata()?.uid() == self.owner.user {
            restrict(&file, FOLDER_MODE)?;
            self.owner.hand_over(&file)?;
            self.sync()?;
        }
        Ok(Self { file, path: self.path.join(name), owner: self.owner })
    }

    /// The path of a file in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a new file, for its owner alone.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&self.file, name, flags, Mode::RUSR | Mode::WUSR)?);
        let own = restrict(&file, FILE_MODE).and_then(|()| self.owner.hand_over(&file));
        if let Err(error) = own {
            // If this fails too, the empty file is swept later.
            let _ = self.remove(name);
            return Err(error);
        }
        Ok(file)
    }

    /// Renames a file within this folder.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.move_to(from, self, to)
    }

    /// Moves a file into another folder.
    pub(super) fn move_to(&self, from: &str, folder: &Self, to: &str) -> io::Result<()> {
        Ok(renameat(&self.file, from, &folder.file, to)?)
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.file, name, AtFlags::empty())?)
    }

    /// Whether anything has this name, a dangling link included.
    pub(super) fn has(&self, name: &str) -> bool {
        statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Syncs the names in it to the disk. A file system that does not support it says so with one of these errors.
    pub(super) fn sync(&self) -> io::Result<()> {
        match fsync(&self.file) {
            Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::ACCESS | Errno::PERM) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens a file to read it: follows no link, and does not block on a pipe.
pub(super) fn open_plain(path: &Path, to_lock: bool) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    // On some file systems a lock needs a writable file.
    OpenOptions::new().read(true).write(to_lock).custom_flags(flags).open(path)
}
