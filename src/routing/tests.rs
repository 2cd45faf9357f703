use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::*;
use crate::event::{self, Event};

pub(super) mod child;
mod large;
mod right;
mod wrong;

const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// Processor time of this thread: on a busy machine the wall clock says little about the work.
pub(super) fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

/// A folder with these files, and an environment.
pub(super) fn load_with(
    files: &[(&str, &str)],
    env: &[(&str, &str)],
) -> (tempfile::TempDir, Result<Routing, Problems>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let options = LoadOptions { env: Box::new(move |name| env.get(name).cloned()), dedup_window: WEEK };
    let routing = Routing::load(folder.path(), &options);
    (folder, routing)
}

pub(super) fn load(text: &str) -> Routing {
    load_with(&[("a.yaml", text)], &[]).1.unwrap_or_else(|problems| panic!("{problems}"))
}

/// The messages for a single file, each from the position on.
pub(super) fn problems(text: &str) -> Vec<String> {
    problems_of(&[("a.yaml", text)], &[])
}

pub(super) fn problems_of(files: &[(&str, &str)], env: &[(&str, &str)]) -> Vec<String> {
    let (folder, routing) = load_with(files, env);
    let prefix = format!("{}/", folder.path().display());
    routing.unwrap_err().to_string().lines().map(|line| line.replace(&prefix, "")).collect()
}

#[track_caller]
pub(super) fn assert_problems(found: &[String], expected: &[&str]) {
    let matching = found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| f.contains(e));
    assert!(matching, "found\n{}\nexpected\n{}", found.join("\n"), expected.join("\n"));
}

pub(super) fn event(fields: &Value) -> Event {
    let mut whole = json!({
        "event_id": "e-1", "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T12:00:00Z",
        "source": "AIRFLOW", "workflow_id": "etl_daily", "workflow_run_id": "r-1",
        "payload": {"data": {"status": "success", "rows": 7}}, "metadata": {"environment": "prod"}
    });
    for (key, value) in fields.as_object().unwrap() {
        whole[key] = value.clone();
    }
    event::decode(Some(whole.to_string().as_bytes())).unwrap()
}

pub(super) fn names(routing: &Routing, event: &Event) -> Vec<String> {
    routing.router().matches(event.document()).iter().map(|rule| rule.name().to_string()).collect()
}

#[test]
fn the_shipped_folders_load_with_an_empty_environment() {
    let load = |folder: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let options = LoadOptions { env: Box::new(|_| None), dedup_window: WEEK };
        let routing = Routing::load(&folder, &options).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(routing.warnings().is_empty(), "{:?}", routing.warnings());
        routing
    };
    let completed = event(&json!({}));
    assert_eq!(names(&load("routing"), &completed), ["my-first-rule"]);
    let routing = load("examples/routing");
    assert_eq!(names(&routing, &completed), ["analyse-completed-etl"]);
    let rule = routing.rule("analyse-completed-etl").unwrap();
    assert_eq!(rule.agents().iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["analyst", "audit"]);
    let input = rule.render_input(&completed.clone().into()).unwrap().unwrap();
    assert_eq!(&input["event"], completed.document());
    assert_eq!(
        input["messages"][0]["content"],
        r#"The DAG etl_daily (run r-1) has succeeded in prod. It reported: {"status":"success","rows":7}"#
    );
    assert_eq!(rule.render_body(&completed.clone().into()).unwrap(), None);

    let failed = event(&json!({"event_type": "workflow.failed", "payload": {"data": {"error": "a < b & \"c\""}}}));
    assert_eq!(names(&routing, &failed), ["audit-failed-workflows"]);
    let body = routing.rule("audit-failed-workflows").unwrap().render_body(&failed.into()).unwrap().unwrap();
    assert_eq!(body["error"], "a < b & \"c\"");

    let task = event(&json!({"metadata": {"environment": "prod", "scope": "task"}}));
    assert!(names(&routing, &task).is_empty());
    assert!(names(&routing, &event(&json!({"metadata": {"environment": "dev"}}))).is_empty());
    assert!(names(&routing, &event(&json!({"event_type": "WORKFLOW_PAUSED"}))).is_empty());
}

const AGENTS: &str = "agents:
  analyst: {langgraph: {url: 'http://h:1', assistant: a}}
  audit: {http: {url: 'http://h:2/x'}}
";

fn with_rules(rules: &str) -> String {
    format!("{AGENTS}rules:\n{rules}")
}

