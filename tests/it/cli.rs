//! The command line as a person meets it: help, mistakes, exit codes.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::kit::{
    self, BridgeSetup, HttpAgent, PATIENCE, Reply,
    bridge::LONG_SESSION,
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
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let shipped = fs::read_to_string(root.join("schemas").join(format!("{kind}.schema.json")));
        assert_eq!(stdout(&output), shipped.expect("the schema is there"));
        fs::write(folder.join(path), &output.stdout).expect("a scratch folder can be written");
    }
    let checked = run(&folder, &["check", "--strict"]);
    assert_eq!(stdout(&checked), "ok: 1 file, 1 rule, 1 agent in routing\n", "{}", stderr(&checked));
    let output = run(&folder, &["schema", "rules"]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
    assert!(stderr(&output).contains("possible values: routing, bridge, test"), "{}", stderr(&output));
    let help = stdout(&run(&folder, &["schema", "--help"]));
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
    ] {
        let help = stdout(&run(&folder, command));
        let settings = workflow_bridge::testing::settings().into_iter().map(|key| key.env);
        for name in settings.chain(["RUST_LOG", "NO_COLOR", "SSL_CERT_FILE"]) {
            assert!(help.contains(name), "{command:?}: {name} is missing in\n{help}");
        }
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
    let text = serde_json::to_string_pretty(event).expect("JSON can be written");
    let two = format!("{event}\n{event}\n");
    let folder = folder_with(&[("routing/rules.yaml", rules), ("event.json", &text), ("events.jsonl", &two)]);
    let output = run(&folder, &["explain", "event.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/routing.md")).expect("the page is there");
    assert!(page.contains(&stdout(&output)), "docs/routing.md shows another output than\n{}", stdout(&output));

    let output = run(&folder, &["explain", "--rule", "orders-ok", "-o", "json", "event.json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the result is JSON");
    assert_eq!((&found["event_id"], &found["matching"], &found["not_shown"]), (&"e-1".into(), &0.into(), &0.into()));
    let failed = &found["rules"][0]["conditions"][1];
    assert_eq!(failed["path"], "payload.data.status");
    assert_eq!((&failed["holds"], &failed["found"]["values"][0]), (&false.into(), &"\"failed\"".into()));

    let output = run(&folder, &["explain", "--rule", "orders-okay", "event.json"]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
    assert!(stderr(&output).contains("did you mean `orders-ok`?"), "{}", stderr(&output));
    for (file, wanted) in [
        ("events.jsonl", "The file seems to have several events: give it one of them"),
        ("routing/rules.yaml", "a dead letter with the reason `not_json`"),
        ("nothing.json", "No such file"),
    ] {
        let output = run(&folder, &["explain", file]);
        assert_eq!(output.status.code(), Some(65), "{file}: {}", stderr(&output));
        assert!(stderr(&output).contains(wanted), "{file}: {}", stderr(&output));
    }
    let mut piped = bridge(&folder, &["explain", "--all", "-"]);
    piped.stdin(fs::File::open(folder.join("event.json")).expect("it is there"));
    let output = piped.output().expect("the binary starts");
    assert!(stdout(&output).contains("0 of 2 rules match"), "{}", stderr(&output));
    let mut piped = bridge(&folder, &["explain", "-"]);
    let large = fs::File::create(folder.join("large")).expect("the folder can be written");
    large.set_len((64 << 20) + 1).expect("a file with a hole");
    piped.stdin(fs::File::open(folder.join("large")).expect("it is there"));
    let output = piped.output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
    assert!(stderr(&output).contains("at most 64 MiB, found more"), "{}", stderr(&output));
}

#[test]
fn a_misspelt_variable_is_told_and_what_kubernetes_sets_is_not() {
    let folder = folder_with(&[("routing/rules.yaml", RULES)]);
    let output = bridge(&folder, &["check"])
        .env("KAFKA_BOOTSTRAP_SERVER", "kafka:9092")
        .env("KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1")
        .env("KAFKA_SERVICE_HOST", "10.0.0.1")
        .env("RUST_LOG", "info,workflow_bridge=loud")
        .output()
        .expect("the binary starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("KAFKA_BOOTSTRAP_SERVER is set, and nothing reads it: did you mean KAFKA_BOOTSTRAP_SERVERS?")
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_result_that_cannot_be_written_costs_nothing_but_the_exit_code() {
    let folder = folder_with(&[("routing/rules.yaml", RULES)]);
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    for arguments in [&["check"][..], &["--help"], &["spool", "status", "--spool", "nowhere"]] {
        let output = bridge(&folder, arguments).stdout(full()).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(74), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("could not be written"), "{arguments:?}: {}", stderr(&output));
        // A reader that has seen enough is no failure.
        let output = bridge(&folder, arguments).stdout(closed_pipe()).stderr(closed_pipe()).output();
        assert_eq!(output.expect("the binary starts").status.code(), Some(0), "{arguments:?}");
    }
    let output = bridge(&folder, &["rum"]).stderr(full()).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(64), "the exit code tells what could not be written");
}

/// The end of a pipe that nobody reads, as `| head -1` leaves it.
fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe can be made");
    writer.into()
}

#[test]
fn publish_publishes_although_nobody_reads_what_it_says() {
    let topic = kafka().topic("unread", 1);
    let (one, two) = (unique("unread"), unique("unread"));
    let mix = format!("no event\n{}\nnone either\n{}\n", event(&one).json(), event(&two).json());
    let folder = folder_with(&[("mix.jsonl", &mix)]);
    let publish = |stdout: Stdio, stderr: Stdio| {
        bridge(&folder, &["publish", "mix.jsonl", "--topic", &topic, "--brokers", kafka().bootstrap()])
            .args(["--timeout", "120s"])
            .stdout(stdout)
            .stderr(stderr)
            .status()
            .expect("the binary starts")
            .code()
    };
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    assert_eq!(publish(closed_pipe(), closed_pipe()), Some(65), "two lines are no events");
    assert_eq!(kafka().read_all(&topic).len(), 2);
    assert_eq!(publish(full().into(), full().into()), Some(65), "two lines are no events");
    assert_eq!(kafka().read_all(&topic).len(), 4);
}

/// A broker that creates topics on request needs some seconds for it on a busy machine.
#[test]
fn publish_waits_for_a_topic_that_is_being_created() {
    let (topic, id) = (unique("late-topic"), unique("late-topic"));
    let folder = folder_with(&[("events.jsonl", &format!("{}\n", event(&id).json()))]);
    let publish = |arguments: &[&str]| {
        let all =
            [&["publish", "events.jsonl", "--topic", &topic, "--brokers", kafka().bootstrap()], arguments].concat();
        let mut command = bridge(&folder, &all);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the binary starts")
    };
    // A quarter of it is left for the answer after the wait for the topic: 5 s, or 20 s if the machine stood still for them.
    let says_it = |output: &Output| stderr(output).contains("the topic does not exist yet: create it");
    let give_up_after = |timeout: &str| publish(&["--timeout", timeout]).wait_with_output().expect("it ends");
    let mut output = give_up_after("20s");
    if !says_it(&output) {
        output = give_up_after("80s");
    }
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(says_it(&output), "{}", stderr(&output));

    let started = Instant::now();
    let mut waiting = publish(&["--timeout", "120s"]);
    while started.elapsed() < Duration::from_secs(5) {
        assert_eq!(waiting.try_wait().expect("its status"), None, "it ended after {:?}", started.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    kafka().create_topic(&topic, 1, &[]);
    let output = waiting.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(kafka().read_all(&topic).len(), 1);
}

#[test]
fn publish_gives_up_within_seconds_where_nothing_listens() {
    let folder = folder_with(&[("events.jsonl", &format!("{}\n", event(&unique("nobody")).json()))]);
    let nobody = format!("127.0.0.1:{}", kit::free_port());
    for (arguments, within) in [(&[][..], "within 5s"), (&["--timeout", "500ms"], "within 500ms")] {
        let started = Instant::now();
        let all = [&["publish", "events.jsonl", "--brokers", &nobody], arguments].concat();
        let output = run(&folder, &all);
        let (text, took) = (stderr(&output), started.elapsed());
        assert_eq!(output.status.code(), Some(69), "{text}");
        assert!(text.contains(&nobody) && text.contains("0 events were published"), "{text}");
        assert!(text.contains(within), "{text}");
        // That it was not the 30 s that Kafka has for an answer is in the text: by the clock, a machine that stands still
        // for a few times looks the same.
        assert!(took < Duration::from_secs(60), "{arguments:?} took {took:?}");
    }
    let output = run(&folder, &["publish", "events.jsonl", "--timeout", "soon"]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
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
    assert_eq!(stdout(&output), "ok: 1 file, 1 rule, 1 agent in routing\n");
    let output = run(&folder, &["check", "--routing", "routing/rules.yaml"]);
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    assert!(stderr(&output).contains("found a file: name the folder"), "{}", stderr(&output));
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

#[test]
fn publish_writes_what_run_reads_and_reports_bad_lines_by_number() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("publish", 2);
    let folder = folder_with(&[]);
    let (one, two) = (unique("publish"), unique("publish"));
    let mut liberal = event(&two).event_type("workflow.completed").json().clone();
    liberal["timestamp"] = "2026-01-02T03:04:05".into();
    let mut child = bridge(&folder, &["publish", "-", "--topic", &topic, "--timeout", "120s"])
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
    agent.wait_accepted(2, PATIENCE);
    bridge.stop();
}
