//! Dead letters, redriven, corrected and discarded with the command line.

use std::{collections::BTreeMap, path::Path, process::Command, sync::Arc};

use serde_json::Value;

use crate::kit::{
    Bridge, BridgeSetup, HttpAgent, PATIENCE, Record, Reply, TestEvent,
    bridge::LONG_SESSION,
    commands, event,
    events::events,
    kafka, poll,
    process::{Log, Process},
    unique, when,
};

/// A bridge whose rule sends every completed workflow to both agents.
fn bridge(topic: &str, group: &str, good: &HttpAgent, bad: &HttpAgent) -> Bridge {
    let rules = format!(
        "agents:\n  good: {{http: {{url: '{}/events'}}, timeout: 60s}}\n  bad: {{http: {{url: '{}/events'}}, timeout: 60s}}\n\
         rules:\n  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [good, bad]}}\n",
        good.url(),
        bad.url()
    );
    BridgeSetup::new(kafka(), topic).group(group).config(LONG_SESSION).routing(&rules).start()
}

/// Refuses each event, and never twice in a row in the same way: that would be the agent's own fault.
fn refuse(agent: &HttpAgent) {
    agent.behave(|request| Reply::Status(if request.order % 2 == 0 { 400 } else { 422 }));
}

/// `workflow-bridge dead-letters …` with the rules of this bridge.
fn command(bridge: &Bridge, arguments: &[&str]) -> Command {
    commands::beside(bridge, &[&["dead-letters"], arguments].concat())
}

#[track_caller]
fn run(bridge: &Bridge, arguments: &[&str]) -> (Option<i32>, String, String) {
    run_with(bridge, arguments, &[])
}

#[track_caller]
fn run_with(bridge: &Bridge, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    commands::until_kafka_answers(&format!("{arguments:?}"), || {
        let mut command = command(bridge, arguments);
        command.envs(variables.iter().copied());
        command
    })
}

/// The counts of `list`.
#[track_caller]
fn counts(bridge: &Bridge, filter: &[&str]) -> Value {
    let (code, stdout, stderr) = run(bridge, &[&["list", "-o", "json"], filter].concat());
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).expect("it is JSON")
}

fn once(events: &[TestEvent]) -> BTreeMap<String, usize> {
    events.iter().map(|event| (event.id().to_owned(), 1)).collect()
}

#[test]
fn each_letter_is_redriven_to_the_failed_agent_once_through_a_kill_and_with_two_replicas() {
    const LETTERS: usize = 1_000;
    let (good, bad) = (HttpAgent::start(), HttpAgent::start());
    refuse(&bad);
    let (topic, group) = (kafka().topic("redriven", 4), unique("redriven"));
    let mut bridges = [bridge(&topic, &group, &good, &bad), bridge(&topic, &group, &good, &bad)];
    poll(PATIENCE, "both have a share", || {
        let shares: Vec<_> =
            bridges.iter().map(|one| one.status()["consumer"]["assigned"].as_array().map_or(0, Vec::len)).collect();
        when(shares == [2, 2], shares)
    });
    let all = events("redriven", LETTERS);
    kafka().produce_all(&topic, all.iter().map(TestEvent::record));
    kafka().wait_committed(&group, &topic, PATIENCE);
    let before = counts(&bridges[0], &["--agent", "bad", "--reason", "refused"]);
    // One that the broker did not acknowledge in time may be there twice.
    let letters = before["open"].as_u64().unwrap_or_default();
    assert!(letters >= LETTERS as u64, "{before}");
    assert_eq!(before["groups"].as_array().map(Vec::len), Some(1), "{before}");

    bad.forget();
    bad.reply(Reply::Status(200));
    let redrive = ["redrive", "--agent", "bad"];
    let (code, stdout, stderr) = run(&bridges[0], &[&redrive[..], &["--dry-run", "--limit", "3"]].concat());
    assert_eq!((code, stdout.lines().count()), (Some(0), 3), "{stdout}{stderr}");
    assert!(stdout.lines().all(|line| line.contains("would be redriven")), "{stdout}");

    let mut slow = command(&bridges[0], &redrive);
    slow.args(["--rate", "200"]);
    let mut killed = Process::spawn("the command", &slow, Arc::new(Log::default()));
    poll(PATIENCE, "some are redriven", || when(bad.count() >= 50 || killed.exit_status().is_some(), bad.count()));
    killed.kill();
    println!("{} of {LETTERS} had arrived when the command was killed", bad.count());
    let (code, _, stderr) = run(&bridges[0], &redrive);
    assert_eq!(code, Some(0), "{stderr}");
    kafka().wait_committed(&group, &topic, PATIENCE);
    assert_eq!(bad.sent_by_event(), once(&all), "the failed agent got each once");
    assert_eq!(good.sent_by_event(), once(&all), "and the other none of them again");
    let after = counts(&bridges[0], &[]);
    assert_eq!((&after["open"], &after["redriven"]), (&0.into(), &letters.into()), "{after}");

    // Whoever redrives them once more changes nothing.
    let (code, stdout, stderr) = run(&bridges[0], &[&redrive[..], &["--done", "-o", "json"]].concat());
    assert_eq!((code, stdout.lines().count() as u64), (Some(0), letters), "{stderr}");
    let line: Value = serde_json::from_str(stdout.lines().next().unwrap_or_default()).expect("a line is JSON");
    assert_eq!((&line["action"], &line["agent"], &line["generation"]), (&"redriven".into(), &"bad".into(), &1.into()));
    kafka().wait_committed(&group, &topic, PATIENCE);
    assert_eq!((bad.sent_by_event(), good.sent_by_event()), (once(&all), once(&all)));
    for bridge in &mut bridges {
        bridge.stop();
    }
}

