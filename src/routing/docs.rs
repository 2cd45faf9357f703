//! The examples of the docs, loaded and matched.

use serde_json::{Map, Value};

use super::{
    cases::{CaseFiles, Runner},
    pattern,
    problem::Report,
    tests::{load_with, problems_of},
};
use crate::{event::Limits, testing::examples::blocks, yaml};

const ROUTING: &str = include_str!("../../docs/routing.md");
const TEMPLATES: &str = include_str!("../../docs/templates.md");

const ENV: [(&str, &str); 3] = [("LANGGRAPH_API_KEY", "k"), ("AUDIT_KEY", "k"), ("AUDIT_SIGNING_SECRET", "whsec_AAAA")];

/// What an example without agents of its own sends to.
const AGENTS: &str = "agents: {audit: {http: {url: 'http://127.0.0.1:8181/'}}}\n";

#[test]
fn every_example_of_the_docs_loads_or_fails_as_the_docs_say() {
    let mut loaded = 0;
    let mut failed = 0;
    for page in [ROUTING, TEMPLATES] {
        let mut rules_before = String::new();
        for (_, text, expected) in blocks(page).into_iter().filter(|(language, ..)| *language == "yaml") {
            if text.starts_with("tests:") {
                tests_pass(&rules_before, &text);
                continue;
            }
            rules_before.clone_from(&text);
            let files = [("rules.yaml", text.as_str()), ("agents.yaml", AGENTS)];
            let files = if text.contains("agents:") { &files[..1] } else { &files[..] };
            match expected {
                None => {
                    let (_folder, routing) = load_with(files, &ENV);
                    routing.unwrap_or_else(|problems| panic!("{text}\n{problems}"));
                    loaded += 1;
                }
                Some(expected) => {
                    assert_eq!(problems_of(files, &ENV).join("\n"), expected.trim_end(), "{text}");
                    failed += 1;
                }
            }
        }
    }
    assert!(loaded >= 4 && failed >= 3, "{loaded} loaded, {failed} failed");
}

/// The tests of a page pass with the rules that stand before them.
#[track_caller]
fn tests_pass(rules: &str, tests: &str) {
    let (_folder, routing) = load_with(&[("rules.yaml", rules), ("agents.yaml", AGENTS), ("a.test.yaml", tests)], &ENV);
    let routing = routing.unwrap();
    let read = CaseFiles::read(&routing.inventory().tests, Some(&routing));
    assert_eq!(read.problems, [], "{tests}");
    for case in &read.cases {
        let failures = Runner::new(&routing, Limits::default()).run(case, &mut |_, _| {});
        assert!(failures.is_empty(), "{}: {failures:#?}", case.name);
    }
}

/// A cell of the table of operators; `None` for an absent field.
fn cell(text: &str) -> Option<Value> {
    let text = text.trim();
    if text == "absent" {
        return None;
    }
    let code = text.strip_prefix('`').and_then(|text| text.strip_suffix('`')).unwrap();
    let mut report = Report::new("cell".into());
    let node = yaml::read(code, &mut report);
    assert!(report.problems.is_empty(), "{code}: {:?}", report.problems);
    Some(node.unwrap().to_json())
}

#[test]
fn every_operator_of_the_docs_matches_what_the_docs_say() {
    let table = ROUTING.split("| in the list | matches | does not match |\n").nth(1).unwrap();
    let rows: Vec<_> = table.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 20, "{rows:?}");
    let event = |value: &Option<Value>| {
        Value::Object(value.iter().map(|value| ("f".to_owned(), value.clone())).collect::<Map<_, _>>())
    };
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(cell).collect();
        let [Some(operator), yes, no] = &cells[..] else { panic!("{row}") };
        let pattern = pattern::compile_json(&serde_json::json!({"f": [operator]}).to_string());
        let pattern = pattern.unwrap_or_else(|error| panic!("{row}: {error}"));
        assert!(pattern.matches(&event(yes)), "{row}");
        assert!(!pattern.matches(&event(no)), "{row}");
    }
}
