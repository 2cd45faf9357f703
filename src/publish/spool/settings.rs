//! Where a spool is and how large it may become.

use std::path::{Path, PathBuf};

use super::folder;

/// The size limit where none is given: 256 MiB.
pub const DEFAULT_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// The variable that names the folder.
pub const FOLDER_VARIABLE: &str = "WORKFLOW_EVENTS_SPOOL_DIR";

/// Where a spool is and how large it may become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Its folder; made when it is first used.
    pub folder: PathBuf,
    /// What its events may take on the disk, in bytes. Many processes at once may exceed it by what they put within a
    /// second.
    pub max_bytes: u64,
}

/// The folder of a spool where none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenFolder {
    /// Its path.
    pub folder: PathBuf,
    /// Why it is not where it usually is.
    pub warning: Option<String>,
}

impl SpoolSettings {
    /// A folder with the default limit.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), max_bytes: DEFAULT_MAX_BYTES }
    }

    /// With an absolute path. A leading `~` is the user's home, because an env file has no shell to expand it.
    pub(super) fn resolved(mut self) -> Self {
        if let (Ok(below), Some(home)) = (self.folder.strip_prefix("~"), std::env::home_dir()) {
            self.folder = home.join(below);
        }
        if let Ok(absolute) = std::path::absolute(&self.folder) {
            self.folder = absolute;
        }
        self
    }
}

/// See [`Spool::choose_folder`](super::Spool::choose_folder); `obstacle` says why a folder cannot be used.
pub(super) fn choose(
    env: &dyn Fn(&str) -> Option<String>,
    obstacle: &dyn Fn(&Path) -> Option<String>,
) -> Option<ChosenFolder> {
    if let Some(folder) = env(FOLDER_VARIABLE) {
        let folder = folder.trim();
        let is_on = !folder.is_empty() && !folder.eq_ignore_ascii_case("off");
        return is_on.then(|| ChosenFolder { folder: folder.into(), warning: None });
    }
    let (usable, obstacles) = below_state(env, "workflow-events/spool", obstacle);
    let folder = usable.unwrap_or_else(folder::temporary);
    let warning = (!obstacles.is_empty()).then(|| {
        format!(
            "the spool cannot be {}: it is {}; set {FOLDER_VARIABLE} to a folder that lasts",
            obstacles.join(" or "),
            folder.display(),
        )
    });
    Some(ChosenFolder { folder, warning })
}

/// The folder of this name below the state of the user, and why a place that comes first cannot be used.
pub(super) fn below_state(
    env: &dyn Fn(&str) -> Option<String>,
    below: &str,
    obstacle: &dyn Fn(&Path) -> Option<String>,
) -> (Option<PathBuf>, Vec<String>) {
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // Users without a home have one of these.
    let home = absolute("HOME").filter(|home| home != Path::new("/") && home != Path::new("/nonexistent"));
    let states = [("XDG_STATE_HOME", absolute("XDG_STATE_HOME")), ("HOME", home.map(|home| home.join(".local/state")))];
    let mut obstacles = Vec::new();
    let mut usable = states.into_iter().filter_map(|(name, state)| {
        let folder = state?.join(below);
        match obstacle(&folder) {
            Some(why) => {
                obstacles.push(format!("below {name} ({why})"));
                None
            }
            None => Some(folder),
        }
    });
    (usable.next(), obstacles)
}
