//! What `check` found: the problems in the order of files and lines, and what was read.

use std::path::{Path, PathBuf};

use crate::{
    config::{ConfigError, Location},
    probe::{Probed, Verdict},
    routing::{Changes, Inventory, Problem},
    words::counted,
    yaml::{Position, visible},
};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// The bridge does not start.
    Error,
    /// Probably a mistake, but the bridge starts.
    Warning,
}

impl Severity {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Area {
    /// A setting.
    Settings,
    /// A variable that nothing reads.
    Environment,
    /// The routing folder.
    Routing,
    /// Kafka or an agent, asked with `--connect`.
    Connection,
}

impl Area {
    /// All of them, with a sentence for each.
    pub(super) const ALL: [(Self, &str); 4] = [
        (Self::Settings, "A setting of the bridge has a mistake."),
        (Self::Environment, "An environment variable is probably a mistake."),
        (Self::Routing, "A routing file has a mistake, or what is probably one."),
        (Self::Connection, "Kafka or an agent is not as the bridge needs it."),
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Environment => "environment",
            Self::Routing => "routing",
            Self::Connection => "connection",
        }
    }
}

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) area: Area,
    /// The file, or the routing folder if no single file is at fault.
    pub(super) file: Option<PathBuf>,
    pub(super) at: Option<Position>,
    /// What was expected, what was found, and what to do.
    pub(super) message: String,
}

/// Everything that a check says.
#[derive(Debug)]
pub(super) struct Report {
    /// In the order of files and lines.
    pub(super) findings: Vec<Finding>,
    /// The routing folder.
    pub(super) folder: PathBuf,
    /// What it holds.
    pub(super) inventory: Inventory,
    /// How many routing tests its test files have.
    pub(super) tests: usize,
    /// Warnings of routing files are mistakes.
    pub(super) denies_warnings: bool,
    /// What Kafka and the agents answered, if they were asked.
    pub(super) asked: Option<Vec<Probed>>,
}

impl Report {
    pub(super) fn new(folder: &Path, inventory: Inventory, denies_warnings: bool) -> Self {
        Self { findings: Vec::new(), folder: folder.to_owned(), inventory, tests: 0, denies_warnings, asked: None }
    }

    pub(super) fn settings(&mut self, error: &ConfigError) {
        self.findings.extend(error.problems.iter().map(|problem| {
            let (file, at, message) = match &problem.location {
                Location::File(name, at) => (Some(name.as_ref().into()), *at, problem.message.clone()),
                _ => (None, None, problem.to_string()),
            };
            Finding { severity: Severity::Error, area: Area::Settings, file, at, message }
        }));
    }

    pub(super) fn environment(&mut self, warnings: Vec<String>) {
        self.findings.extend(warnings.into_iter().map(|message| Finding {
            severity: Severity::Warning,
            area: Area::Environment,
            file: None,
            at: None,
            message,
        }));
    }

    pub(super) fn routing<'p>(&mut self, severity: Severity, problems: impl IntoIterator<Item = &'p Problem>) {
        self.findings.extend(problems.into_iter().map(|problem| Finding {
            severity,
            area: Area::Routing,
            file: Some(problem.file.to_path_buf()),
            at: problem.position,
            message: problem.message.clone(),
        }));
    }

    /// What is known under names that the other folder has, and this one has not.
    pub(super) fn changes(&mut self, folder: &Path, against: &Path, changes: &Changes) {
        let against = against.display();
        let mut messages = Vec::new();
        for (what, names) in [("rule", &changes.rules), ("agent", &changes.agents)] {
            let renamed = names.renamed.iter().map(|(from, to)| {
                format!(
                    "the {what} `{from}` of {against} seems to be `{to}` here. A name is identity: what is parked or partly delivered \
                     under the former one becomes a dead letter (plan_gone), and what was attempted under it may be delivered again: \
                     keep the name, or wait until nothing of it is open"
                )
            });
            let removed = names.removed.iter().map(|name| {
                format!(
                    "there is no {what} `{name}` as in {against}: what is parked or partly delivered under this name becomes a dead letter \
                     (plan_gone)"
                )
            });
            messages.extend(renamed.chain(removed));
        }
        messages.extend(changes.dropped.iter().map(|(rule, agent)| {
            format!(
                "the rule `{rule}` of {against} sends to the agent `{agent}`, and here it does not: what is parked or partly delivered \
                 of that becomes a dead letter (plan_gone)"
            )
        }));
        self.findings.extend(messages.into_iter().map(|message| Finding {
            severity: Severity::Warning,
            area: Area::Routing,
            file: Some(folder.to_owned()),
            at: None,
            message,
        }));
    }

    /// What was answered with `--connect`.
    pub(super) fn asked(&mut self, answers: Vec<Probed>) {
        let findings = answers.iter().filter_map(|answer| {
            let severity = match answer.verdict {
                Verdict::Ok => return None,
                Verdict::Warning => Severity::Warning,
                Verdict::Error => Severity::Error,
            };
            let remedy = answer.remedy.as_ref().map(|remedy| format!(": {remedy}")).unwrap_or_default();
            let message = format!("{}: {}{remedy}", answer.target, answer.found);
            Some(Finding { severity, area: Area::Connection, file: None, at: None, message: visible(&message) })
        });
        self.findings.extend(findings);
        self.asked = Some(answers);
    }

    /// An error about the routing folder as a whole.
    pub(super) fn other(&mut self, folder: &Path, message: String) {
        let file = Some(folder.to_owned());
        self.findings.push(Finding { severity: Severity::Error, area: Area::Routing, file, at: None, message });
    }

    pub(super) fn sort(&mut self) {
        self.findings.sort_by(|a, b| (a.area, &a.file, a.at, a.severity).cmp(&(b.area, &b.file, b.at, b.severity)));
    }

    pub(super) fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Whether the command ends with 0.
    pub(super) fn is_ok(&self) -> bool {
        let is_mistake = |finding: &Finding| {
            finding.severity == Severity::Error || (self.denies_warnings && finding.area == Area::Routing)
        };
        !self.findings.iter().any(is_mistake)
    }

    /// Whether nothing but Kafka or an agent is at fault.
    pub(super) fn is_about_connections_only(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error || finding.area == Area::Connection)
            && !(self.denies_warnings && self.findings.iter().any(|finding| finding.area == Area::Routing))
    }

    /// `2 files, 1 rule, 3 agents`: what was read.
    pub(super) fn read(&self) -> String {
        let Inventory { files, rules, agents, .. } = &self.inventory;
        let mut read = vec![counted(files.len(), "file"), counted(*rules, "rule"), counted(*agents, "agent")];
        if !self.inventory.tests.is_empty() {
            read.push(counted(self.tests, "test"));
        }
        read.join(", ")
    }
}
