//! The command line as a person meets it: help, mistakes, exit codes.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use crate::kit::{self, BridgeSetup, HttpAgent, event, kafka, process::Scratch, unique};

const RULES: &str = "agents:
  audit: {http: {url: 'http://127.0.0.1:9/events'}}
rules:
  - {name: all, when: {event_type: [WORKFLOW_COMPLETED]}, to: [audit]}
";

fn bridge(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workflow-bridge"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("KAFKA_") || name.starts_with("BRIDGE_")) {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(arguments);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    bridge(folder, arguments).stdin(Stdio::null()).output().expect("the binary starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn folder_with(files: &[(&str, &str)]) -> Scratch {
    let folder = Scratch::new("cli");
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a scratch folder can be written");
        fs::write(path, text).expect("a scratch folder can be written");
    }
    folder
}

#[test]
fn the_demo_shows_every_outcome_and_ends_by_itself() {
    let folder = Scratch::new("demo");
    let output = run(&folder, &["demo"]);
    let table = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{table}\n{}", stderr(&output));
    for word in ["delivered", "duplicate", "unmatched", "dead_lettered", "0 of them doubled"] {
        assert!(table.contains(word), "no {word} in\n{table}");
    }
    assert!(!table.contains("expected:"), "{table}");
}

#[test]
fn usage_mistakes_exit_with_64() {
    let folder = Scratch::new("usage");
    for arguments in [&["rum"][..], &["run", "--colour"], &[]] {
        let output = run(&folder, arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", stderr(&output));
    }
    assert_eq!(run(&folder, &["--version"]).status.code(), Some(0));
}

#[test]
fn the_help_of_run_names_every_environment_variable() {
    let help = stdout(&run(&Scratch::new("help"), &["run", "--help"]));
    for key in workflow_bridge::config::ALL {
        assert!(help.contains(key.env), "{} is missing in\n{help}", key.env);
    }
}

#[test]
fn check_reports_every_mistake_with_its_place() {
    let folder = folder_with(&[(
        "routing/rules.yaml",
        "agents:
  audit: {htp: {url: 'http://127.0.0.1:9/events'}}
rules:
  - {name: one, when: {workflow_id: [x]}, to: [audit]}
  - {name: two, when: {event_type: [WORKFLOW_COMPLETD]}, to: [nobody]}
",
    )]);
    let output = run(&folder, &["check"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(78), "{text}");
    for expected in
        ["rules.yaml:2:", "htp", "rules.yaml:4:", "event_type", "rules.yaml:5:", "WORKFLOW_COMPLETED", "nobody"]
    {
        assert!(text.contains(expected), "no {expected} in\n{text}");
    }
    assert!(text.contains("warning: ") && text.contains("rules.yaml:5:37"), "no warning in\n{text}");
    let suspicious = RULES.replace("WORKFLOW_COMPLETED]", "WORKFLOW_COMPLETED, WORKFLOW_PAUSED]");
    assert_ne!(suspicious, RULES);
    fs::write(folder.join("routing/rules.yaml"), suspicious).expect("a scratch folder can be written");
    for (arguments, code) in [(&["check"][..], 0), (&["check", "--strict"][..], 78)] {
        let output = run(&folder, arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains("warning: ") && text.contains("WORKFLOW_PAUSED"), "{text}");
    }
    fs::write(folder.join("routing/rules.yaml"), RULES).expect("a scratch folder can be written");
    let output = run(&folder, &["check", "--strict"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "ok: 1 rules, 1 agents\n");
}

#[test]
fn settings_mistakes_are_reported_at_once_with_where_they_come_from() {
    let folder = folder_with(&[
        ("routing/rules.yaml", RULES),
        (
            "bridge.yaml",
            "kafka:
  security: {protocl: SSL, sasl_password: hunter2}
  properties: {enable.auto.commit: 'true', no.such.property: '1'}
dedup: {window: soon}
",
        ),
    ]);
    let output = bridge(&folder, &["check"])
        .env("KAFKA_CONSUMER_AUTO_OFFSET_RESET", "newest")
        .env("KAFKA_SECURITY_PROTOCOL", "SASL")
        .output()
        .expect("the binary starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(78), "{text}");
    for expected in [
        "bridge.yaml:2:",
        "protocl",
        "KAFKA_SECURITY_PROTOCOL: `kafka.security.protocol`",
        "{env: NAME}",
        "KAFKA_CONSUMER_AUTO_OFFSET_RESET",
        "newest",
        "SASL_SSL",
        "enable.auto.commit",
        "no.such.property",
        "soon",
    ] {
        assert!(text.contains(expected), "no {expected} in\n{text}");
    }
    assert!(!text.contains("hunter2"), "a secret is shown:\n{text}");
}

#[test]
fn a_second_bridge_on_the_same_folder_says_so_and_exits_with_74() {
    let topic = kafka().topic("locked", 1);
    let mut first = BridgeSetup::new(kafka(), &topic).routing(RULES).start();
    let folder = first.folder().to_owned();
    let output = bridge(&folder, &["run", "--topic", &topic, "--group", first.group(), "--admin", "127.0.0.1:0"])
        .env("KAFKA_BOOTSTRAP_SERVERS", kafka().bootstrap())
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    assert!(stderr(&output).contains("data"), "{}", stderr(&output));
    first.stop();
    // Another group has no business in this ledger.
    let output = bridge(&folder, &["run", "--topic", &topic, "--group", "another", "--admin", "127.0.0.1:0"])
        .env("KAFKA_BOOTSTRAP_SERVERS", kafka().bootstrap())
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    assert!(stderr(&output).contains("another"), "{}", stderr(&output));
}

#[test]
fn a_ledger_of_another_cluster_is_refused_before_anything_is_read() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("cluster", 1);
    let rules = RULES.replace("http://127.0.0.1:9", &agent.url());
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&rules).start();
    bridge.wait_ready(Duration::from_secs(30));
    bridge.stop();
    let other = workflow_bridge::kafka::EmbeddedBroker::start(&[(&topic, 1)]).expect("a broker in this process");
    kit::block_on(other.publish(&topic, "key", event(&unique("cluster")).json().to_string().as_bytes()))
        .expect("it takes the event");
    bridge.set_env("KAFKA_BOOTSTRAP_SERVERS", &other.bootstrap_servers());
    bridge.launch();
    assert_eq!(bridge.wait_exit(Duration::from_secs(30)).code(), Some(74), "{}", bridge.log().tail(20));
    assert!(bridge.log().tail(10).contains("cluster"), "{}", bridge.log().tail(10));
    assert_eq!(agent.count(), 0);
}

#[test]
fn publish_writes_what_run_reads_and_reports_bad_lines_by_number() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("publish", 2);
    let folder = folder_with(&[]);
    let (one, two) = (unique("publish"), unique("publish"));
    let mut liberal = event(&two).event_type("workflow.completed").json().clone();
    liberal["timestamp"] = "2026-01-02T03:04:05".into();
    let mut child = bridge(&folder, &["publish", "-", "--topic", &topic])
        .env("KAFKA_BOOTSTRAP_SERVERS", kafka().bootstrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let input = format!("{}\n\n{{\"event_id\": 7}}\n{liberal}\n", event(&one).json());
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
    assert!(stderr(&output).contains("stdin:3:"), "{}", stderr(&output));
    assert_eq!(stdout(&output), format!("2 events published to {topic}, 1 lines refused\n"));

    let stored = kafka().read_all(&topic);
    assert_eq!(stored.len(), 2);
    let second = stored.iter().find(|record| record.text().contains(&two)).expect("it is there");
    assert_eq!(second.header("event_id"), Some(two.clone()));
    assert_eq!(second.header("event_type").as_deref(), Some("WORKFLOW_COMPLETED"));
    assert_eq!(second.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(second.key.as_deref(), Some(format!("etl_daily/run-{two}").as_bytes()));
    assert!(second.text().contains("\"timestamp\":\"2026-01-02T03:04:05Z\""), "{}", second.text());

    let mut bridge =
        BridgeSetup::new(kafka(), &topic).routing(&RULES.replace("http://127.0.0.1:9", &agent.url())).start();
    agent.wait_accepted(2, Duration::from_secs(30));
    bridge.stop();
}
