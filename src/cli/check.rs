//! `check`: every mistake in the settings and the routing folder.

mod json;
mod report;
mod sarif;
mod shown;
mod snippet;
mod source;
mod text;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};

use self::report::{Report, Severity};
use super::{
    flags::{OutputFlag, Settings},
    output,
    variables::Variables,
};
use crate::{
    bridge::{BridgeError, Exit, connect, load_routing},
    config::environment_help,
    routing::{Changes, Inventory, Problem, cases::CaseFiles},
};

const EXAMPLE: &str = "Example: workflow-bridge check --routing routing\n\
Example: workflow-bridge check --routing routing.new --against routing\n\
Example: workflow-bridge check -D warnings -o sarif > check.sarif\n\
Example: workflow-bridge check --connect\n\n\
A value that may be a secret is shown as ***.\n\n\
Exit codes: 0 no mistake, 69 nothing but Kafka or an agent is at fault, 78 a mistake in the settings or the routing files, \
or a warning with -D warnings.";

/// Flags of `check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = format!("{EXAMPLE}\n\n{}", environment_help()))]
pub(super) struct Check {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    form: OutputFlag<Format>,
    /// Ask Kafka and every agent too, and change nothing there: 10s at most
    #[arg(long)]
    connect: bool,
    /// `warnings`: a warning about a routing file is a mistake too
    #[arg(short = 'D', long, value_name = "WHAT", hide_possible_values = true)]
    deny: Vec<Denied>,
    /// The same as --deny warnings
    #[arg(long)]
    strict: bool,
    /// Compare with this routing folder, the one that is in force: names that are gone or changed are warnings
    #[arg(long, value_name = "FOLDER")]
    against: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
    /// For code scanning
    Sarif,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Denied {
    Warnings,
}

impl Check {
    pub(super) fn main(&self) -> ExitCode {
        let report = self.report();
        match self.form.output {
            Format::Text => print(&report),
            Format::Json => output::result(format_args!("{}", output::json(&json::json(&report)))),
            Format::Sarif => output::result(format_args!("{}", output::json(&sarif::sarif(&report)))),
        }
        match (report.is_ok(), report.is_about_connections_only()) {
            (true, _) => ExitCode::SUCCESS,
            (false, true) => Exit::Unavailable.into(),
            (false, false) => Exit::Config.into(),
        }
    }

    fn report(&self) -> Report {
        let variables = Variables::default();
        let environment = variables.environment();
        let settings = self.settings.load(&environment);
        let (folder, window) = match &settings {
            Ok(config) => (config.routing_dir.clone(), config.dedup_window),
            Err(error) => (error.routing_dir.clone(), error.dedup_window),
        };
        let routing = load_routing(&folder, window, &environment);
        let inventory = match &routing {
            Ok(routing) => routing.inventory().clone(),
            Err(BridgeError::Routing { problems, .. }) => problems.inventory().clone(),
            Err(_) => Inventory::default(),
        };
        let denies_warnings = self.strict || !self.deny.is_empty();
        let tests = CaseFiles::read(&inventory.tests, routing.as_ref().ok());
        let mut report = Report::new(&folder, inventory, denies_warnings);
        report.tests = tests.cases.len();
        report.environment(variables.warnings(true));
        if let Err(error) = &settings {
            report.settings(error);
        }
        match &routing {
            Ok(routing) => report.routing(Severity::Warning, routing.warnings()),
            Err(BridgeError::Routing { problems, .. }) => {
                report.routing(Severity::Error, problems.iter());
                report.routing(Severity::Warning, problems.warnings());
            }
            Err(error) => report.other(&folder, error.to_string()),
        }
        // The bridge does not read them.
        report.routing(Severity::Warning, &tests.problems);
        if let (Some(against), Ok(routing)) = (&self.against, &routing) {
            match load_routing(against, window, &environment) {
                Ok(before) => report.changes(&folder, against, &Changes::between(&before, routing)),
                Err(error) => report.other(against, format!("there is nothing to compare with: {error}")),
            }
        }
        if self.connect {
            if matches!(self.form.output, Format::Text) {
                output::note(format_args!("asking Kafka and the agents"));
            }
            report.asked(connect(settings.as_ref().ok(), routing.as_ref().ok()));
        }
        report.sort();
        report
    }
}

/// Mistakes of the files of a folder, as `check` prints them.
pub(super) fn errors(folder: &Path, problems: &[Problem]) -> String {
    let mut report = Report::new(folder, Inventory::default(), false);
    report.routing(Severity::Error, problems);
    text::findings(&report)
}

fn print(report: &Report) {
    output::lines(&text::findings(report));
    output::lines(&text::connected(report));
    if let Some(skipped) = text::skipped(report) {
        output::note(format_args!("{skipped}"));
    }
    let summary = text::summary(report);
    if report.is_ok() {
        output::result(format_args!("{summary}"));
    } else {
        output::note(format_args!("{summary}"));
    }
}

#[cfg(test)]
mod tests;
