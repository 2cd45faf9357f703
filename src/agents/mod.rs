//! Where events go: one file for each kind of endpoint.

mod spec;

pub use spec::*;
