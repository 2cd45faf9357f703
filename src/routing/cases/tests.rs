//! What tests of a folder say.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Coverage, write::write_case, *};
use crate::{cases::cases, event::Limits, routing::tests::load_with};

const RULES: &str = "agents:
  analyst: {langgraph: {url: 'http://127.0.0.1:9/', assistant: a}}
  audit: {http: {url: 'http://127.0.0.1:9/'}}
rules:
  - name: ok
    when: {event_type: [WORKFLOW_COMPLETED], payload: {data: {status: [success]}}}
    to: [analyst, audit]
    body: {run: '{{ workflow_run_id }}', rows: '{{ payload.data.rows }}'}
  - {name: failed, when: {event_type: [WORKFLOW_FAILED], $or: [{source: [AIRFLOW]}, {workflow_id: [{prefix: etl_}]}]}, to: [audit]}
";

struct Tried {
    problems: Vec<String>,
    failures: Vec<Vec<Failure>>,
    coverage: Vec<RuleCoverage>,
}

fn try_tests(rules: &str, tests: &str) -> Tried {
    let (folder, routing) = load_with(&[("rules.yaml", rules), ("a.test.yaml", tests)], &[]);
    let routing = routing.unwrap();
    assert_eq!((routing.inventory().files.len(), routing.inventory().tests.len()), (1, 1));
    let read = CaseFiles::read(&routing.inventory().tests, Some(&routing));
    let prefix = format!("{}/", folder.path().display());
    let problems = read.problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect();
    let (runner, mut coverage) = (Runner::new(&routing, Limits::default()), Coverage::new(&routing));
    let mut run = |case| runner.run(case, &mut |document, rules| coverage.add(document, rules));
    let failures = read.cases.iter().map(&mut run).collect();
    Tried { problems, failures, coverage: coverage.rules() }
}

/// The failures of one test, as JSON.
fn failures(event: &str, expect: &str) -> Value {
    let tests = format!("tests:\n  - name: t\n    event: {event}\n    expect: {expect}\n");
    let mut tried = try_tests(RULES, &tests);
    assert_eq!((tried.problems, tried.failures.len()), (vec![], 1), "{tests}");
    serde_json::to_value(tried.failures.remove(0)).unwrap()
}

const OK: &str = "{event_type: WORKFLOW_COMPLETED, workflow_id: w, payload: {data: {status: success, rows: 7}}}";

#[test]
fn a_test_passes_when_rules_agents_and_what_they_get_are_as_expected() {
    let none = json!([]);
    assert_eq!(failures(OK, "[ok]"), none);
    assert_eq!(failures(OK, "[{rule: ok, to: [audit, analyst]}]"), none, "agents have no order");
    assert_eq!(failures(OK, "[{rule: ok, body: {rows: 7, run: test-run}}]"), none);
    assert_eq!(failures("{event_type: WORKFLOW_COMPLETED, workflow_id: w}", "[]"), none);
    // Without a template: the input that a LangGraph agent gets by default, and the event as it was published.
    let event = json!({"event_id": "test-event", "timestamp": "2026-01-31T12:00:00Z", "source": "AIRFLOW",
        "workflow_run_id": "test-run", "event_type": "workflow_failed", "workflow_id": "w"});
    assert_eq!(
        failures("{event_type: workflow_failed, workflow_id: w}", &format!("[{{rule: failed, body: {event}}}]")),
        none
    );
    let event = json!({"event_id": "test-event", "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T12:00:00Z",
        "source": "AIRFLOW", "workflow_id": "w", "workflow_run_id": "test-run",
        "payload": {"data": {"status": "success", "rows": 7}}, "metadata": {}});
    let input = json!({"event": event, "messages": [{"role": "user", "content": event.to_string()}]});
    assert_eq!(failures(OK, &format!("[{{rule: ok, input: {input}}}]")), none);
}

#[test]
fn each_difference_is_a_failure() {
    let wrong_status = "{event_type: WORKFLOW_COMPLETED, workflow_id: w, payload: {data: {status: late}}}";
    let found = failures(wrong_status, "[ok]");
    assert_eq!((&found[0]["kind"], &found[0]["explanation"]["rule"]), (&json!("no_match"), &json!("ok")));
    assert_eq!(found[0]["explanation"]["conditions"][1]["found"]["values"], json!(["\"late\""]));

    let unexpected = json!([{"kind": "unexpected", "rule": "ok", "agents": ["analyst", "audit"]}]);
    assert_eq!(failures(OK, "[]"), unexpected);
    let agents = json!([{"kind": "agents", "rule": "ok", "expected": ["audit"], "found": ["analyst", "audit"]}]);
    assert_eq!(failures(OK, "[{rule: ok, to: [audit]}]"), agents);
    let content = failures(OK, "[{rule: ok, body: {rows: '7', run: test-run}}]");
    let difference = json!([{"path": "rows", "expected": "\"7\"", "found": "7"}]);
    let expected = json!([{"kind": "content", "rule": "ok", "agent": "audit", "part": "body", "differences": difference, "more": 0}]);
    assert_eq!(content, expected);
    let failed = "{event_type: WORKFLOW_FAILED, workflow_id: w}";
    let nobody = json!([{"kind": "no_such_agent", "rule": "failed", "part": "input"}]);
    assert_eq!(failures(failed, "[{rule: failed, input: {}}]"), nobody);
}

