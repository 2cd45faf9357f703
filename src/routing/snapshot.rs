//! What a routing folder holds at one moment.
//!
//! Owns reading the files and the fingerprint of what was read. Its invariant: what is compiled is what the fingerprint is of.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::inventory::{self, Inventory};
use crate::files;

/// The largest file, and the largest folder, in bytes.
pub(super) const MAX_BYTES: u64 = 32 << 20;

/// Tells the contents of two folders apart: the names and the bytes of their routing files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

/// The files of a folder, read.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(super) folder: PathBuf,
    pub(super) inventory: io::Result<Inventory>,
    pub(super) files: Vec<(PathBuf, io::Result<String>)>,
    fingerprint: Fingerprint,
}

/// What the system says of the routing files, without reading them: enough to see that somebody wrote one, if clocks and file
/// systems are honest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<(PathBuf, [i64; 4], [u64; 3])>);

impl Snapshot {
    /// Reads every routing file. What cannot be read is part of the result.
    pub(crate) fn read(folder: &Path) -> Self {
        let inventory = inventory::list(folder);
        let mut left = MAX_BYTES;
        let paths = inventory.as_ref().map(|inventory| inventory.files.clone()).unwrap_or_default();
        let read = |path: PathBuf| {
            let text = files::read_text_within(&path, left);
            left -= text.as_ref().map_or(0, |text| text.len() as u64);
            (path, text)
        };
        let files: Vec<_> = paths.into_iter().map(read).collect();
        let fingerprint = Fingerprint::of(&inventory, &files);
        Self { folder: folder.to_owned(), inventory, files, fingerprint }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl Fingerprint {
    fn of(inventory: &io::Result<Inventory>, files: &[(PathBuf, io::Result<String>)]) -> Self {
        let mut hash = Sha256::new();
        // Each part with its length, so that no two folders have the same parts.
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        if let Err(error) = inventory {
            add(error.to_string().as_bytes());
        }
        for (path, text) in files {
            add(path.file_name().unwrap_or_default().as_encoded_bytes());
            match text {
                Ok(text) => add(text.as_bytes()),
                Err(error) => add(format!("\0{error}").as_bytes()),
            }
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Stamp {
    /// `None` when something of the folder cannot be looked at.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        let paths = inventory::list(folder).ok()?.files;
        let stamp = |path: PathBuf| {
            // Of the file that a link leads to.
            let of = fs::metadata(&path).ok()?;
            let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()];
            Some((path, times, [of.dev(), of.ino(), of.size()]))
        };
        paths.into_iter().map(stamp).collect::<Option<_>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn of(files: &[(&str, &str)]) -> Fingerprint {
        Snapshot::read(folder(files).path()).fingerprint()
    }

    #[test]
    fn a_fingerprint_is_of_names_and_contents_wherever_the_folder_is() {
        assert_eq!(
            of(&[("a.yaml", "x"), ("b.yaml", "y")]),
            of(&[("b.yaml", "y"), ("a.yaml", "x"), ("notes.txt", "z")])
        );
        let different = [
            of(&[("a.yaml", "x"), ("b.yaml", "y")]),
            of(&[("a.yaml", "y"), ("b.yaml", "x")]),
            of(&[("a.yaml", "x")]),
            of(&[("a.yaml", "xb.yamly")]),
            of(&[]),
            Snapshot::read(Path::new("/nowhere")).fingerprint(),
        ];
        for (at, one) in different.iter().enumerate() {
            assert!(!different[at + 1..].contains(one), "{at} is like another");
        }
    }

    #[test]
    fn a_file_that_is_not_utf8_is_part_of_the_fingerprint_and_a_mistake() {
        let folder = folder(&[("a.yaml", "")]);
        fs::write(folder.path().join("a.yaml"), b"rules: \xff").unwrap();
        let snapshot = Snapshot::read(folder.path());
        assert!(snapshot.files[0].1.is_err());
        assert_ne!(snapshot.fingerprint(), of(&[("a.yaml", "")]));
    }

    #[test]
    fn a_stamp_changes_with_a_file_and_with_where_a_link_leads() {
        let folder = folder(&[("one", "x"), ("two", "x")]);
        let link = folder.path().join("a.yaml");
        std::os::unix::fs::symlink(folder.path().join("one"), &link).unwrap();
        let before = Stamp::read(folder.path()).unwrap();
        assert_eq!(Stamp::read(folder.path()).unwrap(), before);
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(folder.path().join("two"), &link).unwrap();
        let linked = Stamp::read(folder.path()).unwrap();
        assert_ne!(linked, before);
        fs::write(folder.path().join("two"), "longer").unwrap();
        assert_ne!(Stamp::read(folder.path()).unwrap(), linked);
        fs::remove_file(folder.path().join("two")).unwrap();
        assert_eq!(Stamp::read(folder.path()), None);
    }
}
