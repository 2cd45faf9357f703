//! `replay --deliver`: a new rule, and the events of before.

use std::{collections::BTreeMap, process::Command, sync::Arc};

use serde_json::Value;

use crate::kit::{
    Bridge, BridgeSetup, HttpAgent, PATIENCE, TestEvent,
    bridge::LONG_SESSION,
    commands, event,
    events::events,
    kafka, poll,
    process::{Log, Process},
    unique, when,
};

const EVENTS: usize = 1_000;

/// Rules for completed workflows, and with `late` one for those that failed; both agents are asked for by both.
fn rules(agents: [&HttpAgent; 2], with_late: bool) -> String {
    let [a, b] = agents.map(HttpAgent::url);
    let late = if with_late { "  - {name: late, when: {event_type: [WORKFLOW_FAILED]}, to: [a]}\n" } else { "" };
    let other = if with_late { "  - {name: too, when: {event_type: [WORKFLOW_FAILED]}, to: [b]}\n" } else { "" };
    format!(
        "agents:\n  a: {{http: {{url: '{a}/events'}}, timeout: 60s}}\n  b: {{http: {{url: '{b}/events'}}, timeout: 60s}}\n\
         rules:\n  - {{name: early, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [a, b]}}\n{late}{other}"
    )
}

fn command(bridge: &Bridge, arguments: &[&str]) -> Command {
    commands::beside(bridge, &[&["replay", "--deliver", "--since", "1h"], arguments].concat())
}

#[track_caller]
fn run(bridge: &Bridge, arguments: &[&str]) -> (Option<i32>, String, String) {
    commands::until_kafka_answers(&format!("{arguments:?}"), || command(bridge, arguments))
}

fn once<'a>(events: impl IntoIterator<Item = &'a TestEvent>) -> BTreeMap<String, usize> {
    events.into_iter().map(|event| (event.id().to_owned(), 1)).collect()
}

/// Two replicas that share the topic's partitions.
fn two_replicas(topic: &str, group: &str, rules: &str) -> [Bridge; 2] {
    let start = || BridgeSetup::new(kafka(), topic).group(group).config(LONG_SESSION).routing(rules).start();
    let bridges = [start(), start()];
    poll(PATIENCE, "both have a share", || {
        let shares: Vec<_> =
            bridges.iter().map(|one| one.status()["consumer"]["assigned"].as_array().map_or(0, Vec::len)).collect();
        when(shares == [2, 2], shares)
    });
    bridges
}

/// Starts a command that publishes 200 requests a second, and kills it when the agent has got 50 more.
fn kill_half_way(bridge: &Bridge, arguments: &[&str], agent: &HttpAgent) {
    let before = agent.count();
    let mut slow = command(bridge, arguments);
    slow.args(["--rate", "200"]);
    let mut killed = Process::spawn("the command", &slow, Arc::new(Log::default()));
    let arrived = || agent.count() - before;
    poll(PATIENCE, "some are delivered", || when(arrived() >= 50 || killed.exit_status().is_some(), arrived()));
    killed.kill();
    println!("{} had arrived when the command was killed", arrived());
}

