use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{
    report::{Report, Severity},
    *,
};
use crate::{
    config::{Config, Sources},
    routing::{LoadOptions, Routing},
};

const RULES: &str = "agents:
  audit: {http: {url: 'http://127.0.0.1:8181/', auth: {bearer: s3cr3t}}}
rules:
  - name: failed
    when: {workflow_id: {prefix: etl_}, event_type: [WORKFLOW_FAILED]}
    to: [audit]
  - {name: other, when: {event_type: [WORKFLOW_COMPLETED, WORKFLOW_PAUSED]}, to: [audit]}
";

/// The report of a folder `routing` with these files, and of a bridge.yaml.
fn report(folder: &Path, files: &[(&str, &[u8])], settings: &str, denies_warnings: bool) -> Report {
    let routing = folder.join("routing");
    fs::create_dir_all(&routing).unwrap();
    for (name, text) in files {
        fs::write(routing.join(name), text).unwrap();
    }
    let file = folder.join("bridge.yaml");
    fs::write(&file, settings).unwrap();
    let options = LoadOptions { env: Box::new(|_| None), dedup_window: std::time::Duration::from_secs(604_800) };
    let loaded = Routing::load(&routing, &options);
    let inventory = match &loaded {
        Ok(loaded) => loaded.inventory(),
        Err(problems) => problems.inventory(),
    };
    let mut report = Report::new(&routing, inventory.clone(), denies_warnings);
    let sources = Sources { flags: [].into(), env: &|_| None, file: Some(file) };
    if let Err(error) = Config::load(&sources) {
        report.settings(&error);
    }
    match &loaded {
        Ok(loaded) => report.routing(Severity::Warning, loaded.warnings()),
        Err(problems) => {
            report.routing(Severity::Error, problems.iter());
            report.routing(Severity::Warning, problems.warnings());
        }
    }
    report.sort();
    report
}

/// What is written, with the folder's path taken out.
fn without(folder: &Path, text: &str) -> String {
    text.replace(&format!("{}/", folder.display()), "")
}

#[test]
fn a_finding_has_its_line_with_a_caret_and_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "kafka:\n  security: {protocol: SSL, sasl_password: s3cr3t}\n";
    let report = report(folder.path(), &[("rules.yaml", RULES.as_bytes()), ("notes.txt", b"")], settings, false);
    let text = without(folder.path(), &text::findings(&report));
    let expected = "\
bridge.yaml:2:44: error: `kafka.security.sasl_password`: a secret must not be in the file: write {env: NAME} or {file: PATH} instead, and replace the secret where the file was readable
routing/rules.yaml:2:64: error: agent `audit`, http, auth, bearer: expected {env: NAME} or {file: PATH}, found something else (not shown): put the secret into an environment variable or a file, and name that
routing/rules.yaml:5:34: error: rule `failed`, when.workflow_id.prefix: expected a list or an object (operators stand in a list, as in [{\"prefix\": \"etl_\"}]), found the string \"etl_\": put the value into brackets
  5 |     when: {workflow_id: {prefix: etl_}, event_type: [WORKFLOW_FAILED]}
    |                                  ^
";
    assert!(text.starts_with(expected), "{text}\nexpected\n{expected}");
    assert!(text.contains("routing/rules.yaml:7:59: warning: rule `other`"), "{text}");
    assert!(text.ends_with("    |                                                           ^\n"), "{text}");
    let summary = without(folder.path(), &text::summary(&report));
    assert_eq!(summary, "3 errors, 1 warning: read 1 file, 2 rules, 1 agent in routing");
    assert!(text::skipped(&report).unwrap().ends_with("/routing: notes.txt (neither *.yaml nor *.yml)"));
    assert!(!report.is_ok());
    for text in [text, json::json(&report).to_string(), sarif::sarif(&report).to_string()] {
        assert!(!text.contains("s3cr3t"), "{text}");
    }
}

#[test]
fn warnings_are_mistakes_only_when_they_are_denied() {
    let folder = tempfile::tempdir().unwrap();
    let rules = RULES.replace(", auth: {bearer: s3cr3t}", "").replace("{prefix: etl_}", "[a]");
    let files: &[(&str, &[u8])] = &[("rules.yaml", rules.as_bytes())];
    for (denies, expected) in [
        (false, "ok: 1 file, 2 rules, 1 agent in routing; 1 warning"),
        (true, "1 warning, and warnings are denied: read 1 file, 2 rules, 1 agent in routing"),
    ] {
        let mut report = report(folder.path(), files, "", denies);
        assert_eq!(report.is_ok(), !denies);
        report.folder = "routing".into();
        assert_eq!(text::summary(&report), expected);
        assert_eq!(text::skipped(&report), None);
        // Those about the environment are not denied.
        report.findings.clear();
        report.environment(vec!["KAFKA_TOPICS is set, and nothing reads it".into()]);
        assert!(report.is_ok());
        assert_eq!(text::findings(&report), "warning: KAFKA_TOPICS is set, and nothing reads it\n");
    }
}

#[test]
fn the_first_byte_that_is_not_utf_8_is_shown_in_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let report = report(folder.path(), &[("a.yaml", b"rules:\n  - name: \xe9\n")], "", false);
    let expected = "routing/a.yaml:2:11: error: the file cannot be read: expected text in UTF-8, found the byte 0xe9 at \
                    offset 17, line 2, column 11: save the file as UTF-8\n  2 |   - name: \u{fffd}\n    |           ^\n";
    assert_eq!(without(folder.path(), &text::findings(&report)), expected);
}

#[test]
fn many_skipped_files_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..15).map(|number| format!("{number:02}.json")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let report = report(folder.path(), &files, "", false);
    let text = text::skipped(&report).unwrap();
    assert!(
        text.contains(": 00.json (neither") && text.ends_with("09.json (neither *.yaml nor *.yml), and 5 more"),
        "{text}"
    );
    assert_eq!(report.count(Severity::Error), 1, "there is no routing file");
    assert_eq!(json::json(&report)["summary"]["skipped"], 15);
}