#[test]
fn a_folder_without_files_or_rules_says_what_to_do() {
    let options = LoadOptions { env: Box::new(|_| None), dedup_window: WEEK };
    let missing = Routing::load(Path::new("/nonexistent/routing"), &options).unwrap_err().to_string();
    assert!(missing.contains("/nonexistent/routing: ") && missing.contains("create it"), "{missing}");
    assert_problems(&problems_of(&[], &[]), &["found none: put a file such as rules.yaml into it"]);
    assert_problems(&problems_of(&[(".hidden.yaml", "x"), ("notes.txt", "x")], &[]), &["found none"]);
    assert_problems(&problems(AGENTS), &["expected at least one rule"]);
    assert_problems(&problems("rules: []\n"), &["expected at least one rule"]);
    assert_problems(&problems("# nothing\n"), &["a.yaml: expected `agents:` or `rules:`, found an empty file"]);
}

#[test]
fn every_mistake_of_every_file_is_reported_at_once() {
    let a = "agents:
  analyst:
    langgraph: {url: 'ftp://h', assistent: a}
    concurrency: 0
    timeot: 3s
  analyst: {}
";
    let b = "rules:
  - name: Bad Name
    when: {event_type: [WORKFLOW_COMPLETE], payload: {x: y, n: [{prefx: a}]}}
    to: [analist, analyst]
  - name: second
    when: {workflow_id: [x]}
    too: [analyst]
";
    assert_problems(
        &problems_of(&[("a.yaml", a), ("b.yml", b)], &[]),
        &[
            "a.yaml:3:16: agent `analyst`, langgraph: expected the key `assistant`, found none",
            "a.yaml:3:22: agent `analyst`, langgraph, url: expected a URL that begins with http:// or https://",
            "a.yaml:3:33: agent `analyst`, langgraph: unknown key \"assistent\": did you mean `assistant`?",
            "a.yaml:4:18: agent `analyst`: expected a whole number from 1 to 10000, found the number 0",
            "a.yaml:5:5: agent `analyst`: unknown key \"timeot\": did you mean `timeout`?",
            "a.yaml:6:3: the key \"analyst\" stands here for the second time, first in line 2",
            "b.yml:2:11: rule name: expected 1 to 64 of a-z",
            "b.yml:3:58: rule `Bad Name`, when.payload.x: expected a list or an object, found the string \"y\": put the value into brackets",
            "b.yml:3:66: rule `Bad Name`, when.payload.n[0].prefx: expected an operator, found \"prefx\": did you mean `prefix`?",
            "b.yml:4:10: rule `Bad Name`, to: there is no agent \"analist\": did you mean `analyst`?",
            "b.yml:5:5: rule `second`: expected the key `to`, found none",
            "b.yml:6:5: rule `second`, when: expected event_type at its top level",
            "b.yml:7:5: rule `second`: unknown key \"too\": did you mean `to`?",
        ],
    );
}

#[test]
fn names_are_unique_over_the_folder_and_files_are_read_in_order() {
    let rule = "rules: [{name: r, when: {event_type: [WORKFLOW_FAILED]}, to: [audit]}]\n";
    let found = problems_of(&[("b.yaml", &format!("{AGENTS}{rule}")), ("a.yaml", rule), ("c.yaml", AGENTS)], &[]);
    assert_problems(
        &found,
        &[
            "b.yaml:4:16: names are unique over the folder, and the rule `r` is also in a.yaml:1:16: rename one",
            "c.yaml:2:3: names are unique over the folder, and the agent `analyst` is also in b.yaml:2:3",
            "c.yaml:3:3: names are unique over the folder, and the agent `audit` is also in b.yaml:3:3",
        ],
    );
}

#[test]
fn an_agent_that_no_rule_uses_is_a_warning() {
    let routing = load(&with_rules("  - {name: r, when: {event_type: [WORKFLOW_FAILED]}, to: [audit]}\n"));
    let warnings: Vec<_> = routing.warnings().iter().map(ToString::to_string).collect();
    assert_problems(&warnings, &["a.yaml:2:3: no rule sends to the agent `analyst`"]);
}

#[test]
fn a_rule_has_templates_only_for_the_kinds_of_its_agents() {
    let text = with_rules(
        "  - {name: a, when: {event_type: [WORKFLOW_FAILED]}, to: [audit], input: {x: 1}}
  - {name: b, when: {event_type: [WORKFLOW_FAILED]}, to: [analyst], body: {x: 1}}
  - {name: c, when: {event_type: [WORKFLOW_FAILED]}, to: [analyst, audit], input: {x: 1}, body: }
",
    );
    assert_problems(
        &problems(&text),
        &[
            "a.yaml:5:67: rule `a`: `input` is for LangGraph agents, and the rule sends to none",
            "a.yaml:6:69: rule `b`: `body` is for http agents, and the rule sends to none",
            "a.yaml:7:91: rule `c`, body: expected a template, found nothing",
        ],
    );
}

