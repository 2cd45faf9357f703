//! The report in SARIF 2.1.0, for code scanning.

use std::{fmt::Write as _, path::Path};

use serde_json::{Value, json};

use super::report::{Area, Finding, Report};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

pub(super) fn sarif(report: &Report) -> Value {
    let rules: Vec<Value> =
        Area::ALL.iter().map(|(area, text)| json!({"id": area.as_str(), "shortDescription": {"text": text}})).collect();
    // A result has to be in a file: what the environment or a flag says is about the run.
    let in_files = report.findings.iter().filter_map(|finding| Some(result(finding, finding.file.as_deref()?)));
    let in_files: Vec<Value> = in_files.collect();
    let others = report.findings.iter().filter(|finding| finding.file.is_none());
    let others: Vec<Value> = others
        .map(|finding| {
            json!({
                "level": finding.severity.as_str(),
                "message": {"text": finding.message},
                "associatedRule": {"id": finding.area.as_str(), "index": index(finding.area)},
            })
        })
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "workflow-bridge",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [{"executionSuccessful": true, "toolConfigurationNotifications": others}],
            "results": in_files,
        }],
    })
}

fn result(finding: &Finding, file: &Path) -> Value {
    // Viewers refuse a result without a line.
    let region =
        finding.at.map_or(json!({"startLine": 1}), |at| json!({"startLine": at.line, "startColumn": at.column}));
    let location = json!({"artifactLocation": {"uri": uri(file)}, "region": region});
    json!({
        "ruleId": finding.area.as_str(),
        "ruleIndex": index(finding.area),
        "level": finding.severity.as_str(),
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": location}],
    })
}

fn index(area: Area) -> usize {
    Area::ALL.iter().position(|(of, _)| *of == area).unwrap_or_default()
}

/// A reference to a file: relative as the path is, or `file://`.
fn uri(path: &Path) -> String {
    let mut uri = if path.is_absolute() { "file://".to_owned() } else { String::new() };
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_reference_that_can_be_resolved() {
        for (path, expected) in [
            ("routing/rules.yaml", "routing/rules.yaml"),
            ("../a b:c/ü%.yaml", "../a%20b%3Ac/%C3%BC%25.yaml"),
            ("/etc/workflow-bridge/a.yaml", "file:///etc/workflow-bridge/a.yaml"),
        ] {
            assert_eq!(uri(Path::new(path)), expected);
        }
    }
}
