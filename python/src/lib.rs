//! The native module of `workflow_events`, `workflow_runner` and `integration_events`: the publish client of workflow-bridge, the
//! scheduled jobs, and a consumer of events, in the interpreter's process.
//!
//! Owns the conversion between the two languages. Its invariants: the interpreter's lock is released in every call that can
//! wait or touch the disk, no thread but the caller's runs Python, and no secret is part of a message or a repr.
//! Python reads the environment and applies the defaults (`settings.py`).

mod batch;
mod consumer;
mod outcome;
mod plain;
mod publisher;
mod runner;
mod settings;

use pyo3::prelude::*;

// The interpreter's lock keeps values as they are while they are read (`plain.rs`).
#[pymodule(gil_used = true)]
mod _native {
    use std::ffi::OsString;

    use pyo3::prelude::*;
    use workflow_bridge::publish::spool::Spool;

    #[pymodule_export]
    use crate::{
        batch::PublishBatch,
        consumer::{Call, Consumer},
        outcome::Outcome,
        plain::plain_json,
        publisher::{NativeError, Publisher, SettingsError},
        runner::{ConfigProblems, JobNotStarted, JobProcess, RetryPolicy, read_job, read_runner},
        settings::Setting,
    };

    /// The spool's default folder and a warning about it (`Spool::choose_folder`), so that Python and Rust use the same
    /// one.
    #[pyfunction]
    #[pyo3(signature = (state=None, home=None))]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 passes owned values")]
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
        module.add("SETTINGS", crate::settings::declared(module.py())?)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
