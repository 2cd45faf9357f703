//! Paths in a pattern or a template, and the position of the pattern compiler.

use std::fmt::Write;

use super::error::{PatternFault, PatternReason};
use crate::yaml::Position;

/// The compiler's position in the pattern, and the faults so far.
pub(super) struct Scope<'a> {
    faults: &'a mut Vec<PatternFault>,
    pub(super) path: String,
    /// How many fields were compiled.
    pub(super) fields: usize,
}

impl<'a> Scope<'a> {
    pub(super) fn new(faults: &'a mut Vec<PatternFault>) -> Self {
        Self { faults, path: String::new(), fields: 0 }
    }

    pub(super) fn fault(&mut self, position: Option<Position>, reason: PatternReason) {
        self.faults.push(PatternFault { path: self.path.clone(), position, reason });
    }

    /// Calls `act` one step deeper.
    pub(super) fn within<T>(&mut self, step: PathStep<'_>, act: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        step.append(&mut self.path);
        let result = act(self);
        self.path.truncate(length);
        result
    }
}

/// A step of a path.
#[derive(Clone, Copy)]
pub(in crate::routing) enum PathStep<'a> {
    Key(&'a str),
    Item(usize),
}

impl PathStep<'_> {
    pub(in crate::routing) fn append(self, path: &mut String) {
        match self {
            Self::Key(key) if key.is_empty() || key.contains(|c: char| ".[]\" ".contains(c) || c.is_control()) => {
                let _ = write!(path, "[{key:?}]");
            }
            Self::Key(key) if path.is_empty() => path.push_str(key),
            Self::Key(key) => {
                let _ = write!(path, ".{key}");
            }
            Self::Item(index) => {
                let _ = write!(path, "[{index}]");
            }
        }
    }
}
