//! `explain --id` and `explain --workflow --run`: any machine says what became of events.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::kit::{
    Bridge, BridgeSetup, HttpAgent, PATIENCE, Record, Reply, TestEvent, bridge::LONG_SESSION, commands, event, kafka,
    poll, process::Scratch, unique, when,
};

/// A machine that has the program, and can reach Kafka.
struct Machine {
    folder: Scratch,
    topic: String,
    group: String,
}

impl Machine {
    fn new(topic: &str, group: &str) -> Self {
        Self { folder: Scratch::new("machine"), topic: topic.to_owned(), group: group.to_owned() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = commands::command(&self.folder, arguments);
        command.args(["--brokers", kafka().bootstrap(), "--topic", &self.topic]).stdin(Stdio::null());
        command
    }

    /// `explain`, once Kafka answers.
    #[track_caller]
    fn explain(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        commands::until_kafka_answers(&format!("{arguments:?}"), || {
            let mut command = self.command(&[&["explain"], arguments].concat());
            // Nothing listens there, unless the test says where a bridge does.
            if !arguments.contains(&"--admin") {
                command.args(["--admin", "127.0.0.1:9"]);
            }
            command.args(["--group", &self.group]);
            command
        })
    }

    #[track_caller]
    fn page(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let (code, stdout, stderr) = self.explain(&[arguments, &["-o", "json"]].concat());
        (code, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
    }

    /// As a publisher does it: the partition follows from the key.
    fn publish(&self, events: &[&TestEvent]) {
        let lines: Vec<String> = events.iter().map(|event| event.json().to_string()).collect();
        let mut command = self.command(&["publish", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the program starts");
        let written = child.stdin.take().expect("it is piped").write_all(lines.join("\n").as_bytes());
        written.expect("the program reads");
        assert!(child.wait().expect("it ends").success(), "every event is published");
    }
}

fn ended(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn replica(topic: &str, group: &str, agent: &HttpAgent) -> Bridge {
    let rules = format!(
        "agents:\n  audit: {{http: {{url: '{}/events'}}, timeout: 60s}}\n\
         rules:\n  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}\n",
        agent.url()
    );
    BridgeSetup::new(kafka(), topic).group(group).config(LONG_SESSION).routing(&rules).start()
}

/// The state of each event, by its id.
fn states(page: &Value) -> Vec<(&str, &str)> {
    let events = page["events"].as_array().into_iter().flatten();
    let mut states: Vec<_> = events
        .map(|event| (event["event_id"].as_str().unwrap_or_default(), event["state"].as_str().unwrap_or_default()))
        .collect();
    states.sort_unstable();
    states
}

fn rules_of(bridge: &Bridge, machine: &Machine) {
    copy(&bridge.folder().join("routing"), &machine.folder.join("routing"));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a scratch folder can be written");
    for file in std::fs::read_dir(from).expect("the routing folder is there") {
        let file = file.expect("a file can be listed");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("a scratch folder can be written");
    }
}

#[test]
fn any_machine_says_what_became_of_the_events_of_a_run() {
    let agent = HttpAgent::start();
    agent.behave(|request| Reply::Status(if request.event_id.starts_with("refused") { 400 } else { 200 }));
    let (topic, group) = (kafka().topic("run", 6), unique("run"));
    let mut bridges = [replica(&topic, &group, &agent), replica(&topic, &group, &agent)];
    let machine = Machine::new(&topic, &group);
    let (workflow, run) = ("etl_orders", "scheduled__2026-01-31T06:00:00+00:00");
    let of_run = |id: &str| event(&unique(id)).workflow(workflow).run(run);
    let (accepted, refused) = (of_run("accepted"), of_run("refused"));
    let started = of_run("started").event_type("WORKFLOW_TRIGGERED");
    let others: Vec<_> = (0..20).map(|_| event(&unique("other"))).collect();
    machine.publish(&[&accepted, &refused, &started, &accepted]);
    machine.publish(&others.iter().collect::<Vec<_>>());
    kafka().wait_committed(&group, &topic, PATIENCE);

    // Without the rules, and with no bridge to ask.
    let of = ["--workflow", workflow, "--run", run];
    let expected = [(accepted.id(), "delivered"), (refused.id(), "dead_lettered"), (started.id(), "unmatched")];
    let (code, page) = machine.page(&of);
    assert_eq!((code, states(&page)), (Some(0), expected.to_vec()), "{page:#}");
    let one = |id: &str| {
        let events = page["events"].as_array().into_iter().flatten();
        events.clone().find(|event| event["event_id"] == id).cloned().unwrap_or_default()
    };
    let delivered = one(accepted.id());
    assert_eq!((&delivered["copies"], &delivered["deliveries"][0]["agent"]), (&1.into(), &"audit".into()), "{page:#}");
    assert_eq!(delivered["known_from"], format!("the ledger topic {group}-ledger"));
    let letter = &one(refused.id())["dead_letters"][0];
    assert_eq!((&letter["reason"], &letter["letter"]["topic"]), (&"refused".into(), &format!("{topic}.dlq").into()));
    let note = one(started.id())["note"].as_str().unwrap_or_default().to_owned();
    assert!(note.contains("Which rules match it today is not known"), "{note}");
    assert!(page["read"].as_str().is_some_and(|read| read.contains("in the partition of its key")), "{page:#}");

    // Either replica can be asked too, and the rules say more.
    rules_of(&bridges[0], &machine);
    for bridge in &bridges {
        let admin = bridge.admin().trim_start_matches("http://");
        let (code, page) = machine.page(&[&of[..], &["--admin", admin]].concat());
        assert_eq!((code, states(&page)), (Some(0), expected.to_vec()), "{page:#}");
        let (code, text, _) = machine.explain(&["--id", started.id(), "--admin", admin]);
        assert!(code == Some(0) && text.contains("it was read, and no rule matches it"), "{text}");
    }

    // The bridge knows what it refused, and not where the letter is; without Kafka its answer is not kept back for long.
    let admin = bridges.iter().map(|bridge| bridge.admin().trim_start_matches("http://"));
    let answers: Vec<_> = admin.map(|admin| machine.page(&["--id", refused.id(), "--admin", admin]).1).collect();
    let letters: Vec<_> = answers.iter().map(|page| &page["dead_letters"][0]).collect();
    let has_error = |letter: &&Value| letter["error"].as_str().is_some_and(|error| error.contains("answered 400"));
    assert!(letters.iter().all(has_error), "{answers:#?}");
    let known = bridges.iter().find(|bridge| bridge.ask(&format!("/api/events/{}", refused.id())).0 == 200);
    let admin = known.expect("one of them has read it").admin().trim_start_matches("http://");
    let began = Instant::now();
    let arguments = ["explain", "--id", refused.id(), "--admin", admin, "--brokers", "127.0.0.1:9"];
    let output = commands::run(&machine.folder, &arguments);
    let (code, text, warning) = ended(&output);
    assert!(code == Some(0) && text.contains("for agent audit: dead_lettered"), "{text}{warning}");
    assert!(warning.contains("only the bridge here was asked: "), "{warning}");
    assert!(began.elapsed() < Duration::from_secs(15), "another command waits for 20 s: {:?}", began.elapsed());

    // Another publisher, with keys of its own.
    let foreign = event(&unique("foreign")).workflow(workflow).run("by-hand");
    kafka().produce(&topic, foreign.record().key("k").partition(5));
    kafka().produce(&topic, Record::new("[").key(foreign.key()).partition(4));
    kafka().wait_committed(&group, &topic, PATIENCE);
    let (code, page) = machine.page(&["--workflow", workflow, "--run", "by-hand", "--all-partitions"]);
    assert_eq!((code, states(&page)), (Some(0), vec![(foreign.id(), "delivered")]), "{page:#}");
    let poison = &page["poison"][0];
    assert_eq!((&poison["reason"], &poison["dead_letters"][0]["reason"]), (&"not_json".into(), &"not_json".into()));

    // Nothing reads any more.
    bridges.iter_mut().for_each(Bridge::stop);
    let late = event(&unique("late"));
    machine.publish(&[&late]);
    let (code, text, _) = machine.explain(&["--id", late.id()]);
    assert!(code == Some(0) && text.contains(": not_read\n") && text.contains("before it (0 offsets"), "{text}");
    for unknown in [&["--id", &*unique("absent")][..], &["--workflow", "etl_orders", "--run", "nobody-ran-it"]] {
        let (code, text, _) = machine.explain(unknown);
        assert!(code == Some(65) && text.contains("--since looks further back"), "{text}");
    }
    // What the topic has lost, the ledger topic still has.
    let (code, text, _) = machine.explain(&["--id", accepted.id(), "--since", "1h"]);
    assert!(code == Some(0) && text.starts_with(&format!("event {}: delivered\n", accepted.id())), "{text}");
    let ends = kafka().watermarks(&topic);
    for (partition, (_, end)) in &ends {
        kafka().delete_records(&topic, *partition, *end);
    }
    poll(PATIENCE, "the records are gone", || {
        let (code, page) = machine.page(&["--id", accepted.id()]);
        let is_gone = page["note"].as_str().is_some_and(|note| note.contains("its record is not among the 0 records"));
        when(code == Some(0) && is_gone && page["state"] == "delivered", page)
    });
}

#[test]
fn of_two_events_with_one_id_both_are_shown() {
    let agent = HttpAgent::start();
    let (topic, group) = (kafka().topic("conflict", 2), unique("conflict"));
    let mut bridge = replica(&topic, &group, &agent);
    let machine = Machine::new(&topic, &group);
    let first = event(&unique("shared")).workflow("etl_orders").run("r-1");
    kafka().produce(&topic, first.record());
    kafka().wait_committed(&group, &topic, PATIENCE);
    let second = event(first.id()).workflow("etl_orders").run("r-2");
    kafka().produce(&topic, second.record());
    kafka().wait_committed(&group, &topic, PATIENCE);
    let admin = bridge.admin().trim_start_matches("http://").to_owned();
    for from in [&["--admin", &*admin][..], &[]] {
        let (code, page) = machine.page(&[&["--id", first.id()], from].concat());
        let of_run = |run: &str| {
            let events = page["events"].as_array().into_iter().flatten();
            events.clone().find(|event| event["workflow_run_id"] == run).cloned().unwrap_or_default()
        };
        let (was_first, other) = (of_run("r-1"), of_run("r-2"));
        assert_eq!(
            (code, &was_first["state"], &other["state"]),
            (Some(0), &"delivered".into(), &"dead_lettered".into()),
            "{page:#}"
        );
        assert_eq!(was_first["deliveries"][0]["agent"], "audit", "{page:#}");
        assert_eq!(other["dead_letters"][0]["reason"], "id_conflict", "{page:#}");
    }
    bridge.stop();
}

#[test]
fn an_id_that_no_address_can_contain_is_looked_for_in_kafka() {
    let agent = HttpAgent::start();
    let (topic, group) = (kafka().topic("dots", 1), unique("dots"));
    let mut bridge = replica(&topic, &group, &agent);
    let machine = Machine::new(&topic, &group);
    let dots = event("..").workflow("etl_orders").run("r-1");
    kafka().produce(&topic, dots.record());
    kafka().wait_committed(&group, &topic, PATIENCE);
    let admin = bridge.admin().trim_start_matches("http://");
    for asked in [&["--id", ".."][..], &["--workflow", "etl_orders", "--run", "r-1"]] {
        let (code, text, stderr) = machine.explain(&[asked, &["--admin", admin]].concat());
        assert!(code == Some(0) && text.contains("event ..: delivered"), "{text}{stderr}");
    }
    bridge.stop();
}
