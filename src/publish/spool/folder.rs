//! The folder of the spool: made when absent, refused when it is another's, listed and measured.

use std::{
    env,
    fs::{self, DirBuilder, DirEntry, File, Metadata},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, fchown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Access, access},
    process::geteuid,
};

use super::{
    SpoolError,
    dir::{self, Dir, FOLDER_MODE},
    name::{self, Named},
};

/// Where what cannot be published goes, within the folder.
pub(super) const QUARANTINE: &str = "quarantine";

/// No event is smaller with its header, in bytes.
const SMALLEST: u64 = 256;

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

    /// A file is read when whoever wrote it could have written there what he liked in any case.
    pub(super) fn trusts(self, file: u32) -> bool {
        self.user == 0 || file == 0 || file == self.user || file == self.folder
    }

    /// What root makes in another's folder is that user's, or he could not drain it.
    pub(super) fn hand_over(self, file: &File) -> io::Result<()> {
        if self.user != 0 || self.folder == 0 {
            return Ok(());
        }
        dir::if_it_can(fchown(file, Some(self.folder), Some(self.group)))
    }
}

/// Makes the folder when it is absent, checks whose it is, and opens it.
pub(super) fn prepare(folder: &Path) -> Result<Dir, SpoolError> {
    let failed = |error: io::Error| SpoolError::from_io(folder, "making the folder", &error);
    if look(folder)?.is_none() {
        make(folder).map_err(failed)?;
        look(folder)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    }
    Dir::open(folder).map_err(|error| SpoolError::from_io(folder, "opening the folder", &error))
}

/// The spool of a user without a home, in the folder for temporary files.
pub(super) fn temporary() -> PathBuf {
    env::temp_dir().join(format!("workflow-events-{}", geteuid().as_raw())).join("spool")
}

/// Why a folder can be neither used nor made, if that is so.
pub(super) fn obstacle(folder: &Path) -> Option<String> {
    for path in folder.ancestors() {
        let why = match fs::metadata(path) {
            Ok(found) if !found.is_dir() => "it is not a folder".into(),
            Ok(_) => fault(path)?.to_string(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(path).is_err() {
                    continue;
                }
                "it is a symbolic link that leads nowhere".into()
            }
            // The next one says what it is instead.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => continue,
            Err(error) => error.to_string(),
        };
        return Some(format!("{}: {why}", path.display()));
    }
    None
}

/// Whether it is that one, however its path is spelled.
fn is_temporary(folder: &Path) -> bool {
    let (temporary, resolved) = (temporary(), |path: &Path| fs::canonicalize(path.ancestors().nth(2)?).ok());
    let names = |path: &Path| {
        (path.file_name().map(ToOwned::to_owned), path.parent().and_then(Path::file_name).map(ToOwned::to_owned))
    };
    folder == temporary || (names(folder) == names(&temporary) && resolved(folder) == resolved(&temporary))
}

/// Everybody may write in the folder for temporary files: what is trusted there was made by this user,
/// root included, and nobody else can write it.
fn check_private(folder: &Path) -> Result<(), SpoolError> {
    let user = geteuid().as_raw();
    for path in folder.parent().into_iter().chain([folder]) {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(SpoolError::from_io(folder, "looking at the folder", &error)),
        };
        let fault = match found.mode() & 0o777 {
            _ if !found.is_dir() => "a file or a link".to_owned(),
            _ if found.uid() != user => format!("a folder of user {}", found.uid()),
            mode if mode & 0o022 != 0 => format!("one that others may write (mode {mode:03o})"),
            _ => continue,
        };
        return Err(SpoolError::NotPrivate { folder: folder.into(), path: path.into(), user, found: fault });
    }
    Ok(())
}

/// Checks the folder; `None` when there is none.
pub(super) fn look(folder: &Path) -> Result<Option<Owner>, SpoolError> {
    if is_temporary(folder) {
        check_private(folder)?;
    }
    let found = match fs::metadata(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return absent(folder, fs::symlink_metadata(folder));
        }
        Err(error) => return Err(SpoolError::from_io(folder, "looking at the folder", &error)),
    };
    if !found.is_dir() {
        return Err(SpoolError::NotAFolder { folder: folder.to_owned(), found: "a file".into() });
    }
    let owner = Owner::of(&found);
    if owner.may_use_folder() {
        Ok(Some(owner))
    } else {
        Err(SpoolError::NotOurs { folder: folder.to_owned(), owner: owner.folder, user: owner.user })
    }
}

/// What a folder is that was not found, by a second look that follows no link: a link that leads nowhere is there
/// all the same, and another writer may have made the folder since the first look.
fn absent(folder: &Path, second: io::Result<Metadata>) -> Result<Option<Owner>, SpoolError> {
    match second {
        Ok(found) if found.is_symlink() => Err(SpoolError::NotAFolder {
            folder: folder.to_owned(),
            found: "a symbolic link that leads nowhere".into(),
        }),
        Ok(_) => look(folder),
        Err(_) => Ok(None),
    }
}

/// What is wrong with the folder itself: asked when a file of it could not be opened or moved, because
/// the error may be of that file alone.
pub(super) fn fault(folder: &Path) -> Option<io::Error> {
    access(folder, Access::WRITE_OK | Access::EXEC_OK).err().map(io::Error::from)
}

