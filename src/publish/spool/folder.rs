//! The folder of the spool: made if absent, refused if it is another user's.

use std::{
    env,
    fs::{self, DirBuilder, Metadata},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, access},
    process::geteuid,
};

use super::{
    SpoolError,
    dir::{self, Dir},
    permissions::{FOLDER_MODE, Owner, restrict},
};

/// The folder within it for what can never be published.
pub(super) const QUARANTINE: &str = "quarantine";

/// Makes the folder if it is absent, checks its owner, and opens it.
pub(super) fn prepare(folder: &Path) -> Result<Dir, SpoolError> {
    let failed = |error: io::Error| SpoolError::from_io(folder, "making the folder", &error);
    if inspect(folder)?.is_none() {
        make(folder).map_err(failed)?;
        inspect(folder)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    }
    Dir::open(folder).map_err(|error| SpoolError::from_io(folder, "opening the folder", &error))
}

/// The spool of a user without a home, in the folder for temporary files.
pub(super) fn temporary() -> PathBuf {
    env::temp_dir().join(format!("workflow-events-{}", geteuid().as_raw())).join("spool")
}

/// Why a folder can be neither used nor made, if so.
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
            // The next ancestor says what it is instead.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => continue,
            Err(error) => error.to_string(),
        };
        return Some(format!("{}: {why}", path.display()));
    }
    None
}

/// Whether it is [`temporary`], however its path is spelled.
fn is_temporary(folder: &Path) -> bool {
    let (temporary, resolved) = (temporary(), |path: &Path| fs::canonicalize(path.ancestors().nth(2)?).ok());
    let names = |path: &Path| {
        (path.file_name().map(ToOwned::to_owned), path.parent().and_then(Path::file_name).map(ToOwned::to_owned))
    };
    folder == temporary || (names(folder) == names(&temporary) && resolved(folder) == resolved(&temporary))
}

/// Everybody may write in the folder for temporary files: a spool there must be this user's, root's included, and not
/// writable by others.
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

/// Checks the folder; `None` if there is none.
pub(super) fn inspect(folder: &Path) -> Result<Option<Owner>, SpoolError> {
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

/// What a folder is that was not found, by a second check that follows no link: it may be a dangling link, or another
/// writer may have made the folder since the first check.
fn absent(folder: &Path, second: io::Result<Metadata>) -> Result<Option<Owner>, SpoolError> {
    match second {
        Ok(found) if found.is_symlink() => Err(SpoolError::NotAFolder {
            folder: folder.to_owned(),
            found: "a symbolic link that leads nowhere".into(),
        }),
        Ok(_) => inspect(folder),
        Err(_) => Ok(None),
    }
}

/// What is wrong with the folder itself: checked when a file of it could not be opened or moved, because the file alone
/// may be at fault.
pub(super) fn fault(folder: &Path) -> Option<io::Error> {
    access(folder, Access::WRITE_OK | Access::EXEC_OK).err().map(io::Error::from)
}

/// Makes a folder and its absent parents, for the user alone whatever the umask is.
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
            restrict(&dir::open_plain(folder, false)?, FOLDER_MODE)?;
            folder.parent().map_or(Ok(()), sync)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Syncs the names in a folder to the disk; one that may not be read cannot be opened for it.
fn sync(folder: &Path) -> io::Result<()> {
    match Dir::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_made_between_two_checks_is_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("spool");
        assert!(absent(&folder, fs::symlink_metadata(&folder)).unwrap().is_none());
        fs::create_dir(&folder).unwrap();
        assert!(absent(&folder, fs::symlink_metadata(&folder)).unwrap().is_some());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(matches!(inspect(&link).unwrap_err(), SpoolError::NotAFolder { .. }));
    }
}
