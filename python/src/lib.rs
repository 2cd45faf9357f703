//! The native half of `workflow_events`: the publish client of workflow-bridge, in the interpreter's own process.
//!
//! Owns the border between the two languages. Its invariants: the interpreter's lock is released in every call that can
//! wait or touch the disk, no thread but the caller's ever runs Python, and no secret is part of a message or a repr.
//! What a setting means, and which variable it comes from, is known in Python (`settings.py`).

mod many;
mod outcome;
mod publisher;

use pyo3::prelude::*;

#[pymodule]
mod _native {
    use std::ffi::OsString;

    use pyo3::prelude::*;
    use workflow_bridge::publish::spool::Spool;

    #[pymodule_export]
    use crate::{
        many::Many,
        outcome::Outcome,
        publisher::{NativeError, Publisher, SettingsError},
    };

    /// The spool's folder where none is named, and a warning about it: `Spool::choose_folder`, so that both sides find
    /// the same one.
    #[pyfunction]
    #[pyo3(signature = (state=None, home=None))]
    #[expect(clippy::needless_pass_by_value, reason = "what Python hands over is owned")]
    fn default_spool_folder(state: Option<String>, home: Option<String>) -> Option<(OsString, Option<String>)> {
        let chosen = Spool::choose_folder(&|name| match name {
            "XDG_STATE_HOME" => state.clone(),
            "HOME" => home.clone(),
            _ => None,
        });
        chosen.map(|chosen| (chosen.folder.into(), chosen.warning))
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
