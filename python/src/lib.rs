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
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::{
        many::Many,
        outcome::Outcome,
        publisher::{NativeError, Publisher, SettingsError},
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
