//! What the log says of each event.

use std::process::Command;

use serde_json::Value;

use crate::kit::{BridgeSetup, HttpAgent, PATIENCE, Record, Reply, event, kafka, poll, unique, when};

/// The lines about the outcomes of events, as (message, level, `event_id`).
fn outcomes(bridge: &crate::kit::Bridge) -> Vec<(String, String, String)> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let messages = ["delivered", "duplicate", "unmatched", "dead letter", "delivery parked"];
    let lines = messages.iter().flat_map(|message| bridge.logged(message));
    lines.map(|line| (text(&line, "message"), text(&line, "level"), text(&line, "event_id"))).collect()
}

#[test]
fn the_log_says_once_what_became_of_each_event_that_was_asked_for() {
    let agent = HttpAgent::start();
    agent.behave(|request| Reply::Status(if request.event_id.starts_with("refused") { 400 } else { 200 }));
    let topic = kafka().topic("outcomes", 1);
    let (accepted, refused, unmatched) = (unique("accepted"), unique("refused"), unique("unmatched"));
    let long_run = "é".repeat(10_000);
    kafka().produce(&topic, event(&accepted).workflow("etl_orders").run("run-7").record());
    kafka().produce(&topic, event(&refused).workflow("etl_orders").run("run-8").record());
    kafka().produce(&topic, event(&unmatched).with("event_type", "WORKFLOW_STARTED").run(&long_run).record());
    kafka().produce(&topic, event(&accepted).workflow("etl_orders").run("run-7").record());
    // Another event with the same id, and no event at all.
    kafka().produce(&topic, event(&accepted).workflow("etl_orders").run("run-9").record());
    kafka().produce(&topic, Record::new("rubbish"));
    let rules = format!(
        "agents:\n  audit: {{http: {{url: '{}/events'}}, timeout: 60s}}\n\
         rules:\n  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}\n",
        agent.url()
    );
    let line = |message: &str, level: &str, id: &str| (message.to_owned(), level.to_owned(), id.to_owned());
    let matched = vec![
        line("delivered", "INFO", &accepted),
        line("duplicate", "INFO", &accepted),
        line("dead letter", "WARN", &refused),
        line("dead letter", "WARN", &accepted),
        line("dead letter", "WARN", ""),
    ];
    let mut all = matched.clone();
    all.insert(2, line("unmatched", "INFO", &unmatched));
    for (setting, expected) in [
        ("all", all),
        ("matched", matched.clone()),
        ("", matched.clone()),
        ("failures", matched[2..].to_vec()),
        ("none", vec![]),
    ] {
        let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&rules).env("BRIDGE_LOG_OUTCOMES", setting).start();
        kafka().wait_committed(bridge.group(), &topic, PATIENCE);
        bridge.stop();
        let mut seen = outcomes(&bridge);
        // Dead letters are written side by side.
        seen.sort();
        let mut expected = expected;
        expected.sort();
        assert_eq!(seen, expected, "log_outcomes: {setting:?}");
        if setting != "all" {
            continue;
        }
        let one = |message: &str| bridge.logged(message).remove(0);
        let delivered = one("delivered");
        for (name, value) in
            [("workflow_id", "etl_orders"), ("workflow_run_id", "run-7"), ("rule", "all"), ("agent", "audit")]
        {
            assert_eq!(delivered[name], value, "{delivered}");
        }
        assert_eq!(delivered["attempt"], 1, "{delivered}");
        let duplicate = one("duplicate");
        assert_eq!((&duplicate["offset"], &duplicate["workflow_run_id"]), (&3.into(), &"run-7".into()), "{duplicate}");
        assert_eq!(duplicate["first"], format!("{topic}[0]@0"), "{duplicate}");
        let letters = bridge.logged("dead letter");
        for (reason, run) in
            [("refused", Value::from("run-8")), ("id_conflict", "run-9".into()), ("not_json", Value::Null)]
        {
            let letter = letters.iter().find(|letter| letter["reason"] == reason).expect("each has its line");
            let workflow = if run.is_null() { Value::Null } else { "etl_orders".into() };
            assert_eq!((&letter["workflow_id"], &letter["workflow_run_id"]), (&workflow, &run), "{letter}");
        }
        let unmatched = one("unmatched");
        assert_eq!(
            (&unmatched["workflow_id"], &unmatched["event_type"]),
            (&"etl_daily".into(), &"WORKFLOW_STARTED".into())
        );
        let run = unmatched["workflow_run_id"].as_str().unwrap_or_default();
        assert!(run.ends_with('…') && run.chars().count() < 300, "a name is logged as its beginning: {run}");
    }
    assert_eq!(agent.sent_by_event()[&refused], 5, "each group tried it once");
}

