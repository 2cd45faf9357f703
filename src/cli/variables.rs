//! The environment of this process, and which variables were looked up.

use std::{collections::BTreeSet, env, sync::Arc};

use crate::{
    bridge::{Environment, process_environment},
    config::unread,
    sync::Mutex,
};

/// Records every variable that is looked up.
#[derive(Default)]
pub(super) struct Variables(Arc<Mutex<BTreeSet<String>>>);

impl Variables {
    /// An environment that records look-ups.
    pub(super) fn environment(&self) -> Environment {
        let (asked, process) = (Arc::clone(&self.0), process_environment());
        Arc::new(move |name| {
            asked.lock().insert(name.to_owned());
            process(name)
        })
    }

    /// Warnings about probable mistakes. `strict` says that every look-up has been made.
    pub(super) fn warnings(&self, strict: bool) -> Vec<String> {
        let asked = self.0.lock();
        // An empty variable counts as unset.
        let set: Vec<_> = env::vars_os().filter(|(_, value)| !value.is_empty()).collect();
        let names = set.iter().filter_map(|(name, _)| name.to_str());
        let mut warnings = unread(names, &asked, strict);
        for (name, value) in &set {
            if let (Some(name), None) = (name.to_str(), value.to_str())
                && asked.contains(name)
            {
                warnings.push(format!(
                    "the environment variable {name} counts as unset: expected UTF-8, found other bytes (not shown)"
                ));
            }
        }
        warnings
    }
}
