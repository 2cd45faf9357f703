//! What is wrong in a file, and where.

use std::fmt;

use crate::yaml::Position;

/// One mistake in a file: `file:line:column: schedule NAME: what was expected and found`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    file: String,
    at: Option<Position>,
    message: String,
}

impl Problem {
    pub(super) fn new(file: &str, at: Option<Position>, message: String) -> Self {
        Self { file: file.to_owned(), at, message }
    }

    /// For the order of a report: by position, and first what has none.
    pub(super) fn place(&self) -> Option<Position> {
        self.at
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{}:{at}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Every mistake of a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}
