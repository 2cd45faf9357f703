//! `publish` as a person meets it.

use std::{
    fs,
    io::Write as _,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::kit::{
    self, BridgeSetup, HttpAgent, PATIENCE,
    commands::{closed_pipe, command, folder_with, run, text},
    event, kafka, poll, unique, when,
};

const RULES: &str = "agents:
  audit: {http: {url: 'http://127.0.0.1:9/events'}, timeout: 60s}
rules:
  - {name: all, when: {event_type: [WORKFLOW_COMPLETED]}, to: [audit]}
";

#[test]
fn publish_publishes_although_nobody_reads_what_it_says() {
    let topic = kafka().topic("unread", 1);
    let (one, two) = (unique("unread"), unique("unread"));
    let mix = format!("no event\n{}\nnone either\n{}\n", event(&one).json(), event(&two).json());
    let folder = folder_with(&[("mix.jsonl", &mix)]);
    let publish = |stdout: Stdio, stderr: Stdio| {
        command(&folder, &["publish", "mix.jsonl", "--topic", &topic, "--brokers", kafka().bootstrap()])
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
        let mut command = command(&folder, &all);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the binary starts")
    };
    // A quarter of it is left for the answer after the wait for the topic: 5 s, or 20 s if the machine stood still for them.
    let says_it = |output: &Output| text(&output.stderr).contains("the topic does not exist yet: create it");
    let give_up_after = |timeout: &str| publish(&["--timeout", timeout]).wait_with_output().expect("it ends");
    let mut output = give_up_after("20s");
    if !says_it(&output) {
        output = give_up_after("80s");
    }
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    assert!(says_it(&output), "{}", text(&output.stderr));

    let started = Instant::now();
    let mut waiting = publish(&["--timeout", "120s"]);
    while started.elapsed() < Duration::from_secs(5) {
        assert_eq!(waiting.try_wait().expect("its status"), None, "it ended after {:?}", started.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    kafka().create_topic(&topic, 1, &[]);
    let output = waiting.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
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
        let (text, took) = (text(&output.stderr), started.elapsed());
        assert_eq!(output.status.code(), Some(69), "{text}");
        assert!(text.contains(&nobody) && text.contains("0 events were published"), "{text}");
        assert!(text.contains(within), "{text}");
        // That it was not the 30 s that Kafka has for an answer is in the text: by the clock, a machine that stands still
        // for a few times looks the same.
        assert!(took < Duration::from_secs(60), "{arguments:?} took {took:?}");
    }
    let output = run(&folder, &["publish", "events.jsonl", "--timeout", "soon"]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
}

#[test]
fn publish_writes_what_run_reads_and_reports_bad_lines_by_number() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("publish", 2);
    let folder = folder_with(&[]);
    let (one, two) = (unique("publish"), unique("publish"));
    let mut liberal = event(&two).event_type("workflow.completed").json().clone();
    liberal["timestamp"] = "2026-01-02T03:04:05".into();
    let mut child = command(&folder, &["publish", "-", "--topic", &topic, "--timeout", "120s"])
        .env("KAFKA_BOOTSTRAP_SERVERS", kafka().bootstrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let input = format!("{}\n\n{{\"event_id\": 7}}\n{liberal}\n", event(&one).json());
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(65), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("stdin:3:"), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("2 events published to {topic}, 1 lines refused\n"));

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

#[test]
fn publish_takes_events_over_several_lines_and_says_what_it_did_as_json() {
    let topic = kafka().topic("pretty", 1);
    let (one, two) = (unique("pretty"), unique("pretty"));
    let pretty = |id: &str| serde_json::to_string_pretty(event(id).json()).expect("JSON can be written");
    let file = format!("{}\n{{\n  \"cut\": [\n{}\n", pretty(&one), pretty(&two));
    let folder = folder_with(&[("events.json", &file)]);
    let arguments = [
        "publish",
        "events.json",
        "-o",
        "json",
        "--topic",
        &topic,
        "--brokers",
        kafka().bootstrap(),
        "--timeout",
        "120s",
    ];
    let output = run(&folder, &arguments);
    let line = pretty(&one).lines().count() + 1;
    assert_eq!(output.status.code(), Some(65), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains(&format!("events.json:{line}: ")), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("the result is JSON");
    let expected = serde_json::json!({"topic": topic, "published": 2, "refused": 1, "complete": true});
    assert_eq!(found, expected);
    let stored = kafka().read_all(&topic);
    assert_eq!(stored.iter().filter_map(|record| record.header("event_id")).collect::<Vec<_>>(), [one, two]);
}

#[test]
fn publish_says_at_ctrl_c_what_was_published_by_then() {
    const BATCH: usize = 1_000;
    let topic = kafka().topic("interrupted", 1);
    let prefix = unique("interrupted");
    let mut child = command(&folder_with(&[]), &["publish", "-", "--topic", &topic, "--timeout", "120s"])
        .env("KAFKA_BOOTSTRAP_SERVERS", kafka().bootstrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut input = child.stdin.take().expect("a pipe");
    for number in 0..BATCH {
        writeln!(input, "{}", event(&format!("{prefix}-{number}")).json()).expect("it reads");
    }
    poll(PATIENCE, "the first batch is there", || {
        let (_, high) = kafka().watermarks(&topic)[&0];
        when(high == 1_000, high)
    });
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    drop(input);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    let is_said = said.contains("interrupted: 1000 events published") || said.contains("1000 under way");
    assert!(is_said, "{said}");
}
