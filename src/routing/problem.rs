//! Mistakes in routing files: where each stands and what to do about it, collected rather than
//! stopped at.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::yaml::{Faults, Position};

/// What part of the routing folder a problem is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    /// The folder or a file as a whole.
    Folder,
    /// The text is not YAML, or YAML that routing files do not use.
    Syntax,
    /// An agent.
    Agent,
    /// A rule, but for its pattern and templates.
    Rule,
    /// The pattern of a rule.
    Pattern,
    /// A template of a rule.
    Template,
}

impl ProblemKind {
    /// A stable word for labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Syntax => "syntax",
            Self::Agent => "agent",
            Self::Rule => "rule",
            Self::Pattern => "pattern",
            Self::Template => "template",
        }
    }
}

/// One mistake, or one warning: `file:line:column: what was expected, what was found, what to do`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, or the folder where no single file is at fault.
    pub file: Arc<Path>,
    /// The place in the file, where there is one.
    pub position: Option<Position>,
    /// What part of the folder it is in.
    pub part: ProblemKind,
    /// What was expected, what was found, and what to do.
    pub message: String,
}

impl Problem {
    /// A stable word for labels.
    pub fn kind(&self) -> &'static str {
        self.part.as_str()
    }
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

/// Every mistake of a routing folder, in the order of files and lines; one a line when displayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(list: Vec<Problem>, warnings: Vec<Problem>) -> Self {
        Self { list: sorted(list), warnings: sorted(warnings) }
    }

    /// The problem that keeps the whole folder from being read.
    pub(super) fn folder(folder: &Path, message: String) -> Self {
        let list = vec![Problem { file: folder.into(), position: None, part: ProblemKind::Folder, message }];
        Self { list, warnings: Vec::new() }
    }

    /// What is probably a mistake too. Not displayed with the others.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The problems, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// A stable word for labels: the part of the folder that the first problem is in.
    pub fn kind(&self) -> &'static str {
        self.list.first().map_or("folder", Problem::kind)
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
    /// The part of the folder that is being read.
    pub(super) part: ProblemKind,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl Report {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file: file.into(), part: ProblemKind::Syntax, problems: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn warn(&mut self, position: Option<Position>, message: String) {
        let (file, part) = (Arc::clone(&self.file), self.part);
        self.warnings.push(Problem { file, position, part, message });
    }

    pub(super) fn error(&mut self, position: Option<Position>, message: impl Into<String>) {
        let file = Arc::clone(&self.file);
        self.problems.push(Problem { file, position, part: self.part, message: message.into() });
    }
}

impl Faults for Report {
    fn fault(&mut self, position: Option<Position>, message: String) {
        self.error(position, message);
    }
}