/// The open letters of this reason.
#[track_caller]
fn each(bridge: &Bridge, reason: &str) -> Vec<Value> {
    let (code, stdout, stderr) = run(bridge, &["list", "--each", "-o", "json", "--reason", reason]);
    assert_eq!(code, Some(0), "{stderr}");
    let page: Value = serde_json::from_str(&stdout).expect("it is JSON");
    page["letters"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_whole_record_is_corrected_and_what_the_ledger_does_not_know_is_refused_unless_forced() {
    let (good, bad) = (HttpAgent::start(), HttpAgent::start());
    let topic = kafka().topic("corrected", 1);
    let (edited, replaced, forgotten) = (unique("edited"), unique("replaced"), unique("forgotten"));
    let broken = |id: &str| Record::new(format!("[{}", event(id).json())).key("k");
    kafka().produce(&topic, broken(&edited));
    kafka().produce(&topic, broken(&replaced));
    kafka().produce(&topic, Record::new("rubbish").key("k"));
    let mut bridge = bridge(&topic, &unique("corrected"), &good, &bad);
    let committed = |bridge: &Bridge| kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    committed(&bridge);
    let not_json = counts(&bridge, &["--reason", "not_json"]);
    assert_eq!(not_json["open"], 3, "{not_json}");

    let (code, _, stderr) = run(&bridge, &["redrive"]);
    assert!(code == Some(64) && stderr.contains("--all"), "{stderr}");
    let (code, _, stderr) = run(&bridge, &["redrive", "--reason", "not_json"]);
    assert!(code == Some(65) && stderr.contains("its record is no event"), "{stderr}");

    // The brace that is missing is the editor's work.
    let at = |offset: i64| {
        let letters = each(&bridge, "not_json");
        let found = letters.iter().find(|letter| letter["source"]["offset"] == offset).cloned().unwrap_or_default();
        found["letter"].as_str().map(str::to_owned).expect("each record has its letter")
    };
    let [first, second, third] = [at(0), at(1), at(2)];
    let (code, _, stderr) = run(&bridge, &["show", "--letter", "0@99"]);
    assert!(code == Some(65) && stderr.contains("no such dead letter"), "{code:?} {stderr}");
    let texts = bridge.folder().join("texts");
    std::fs::create_dir(&texts).expect("a scratch folder can be written");
    let waiting = || std::fs::read_dir(&texts).expect("it is there").map(|file| shown(&file.unwrap().path())).collect();
    let variables = [("EDITOR", "sed -i 's/^.//'"), ("VISUAL", ""), ("TMPDIR", &*shown(&texts))];
    let edit = ["redrive", "--letter", &first, "--edit"];
    let (code, stdout, stderr) = run_with(&bridge, &[&edit[..], &["--dry-run"]].concat(), &variables);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let kept: Vec<String> = waiting();
    assert!(!kept.is_empty() && stderr.contains(&format!("--value {}", kept[0])), "{kept:?} {stderr}");
    for file in kept {
        std::fs::remove_file(file).expect("it is there");
    }
    // A signal does not hide why what was typed is no event, and where it is.
    let unusable = [("EDITOR", "kill -TERM $PPID; sed -i 's/^/no/'"), variables[1], variables[2]];
    let stderr = poll(PATIENCE, "it has seen the signal", || {
        let (code, stdout, stderr) = run_with(&bridge, &edit, &unusable);
        if code == Some(143) { Ok(stderr) } else { Err((code, stdout, stderr)) }
    });
    assert!(stderr.contains("it is no event") && stderr.contains("and publish it with --value"), "{stderr}");
    for file in waiting() {
        std::fs::remove_file(file).expect("it is there");
    }
    let (code, stdout, stderr) = run_with(&bridge, &edit, &variables);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains(&edited), "{stdout}");
    assert!(waiting().is_empty() && stderr.contains("until Kafka has it"), "it is published: {stderr}");
    let (code, raw, stderr) = run(&bridge, &["show", "--letter", &second, "--raw"]);
    assert_eq!((code, raw.get(..2)), (Some(0), Some("[{")), "{stderr}");
    let file = bridge.folder().join("value.json");
    std::fs::write(&file, &raw[1..]).expect("a scratch folder can be written");
    let (code, stdout, stderr) = run(&bridge, &["redrive", "--letter", &second, "--value", &shown(&file)]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let (code, stdout, stderr) = run(&bridge, &["discard", "--letter", &third]);
    assert!(code == Some(0) && stdout.contains(&format!("{third}: discarded")), "{stdout}{stderr}");
    committed(&bridge);
    let expected: BTreeMap<String, usize> = [(edited, 1), (replaced, 1)].into();
    assert_eq!((good.sent_by_event(), bad.sent_by_event()), (expected.clone(), expected.clone()));
    let done = counts(&bridge, &["--done"]);
    assert_eq!((&done["redriven"], &done["discarded"]), (&2.into(), &1.into()), "{done}");
    assert_eq!(done["open"], 0, "{done}");

    // A letter of an event that this ledger does not know: of before the window, or forged.
    let letter_of = event(&forgotten).record();
    let headers = [("dlq-reason", "gave_up"), ("dlq-rule", "all"), ("dlq-agent", "bad"), ("dlq-topic", &topic)];
    let letter_of = headers.iter().fold(letter_of, |record, (name, value)| record.header(name, value));
    let letter_of = letter_of.header("dlq-partition", "0").header("dlq-offset", "99");
    kafka().produce(&format!("{topic}.dlq"), letter_of);
    let (code, stdout, stderr) = run(&bridge, &["redrive", "--reason", "gave_up"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    committed(&bridge);
    let refused = each(&bridge, "redrive_refused").pop().unwrap_or_default();
    assert!(refused["error"].as_str().is_some_and(|error| error.contains("--force")), "{refused}");
    assert_eq!((&refused["agent"], &refused["generation"]), (&"bad".into(), &0.into()), "{refused}");
    let (code, stdout, stderr) = run(&bridge, &["redrive", "--reason", "redrive_refused", "--force"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    committed(&bridge);
    assert_eq!(good.sent_by_event(), expected, "a forced redrive runs that agent alone");
    assert_eq!(bad.sent_by_event().get(&forgotten), Some(&1));
    let redrives = |outcome| bridge.metric("redrives_total", &[("outcome", outcome)]);
    poll(PATIENCE, "they are counted", || {
        let seen = [redrives("redriven"), redrives("refused")];
        when(seen.iter().all(|count| *count >= 1.0), seen)
    });
    bridge.stop();
}

#[test]
fn letters_that_fit_the_topic_alone_are_redriven_although_two_of_them_do_not() {
    const LETTERS: usize = 8;
    let (good, bad) = (HttpAgent::start(), HttpAgent::start());
    refuse(&bad);
    let topic = unique("narrow");
    kafka().create_topic(&topic, 1, &[("max.message.bytes", "3000")]);
    let mut bridge = bridge(&topic, &unique("narrow"), &good, &bad);
    let pad = "x".repeat(1_500);
    let all: Vec<_> = (0..LETTERS).map(|_| event(&unique("narrow")).data(serde_json::json!({"pad": pad}))).collect();
    for event in &all {
        kafka().produce(&topic, event.record());
    }
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bad.forget();
    bad.reply(Reply::Status(200));
    let (code, stdout, stderr) = run(&bridge, &["redrive", "--agent", "bad"]);
    assert_eq!((code, stdout.lines().count()), (Some(0), LETTERS), "{stdout}{stderr}");
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    assert_eq!(bad.sent_by_event(), once(&all));
    bridge.stop();
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
