//! The report as one JSON object.

use serde_json::{Value, json};

use super::report::{Report, Severity};
use crate::probe::{Probed, Verdict};

pub(super) fn json(report: &Report) -> Value {
    let problems: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "severity": finding.severity.as_str(),
                "area": finding.area.as_str(),
                "file": finding.file.as_ref().map(|file| file.to_string_lossy()),
                "line": finding.at.map(|at| at.line),
                "column": finding.at.map(|at| at.column),
                "message": finding.message,
            })
        })
        .collect();
    let inventory = &report.inventory;
    let files: Vec<_> = inventory.files.iter().map(|file| file.to_string_lossy()).collect();
    let tests: Vec<_> = inventory.tests.iter().map(|file| file.to_string_lossy()).collect();
    let skipped: Vec<_> = inventory
        .skipped
        .iter()
        .map(|entry| json!({"file": entry.path.to_string_lossy(), "reason": entry.reason.as_str()}))
        .collect();
    let asked = report.asked.as_ref().map(|answers| answers.iter().map(answer).collect::<Vec<_>>());
    json!({
        "files": files,
        "test_files": tests,
        "skipped": skipped,
        "problems": problems,
        "connections": asked,
        "summary": {
            "ok": report.is_ok(),
            "files": files.len(),
            "rules": inventory.rules,
            "agents": inventory.agents,
            "tests": report.tests,
            "skipped": inventory.all_skipped,
            "errors": report.count(Severity::Error),
            "warnings": report.count(Severity::Warning),
        },
    })
}

fn answer(answer: &Probed) -> Value {
    let verdict = match answer.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Error => "error",
    };
    json!({"target": answer.target, "verdict": verdict, "found": answer.found, "remedy": answer.remedy})
}
