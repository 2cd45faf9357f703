//! What the documents say is what the code does.

#![expect(clippy::panic, reason = "a test that cannot go on says why and ends")]

#[path = "alerts/mod.rs"]
mod alerts;

use std::{fs, path::Path};

use workflow_bridge::{
    config::ALL,
    telemetry::{self, Kind},
};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_metric_is_documented_as_it_is() {
    let documented: Vec<String> =
        read("docs/metrics.md").lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let expected: Vec<String> = telemetry::ALL
        .iter()
        .map(|metric| {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            format!("| `{}` | {kind} | {labels} | {} |", metric.name, metric.help)
        })
        .collect();
    assert_eq!(documented, expected);
}

#[test]
fn every_setting_is_documented_as_it_is() {
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    let documented: Vec<String> =
        read("docs/configuration.md").lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let expected: Vec<String> = ALL
        .iter()
        .map(|key| {
            format!(
                "| `{}` | `{}` | {} | {} | {} |",
                key.path,
                key.env,
                code(key.flag.unwrap_or_default()),
                code(key.default),
                key.help
            )
        })
        .collect();
    assert_eq!(documented, expected);
}

#[test]
fn the_node_of_the_docs_is_the_one_that_is_tested() {
    let page = read("docs/agents.md");
    let blocks: Vec<&str> = page.split("```python\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let node = blocks.iter().find(|block| block.contains("def write_receipt")).copied();
    let example = read("examples/langgraph-app/receipts.py");
    assert!(node.is_some_and(|node| example.contains(node)), "docs/agents.md shows another node than the example has");
}