/// Makes a folder and those above it that are absent, for the user alone whatever the umask is.
fn make(folder: &Path) -> io::Result<()> {
    let create = || DirBuilder::new().mode(FOLDER_MODE).create(folder);
    let created = match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).ok_or(error)?;
            make(above)?;
            create()
        }
        created => created,
    };
    match created {
        Ok(()) => {
            dir::restrict(&dir::open_plain(folder, false)?, FOLDER_MODE)?;
            folder.parent().map_or(Ok(()), sync)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Has the names in a folder reach the disk; one that may not be read cannot be asked for it.
fn sync(folder: &Path) -> io::Result<()> {
    match Dir::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync(),
    }
}

/// One file of the folder, by its name.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) file: String,
    pub(super) stem: String,
    /// Since when it is claimed, in unix milliseconds.
    pub(super) claimed: Option<u64>,
    /// The file's name is not UTF-8, and `file` shows it only.
    pub(super) is_garbled: bool,
}

/// What is in the folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Events, claimed ones too, the oldest first.
    pub(super) events: Vec<Found>,
    /// Files that are being written, or were when their writer ended.
    pub(super) temporary: Vec<Found>,
    /// What is not ours, and left alone; what is hidden is counted if it might be taken for ours.
    pub(super) strangers: u64,
    /// There was no time for all of it.
    pub(super) is_cut: bool,
}

/// Lists the folder, or what of it there is time for; one that is absent is empty. With the tag of a
/// destination, only the events that may be for it.
pub(super) fn list(folder: &Path, destination: Option<&str>, until: Option<Instant>) -> Result<Listing, SpoolError> {
    let mut listing = Listing::default();
    // A name without a tag was made by hand: its header decides.
    let is_wanted = |stem: &str| destination.is_none_or(|here| name::tag(stem).is_none_or(|has| has == here));
    each(folder, |entry, file, named| {
        if is_late(until) {
            listing.is_cut = true;
            return false;
        }
        let found = |stem: &str, claimed| {
            let is_garbled = entry.file_name().to_str().is_none();
            Found { file: file.to_owned(), stem: stem.to_owned(), claimed, is_garbled }
        };
        let is_dir = || entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_file = || entry.file_type().is_ok_and(|kind| kind.is_file());
        match named {
            Named::Waiting { stem } | Named::Claimed { stem, .. } if !is_wanted(stem) => {}
            Named::Waiting { stem } if is_file() => listing.events.push(found(stem, None)),
            Named::Claimed { stem, since } if is_file() => listing.events.push(found(stem, Some(since))),
            Named::Temporary { stem } if is_file() => listing.temporary.push(found(stem, None)),
            _ if (file == QUARANTINE && is_dir()) || (file.starts_with('.') && !file.ends_with(name::TEMPORARY)) => {}
            _ => listing.strangers += 1,
        }
        true
    })?;
    // The time first, as a number: a name that was made by hand need not have thirteen digits.
    listing
        .events
        .sort_by_cached_key(|found| (name::spooled_at(&found.stem), name::number(&found.stem), found.stem.clone()));
    Ok(listing)
}

/// The bytes of the files of a folder, and how many there are; the quarantine's are its own. With a
/// time to take, at least so many bytes: a call may not wait for a slow disk to look at 200,000 files,
/// and an event is rather kept above the limit than lost. So when half of the time is over, a file
/// counts for the smallest event, which costs its name alone; and after all of it nothing more is counted.
pub(super) fn measure(folder: &Path, within: Option<Duration>) -> Result<(u64, u64), SpoolError> {
    let after = |time: Duration| Instant::now().checked_add(time);
    let (half, until) = (within.and_then(|time| after(time / 2)), within.and_then(after));
    let (mut files, mut bytes) = (0, 0);
    each(folder, |entry, _, named| {
        if named == Named::Other {
            return !is_late(until);
        }
        if is_late(half) {
            files += 1;
            bytes += SMALLEST;
            return !is_late(until);
        }
        // A file that is gone by now takes no room.
        if let Ok(found) = entry.metadata()
            && found.is_file()
        {
            files += 1;
            bytes += found.len();
        }
        true
    })?;
    Ok((files, bytes))
}

/// Whether it is later than that.
pub(super) fn is_late(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() >= until)
}

/// Shows each entry, its name and what that means, for as long as `show` says so.
fn each(folder: &Path, mut show: impl FnMut(&DirEntry, &str, Named<'_>) -> bool) -> Result<(), SpoolError> {
    let failed = |error: io::Error| SpoolError::from_io(folder, "listing the folder", &error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let file = entry.file_name();
        let file = file.to_string_lossy();
        if !show(&entry, &file, name::read(&file)) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_made_between_two_looks_is_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("spool");
        assert!(absent(&folder, fs::symlink_metadata(&folder)).unwrap().is_none());
        fs::create_dir(&folder).unwrap();
        assert!(absent(&folder, fs::symlink_metadata(&folder)).unwrap().is_some());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert_eq!(look(&link).unwrap_err().kind(), "not_a_folder");
    }
}
