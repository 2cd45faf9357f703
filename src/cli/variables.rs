//! The environment of this process, and which of it was asked for.

use std::{
    collections::BTreeSet,
    env,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    bridge::{Environment, process_environment},
    config::unread,
};

/// Remembers every variable that is looked up.
#[derive(Default)]
pub(super) struct Variables(Arc<Mutex<BTreeSet<String>>>);

impl Variables {
    /// The environment that remembers.
    pub(super) fn environment(&self) -> Environment {
        let (asked, process) = (Arc::clone(&self.0), process_environment());
        Arc::new(move |name| {
            asked.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
            process(name)
        })
    }

    /// What seems to be a mistake in it. `strict` says that everything that can be asked for has been.
    pub(super) fn warnings(&self, strict: bool) -> Vec<String> {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Set to nothing counts as unset.
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