/// `workflow-bridge explain --id …` on a machine that reaches the bridge and no Kafka: the exit code, stdout and stderr.
fn explain(admin: &str, event_id: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_workflow-bridge"))
        .args(["explain", "--admin", admin, "--id", event_id, "--brokers", "127.0.0.1:9"])
        .args(more)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The same of a bridge that runs: the program gives up after 10 s, and is started again then.
#[track_caller]
fn explained(admin: &str, event_id: &str, more: &[&str]) -> (Option<i32>, String, String) {
    poll(PATIENCE, "the bridge answers", || match explain(admin, event_id, more) {
        unanswered @ (Some(69), ..) => Err(unanswered),
        answered => Ok(answered),
    })
}

#[test]
fn explain_by_id_says_what_became_of_an_event() {
    let agent = HttpAgent::start();
    agent.behave(|request| match &request.event_id {
        id if id.starts_with("refused") => Reply::Status(400),
        id if id.starts_with("waits") => Reply::Status(503),
        _ => Reply::Status(200),
    });
    let topic = kafka().topic("explained", 1);
    // Such an id is an odd path.
    let accepted = unique("accepted a/b?c=%2F#é");
    let (refused, waits, unmatched, absent) =
        (unique("refused"), unique("waits"), unique("unmatched"), unique("absent"));
    kafka().produce(&topic, event(&accepted).run("run-1").record());
    kafka().produce(&topic, event(&refused).run("run-2").record());
    kafka().produce(&topic, event(&unmatched).with("event_type", "WORKFLOW_STARTED").record());
    let rules = format!(
        "agents:\n  audit: {{http: {{url: '{}/events'}}, timeout: 60s, retry: {{initial: 50ms, max: 100ms}}}}\n\
         rules:\n  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}\n",
        agent.url()
    );
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&rules).start();
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    let admin = bridge.admin().trim_start_matches("http://").to_owned();

    for (id, expected, wanted) in [
        ("", 64, "1 to 255 bytes"),
        ("a\tb", 64, "without control characters"),
        // Kafka could tell, and does not answer here.
        ("..", 69, "an address cannot contain the id \"..\""),
    ] {
        let (code, _, stderr) = explain(&admin, id, &[]);
        assert_eq!(code, Some(expected), "{stderr}");
        assert!(stderr.contains(wanted), "{stderr}");
    }
    let (code, text, stderr) = explained(&admin, &accepted, &[]);
    assert_eq!(code, Some(0), "{text}{stderr}");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(&*format!("event {accepted}: delivered")), "{text}");
    let read = lines.next().unwrap_or_default();
    assert!(read.starts_with(&format!("read from {topic}[0]@0, first seen 20")), "{text}");
    let delivery = lines.next().unwrap_or_default();
    assert!(delivery.starts_with("  all, for agent audit: delivered, 1 attempt, 20"), "{text}");

    let (code, text, _) = explained(&admin, &refused, &["-o", "json"]);
    let page: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!((code, &page["state"]), (Some(0), &"dead_lettered".into()), "{page}");
    let delivery = &page["deliveries"][0];
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&"dead_lettered".into(), &1.into()), "{page}");
    assert_eq!(delivery["last_failure"]["status"], 400, "{page}");

    for id in [&unmatched, &absent] {
        // The lag is that of a moment ago.
        poll(PATIENCE, "the answer says what it could not look at", || {
            let (code, text, _) = explain(&admin, id, &[]);
            let says = |words: &str| text.contains(words);
            let is_unknown = says(&format!("event {id}: unknown\n"));
            let holds = code == Some(65) && is_unknown && says(&format!("[{topic}/0], their lag is 0"));
            when(holds, (code, text))
        });
    }

    kafka().produce(&topic, event(&waits).run("run-3").record());
    poll(PATIENCE, "it has failed at least twice", || {
        let (code, text, _) = explain(&admin, &waits, &["-o", "json"]);
        let page: Value = serde_json::from_str(&text).unwrap_or_default();
        let delivery = &page["deliveries"][0];
        let has_failed = delivery["last_failure"]["status"] == 503 && delivery["attempts"].as_u64() > Some(1);
        when(code == Some(0) && has_failed && page["state"] == "pending", (code, text))
    });
    bridge.stop();
    let (code, text, stderr) = explain(&admin, &accepted, &[]);
    assert_eq!((code, &*text), (Some(69), ""), "{stderr}");
    assert!(stderr.contains("is the bridge running there?"), "{stderr}");
}
