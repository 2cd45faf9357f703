//! An open folder: what is done through it is done in that very folder, and to no file that a link
//! in it leads to.
//!
//! Owns every step that root may take in a folder of another user, who may change anything in it at
//! any moment. Its invariant: nothing is written, truncated or given away but what the call itself
//! made.

use std::{
    fs::{File, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, fsync, mkdirat, open, openat, renameat, statat, unlinkat},
    io::Errno,
};

use super::folder::Owner;

const FILE_MODE: u32 = 0o600;
pub(super) const FOLDER_MODE: u32 = 0o700;

/// A folder that is open.
#[derive(Debug)]
pub(super) struct Dir {
    file: File,
    path: PathBuf,
    owner: Owner,
}

impl Dir {
    /// Opens a folder that is there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::from(open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?);
        let owner = Owner::of(&file.metadata()?);
        Ok(Self { file, path: path.to_owned(), owner })
    }

    /// Opens a folder in it, which is made when it is absent. A link is no folder.
    pub(super) fn sub(&self, name: &str) -> io::Result<Self> {
        let is_new = match mkdirat(&self.file, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&self.file, name, flags, Mode::empty())?);
        // Whose it would be if another had taken its place meanwhile.
        if is_new && file.metadata()?.uid() == self.owner.user {
            restrict(&file, FOLDER_MODE)?;
            self.owner.hand_over(&file)?;
            self.sync()?;
        }
        Ok(Self { file, path: self.path.join(name), owner: self.owner })
    }

    /// Where a file of it is, in words.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a file that was not there, for its owner alone.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&self.file, name, flags, Mode::RUSR | Mode::WUSR)?);
        let own = restrict(&file, FILE_MODE).and_then(|()| self.owner.hand_over(&file));
        if let Err(error) = own {
            // It is empty: swept later, if this fails too.
            let _ = self.remove(name);
            return Err(error);
        }
        Ok(file)
    }

    /// Gives a file another name in this folder.
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

    /// Whether anything has this name, a link that leads nowhere too.
    pub(super) fn has(&self, name: &str) -> bool {
        statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Has the names in it reach the disk. A file system that cannot be asked for it says so with an
    /// error that means nothing else.
    pub(super) fn sync(&self) -> io::Result<()> {
        match fsync(&self.file) {
            Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::ACCESS | Errno::PERM) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens a file to read it: never what a link leads to, and never waiting for the other end of a pipe.
pub(super) fn open_plain(path: &Path, to_lock: bool) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    // A lock on some file systems needs a file that may be written.
    OpenOptions::new().read(true).write(to_lock).custom_flags(flags).open(path)
}

/// Takes away what a mode gives to others, and gives back what a umask took from the owner.
pub(super) fn restrict(file: &File, mode: u32) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    if_it_can(file.set_permissions(Permissions::from_mode(mode)))
}

/// File systems without owners or modes of their own (CIFS, FUSE, NFS that squashes root) refuse to
/// set them. That costs no event.
pub(super) fn if_it_can(done: io::Result<()>) -> io::Result<()> {
    match done.as_ref().err().and_then(Errno::from_io_error) {
        Some(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        _ => done,
    }
}
