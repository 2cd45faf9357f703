//! One mistake in the settings, and where the value came from.

use std::{fmt, sync::Arc};

use crate::yaml::Position;

/// One mistake: where the value came from, what was expected, what was found, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where the value came from.
    pub location: Location,
    /// What is wrong.
    pub message: String,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// A flag, by its name.
    Flag(&'static str),
    /// An environment variable, by its name.
    Variable(&'static str),
    /// The settings file, by the name that was given for it.
    File(Arc<str>, Option<Position>),
    /// The value is the default.
    Default,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
            Self::File(name, None) => f.write_str(name),
            Self::File(name, Some(at)) => write!(f, "{name}:{at}"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.message)
    }
}
