//! What a routing folder holds: the files that are read, and those that are not, with the reason.

use std::{
    ffi::OsStr,
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// What `workflow-bridge schema` prints for these files, as docs/routing.md names them.
const SCHEMA_FILES: [&str; 2] = ["routing.schema.json", "test.schema.json"];
/// How the names of routing tests end.
const TEST_FILES: [&[u8]; 2] = [b".test.yaml", b".test.yml"];
/// The most skipped entries that are listed: somebody may have named the wrong folder.
const MAX_SKIPPED: usize = 100;

/// What a folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    /// The routing files, sorted.
    pub files: Vec<PathBuf>,
    /// The files of routing tests, sorted. They are no part of the routing.
    pub tests: Vec<PathBuf>,
    /// What is not read, sorted; at most 100 entries.
    pub skipped: Vec<Skipped>,
    /// How many entries are not read.
    pub all_skipped: usize,
    /// How many rules the files have, those with mistakes too if they have a name.
    pub rules: usize,
    /// How many agents the files have, likewise.
    pub agents: usize,
}

/// An entry of the folder that is not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Skipped {
    /// Its path.
    pub path: PathBuf,
    /// Why it is not read.
    pub reason: Reason,
}

/// Why an entry is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Its name begins with a dot.
    Hidden,
    /// It is a folder.
    Folder,
    /// Its name ends neither with .yaml nor with .yml.
    Extension,
}

impl Reason {
    /// The reason as a word for programs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Folder => "folder",
            Self::Extension => "extension",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hidden => "hidden",
            Self::Folder => "a folder",
            Self::Extension => "neither *.yaml nor *.yml",
        })
    }
}

fn is_schema(name: &OsStr) -> bool {
    SCHEMA_FILES.iter().any(|schema| name == *schema)
}

/// The entries of a folder, sorted.
pub(super) fn list(folder: &Path) -> io::Result<Inventory> {
    let mut inventory = Inventory::default();
    let mut skipped = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let is_test = TEST_FILES.iter().any(|end| name.as_encoded_bytes().ends_with(end));
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let reason = if name.as_encoded_bytes().starts_with(b"..") || is_schema(&name) {
            // Kubernetes puts these into each folder that it mounts; editors want the other one beside the files.
            continue;
        } else if name.as_encoded_bytes().starts_with(b".") {
            Reason::Hidden
        } else if is_test {
            inventory.tests.push(path);
            continue;
        } else if is_yaml {
            // A directory too: Docker makes one where a file to mount does not exist.
            inventory.files.push(path);
            continue;
        } else if path.is_dir() {
            Reason::Folder
        } else {
            Reason::Extension
        };
        skipped.push(Skipped { path, reason });
    }
    inventory.files.sort();
    inventory.tests.sort();
    skipped.sort();
    inventory.all_skipped = skipped.len();
    skipped.truncate(MAX_SKIPPED);
    inventory.skipped = skipped;
    Ok(inventory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_listed_with_the_reason_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "b.yml",
            "a.yaml",
            "b.test.yaml",
            "a.test.yml",
            ".a.test.yaml",
            ".a.yaml.swp",
            "notes.txt",
            "rules.YAML",
            "..2026_01_31",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        for name in ["old", "made-by-docker.yaml"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let found = list(folder.path()).unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(
            found.files.iter().map(|path| name(path)).collect::<Vec<_>>(),
            ["a.yaml", "b.yml", "made-by-docker.yaml"]
        );
        assert_eq!(found.tests.iter().map(|path| name(path)).collect::<Vec<_>>(), ["a.test.yml", "b.test.yaml"]);
        let skipped: Vec<_> = found.skipped.iter().map(|entry| (name(&entry.path), entry.reason.as_str())).collect();
        let expected = [
            (".a.test.yaml", "hidden"),
            (".a.yaml.swp", "hidden"),
            ("notes.txt", "extension"),
            ("old", "folder"),
            ("rules.YAML", "extension"),
        ];
        assert_eq!(skipped, expected.map(|(name, reason)| (name.to_owned(), reason)));

        for number in 0..200 {
            fs::write(folder.path().join(format!("{number}.json")), "").unwrap();
        }
        let found = list(folder.path()).unwrap();
        assert_eq!((found.skipped.len(), found.all_skipped), (100, 205));
    }
}