#[test]
fn spellings_that_can_never_match_are_refused() {
    let text = with_rules(
        "  - name: r
    to: [audit]
    when:
      event_type: [workflow.completed, 7]
      source: [airflow]
",
    );
    assert_problems(
        &problems(&text),
        &[
            "a.yaml:8:20: rule `r`, when.event_type: events spell it `WORKFLOW_COMPLETED`, found \"workflow.completed\": write",
            "a.yaml:8:40: rule `r`, when.event_type: expected a string, found the number 7: this field is always a string",
            "a.yaml:9:16: rule `r`, when.source: events spell it `AIRFLOW`, found \"airflow\"",
        ],
    );
}

#[test]
fn event_type_may_stand_in_every_branch_of_an_or() {
    let routing = load(&with_rules(
        "  - name: r
    to: [analyst, audit]
    when: {$or: [{event_type: [WORKFLOW_FAILED]}, {event_type: [{prefix: WORKFLOW_C}], workflow_id: [a]}]}
",
    ));
    assert_eq!(names(&routing, &event(&json!({"event_type": "WORKFLOW_FAILED"}))), ["r"]);
    assert_eq!(names(&routing, &event(&json!({"workflow_id": "a"}))), ["r"]);
    assert!(names(&routing, &event(&json!({}))).is_empty());
    let text =
        with_rules("  - {name: r, to: [audit], when: {$or: [{event_type: [WORKFLOW_FAILED]}, {source: [AIRFLOW]}]}}\n");
    assert_problems(
        &problems(&text),
        &["a.yaml:5:28: rule `r`, when: expected event_type at its top level (or in every"],
    );
}

#[test]
fn a_routing_may_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Routing>();
    shared::<LoadOptions>();
    shared::<Problems>();
}

#[test]
fn what_is_no_regular_file_in_the_folder_is_a_mistake_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), AGENTS).unwrap();
    let pipe = folder.path().join("b.yaml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // Docker makes one where the file to mount does not exist.
    fs::create_dir(folder.path().join("c.yml")).unwrap();
    let options = LoadOptions { env: Box::new(|_| None), dedup_window: WEEK };
    let problems = Routing::load(folder.path(), &options).unwrap_err().to_string();
    assert!(problems.contains("b.yaml") && problems.contains("a named pipe (FIFO)"), "{problems}");
    assert!(problems.contains("c.yml") && problems.contains("a directory"), "{problems}");
}

#[test]
fn files_beyond_the_limits_are_refused_quickly_and_with_the_limit() {
    let began = cpu_time();
    let folder = tempfile::tempdir().unwrap();
    let options = || LoadOptions { env: Box::new(|_| None), dedup_window: WEEK };
    let refused = || Routing::load(folder.path(), &options()).unwrap_err().to_string();
    let write = |text: &str| fs::write(folder.path().join("a.yaml"), text).unwrap();

    fs::File::create(folder.path().join("a.yaml")).unwrap().set_len(33 << 20).unwrap();
    assert!(refused().contains("more than the 33554432 bytes that all files together may have"));
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("a.yaml")).unwrap();
    assert!(refused().contains("expected a regular file, found a device"), "a device has no end");
    fs::remove_file(folder.path().join("a.yaml")).unwrap();

    for deep in ["[".repeat(1 << 20), "{a: ".repeat(1 << 18), "- ".repeat(1 << 18)] {
        write(&format!("rules: {deep}"));
        assert!(refused().contains("a.yaml:"), "{}", &refused()[..200]);
    }
    let aliases: Vec<_> =
        (1..20).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "))).collect();
    let aliases = aliases.concat();
    write(&format!("a0: &a0 [x]\n{aliases}"));
    assert!(refused().contains("a.yaml:6:") && refused().contains("in all files together"), "{}", refused());

    let agents: Vec<_> = (0..1_001).map(|n| format!("  a{n}: {{http: {{url: 'http://h/'}}}}\n")).collect();
    let rules: Vec<_> = (0..100_001)
        .map(|n| format!("  - {{name: r{n}, when: {{event_type: [WORKFLOW_FAILED]}}, to: [a0]}}\n"))
        .collect();
    let (agents, rules) = (agents.concat(), rules.concat());
    write(&format!("agents:\n{agents}rules:\n{rules}"));
    let text = refused();
    assert!(
        text.contains("at most 1000 agents, found 1001") && text.contains("at most 100000 rules, found 100001"),
        "{text}"
    );
    let took = cpu_time().saturating_sub(began);
    assert!(took < Duration::from_secs(120), "{took:?}");
}