#[test]
fn json_has_every_problem_with_its_place_and_what_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let files: &[(&str, &[u8])] = &[("rules.yaml", RULES.as_bytes()), (".old.yaml", b"")];
    let mut report = report(folder.path(), files, "", false);
    report.environment(vec!["a variable".into()]);
    let found: Value = serde_json::from_str(&without(folder.path(), &json::json(&report).to_string())).unwrap();
    assert_eq!(found["files"], json!(["routing/rules.yaml"]));
    assert_eq!(found["skipped"], json!([{"file": "routing/.old.yaml", "reason": "hidden"}]));
    let problems = found["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 4);
    let (first, last) = (&problems[0], &problems[3]);
    assert_eq!(
        (&first["severity"], &first["area"], &first["file"]),
        (&"error".into(), &"routing".into(), &"routing/rules.yaml".into())
    );
    assert_eq!((&first["line"], &first["column"]), (&2.into(), &64.into()));
    assert!(first["message"].as_str().unwrap().starts_with("agent `audit`, http, auth, bearer: expected"));
    let expected = json!({"severity": "warning", "area": "environment", "file": null, "line": null, "column": null, "message": "a variable"});
    assert_eq!(*last, expected);
    let summary =
        json!({"ok": false, "files": 1, "rules": 2, "agents": 1, "tests": 0, "skipped": 1, "errors": 2, "warnings": 2});
    assert_eq!(found["summary"], summary);
}

#[test]
fn sarif_has_a_result_for_each_problem_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = report(folder.path(), &[("rules.yaml", RULES.as_bytes())], "", false);
    report.environment(vec!["a variable".into()]);
    let log = sarif::sarif(&report);
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "workflow-bridge");
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(driver["rules"][index]["id"], result["ruleId"]);
        assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.starts_with("file:///") && uri.ends_with("/routing/rules.yaml"), "{uri}");
    }
    assert_eq!(results[0]["locations"][0]["physicalLocation"]["region"], json!({"startLine": 2, "startColumn": 64}));
    let notes = &run["invocations"][0]["toolConfigurationNotifications"];
    assert_eq!((&notes[0]["level"], &notes[0]["message"]["text"]), (&"warning".into(), &"a variable".into()));
}

#[test]
fn what_kafka_and_the_agents_answer_is_part_of_the_report() {
    use crate::probe::Probed;

    let folder = tempfile::tempdir().unwrap();
    let rules = "agents: {audit: {http: {url: 'http://h'}}}\nrules: [{name: a, when: {event_type: [WORKFLOW_FAILED]}, to: [audit]}]\n";
    let mut report = report(folder.path(), &[("rules.yaml", rules.as_bytes())], "", true);
    report.asked(vec![Probed::ok("kafka h:1", "1 broker"), Probed::warning("topic t", "small", "raise it")]);
    assert!(report.is_ok(), "a warning of a server is no mistake in a file");
    assert_eq!(text::connected(&report), "ok: kafka h:1: 1 broker\n");
    assert_eq!(text::findings(&report), "warning: topic t: small: raise it\n");
    report.asked(vec![Probed::error("agent audit", "away\u{1b}[1m", "start it")]);
    assert!(!report.is_ok() && report.is_about_connections_only());
    assert!(text::findings(&report).ends_with("error: agent audit: away\\u{1b}[1m: start it\n"));
    let found = json::json(&report);
    assert_eq!(found["connections"][0]["verdict"], "error");
    assert_eq!(found["problems"][1]["area"], "connection");
    let rest = &sarif::sarif(&report)["runs"][0]["invocations"][0]["toolConfigurationNotifications"];
    assert_eq!(rest[1]["associatedRule"]["id"], "connection");
}
