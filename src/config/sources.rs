//! The sources of settings other than the defaults.

use std::{collections::BTreeMap, path::PathBuf};

/// Where settings come from. Tests replace the environment.
pub(crate) struct Sources<'a> {
    /// The given flags, by the path of their setting.
    pub flags: BTreeMap<&'static str, String>,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The path given for bridge.yaml, which must exist; `None` reads bridge.yaml if there is one.
    pub file: Option<PathBuf>,
}
