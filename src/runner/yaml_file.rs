//! One YAML file and its mistakes.

use std::path::Path;

use super::{ConfigError, Problem};
use crate::{
    files::{self, NotUtf8},
    yaml::{self, Node, Position},
};

/// More than anyone writes by hand: 10,000 schedules are 2 MiB.
const MAX_BYTES: u64 = 4 << 20;

/// Collects the mistakes of one file.
pub(super) struct YamlFile {
    name: String,
    problems: Vec<Problem>,
}

impl YamlFile {
    /// Reads the file: its content, unless it is no YAML.
    pub(super) fn read(path: &Path) -> (Self, Option<Node>) {
        match files::read_text_within(path, MAX_BYTES) {
            Ok(text) => Self::parse(&path.display().to_string(), &text),
            Err(error) => {
                let mut file = Self { name: path.display().to_string(), problems: Vec::new() };
                let place = error.get_ref().and_then(|error| error.downcast_ref::<NotUtf8>());
                let place = place.map(|place| Position { line: place.line, column: place.column });
                file.problem(place, format!("the file cannot be read: {error}"));
                (file, None)
            }
        }
    }

    /// Reads a text as if it stood in a file of this name.
    pub(super) fn parse(name: &str, text: &str) -> (Self, Option<Node>) {
        let mut file = Self { name: name.to_owned(), problems: Vec::new() };
        let mut faults = Vec::new();
        let root = yaml::read(text, &mut faults);
        for (at, message) in faults {
            file.problem(at, message);
        }
        if root.is_none() && file.problems.is_empty() {
            file.problem(None, "expected a map, found an empty file".to_owned());
        }
        (file, root)
    }

    pub(super) fn problem(&mut self, at: Option<Position>, message: String) {
        self.problems.push(Problem::new(&self.name, at, message));
    }

    /// What was read, or every mistake. A value is only missing when a mistake was reported.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, ConfigError> {
        self.problems.sort_by_key(Problem::place);
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(ConfigError { problems: self.problems }),
        }
    }
}
