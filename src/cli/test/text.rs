//! The results for people: what failed, what no test tries, and a line that counts.

use std::fmt::Write as _;

use super::{lines::lines, report::Report};
use crate::{words::counted, yaml::visible};

/// The most lines about what no test tries.
const MAX_UNTRIED: usize = 20;

/// The failed tests, and what they expect and do not find.
pub(super) fn failures(report: &Report) -> String {
    let mut text = String::new();
    for tested in report.tested.iter().filter(|tested| !tested.failures.is_empty()) {
        let place = tested.case.at.map(|at| format!(":{at}")).unwrap_or_default();
        let file = visible(&tested.case.file.to_string_lossy());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{file}{place}: failed: {}", visible(&tested.case.name));
        for line in tested.failures.iter().flat_map(lines) {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

/// What no test tries, and what was run.
pub(super) fn summary(report: &Report) -> String {
    let mut untried = untried(report);
    let left = untried.len().saturating_sub(MAX_UNTRIED);
    untried.truncate(MAX_UNTRIED);
    if left > 0 {
        untried.push(format!("and {left} more: -o json has all"));
    }
    let (all, failed) = (report.tested.len(), report.failed());
    let passed = if failed == 0 { "ok".to_owned() } else { format!("{failed} failed") };
    untried.push(format!(
        "{passed}: {}; {} of {} matched, {} of {} tried",
        counted(all, "test"),
        report.matched_rules(),
        counted(report.coverage.len(), "rule"),
        report.tried_conditions(),
        counted(report.conditions().count(), "condition")
    ));
    untried.join("\n")
}

fn untried(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for rule in &report.coverage {
        let name = &rule.rule;
        if rule.matched == 0 {
            lines.push(format!("not tried: rule `{name}`: no test's event matches it"));
            continue;
        }
        for condition in rule.conditions.iter().filter(|condition| !condition.is_tried()) {
            let path = &condition.path;
            let what = if condition.held == 0 { "holds for no test's event" } else { "fails for no test's event" };
            lines.push(format!("not tried: rule `{name}`, {path} {}: it {what}", condition.expected));
        }
    }
    lines
}
