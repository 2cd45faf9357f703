//! Ten questions of a data engineer and of someone on call, each answered by one command. docs/questions.md shows what the
//! commands said here, so a command that answers differently fails this test, which prints what the page is to show.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, pipe},
    path::Path,
    process::Stdio,
};

use regex_lite::Regex;
use serde_json::Value;

use crate::kit::{
    Bridge, BridgeSetup, HttpAgent, LangGraph, PATIENCE, Record, Reply, TestEvent, bridge::LONG_SESSION, commands,
    event, kafka, poll, unique, when,
};

const PAGE: &str = "docs/questions.md";
const RUN: &str = "scheduled__2026-01-31T05:00:00+00:00";

/// What the page shows in the place of each UUID, in the order in which they come.
const UUIDS: [&str; 4] = [
    "0f8d3b5c-6a1e-5d0b-9a53-2f6a3d1f7a10",
    "1ef2a6d0-52b7-6c4e-8f11-7d3c9b0a4e25",
    "8c41d2f7-0b9a-5e36-a7c4-91e5f2d80b63",
    "1ef2a7b4-3c08-6d92-b5e0-4a6f8d1c2e97",
];

const NEW_RULE: &str = "  - name: failed-loads
    when: {event_type: [WORKFLOW_FAILED], workflow_id: [{prefix: load_}]}
    to: [analyst]
";

const TESTS: &str = "tests:
  - name: a load that failed goes to the analyst
    event: {event_type: WORKFLOW_FAILED, workflow_id: load_customers}
    expect: [{rule: failed-loads, to: [analyst]}]
  - name: a run of another environment goes to nobody
    event: {event_type: WORKFLOW_COMPLETED, workflow_id: etl_orders, metadata: {environment: staging}}
    expect: []
  - name: a run that completed goes to both
    event: {event_type: WORKFLOW_COMPLETED, workflow_id: etl_orders, metadata: {environment: prod}}
    expect: [{rule: etl-done, to: [analyst, audit]}]
";

/// A bridge and what it needs, and what was asked of it so far.
struct World {
    bridge: Bridge,
    langgraph: &'static LangGraph,
    audit: HttpAgent,
    /// What the page has in the place of a text of this run.
    names: Vec<(String, String)>,
    uuids: Vec<String>,
    answers: Vec<(String, String)>,
}

/// The events by what becomes of them.
struct Events {
    orders: TestEvent,
    invoices: TestEvent,
    started: TestEvent,
    load: TestEvent,
    late: [TestEvent; 2],
    /// It is not published.
    staging: TestEvent,
}

impl Events {
    fn new() -> Self {
        let completed = |id: &str, workflow: &str| event(&unique(id)).workflow(workflow).run(RUN);
        let late = |id: &str, hour: u8| completed(id, "etl_orders").run(&RUN.replace("T05", &format!("T0{hour}")));
        let staging = serde_json::json!({"environment": "staging", "version": "1.0"});
        Self {
            orders: completed("orders", "etl_orders"),
            invoices: completed("invoices", "etl_invoices"),
            started: completed("started", "etl_orders").event_type("WORKFLOW_TRIGGERED"),
            load: completed("customers", "load_customers").event_type("WORKFLOW_FAILED"),
            late: [late("orders", 6), late("orders", 7)],
            staging: completed("staging", "etl_orders").with("metadata", staging),
        }
    }

    fn published(&self) -> [&TestEvent; 6] {
        let [first, second] = &self.late;
        [&self.orders, &self.invoices, &self.started, &self.load, first, second]
    }
}

impl World {
    /// Its agents work, but `audit` refuses the event of this id.
    fn new(events: &Events) -> Self {
        let (langgraph, audit) = (LangGraph::shared(), HttpAgent::start());
        let refused = events.invoices.id().to_owned();
        audit.behave(move |request| Reply::Status(if request.event_id == refused { 400 } else { 200 }));
        let rules = format!(
            "agents:
  analyst: {{langgraph: {{url: '{}', assistant: analyst}}}}
  audit: {{http: {{url: '{}/events'}}, timeout: 60s, retry: {{initial: 100ms, max: 1s}}}}
rules:
  - name: etl-done
    when:
      event_type: [WORKFLOW_COMPLETED]
      workflow_id: [{{prefix: etl_}}]
      metadata: {{environment: [prod]}}
    to: [analyst, audit]
",
            langgraph.url(),
            audit.url()
        );
        let (topic, group) = (kafka().topic("questions", 1), unique("questions"));
        let bridge = BridgeSetup::new(kafka(), &topic)
            .group(&group)
            // What waits is to be seen as waiting, however slow the machine is.
            .config(&format!("{LONG_SESSION}park_after: off\n"))
            .routing(&rules)
            .start();
        let folder = bridge.folder();
        write(&folder.join("new-rules/rules.yaml"), &(rules + NEW_RULE));
        write(&folder.join("new-rules/rules.test.yaml"), TESTS);
        write(&folder.join("event.json"), &events.staging.json().to_string());
        let ids = ["5e1c9f0a", "7b20d4c6", "91f3e8b2", "c40a7d15", "e86b21f9", "f2d95c30", "a8350be7"];
        let mut names: Vec<(String, String)> = events
            .published()
            .into_iter()
            .chain([&events.staging])
            .zip(ids)
            .map(|(event, id)| (event.id().to_owned(), id.to_owned()))
            .collect();
        let host = |url: &str| url.trim_start_matches("http://").to_owned();
        names.extend([
            (topic, "workflow-events".to_owned()),
            (group, "workflow-bridge".to_owned()),
            (host(&langgraph.url()), "langgraph:2024".to_owned()),
            (host(&audit.url()), "audit:8181".to_owned()),
            (host(bridge.admin()), "127.0.0.1:9464".to_owned()),
            (kafka().bootstrap().to_owned(), "kafka:9092".to_owned()),
        ]);
        Self { bridge, langgraph, audit, names, uuids: Vec::new(), answers: Vec::new() }
    }