#[test]
fn events_of_before_go_to_a_new_rule_once_through_a_kill_and_with_two_replicas() {
    let (a, b) = (HttpAgent::start(), HttpAgent::start());
    let (topic, group) = (kafka().topic("deliver", 4), unique("deliver"));
    let before = rules([&a, &b], false);
    let mut bridges = two_replicas(&topic, &group, &before);
    let missed: Vec<_> =
        events("missed", EVENTS).into_iter().map(|event| event.event_type("WORKFLOW_FAILED")).collect();
    let early = events("early", 20);
    kafka().produce_all(&topic, missed.iter().chain(&early).map(TestEvent::record));
    kafka().wait_committed(&group, &topic, PATIENCE);
    assert_eq!((a.sent_by_event(), b.sent_by_event()), (once(&early), once(&early)));

    let after = rules([&a, &b], true);
    for bridge in &bridges {
        bridge.write_routing("rules.yaml", &after);
    }
    poll(PATIENCE, "the new rules are in force", || {
        let have: Vec<_> = bridges.iter().map(|one| one.metric("rules_loaded", &[])).collect();
        when(have == [3.0, 3.0], have)
    });
    let (code, _, stderr) = run(&bridges[0], &[]);
    assert!(code == Some(64) && stderr.contains("say what is to be delivered"), "{stderr}");
    let (code, _, stderr) = run(&bridges[0], &["--rule", "lat"]);
    assert!(code == Some(64) && stderr.contains("did you mean `late`?"), "{stderr}");
    let (code, stdout, stderr) = run(&bridges[0], &["--rule", "late"]);
    assert!(code == Some(64) && stdout.is_empty(), "{stdout}{stderr}");
    for says in [&*format!("{EVENTS} deliveries of 1020 events"), "late for a (HTTP", "--yes publishes"] {
        assert!(stderr.contains(says), "{says}: {stderr}");
    }
    let (code, stdout, stderr) = run(&bridges[0], &["--rule", "late", "--dry-run", "--limit", "3"]);
    assert_eq!((code, stdout.lines().count()), (Some(0), 3), "{stdout}{stderr}");

    let wanted = ["--rule", "late", "--yes"];
    kill_half_way(&bridges[0], &wanted, &a);
    let (code, stdout, stderr) = run(&bridges[0], &[&wanted[..], &["-o", "json"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.lines().count() < EVENTS, "it goes on where the other one ended: {}", stdout.lines().count());
    let line: Value = serde_json::from_str(stdout.lines().next().unwrap_or_default()).expect("a line is JSON");
    assert_eq!((&line["action"], &line["rule"], &line["agent"]), (&"asked for".into(), &"late".into(), &"a".into()));
    kafka().wait_committed(&group, &topic, PATIENCE);
    let expected = once(missed.iter().chain(&early));
    assert_eq!(a.sent_by_event(), expected, "each was delivered once by the new rule");
    assert_eq!(b.sent_by_event(), once(&early), "and nothing else was");

    // Whoever asks once more changes nothing.
    let (code, stdout, stderr) = run(&bridges[0], &wanted);
    assert!(code == Some(0) && stdout.is_empty() && stderr.contains("asked for before"), "{stdout}{stderr}");
    let (code, stdout, stderr) = run(&bridges[1], &[&wanted[..], &["--done"]].concat());
    assert_eq!((code, stdout.lines().count()), (Some(0), EVENTS), "{stderr}");
    // What was delivered in its time is not delivered again either.
    let (code, _, stderr) = run(&bridges[1], &["--rule", "early", "--yes"]);
    assert_eq!(code, Some(0), "{stderr}");
    kafka().wait_committed(&group, &topic, PATIENCE);
    assert_eq!((a.sent_by_event(), b.sent_by_event()), (expected, once(&early)));

    // With the rules of before, the rest of what they missed.
    let old = bridges[0].folder().join("before");
    std::fs::create_dir_all(&old).expect("a scratch folder can be written");
    std::fs::write(old.join("rules.yaml"), &before).expect("a scratch folder can be written");
    let one = event(&unique("now")).event_type("WORKFLOW_FAILED");
    kafka().produce(&topic, one.record());
    let (code, _, stderr) = run(&bridges[0], &["--against", &old.display().to_string(), "--agent", "b", "--yes"]);
    assert_eq!(code, Some(0), "{stderr}");
    kafka().wait_committed(&group, &topic, PATIENCE);
    let all = once(missed.iter().chain(&early).chain([&one]));
    assert_eq!((a.sent_by_event(), b.sent_by_event()), (all.clone(), all));
    let letters = format!("{topic}.dlq");
    assert!(!kafka().topic_exists(&letters) || kafka().read_all(&letters).is_empty(), "nothing was refused");
    for bridge in &mut bridges {
        bridge.stop();
    }
}

#[test]
fn what_was_accepted_is_sent_again_once_for_each_number_through_a_kill_and_with_two_replicas() {
    const SENT: usize = 200;
    let (a, b) = (HttpAgent::start(), HttpAgent::start());
    let (topic, group) = (kafka().topic("again", 4), unique("again"));
    let mut bridges = two_replicas(&topic, &group, &rules([&a, &b], true));
    let sent: Vec<_> = events("sent", SENT).into_iter().map(|event| event.event_type("WORKFLOW_FAILED")).collect();
    kafka().produce_all(&topic, sent.iter().map(TestEvent::record));
    kafka().wait_committed(&group, &topic, PATIENCE);
    let times = |count: usize| once(&sent).into_keys().map(|id| (id, count)).collect::<BTreeMap<_, _>>();
    assert_eq!((a.sent_by_event(), b.sent_by_event()), (times(1), times(1)));

    let (code, stdout, stderr) = run(&bridges[0], &["--rule", "late", "--again", "1"]);
    assert!(code == Some(64) && stdout.is_empty(), "{stdout}{stderr}");
    for says in ["each of these agents runs again", "200: late for a (HTTP: it gets each again", "--yes publishes"] {
        assert!(stderr.contains(says), "{says}: {stderr}");
    }
    let first = ["--rule", "late", "--again", "1", "--yes"];
    kill_half_way(&bridges[0], &first, &a);
    let (code, stdout, stderr) = run(&bridges[0], &[&first[..], &["-o", "json"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.lines().count() < SENT, "it goes on where the other one ended: {}", stdout.lines().count());
    let line: Value = serde_json::from_str(stdout.lines().next().unwrap_or_default()).expect("a line is JSON");
    assert_eq!((&line["action"], &line["again"]), (&"asked for".into(), &1.into()), "{line}");
    kafka().wait_committed(&group, &topic, PATIENCE);
    assert_eq!((a.sent_by_event(), b.sent_by_event()), (times(2), times(1)), "each once more, and nothing else");

    // The same number sends nothing twice, though it is asked for.
    let (code, stdout, stderr) = run(&bridges[0], &first);
    assert!(code == Some(0) && stdout.is_empty(), "{stdout}{stderr}");
    assert!(stderr.contains("asked for before with --again 1: --done asks again"), "{stderr}");
    let (code, stdout, stderr) = run(&bridges[1], &[&first[..], &["--done"]].concat());
    assert_eq!((code, stdout.lines().count()), (Some(0), SENT), "{stderr}");
    assert!(stdout.lines().all(|line| line.ends_with("late for a, again 1")), "{stdout}");
    // Nor does the same request without a number.
    let (code, stdout, stderr) = run(&bridges[1], &["--rule", "late", "--yes"]);
    assert!(code == Some(0) && stdout.is_empty(), "{stdout}{stderr}");
    let says =
        format!("warning: {SENT} deliveries left out: they were asked for with a greater number, at most --again 1,");
    assert!(stderr.contains(&says), "{stderr}");
    let (code, stdout, stderr) = run(&bridges[1], &["--rule", "late", "--yes", "--done"]);
    assert_eq!((code, stdout.lines().count()), (Some(0), SENT), "{stderr}");
    kafka().wait_committed(&group, &topic, PATIENCE);
    assert_eq!((a.sent_by_event(), b.sent_by_event()), (times(2), times(1)));

    let (code, _, stderr) = run(&bridges[1], &["--rule", "late", "--again", "2", "--yes"]);
    assert_eq!(code, Some(0), "{stderr}");
    kafka().wait_committed(&group, &topic, PATIENCE);
    assert_eq!((a.sent_by_event(), b.sent_by_event()), (times(3), times(1)));
    assert!(a.keys_by_event().values().all(|keys| keys.len() == 3), "another Idempotency-Key each time");
    // One that comes too late changes nothing.
    let (code, _, stderr) = run(&bridges[0], &[&first[..], &["--done"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    kafka().wait_committed(&group, &topic, PATIENCE);
    assert_eq!(a.sent_by_event(), times(3));
    let letters = format!("{topic}.dlq");
    assert!(!kafka().topic_exists(&letters) || kafka().read_all(&letters).is_empty(), "nothing was refused");
    for bridge in &mut bridges {
        bridge.stop();
    }
}
