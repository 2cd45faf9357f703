//! Mistakes in routing files: the position of each and what to do about it. All of them are collected.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::inventory::Inventory;
use crate::yaml::{Faults, Position};

/// One mistake, or one warning: `file:line:column: what was expected, what was found, what to do`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file, or the folder if no single file is at fault.
    pub file: Arc<Path>,
    /// The position in the file, if there is one.
    pub position: Option<Position>,
    /// What was expected, what was found, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(position) = self.position {
            write!(f, "{position}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// Every mistake of a routing folder, in the order of files and lines; displayed one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    warnings: Vec<Problem>,
    /// In a box, as an error is moved often.
    inventory: Box<Inventory>,
}

impl Problems {
    pub(super) fn new(list: Vec<Problem>, warnings: Vec<Problem>) -> Self {
        Self { list: sorted(list), warnings: sorted(warnings), inventory: Box::default() }
    }

    /// A problem of the folder as a whole.
    pub(super) fn folder(folder: &Path, message: String) -> Self {
        let list = vec![Problem { file: folder.into(), position: None, message }];
        Self { list, warnings: Vec::new(), inventory: Box::default() }
    }

    /// With what the folder holds.
    pub(super) fn of(self, inventory: Inventory) -> Self {
        Self { inventory: Box::new(inventory), ..self }
    }

    /// What the folder holds.
    pub(crate) fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// The warnings. They are not displayed with the problems.
    pub(crate) fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The problems, at least one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }
}

/// In the order of files and lines, each once.
pub(super) fn sorted(mut list: Vec<Problem>) -> Vec<Problem> {
    list.sort_by(|a, b| (&a.file, a.position).cmp(&(&b.file, b.position)));
    list.dedup();
    list
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects the problems of one file.
#[derive(Debug)]
pub(super) struct Report {
    file: Arc<Path>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl Report {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file: file.into(), problems: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn file(&self) -> &Arc<Path> {
        &self.file
    }

    pub(super) fn warn(&mut self, position: Option<Position>, message: String) {
        self.warnings.push(Problem { file: Arc::clone(&self.file), position, message });
    }

    pub(super) fn error(&mut self, position: Option<Position>, message: impl Into<String>) {
        let file = Arc::clone(&self.file);
        self.problems.push(Problem { file, position, message: message.into() });
    }
}

impl Faults for Report {
    fn fault(&mut self, position: Option<Position>, message: String) {
        self.error(position, message);
    }
}