#[test]
fn what_the_bridge_would_dead_letter_fails_whatever_the_test_expects() {
    let without_rows = "{event_type: WORKFLOW_COMPLETED, workflow_id: w, payload: {data: {status: success}}}";
    let found = failures(without_rows, "[ok]");
    assert_eq!((&found[0]["kind"], &found[0]["agent"]), (&json!("template"), &json!("audit")), "{found}");
    assert!(found[0]["message"].as_str().unwrap().contains("rows"), "{found}");
    for (event, reason) in
        [("{event_type: WORKFLOW_FAILED}", "missing_field"), ("{event_type: [1], workflow_id: a}", "wrong_type")]
    {
        let found = failures(event, "[]");
        assert_eq!((&found[0]["kind"], &found[0]["reason"]), (&json!("no_event"), &json!(reason)), "{found}");
    }
}

#[test]
fn an_event_may_be_a_file_and_another_dialect() {
    let (folder, routing) = load_with(&[("rules.yaml", RULES)], &[]);
    let routing = routing.unwrap();
    let data = r#"{"status": "success", "rows": 1, "dag_id": "w"}"#;
    std::fs::create_dir(folder.path().join("events")).unwrap();
    std::fs::write(folder.path().join("events/a.json"), data).unwrap();
    let tests = "tests:
  - name: binary CloudEvents
    file: events/a.json
    key: w/r
    headers: {ce_id: '1', ce_type: workflow.completed, ce_source: airflow, ce_specversion: '1.0', ce_subject: w/r}
    expect: [{rule: ok, body: {run: r, rows: 1}}]
";
    let file = folder.path().join("a.test.yaml");
    std::fs::write(&file, tests).unwrap();
    let read = CaseFiles::read(&[file], Some(&routing));
    assert_eq!(read.problems, []);
    let failures = Runner::new(&routing, Limits::default()).run(&read.cases[0], &mut |_, _| {});
    let kinds = serde_json::to_value(&failures).unwrap();
    assert!(kinds.as_array().unwrap().iter().all(|failure| failure["kind"] != "no_event"), "{kinds}");
}

#[test]
fn every_mistake_of_a_test_file_has_its_place_and_the_remedy() {
    let tests = "tests:
  - name: a
    event: {event_type: WORKFLOW_FAILED, workflow_id: w}
    file: x.json
    expect: [faild]
  - name: a
    expects: []
  - {name: '', event: [1], expect: none}
  - {name: b, file: missing.json, headers: [x], expect: [{rule: ok, to: [audits, 7, audit, audit]}, ok, {to: analyst, bdy: 1}]}
";
    let tried = try_tests(RULES, tests);
    let expected = [
        "a.test.yaml:4:5: test `a`: expected `event` or `file`, found both: keep one",
        "a.test.yaml:5:14: test `a`: there is no rule \"faild\": did you mean `failed`?",
        "a.test.yaml:6:5: test `a`: expected `event` or `file`, found neither: write `event: {event_type: ..., workflow_id: ...}`, or name a file with one event in `file`",
        "a.test.yaml:6:5: test `a`: expected the key `expect`, found none: name the rules that match, as in `expect: [my-rule]`, or `expect: []` for none",
        "a.test.yaml:6:11: the test \"a\" stands here for the second time, first in line 2: rename it",
        "a.test.yaml:7:5: test `a`: unknown key \"expects\": did you mean `expect`? it has event, expect, file, headers, key, name",
        "a.test.yaml:8:12: test name: expected a text, found the string \"\"",
        "a.test.yaml:8:23: test `?`, event: expected a map, found a list: write the event's fields, or name a file",
        "a.test.yaml:8:36: test `?`, expect: expected a list of rules, found the string \"none\": write `[my-rule]`, or `[]` for none",
    ];
    assert_eq!(tried.problems[..expected.len()], expected, "{:#?}", tried.problems);
    let rest = tried.problems[expected.len()..].join("\n");
    for expected in [
        "a.test.yaml:9:21: test `b`, file: cannot read \"missing.json\":",
        "a.test.yaml:9:44: test `b`, headers: expected a map from names to texts, found a list",
        "test `b`, expect, to: there is no agent \"audits\": did you mean `audit`?",
        "test `b`, expect, to: expected the name of an agent, found the number 7",
        "test `b`, expect, to: the agent \"audit\" stands here twice: keep one",
        "test `b`, expect: the rule `ok` stands here twice: keep one",
        "test `b`, expect: expected the key `rule`, found none: name the rule that matches",
        "test `b`, expect, to: expected a list of agents, found the string \"analyst\"",
        "test `b`, expect: unknown key \"bdy\": did you mean `body`?",
    ] {
        assert!(rest.contains(expected), "no {expected} in\n{rest}");
    }
    assert!(tried.failures.is_empty(), "a test with a mistake is not run");

    for (text, expected) in [
        ("rules: []\n", "rules belong into a file whose name does not end with .test.yaml"),
        ("# nothing\n", "expected `tests:`, found an empty file"),
        ("tests: {a: 1}\n", "a.test.yaml:1:8: tests: expected a list of tests, found a map"),
        ("tests: [\n", "a.test.yaml:1:8: "),
    ] {
        let problems = try_tests(RULES, text).problems.join("\n");
        assert!(problems.contains(expected), "{problems}");
    }
}

