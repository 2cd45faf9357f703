//! What the documents say is what the code does.

#![expect(clippy::panic, reason = "a test that cannot go on says why and ends")]

#[path = "alerts/mod.rs"]
mod alerts;

use std::{
    fs,
    path::{Path, PathBuf},
};

use workflow_bridge::testing::{metrics, publisher_variables, settings};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_metric_is_documented_as_it_is() {
    let documented: Vec<String> =
        read("docs/metrics.md").lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let expected: Vec<String> = metrics()
        .iter()
        .map(|metric| {
            let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            format!("| `{}` | {} | {labels} | {} |", metric.name, metric.kind, metric.help)
        })
        .collect();
    assert_eq!(documented, expected);
}

#[test]
fn every_setting_is_documented_as_it_is() {
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    let documented: Vec<String> =
        read("docs/configuration.md").lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let expected: Vec<String> = settings()
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

/// A publisher's variable in the bridge's environment must not be taken for a mistake.
#[test]
fn every_variable_of_publishers_is_known_to_the_bridge() {
    let mut files = Vec::new();
    for folder in ["python/workflow_events", "python/airflow_integration", "python/src", "src/publish"] {
        list(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
    }
    let mut seen = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        for quoted in text.split('"') {
            let is_name = quoted.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
            // A name that ends with `_` is the beginning of several.
            let is_name = is_name && !quoted.ends_with('_');
            if is_name && ["KAFKA_", "WORKFLOW_EVENTS_"].iter().any(|space| quoted.starts_with(space)) {
                seen += 1;
                let known = settings().iter().any(|key| key.env == quoted) || publisher_variables().contains(&quoted);
                assert!(known, "{}: add {quoted} to OF_PUBLISHERS in src/config/variables.rs", file.display());
            }
        }
    }
    assert!(seen > 5, "only {seen} names were found");
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten() {
        let path = entry.path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| ["py", "rs", "md"].iter().any(|kind| extension == *kind)) {
            files.push(path);
        }
    }
}

/// A file that was renamed must not live on in the documents.
#[test]
fn every_file_that_the_documents_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents =
        ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md"].map(|name| root.join(name)).to_vec();
    list(&root.join("docs"), &mut documents);
    let mut code = Vec::new();
    for folder in [
        "src",
        "tests",
        "benches",
        "python/src",
        "python/tests",
        "python/workflow_events",
        "python/airflow_integration",
        "python/workflow_runner",
        "python/integration_events",
    ] {
        list(&root.join(folder), &mut code);
    }
    let folders: Vec<String> = fs::read_dir(root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .flatten()
        .filter(|entry| entry.path().is_dir() && entry.file_name() != "target")
        .map(|entry| format!("{}/", entry.file_name().to_string_lossy()))
        .collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap_or_else(|error| panic!("{}: {error}", document.display()));
        // Fenced blocks are commands and examples: tests/it/readme.rs has those.
        let prose = text.split("```").step_by(2);
        let lines = prose.flat_map(str::lines);
        for name in lines.flat_map(|line| line.split('`').skip(1).step_by(2)) {
            let is_code = [".rs", ".py"].iter().any(|end| name.ends_with(end));
            if name.contains([' ', '*', '<', '{'])
                || !(is_code || folders.iter().any(|folder| name.starts_with(folder)))
            {
                continue;
            }
            seen += 1;
            // A file of src/ may be named by its room; a file name alone must be one of this repository.
            let there = if name.contains('/') {
                root.join(name).exists() || root.join("src").join(name).exists()
            } else {
                code.iter().any(|path| path.file_name().is_some_and(|file| file == name))
            };
            if !there {
                wrong.push(format!("{}: {name}", document.strip_prefix(root).unwrap_or(&document).display()));
            }
        }
    }
    assert!(seen > 20, "only {seen} names were found");
    assert!(wrong.is_empty(), "files that are not there:\n{}", wrong.join("\n"));
}

#[test]
fn the_code_of_the_page_on_handlers_is_that_of_the_example() {
    let (page, example) = (read("docs/handlers.md"), read("examples/handler.rs"));
    let blocks: Vec<&str> = page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 1, "the page has no code");
    for block in blocks {
        assert!(example.contains(block.trim_end()), "not in the example:\n{block}");
    }
}
