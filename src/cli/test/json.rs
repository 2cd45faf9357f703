//! The results as one JSON object.

use serde_json::{Value, json};

use super::report::Report;

pub(super) fn json(report: &Report) -> Value {
    let tests: Vec<Value> = report
        .tested
        .iter()
        .map(|tested| {
            json!({
                "name": tested.case.name,
                "file": tested.case.file.to_string_lossy(),
                "line": tested.case.at.map(|at| at.line),
                "column": tested.case.at.map(|at| at.column),
                "passed": tested.failures.is_empty(),
                "failures": tested.failures,
            })
        })
        .collect();
    json!({
        "tests": tests,
        "coverage": report.coverage,
        "summary": {
            "ok": report.failed() == 0,
            "tests": report.tested.len(),
            "failed": report.failed(),
            "rules": report.coverage.len(),
            "rules_matched": report.matched_rules(),
            "conditions": report.conditions().count(),
            "conditions_tried": report.tried_conditions(),
        },
    })
}
