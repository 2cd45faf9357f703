//! What `check` writes, for people and for programs; `completions`, `man` and `--version`.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::kit::commands::{folder_with, run, text};

/// The first example of "Common mistakes" in docs/routing.md.
const MISTAKES: &str = "agents: {audit: {http: {url: \"http://127.0.0.1:8181/\"}}}
rules:
  - name: failed
    when: {workflow_id: {prefix: etl_}, payload: {rows: 0}}
    to: [audits]
  - name: completed
    when: {event_type: [workflow.completed]}
    to: [audit]
";

const SUSPICIOUS: &str = "agents:
  audit: {http: {url: 'http://127.0.0.1:9/events'}}
rules:
  - {name: all, when: {event_type: [WORKFLOW_COMPLETED, WORKFLOW_PAUSED]}, to: [audit]}
";

/// docs/routing.md shows this output.
#[test]
fn check_shows_the_line_of_each_mistake_with_a_caret() {
    let folder = folder_with(&[("routing/rules.yaml", MISTAKES), ("routing/notes.txt", "")]);
    let output = run(&folder, &["check"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/routing.md")).expect("the page is there");
    assert!(
        page.contains(&text(&output.stderr)),
        "docs/routing.md shows another output than\n{}",
        text(&output.stderr)
    );
}

#[test]
fn check_says_the_same_to_programs() {
    let folder = folder_with(&[("routing/rules.yaml", MISTAKES)]);
    for flags in [&["-o", "json"][..], &["--output", "json"], &["--format", "json"]] {
        let output = run(&folder, &[&["check"], flags].concat());
        assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).expect("the result is JSON");
        assert_eq!(found["files"][0], "routing/rules.yaml");
        let first = &found["problems"][0];
        assert_eq!((&first["severity"], &first["line"], &first["column"]), (&"error".into(), &4.into(), &34.into()));
        assert_eq!((&found["summary"]["ok"], &found["summary"]["errors"]), (&false.into(), &4.into()));
    }
    let output = run(&folder, &["check", "-o", "sarif"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    let log: Value = serde_json::from_slice(&output.stdout).expect("the result is JSON");
    let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "routing/rules.yaml");
    assert_eq!((&place["region"]["startLine"], &place["region"]["startColumn"]), (&4.into(), &34.into()));
    let output = run(&folder, &["check", "-o", "yaml"]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
}

#[test]
fn check_fails_on_denied_warnings() {
    let folder = folder_with(&[("routing/rules.yaml", SUSPICIOUS)]);
    for (flags, code) in [(&[][..], 0), (&["-D", "warnings"], 78), (&["--deny", "warnings"], 78), (&["--strict"], 78)] {
        let output = run(&folder, &[&["check"], flags].concat());
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("routing/rules.yaml:4:57: warning: "), "{}", text(&output.stderr));
        let result = text(&output.stdout);
        assert_eq!(result, if code == 0 { "ok: 1 file, 1 rule, 1 agent in routing; 1 warning\n" } else { "" });
    }
    assert_eq!(run(&folder, &["check", "-D", "errors"]).status.code(), Some(64));
}

#[test]
fn a_secret_in_a_file_is_shown_in_no_format() {
    let rules = "agents:
  audit:
    http:
      url: https://user:hunter2@host/
      auth:
        bearer: hunter2
      headers: {x-own: hunter2, authorization: 'hunter2'}
      baerer: hunter2
rules:
  - {name: all, when: {event_type: [WORKFLOW_COMPLETED]}, to: [audit]}
";
    let settings = "kafka:
  security: {sasl_password: hunter2}
  properties: {ssl.key.password: hunter2, sasl.password: [hunter2]}
";
    let folder = folder_with(&[("routing/rules.yaml", rules), ("bridge.yaml", settings)]);
    for format in ["text", "json", "sarif"] {
        let output = run(&folder, &["check", "-o", format]);
        let all = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{all}");
        assert!(all.contains("baerer") && all.contains("sasl_password"), "{all}");
        assert!(!all.contains("hunter2"), "a secret is shown:\n{all}");
    }
}

#[test]
fn completions_are_a_script_that_the_shell_reads() {
    let folder = folder_with(&[]);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = run(&folder, &["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}: {}", text(&output.stderr));
        let script = text(&output.stdout);
        for word in ["healthcheck", "drain", "deny", "against"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        if shell == "bash" {
            let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("bash starts");
            bash.stdin.take().expect("a pipe").write_all(&output.stdout).expect("bash reads");
            assert!(bash.wait().expect("bash ends").success());
        }
    }
    assert_eq!(run(&folder, &["completions", "csh"]).status.code(), Some(64));
}

#[test]
fn man_writes_a_page_for_each_command() {
    let folder = folder_with(&[]);
    let output = run(&folder, &["man", "share/man1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for page in ["workflow-bridge", "workflow-bridge-check", "workflow-bridge-spool-drain", "workflow-bridge-man"] {
        let page = fs::read_to_string(folder.join(format!("share/man1/{page}.1"))).expect("the page is there");
        assert!(page.contains(".TH WORKFLOW"), "{page}");
    }
    let page = fs::read_to_string(folder.join("share/man1/workflow-bridge-run.1")).expect("the page is there");
    for word in ["brokers", "KAFKA_BOOTSTRAP_SERVERS", "BRIDGE_ADMIN_ADDR"] {
        assert!(page.contains(word), "no {word} in\n{page}");
    }
    assert_eq!(run(&folder, &["man", "share/man1/workflow-bridge.1"]).status.code(), Some(74));
}

#[test]
fn version_names_the_libraries() {
    let folder = folder_with(&[]);
    let long = text(&run(&folder, &["--version"]).stdout);
    let short = text(&run(&folder, &["-V"]).stdout);
    assert_eq!(short, format!("workflow-bridge {}\n", env!("CARGO_PKG_VERSION")));
    assert!(long.starts_with(&short), "{long}");
    for name in ["\ncommit: ", "\nlibrdkafka: ", "\nOpenSSL: "] {
        assert!(long.contains(name), "no {name:?} in\n{long}");
    }
}

#[test]
fn check_against_another_folder_lists_the_names_that_are_gone() {
    let before = SUSPICIOUS.replace(", WORKFLOW_PAUSED", "");
    let after = before.replace("name: all", "name: completed");
    let files = [("routing/rules.yaml", &*before), ("routing.new/rules.yaml", &after), ("empty/notes.txt", "")];
    let folder = folder_with(&files);
    let output = run(&folder, &["check", "--routing", "routing.new", "--against", "routing"]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    let warning = "routing.new: warning: the rule `all` of routing seems to be `completed` here";
    let stderr = text(&output.stderr);
    assert!(stderr.contains(warning) && stdout.contains("1 warning"), "{stderr}{stdout}");
    let denied = run(&folder, &["check", "--routing", "routing.new", "--against", "routing", "-D", "warnings"]);
    assert_eq!(denied.status.code(), Some(78), "{}", text(&denied.stderr));
    let same = run(&folder, &["check", "--against", "routing", "-D", "warnings"]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stderr));
    let nothing = run(&folder, &["check", "--against", "empty"]);
    assert_eq!(nothing.status.code(), Some(78), "{}", text(&nothing.stdout));
    assert!(text(&nothing.stderr).contains("there is nothing to compare with"), "{}", text(&nothing.stderr));
}
