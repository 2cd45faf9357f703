//! The command line as a person meets it: help, mistakes, exit codes.

use std::{fs, path::Path, process::Command, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::Response;
use rustix::process::{Pid, Signal, kill_process};

use crate::kit::{
    self, BridgeSetup, HttpAgent, PATIENCE, Reply,
    bridge::LONG_SESSION,
    commands::{closed_pipe, command, folder_with, run, text},
    event, kafka, poll,
    process::{Process, Scratch},
    unique, when,
};

/// The time-out is longer than a machine stands still: a drain that waits for an attempt does not end by itself.
const RULES: &str = "agents:
  audit: {http: {url: 'http://127.0.0.1:9/events'}, timeout: 60s}
rules:
  - {name: all, when: {event_type: [WORKFLOW_COMPLETED]}, to: [audit]}
";

#[test]
fn the_demo_shows_every_outcome_and_ends_by_itself() {
    let folder = Scratch::new("demo");
    let output = run(&folder, &["demo"]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}\n{}", text(&output.stderr));
    for word in ["delivered", "duplicate", "unmatched", "dead_lettered", "0 of them doubled"] {
        assert!(table.contains(word), "no {word} in\n{table}");
    }
    assert!(!table.contains("expected:"), "{table}");

    let output = run(&folder, &["demo", "-o", "json"]);
    let page: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!((output.status.code(), &page["as_expected"]), (Some(0), &true.into()), "{page:#}");
    assert_eq!((&page["doubled_runs"], page["samples"][0]["deliveries"].is_array()), (&0.into(), true), "{page:#}");
}

#[test]
fn usage_mistakes_exit_with_64() {
    let folder = Scratch::new("usage");
    for arguments in [&["rum"][..], &["run", "--colour"], &[]] {
        let output = run(&folder, arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", text(&output.stderr));
    }
    assert_eq!(run(&folder, &["--version"]).status.code(), Some(0));
}

/// As docs/routing.md and docs/configuration.md say it: the schemas stand beside the files, and the bridge reads neither.
#[test]
fn schema_prints_what_editors_check_the_files_with() {
    let settings = "# yaml-language-server: $schema=bridge.schema.json\nlog_format: text\n";
    let rules = format!("# yaml-language-server: $schema=routing.schema.json\n{RULES}");
    let folder = folder_with(&[("bridge.yaml", settings), ("routing/rules.yaml", &rules)]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (kind, path) in [
        ("routing", "routing/routing.schema.json"),
        ("bridge", "bridge.schema.json"),
        ("test", "routing/test.schema.json"),
    ] {
        let output = run(&folder, &["schema", kind]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let shipped = fs::read_to_string(root.join("schemas").join(format!("{kind}.schema.json")));
        assert_eq!(text(&output.stdout), shipped.expect("the schema is there"));
        fs::write(folder.join(path), &output.stdout).expect("a scratch folder can be written");
    }
    let checked = run(&folder, &["check", "--strict"]);
    assert_eq!(text(&checked.stdout), "ok: 1 file, 1 rule, 1 agent in routing\n", "{}", text(&checked.stderr));
    let output = run(&folder, &["schema", "rules"]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("possible values: routing, bridge, test"), "{}", text(&output.stderr));
    let help = text(&run(&folder, &["schema", "--help"]).stdout);
    assert!(help.contains("# yaml-language-server: $schema=routing.schema.json"), "{help}");
}

#[test]
fn help_names_every_environment_variable() {
    let folder = Scratch::new("help");
    for command in [
        &["--help"][..],
        &["run", "--help"],
        &["check", "--help"],
        &["explain", "--help"],
        &["test", "--help"],
        &["replay", "--help"],
        &["publish", "--help"],
        &["spool", "--help"],
        &["status", "--help"],
    ] {
        let help = text(&run(&folder, command).stdout);
        let settings = workflow_bridge::testing::settings().into_iter().map(|key| key.env);
        for name in settings.chain(["RUST_LOG", "NO_COLOR", "SSL_CERT_FILE"]) {
            assert!(help.contains(name), "{command:?}: {name} is missing in\n{help}");
        }
    }
}

#[test]
fn status_says_that_nobody_answers_and_who_answers_what_no_bridge_would() {
    let (folder, other, json) = (Scratch::new("status"), HttpAgent::start(), HttpAgent::start());
    other.reply(Reply::Full(Response::new(Bytes::from_static(b"hello"))));
    for (admin, says) in [
        ("127.0.0.1:9".to_owned(), "is the bridge running there?"),
        (other.address().to_string(), "answered with status 200 and no JSON: is a bridge running there?"),
        (json.address().to_string(), "/api/status is not the status of a bridge"),
    ] {
        let output = run(&folder, &["status", "--admin", &admin]);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(69) && output.stdout.is_empty() && said.contains(says), "{said}");
    }
}

/// docs/routing.md shows this output.
#[test]
fn explain_says_which_condition_an_event_fails() {
    let rules = "agents:
  audit: {http: {url: 'http://127.0.0.1:9/events'}}
rules:
  - {name: orders-ok, when: {event_type: [WORKFLOW_COMPLETED], workflow_id: [{prefix: etl_}], payload: {data: {status: [success]}}}, to: [audit]}
  - {name: big-loads, when: {event_type: [WORKFLOW_COMPLETED], payload: {data: {rows: [{numeric: ['>', 1000]}]}}}, to: [audit]}
";
    let event = event("e-1").workflow("etl_orders").run("manual__1");
    let event = event.data(serde_json::json!({"status": "failed", "row": 5}));
    let event = event.json();
    let pretty = serde_json::to_string_pretty(event).expect("JSON can be written");
    let two = format!("{event}\n{event}\n");
    let folder = folder_with(&[("routing/rules.yaml", rules), ("event.json", &pretty), ("events.jsonl", &two)]);
    let output = run(&folder, &["explain", "event.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/routing.md")).expect("the page is there");
    assert!(
        page.contains(&text(&output.stdout)),
        "docs/routing.md shows another output than\n{}",
        text(&output.stdout)
    );

    let output = run(&folder, &["explain", "--rule", "orders-ok", "-o", "json", "event.json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the result is JSON");
    assert_eq!((&found["event_id"], &found["matching"], &found["not_shown"]), (&"e-1".into(), &0.into(), &0.into()));
    let failed = &found["rules"][0]["conditions"][1];
    assert_eq!(failed["path"], "payload.data.status");
    assert_eq!((&failed["holds"], &failed["found"]["values"][0]), (&false.into(), &"\"failed\"".into()));

    let output = run(&folder, &["explain", "--rule", "orders-okay", "event.json"]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("did you mean `orders-ok`?"), "{}", text(&output.stderr));
    for (file, wanted) in [
        ("events.jsonl", "The file seems to have several events: give it one of them"),
        ("routing/rules.yaml", "a dead letter with the reason `not_json`"),
        ("nothing.json", "No such file"),
    ] {
        let output = run(&folder, &["explain", file]);
        assert_eq!(output.status.code(), Some(65), "{file}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(wanted), "{file}: {}", text(&output.stderr));
    }
    let mut piped = command(&folder, &["explain", "--all", "-"]);
    piped.stdin(fs::File::open(folder.join("event.json")).expect("it is there"));
    let output = piped.output().expect("the binary starts");
    assert!(text(&output.stdout).contains("0 of 2 rules match"), "{}", text(&output.stderr));
    let mut piped = command(&folder, &["explain", "-"]);
    let large = fs::File::create(folder.join("large")).expect("the folder can be written");
    large.set_len((64 << 20) + 1).expect("a file with a hole");
    piped.stdin(fs::File::open(folder.join("large")).expect("it is there"));
    let output = piped.output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(65), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("at most 64 MiB, found more"), "{}", text(&output.stderr));
}

#[test]
fn a_misspelt_variable_is_told_and_what_kubernetes_sets_is_not() {
    let folder = folder_with(&[("routing/rules.yaml", RULES)]);
    let output = command(&folder, &["check"])
        .env("KAFKA_BOOTSTRAP_SERVER", "kafka:9092")
        .env("KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1")
        .env("KAFKA_SERVICE_HOST", "10.0.0.1")
        .env("RUST_LOG", "info,workflow_bridge=loud")
        .output()
        .expect("the binary starts");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("KAFKA_BOOTSTRAP_SERVER is set, and nothing reads it: did you mean KAFKA_BOOTSTRAP_SERVERS?")
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_result_that_cannot_be_written_costs_nothing_but_the_exit_code() {
    let folder = folder_with(&[("routing/rules.yaml", RULES)]);
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    for arguments in [&["check"][..], &["--help"], &["spool", "status", "--spool", "nowhere"]] {
        let output = command(&folder, arguments).stdout(full()).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(74), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("could not be written"), "{arguments:?}: {}", text(&output.stderr));
        // A reader that has seen enough is no failure.
        let output = command(&folder, arguments).stdout(closed_pipe()).stderr(closed_pipe()).output();
        assert_eq!(output.expect("the binary starts").status.code(), Some(0), "{arguments:?}");
    }
    let output = command(&folder, &["rum"]).stderr(full()).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(64), "the exit code tells what could not be written");
}

#[test]
fn a_bridge_whose_log_cannot_be_written_runs_and_stops_in_order() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("full-disk", 1);
    let folder = folder_with(&[("routing/rules.yaml", &RULES.replace("http://127.0.0.1:9", &agent.url()))]);
    let program = format!("exec {} run --admin 127.0.0.1:0 2>/dev/full", env!("CARGO_BIN_EXE_workflow-bridge"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &program]).current_dir(&*folder).env("KAFKA_BOOTSTRAP_SERVERS", kafka().bootstrap());
    shell.env("KAFKA_TOPIC", &topic).env("KAFKA_CONSUMER_GROUP_ID", unique("full")).env("RUST_LOG", "debug");
    let mut process = Process::spawn("a bridge on a full disk", &shell, Arc::default());
    kafka().produce(&topic, event(&unique("full")).record());
    poll(PATIENCE, "the agent has the event", || {
        assert_eq!(process.exit_status(), None, "the bridge ended");
        when(agent.count() >= 1, agent.count())
    });
    process.signal(Signal::TERM);
    assert_eq!(process.wait_exit(PATIENCE).code(), Some(0), "SIGTERM drains");
}

#[test]
fn a_second_signal_ends_and_sighup_neither_stops_nor_is_taken_from_nohup() {
    let agent = HttpAgent::start();
    agent.reply(Reply::Hang);
    let topic = kafka().topic("hangup", 1);
    // The drain does not end by itself before the second signal comes.
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .config(&format!("{LONG_SESSION}drain_timeout: 30s\n"))
        .routing(&RULES.replace("http://127.0.0.1:9", &agent.url()))
        .start();
    let started = &bridge.logged("starting")[0];
    assert_eq!(started["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(started["brokers"], kafka().bootstrap());
    assert_eq!((&started["topics"], &started["group"]), (&topic.as_str().into(), &bridge.group().into()));
    assert_eq!((&started["rules"], &started["agents"]), (&1.into(), &1.into()), "numbers are JSON numbers");
    kafka().produce(&topic, event(&unique("hangup")).record());
    poll(PATIENCE, "the attempt is under way", || when(agent.count() >= 1, agent.count()));
    let pid = Pid::from_raw(i32::try_from(bridge.pid()).expect("a pid is an i32")).expect("a pid is not 0");
    kill_process(pid, Signal::HUP).expect("the bridge runs");
    let loaded = "routing folder loaded: its rules are in force";
    poll(PATIENCE, "SIGHUP loads the routing folder", || when(bridge.logged(loaded).len() == 1, bridge.log().tail(5)));
    // Signals of the first half second count as the first one, and SIGHUP as none.
    poll(PATIENCE, "a later SIGTERM ends it", || {
        let _ = kill_process(pid, Signal::HUP);
        let _ = kill_process(pid, Signal::TERM);
        when(!bridge.runs(), ())
    });
    assert_eq!(bridge.wait_exit(Duration::from_secs(5)).code(), Some(143), "{}", bridge.log().tail(20));
    assert_eq!(bridge.logged("stopping: waiting for the attempts under way").len(), 1, "{}", bridge.log().tail(20));

    let program = format!("trap '' HUP; exec {} run --admin 127.0.0.1:0", env!("CARGO_BIN_EXE_workflow-bridge"));
    let folder = folder_with(&[("routing/rules.yaml", RULES)]);
    let mut shell = Command::new("sh");
    shell.args(["-c", &program]).current_dir(&*folder).env("KAFKA_BOOTSTRAP_SERVERS", kafka().bootstrap());
    shell.env("KAFKA_TOPIC", &topic).env("KAFKA_CONSUMER_GROUP_ID", unique("nohup"));
    let mut process = Process::spawn("a bridge under nohup", &shell, Arc::default());
    poll(PATIENCE, "it has started", || {
        let listens = process.log().since(0).iter().any(|line| line.contains("admin listening"));
        when(listens, process.log().tail(3))
    });
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("the process runs");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("Linux says");
    let caught = u64::from_str_radix(caught.trim(), 16).expect("a mask");
    assert_eq!(caught & 1, 0, "SIGHUP is ignored and stays so");
    process.signal(Signal::TERM);
    assert!(process.wait_exit(PATIENCE).success(), "{}", process.log().tail(20));
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
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    for expected in
        ["rules.yaml:2:", "htp", "rules.yaml:4:", "event_type", "rules.yaml:5:", "WORKFLOW_COMPLETED", "nobody"]
    {
        assert!(said.contains(expected), "no {expected} in\n{said}");
    }
    assert!(said.contains("warning: ") && said.contains("rules.yaml:5:37"), "no warning in\n{said}");
    let suspicious = RULES.replace("WORKFLOW_COMPLETED]", "WORKFLOW_COMPLETED, WORKFLOW_PAUSED]");
    assert_ne!(suspicious, RULES);
    fs::write(folder.join("routing/rules.yaml"), suspicious).expect("a scratch folder can be written");
    for (arguments, code) in [(&["check"][..], 0), (&["check", "--strict"][..], 78)] {
        let output = run(&folder, arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("warning: ") && said.contains("WORKFLOW_PAUSED"), "{said}");
    }
    fs::write(folder.join("routing/rules.yaml"), RULES).expect("a scratch folder can be written");
    let output = run(&folder, &["check", "--strict"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "ok: 1 file, 1 rule, 1 agent in routing\n");
    let output = run(&folder, &["check", "--routing", "routing/rules.yaml"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("found a file: name the folder"), "{}", text(&output.stderr));
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
    let output = command(&folder, &["check"])
        .env("KAFKA_CONSUMER_AUTO_OFFSET_RESET", "newest")
        .env("KAFKA_SECURITY_PROTOCOL", "SASL")
        .output()
        .expect("the binary starts");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
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
        assert!(said.contains(expected), "no {expected} in\n{said}");
    }
    assert!(!said.contains("hunter2"), "a secret is shown:\n{said}");
}

#[test]
fn a_second_bridge_on_the_same_folder_says_so_and_exits_with_74() {
    let topic = kafka().topic("locked", 1);
    let mut first = BridgeSetup::new(kafka(), &topic).routing(RULES).start();
    let folder = first.folder().to_owned();
    let output = command(&folder, &["run", "--topic", &topic, "--group", first.group(), "--admin", "127.0.0.1:0"])
        .env("KAFKA_BOOTSTRAP_SERVERS", kafka().bootstrap())
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(74), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("data"), "{}", text(&output.stderr));
    first.stop();
    // Another group has no business in this ledger.
    let output = command(&folder, &["run", "--topic", &topic, "--group", "another", "--admin", "127.0.0.1:0"])
        .env("KAFKA_BOOTSTRAP_SERVERS", kafka().bootstrap())
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(74), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("another"), "{}", text(&output.stderr));
}

#[test]
fn a_ledger_of_another_cluster_is_refused_before_anything_is_read() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("cluster", 1);
    let rules = RULES.replace("http://127.0.0.1:9", &agent.url());
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&rules).start();
    bridge.wait_ready(PATIENCE);
    bridge.stop();
    let other = workflow_bridge::testing::EmbeddedBroker::start(&[(&topic, 1)]).expect("a broker in this process");
    kit::block_on(other.publish(&topic, "key", event(&unique("cluster")).json().to_string().as_bytes()))
        .expect("it takes the event");
    bridge.set_env("KAFKA_BOOTSTRAP_SERVERS", &other.bootstrap_servers());
    bridge.launch();
    assert_eq!(bridge.wait_exit(PATIENCE).code(), Some(74), "{}", bridge.log().tail(20));
    assert!(bridge.log().tail(10).contains("cluster"), "{}", bridge.log().tail(10));
    assert_eq!(agent.count(), 0);
}