    fn publish(&self, records: impl IntoIterator<Item = Record>) {
        // One after the other: the page shows them in this order.
        for record in records {
            kafka().produce(self.bridge.topic(), record);
        }
    }

    /// Asks with one command, which is to end with this code and to say all of this.
    #[track_caller]
    fn ask(&mut self, question: &str, arguments: &str, code: i32, says: &[&str]) {
        let arguments_of: Vec<&str> = arguments.split(' ').collect();
        let (ended, said) = poll(PATIENCE, arguments, || {
            let (ended, said) = self.run(&arguments_of);
            // A broker that stands still makes a command give up.
            if ended == Some(69) && code != 69 { Err(said) } else { Ok((ended, said)) }
        });
        assert_eq!(ended, Some(code), "{arguments}\n{said}");
        let shown = self.normalised(&format!("$ workflow-bridge {arguments}\n{said}"));
        println!("{shown}\n");
        for words in says {
            assert!(shown.contains(words), "it does not say {words:?}:\n{shown}");
        }
        self.answers.push((format!("{}. {question}", self.answers.len() + 1), shown));
    }

    /// The exit code, and what a terminal would show.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let (mut reader, writer) = pipe().expect("a pipe can be made");
        let mut command = commands::command(self.bridge.folder(), arguments);
        command
            .env("KAFKA_BOOTSTRAP_SERVERS", kafka().bootstrap())
            .env("KAFKA_TOPIC", self.bridge.topic())
            .env("KAFKA_CONSUMER_GROUP_ID", self.bridge.group())
            .env("BRIDGE_ADMIN_ADDR", self.bridge.admin().trim_start_matches("http://"))
            .stdin(Stdio::null())
            .stdout(writer.try_clone().expect("a pipe can be cloned"))
            .stderr(writer);
        let mut child = command.spawn().expect("the program starts");
        // It holds the other end of the pipe.
        drop(command);
        let mut said = String::new();
        reader.read_to_string(&mut said).expect("the program writes text");
        (child.wait().expect("it ends").code(), said)
    }

    /// What it said, with fixed names, times, ids and offsets, and without what only a slow machine says.
    fn normalised(&mut self, said: &str) -> String {
        let mut text = said.to_owned();
        for (name, shown) in &self.names {
            text = text.replace(name, shown);
        }
        for (pattern, shown) in [
            (r"(?m)^workflow-bridge: (\d+ of \d+|.* so far: ).*\n", ""),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "2026-01-31T06:00:12Z"),
            (r"\]@\d+", "]@1041"),
            (r"(?m)^\d+@\d+", "0@17"),
            (r"fingerprint [0-9a-f]+", "fingerprint 3f9a61c2"),
        ] {
            text = Regex::new(pattern).expect("it is a pattern").replace_all(&text, shown).into_owned();
        }
        let uuid = Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").expect("it is a pattern");
        let found: Vec<String> = uuid.find_iter(&text).map(|found| found.as_str().to_owned()).collect();
        for id in found {
            let known = self.uuids.iter().position(|known| *known == id).unwrap_or_else(|| {
                self.uuids.push(id.clone());
                self.uuids.len() - 1
            });
            text = text.replace(&id, UUIDS.get(known).copied().unwrap_or("there are more UUIDs than names for them"));
        }
        text.trim_end().to_owned()
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("it has one")).expect("a scratch folder can be written");
    fs::write(path, text).expect("a scratch folder can be written");
}

/// The questions of the page and what it shows as their answers.
fn shown(page: &str) -> Vec<(String, String)> {
    let questions = page.split("\n## ").skip(1);
    let block = |text: &str| Some(text.split_once("```text\n")?.1.split_once("\n```")?.0.to_owned());
    questions
        .map(|text| (text.lines().next().unwrap_or_default().to_owned(), block(text).unwrap_or_default()))
        .collect()
}