#[test]
fn coverage_counts_what_held_and_failed_by_rule_and_condition() {
    let tests = format!(
        "tests:
  - {{name: a, event: {OK}, expect: [ok]}}
  - {{name: b, event: {{event_type: WORKFLOW_FAILED, workflow_id: etl_a, source: OTHER}}, expect: [failed]}}
"
    );
    let tried = try_tests(RULES, &tests);
    let shown = |rule: &RuleCoverage| {
        let conditions = rule.conditions.iter();
        let conditions = conditions.map(|one| (one.path.clone(), one.held, one.failed, one.is_tried()));
        (rule.rule.clone(), rule.matched, conditions.collect::<Vec<_>>())
    };
    let path = |path: &str, held, failed| (path.to_owned(), held, failed, held > 0 && failed > 0);
    assert_eq!(
        tried.coverage.iter().map(shown).collect::<Vec<_>>(),
        [
            ("failed".to_owned(), 1, vec![path("event_type", 1, 1), path("source", 1, 1), path("workflow_id", 1, 1)]),
            ("ok".to_owned(), 1, vec![path("event_type", 1, 1), path("payload.data.status", 1, 1)]),
        ]
    );
}

/// The shipped tests pass on the shipped rules, and try every rule and condition.
#[test]
fn the_shipped_tests_pass_and_try_every_condition() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["routing", "examples/routing"] {
        let folder = root.join(folder);
        let (_scratch, routing) = load_with(&texts(&folder).iter().map(|(a, b)| (&**a, &**b)).collect::<Vec<_>>(), &[]);
        let routing = routing.unwrap();
        let read = CaseFiles::read(&routing.inventory().tests, Some(&routing));
        assert_eq!(read.problems, []);
        assert!(read.cases.len() >= 3, "{}", folder.display());
        let (runner, mut coverage) = (Runner::new(&routing, Limits::default()), Coverage::new(&routing));
        for case in &read.cases {
            let failures = runner.run(case, &mut |document, rules| coverage.add(document, rules));
            assert!(failures.is_empty(), "{}: {failures:#?}", case.name);
        }
        for rule in coverage.rules() {
            assert!(rule.matched > 0 && rule.conditions.iter().all(ConditionCoverage::is_tried), "{rule:#?}");
        }
    }
}

fn texts(folder: &Path) -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    };
    files.map(read).collect()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,6}", "\\PC{0,12}", any::<Vec<char>>().prop_map(|chars| chars.into_iter().take(8).collect())]
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| if number.is_finite() { number.into() } else { 0.into() }),
        text().prop_map(Value::from),
        "[-~|>&*!%@`#'\": 0-9a-z{}\\[\\],?]{0,12}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(2_000)))]

    /// What is written is read back as it was, whatever JSON has.
    #[test]
    fn every_event_can_be_written_as_a_test(payload in value(), name in text(), field in text()) {
        let mut event = json!({"event_type": "A", "workflow_id": "w", "payload": payload, "metadata": {field: 1}});
        for (field, default) in event::DEFAULTS {
            event[field] = default.into();
        }
        let name = format!("t {name}");
        let rules = [("r".to_owned(), vec!["a".to_owned()])];
        let text = write_case(&name, &event, &rules).map(|written| format!("tests:\n{}", written.0));
        let text = text.ok_or_else(|| TestCaseError::fail(format!("it is not written: {event}")))?;
        let read = CaseFiles::read(&[], None);
        prop_assert!(read.cases.is_empty());
        let read = CaseFiles::of_text(Path::new("x"), &text);
        prop_assert_eq!((&read.problems, read.cases.len()), (&vec![], 1));
        prop_assert_eq!(&read.cases[0].name, &name);
    }
}
