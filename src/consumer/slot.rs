//! The folder of a consumer that was given none: of its group and cluster below the user's state, one for each process.
//!
//! Invariant: two processes of one host have different folders, and a process that starts again finds one that was used before: the
//! first that nobody has. What another process's folder knows comes by the ledger topic.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

/// More processes of one service than a host has.
const MAX_SLOTS: usize = 10_000;
/// The longest name of a folder that is made of a group's name, in bytes.
const MAX_NAME: usize = 100;

/// A folder that no other process of this host has. It is free again when this is dropped, or the process ends.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) folder: PathBuf,
    _lock: Option<File>,
}

impl Slot {
    /// A folder that the caller has chosen. The ledger's lock keeps other processes out.
    pub(super) fn chosen(folder: PathBuf) -> Self {
        Self { folder, _lock: None }
    }

    /// The first folder below `root` that no process has.
    pub(super) fn first_free(root: &Path) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).recursive(true).create(root)?;
        for slot in 0..MAX_SLOTS {
            let lock = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(root.join(format!("{slot}.lock")))?;
            match lock.try_lock() {
                Ok(()) => return Ok(Self { folder: root.join(slot.to_string()), _lock: Some(lock) }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other(format!("{MAX_SLOTS} processes have a folder there")))
    }
}

/// The folder of all processes of a group on a cluster, which is known by its brokers' addresses here.
pub(super) fn root(state: &Path, group: &str, servers: &str) -> PathBuf {
    let mut servers: Vec<_> = servers.split(',').map(|server| server.trim().to_ascii_lowercase()).collect();
    servers.retain(|server| !server.is_empty());
    servers.sort_unstable();
    servers.dedup();
    state.join(name(group)).join(digest(&servers.join(",")))
}

/// A group's name as that of a folder: different groups have different ones.
fn name(group: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=MAX_NAME).contains(&group.len()) && group.chars().all(is_plain) && !group.starts_with('.') {
        return group.to_owned();
    }
    let shown: String = group.chars().map(|c| if is_plain(c) { c } else { '_' }).take(MAX_NAME / 2).collect();
    // `=` is in no plain name.
    format!("={shown}={}", digest(group))
}

fn digest(text: &str) -> String {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, text.as_bytes());
    id.simple().to_string().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_the_first_folder_that_nobody_has() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a/b");
        let [zero, one] = [(); 2].map(|()| Slot::first_free(&root).unwrap());
        assert_eq!([&zero.folder, &one.folder], [&root.join("0"), &root.join("1")]);
        drop(zero);
        assert_eq!(Slot::first_free(&root).unwrap().folder, root.join("0"));
    }

    #[test]
    fn a_cluster_is_known_by_its_brokers_in_any_order() {
        let of = |group: &str, servers: &str| root(Path::new("/s"), group, servers);
        assert_eq!(of("a", "one:9092, TWO:9092,"), of("a", "two:9092,one:9092"));
        assert_ne!(of("a", "one:9092"), of("a", "two:9092"));
        assert!(of("orders.v1", "one:9092").starts_with("/s/orders.v1"));
    }

    #[test]
    fn a_group_of_any_name_has_one_folder_of_its_own() {
        let groups = ["a/b", "a_b", "../x", "..", ".a", "", &"x".repeat(300), &"x".repeat(301), "é", "="];
        let mut folders: Vec<_> = groups.iter().map(|group| root(Path::new("/s"), group, "k")).collect();
        assert!(folders.iter().all(|folder| folder.components().count() == 4), "{folders:?}");
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), groups.len(), "{folders:?}");
    }
}