#[test]
fn ten_questions_are_answered_by_one_command_each_as_the_page_shows() {
    let events = Events::new();
    let mut world = World::new(&events);
    world.publish([&events.orders, &events.invoices, &events.started, &events.load].map(TestEvent::record));
    world.publish([Record::new("Process finished")]);
    kafka().wait_committed(world.bridge.group(), world.bridge.topic(), PATIENCE);

    ask_about_events_and_rules(&mut world, &events);

    // The agent's key is changed there, and not here.
    world.audit.reply(Reply::Status(401));
    world.publish(events.late.iter().map(TestEvent::record));
    poll(PATIENCE, "two deliveries wait", || {
        let status = world.bridge.status();
        let pending = |agent: usize| status["agents"][agent]["pending_deliveries"].clone();
        let partition = status["consumer"]["assigned"][0].clone();
        let waits = (pending(0), pending(1), partition["lag"].clone(), partition["unread"].clone());
        when(waits == (0.into(), 2.into(), 2.into(), 0.into()), status)
    });
    let says = [
        "is ready",
        "1 partition of workflow-events: 0 records not read yet, 2 records not committed",
        "agent audit: 2 deliveries under way or waiting",
        "answered 401",
        "1 rule and 2 agents of routing, in force since",
    ];
    let (code, page) = world.run(&["status", "-o", "json"]);
    let page: Value = serde_json::from_str(&page).expect("it is JSON");
    assert_eq!((code, &page["ready"]), (Some(0), &true.into()), "{page:#}");
    assert_eq!(page["status"]["agents"][1]["pending_deliveries"], 2, "{page:#}");
    world.ask("Is the bridge up to date, what waits and for whom, and which rules are in force?", "status", 0, &says);

    world.audit.reply(Reply::Status(200));
    ask_for_deliveries(&mut world, &events);

    let expected = shown(&fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap_or_default());
    if expected != world.answers {
        let blocks =
            world.answers.iter().map(|(question, answer)| format!("## {question}\n\n```text\n{answer}\n```\n"));
        let blocks: Vec<_> = blocks.collect();
        panic!("{PAGE} does not show what the commands say. It is to show:\n\n{}", blocks.join("\n"));
    }
    world.bridge.stop();
}

fn ask_about_events_and_rules(world: &mut World, events: &Events) {
    let run = format!("explain --workflow etl_orders --run {RUN}");
    let says = ["for agent analyst: delivered, 1 attempt", "/runs/1ef2a6d0-", "the nearest rule is etl-done: 1 of 3"];
    world.ask("Did the event of my run reach its agent, and which LangGraph run is it?", &run, 0, &says);
    let says = ["0 of 1 rule match", "no   metadata.environment: expected [\"prod\"], found \"staging\""];
    world.ask("Would this event run an agent, and if not, why?", "explain event.json", 0, &says);
    let says = [
        "event 7b20d4c6: ",
        "for agent audit: dead_lettered, 1 attempt",
        "dead letter workflow-events.dlq",
        "answered 400",
    ];
    let id = format!("explain --id {}", events.invoices.id());
    world.ask("What became of the event with this id?", &id, 0, &says);
    let says = ["ok: 3 tests", "2 of 2 rules matched"];
    world.ask("Do my new rules do what I expect?", "test --routing new-rules", 0, &says);
    let diff = "replay --diff --since 24h --rules new-rules";
    let says = ["4 events of workflow-events", "1 elsewhere", "+ failed-loads for analyst"];
    world.ask("What would they have done with the events of yesterday?", diff, 0, &says);
    let says = ["ok: kafka kafka:9092", "ok: agent analyst: ", "ok: agent audit: ", "7 targets asked"];
    world.ask("Are the brokers, the topics, our rights and the agents there?", "check --connect", 0, &says);
}

fn ask_for_deliveries(world: &mut World, events: &Events) {
    let says = ["2 open", "1  refused, etl-done for audit", "1  not_json, whole record", "answered 400"];
    world.ask("What could not be delivered, and why?", "dead-letters list", 0, &says);
    let redrive = "dead-letters redrive --agent audit";
    let says = ["event 7b20d4c6, etl-done for audit", "1 redriven, 0 refused"];
    world.ask("The agent is repaired: how does it get what it missed?", redrive, 0, &says);
    let rules = fs::read_to_string(world.bridge.folder().join("new-rules/rules.yaml")).expect("it was written");
    world.bridge.write_routing("rules.yaml", &rules);
    poll(PATIENCE, "the new rules are in force", || {
        let loaded = world.bridge.metric("rules_loaded", &[]);
        when(loaded == 2.0, loaded)
    });
    let deliver = "replay --deliver --since 24h --rule failed-loads --yes";
    let says = ["event c40a7d15, failed-loads for analyst", "1 asked for, 0 refused"];
    world.ask("How does a new rule get the events of before?", deliver, 0, &says);

    // And so it was done: each agent got each of its events, also the one that it had refused.
    kafka().wait_committed(world.bridge.group(), world.bridge.topic(), PATIENCE);
    let count = |counts: BTreeMap<String, usize>| {
        events.published().map(|event| counts.get(event.id()).copied().unwrap_or_default())
    };
    assert_eq!(count(world.audit.accepted_by_event()), [1, 1, 0, 0, 1, 1]);
    poll(PATIENCE, "the graphs have run", || {
        let of_analyst = count(world.langgraph.executions());
        when(of_analyst == [1, 1, 0, 1, 1, 1], of_analyst)
    });
}
