//! The report for people: each finding, with its line and a caret where that holds no secret, and a line about what was read.

use std::{fmt::Write as _, path::Path};

use super::{
    report::{Finding, Report, Severity},
    shown::shown,
    snippet::snippet,
    source::Sources,
};
use crate::{probe::Verdict, words::counted, yaml::visible};

/// The most skipped entries that are named.
const MAX_NAMES: usize = 10;
/// The most findings whose line is shown.
const MAX_LINES: usize = 1_000;

/// The findings, one after the other.
pub(super) fn findings(report: &Report) -> String {
    let mut text = String::new();
    let mut sources = Sources::default();
    for (index, finding) in report.findings.iter().enumerate() {
        let severity = finding.severity.as_str();
        let Finding { message, .. } = finding;
        // Writing to a String cannot fail.
        let _ = match (&finding.file, finding.at) {
            (Some(file), Some(at)) => writeln!(text, "{}:{at}: {severity}: {message}", shown_path(file)),
            (Some(file), None) => writeln!(text, "{}: {severity}: {message}", shown_path(file)),
            (None, _) => writeln!(text, "{severity}: {message}"),
        };
        if let (Some(file), Some(at)) = (&finding.file, finding.at)
            && index < MAX_LINES
            && let Some(line) = sources.line(file, at.line)
            && let Some(line) = shown(&line)
        {
            let _ = writeln!(text, "{}", snippet(line, at.line, at.column));
        }
    }
    text
}

/// What was asked with `--connect` and is as it should be; the rest is among the findings.
pub(super) fn connected(report: &Report) -> String {
    let answers = report.asked.iter().flatten().filter(|answer| answer.verdict == Verdict::Ok);
    answers.fold(String::new(), |mut text, answer| {
        let _ = writeln!(text, "ok: {}", visible(&format!("{}: {}", answer.target, answer.found)));
        text
    })
}

/// What stands in the folder and is not read.
pub(super) fn skipped(report: &Report) -> Option<String> {
    let inventory = &report.inventory;
    let shown = inventory.skipped.iter().take(MAX_NAMES);
    let mut names: Vec<String> = shown.map(|entry| format!("{} ({})", name(&entry.path), entry.reason)).collect();
    if names.is_empty() {
        return None;
    }
    let more = inventory.all_skipped - names.len();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    Some(format!("not read in {}: {}", report.folder.display(), names.join(", ")))
}

fn shown_path(path: &Path) -> String {
    visible(&path.to_string_lossy())
}

fn name(path: &Path) -> String {
    visible(&path.file_name().unwrap_or_default().to_string_lossy())
}

/// What was read and what was found.
pub(super) fn summary(report: &Report) -> String {
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let found = match (errors, warnings) {
        (0, 0) => String::new(),
        (0, warnings) => counted(warnings, "warning"),
        (errors, 0) => counted(errors, "error"),
        (errors, warnings) => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
    };
    let asked = report.asked.as_ref().map(|answers| format!("; {} asked", counted(answers.len(), "target")));
    let read = format!("{} in {}{}", report.read(), report.folder.display(), asked.unwrap_or_default());
    match (report.is_ok(), errors, found.is_empty()) {
        (true, _, true) => format!("ok: {read}"),
        (true, _, false) => format!("ok: {read}; {found}"),
        (false, 0, _) => format!("{found}, and warnings are denied: read {read}"),
        (false, _, _) => format!("{found}: read {read}"),
    }
}
