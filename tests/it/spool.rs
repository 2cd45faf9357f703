//! The spool against a real Kafka: the command line, the bridge, and many processes that are killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rand::RngExt as _;
use workflow_bridge::publish::{
    Budget, Interrupt, PublishError, Publisher, Record,
    spool::{Spool, SpoolSettings},
};

use crate::kit::{
    BridgeSetup, Broker, Kafka, PATIENCE, TestEvent, event,
    events::events,
    kafka, poll,
    process::{Log, Process, Scratch},
    unique, when,
};

const RULES: &str = "agents:
  audit: {http: {url: 'http://127.0.0.1:9/events'}}
rules:
  - {name: none, when: {event_type: [WORKFLOW_FAILED]}, to: [audit]}
";

fn spool(folder: &Path) -> Spool {
    Spool::new(SpoolSettings::new(folder.join("spool")))
}

fn record(event: &TestEvent, topic: &str) -> Record {
    let value = event.json().to_string();
    Record::from_json(value.as_bytes(), &Arc::from(topic), Some("00-4bf92f3577b34da6-01")).expect("an event")
}

fn put(spool: &Spool, topic: &str, servers: &str, events: &[TestEvent]) {
    for event in events {
        spool.put(&record(event, topic), servers, "Kafka was away").expect("the folder can be written");
    }
}

/// `workflow-bridge spool …` on a folder, for a cluster.
fn command(action: &str, folder: &Path, servers: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workflow-bridge"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["KAFKA_", "BRIDGE_", "WORKFLOW_EVENTS_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    command
        .current_dir(folder)
        .args(["spool", action])
        .env("WORKFLOW_EVENTS_SPOOL_DIR", "spool")
        .env("KAFKA_BOOTSTRAP_SERVERS", servers)
        .stdin(Stdio::null());
    command
}

fn run(action: &str, folder: &Path, servers: &str) -> (Option<i32>, String) {
    output_of(&command(action, folder, servers).output().expect("the binary starts"))
}

/// `spool drain`, again while it ends with 69: a broker that stands still is away for it. And whether it counted all:
/// after 8 s it gives an event up, which is the next run's, or is acknowledged too late to be counted.
#[track_caller]
fn drain(folder: &Path, servers: &str) -> (Option<i32>, String, bool) {
    let began = Instant::now();
    let (code, text) = poll(PATIENCE, "Kafka takes what waits", || match run("drain", folder, servers) {
        (Some(69), text) => Err(text),
        done => Ok(done),
    });
    (code, text, began.elapsed() < Duration::from_secs(8))
}

fn output_of(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    (output.status.code(), text.concat())
}

fn ids(kafka: &Kafka, topic: &str) -> BTreeSet<String> {
    kafka.read_all(topic).iter().map(|stored| stored.header("event_id").expect("every record has it")).collect()
}

fn ids_of(events: &[TestEvent]) -> BTreeSet<String> {
    events.iter().map(|event| event.id().to_owned()).collect()
}

#[test]
fn a_drain_publishes_every_event_to_its_own_topic_as_it_would_have_been() {
    let folder = Scratch::new("spool");
    let topics = [kafka().topic("spool", 2), kafka().topic("spool", 2)];
    let (first, second) = (events("a", 30), events("b", 5));
    put(&spool(&folder), &topics[0], kafka().bootstrap(), &first);
    put(&spool(&folder), &topics[1], "elsewhere:9092", &second);
    let (code, text) = run("status", &folder, kafka().bootstrap());
    assert_eq!(code, Some(0), "{text}");
    for expected in ["35 events", "30 events for", "5 events for elsewhere:9092, which is not", "the oldest for"] {
        assert!(text.contains(expected), "no `{expected}` in {text}");
    }
    let oldest = format!("the oldest: event {} for topic {}: ", first[0].id(), topics[0]);
    assert!(text.contains(&oldest), "no `{oldest}` in {text}");

    let (code, text, has_counted) = drain(&folder, kafka().bootstrap());
    assert_eq!(code, Some(0), "{text}");
    for expected in ["35 events published to", "5 events of them had been spooled for elsewhere:9092"] {
        assert!(text.contains(expected) || !has_counted, "{text}");
    }
    assert_eq!(ids(kafka(), &topics[0]), ids_of(&first));
    assert_eq!(ids(kafka(), &topics[1]), ids_of(&second));
    let stored = kafka().read_all(&topics[1]).remove(0);
    let sent =
        second.iter().find(|event| Some(event.id()) == stored.header("event_id").as_deref()).expect("one of ours");
    assert_eq!(stored.key, Some(sent.key().into_bytes()));
    assert_eq!(stored.value.as_deref(), Some(record(sent, "t").value()));
    assert_eq!(stored.header("event_type").as_deref(), Some("WORKFLOW_COMPLETED"));
    assert_eq!(stored.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(stored.header("traceparent").as_deref(), Some("00-4bf92f3577b34da6-01"));

    for action in ["drain", "status"] {
        let (code, text) = run(action, &folder, kafka().bootstrap());
        assert_eq!((code, text.contains("no event waits")), (Some(0), true), "{text}");
    }
}

#[test]
fn without_kafka_a_drain_says_what_is_left_and_exits_with_69() {
    let folder = Scratch::new("spool");
    put(&spool(&folder), "t", "127.0.0.1:1", &events("left", 3));
    // The flag goes before the variable.
    let mut command = command("drain", &folder, "127.0.0.1:1");
    let command = command.args(["--spool", "spool"]).env("WORKFLOW_EVENTS_SPOOL_DIR", "nowhere");
    let (code, text) = output_of(&command.output().expect("the binary starts"));
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains("3 events left in") && text.contains("127.0.0.1:1"), "{text}");
    let stats = spool(&folder).stats().expect("the folder can be read");
    assert_eq!((stats.events, stats.claimed), (3, 0));
}

#[test]
fn what_can_never_be_published_is_in_the_quarantine_and_exits_with_65() {
    let folder = Scratch::new("spool");
    let topic = kafka().topic("spool", 1);
    kafka().create_topic(&format!("{topic}-small"), 1, &[("max.message.bytes", "2000")]);
    let good = events("good", 3);
    let large = event(&unique("large")).data(serde_json::json!({"text": "x".repeat(5_000)}));
    put(&spool(&folder), &topic, kafka().bootstrap(), &good);
    put(&spool(&folder), &format!("{topic}-small"), kafka().bootstrap(), &[large]);
    fs::write(folder.join("spool/0000000000001-00000000-0000000000000000-0-0.event"), "half an ev")
        .expect("the folder can be written");
    let (code, text, has_counted) = drain(&folder, kafka().bootstrap());
    let is_said = code == Some(65) && text.contains("2 events moved to") && text.contains("quarantine");
    assert!(is_said || !has_counted, "{code:?}: {text}");
    assert_eq!(ids(kafka(), &topic), ids_of(&good));
    let (_, text) = run("status", &folder, kafka().bootstrap());
    assert!(text.contains("quarantine: 2 events"), "{text}");
    let reasons: Vec<String> = fs::read_dir(folder.join("spool/quarantine"))
        .expect("it is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "reason"))
        .map(|path| fs::read_to_string(path).expect("it can be read"))
        .collect();
    assert!(reasons.iter().any(|reason| reason.contains("too large")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("header line")), "{reasons:?}");

    // What is fixed is moved back, and published.
    for entry in fs::read_dir(folder.join("spool/quarantine")).expect("it is there").flatten() {
        let small =
            fs::read_to_string(entry.path()).expect("it can be read").replace(&format!("{topic}-small"), &topic);
        if small.contains("xxxx") {
            fs::write(entry.path(), small).expect("it can be written");
            fs::rename(entry.path(), folder.join("spool").join(entry.file_name())).expect("it can be moved");
        }
    }
    let (code, text, has_counted) = drain(&folder, kafka().bootstrap());
    assert!(code == Some(0) && (text.contains("1 event published") || !has_counted), "{code:?}: {text}");
    assert_eq!(ids(kafka(), &topic).len(), 4, "the large one too");
}

#[test]
fn a_topic_that_does_not_exist_holds_up_no_other() {
    let folder = Scratch::new("spool");
    let (topic, absent) = (kafka().topic("spool", 1), unique("absent"));
    let (bad, good) = (events("bad", 120), events("good", 120));
    put(&spool(&folder), &absent, kafka().bootstrap(), &bad);
    put(&spool(&folder), &topic, kafka().bootstrap(), &good);
    let (code, text) = poll(PATIENCE, "what can be published is published", || {
        let (code, text) = run("drain", &folder, kafka().bootstrap());
        if text.contains("120 events left") && text.contains(&absent) { Ok((code, text)) } else { Err(text) }
    });
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains("events published to"), "{text}");
    assert_eq!(ids(kafka(), &topic), ids_of(&good));
}

#[test]
fn settings_and_folders_that_are_wrong_exit_with_78() {
    let folder = Scratch::new("spool");
    fs::write(folder.join("spool"), "a file").expect("a scratch folder can be written");
    for action in ["drain", "status"] {
        let (code, text) = run(action, &folder, "127.0.0.1:1");
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains("expected a folder, found a file"), "{text}");
        let (code, text) = run(action, &folder, "http://nonsense");
        assert_eq!(code, Some(78), "{text}");
    }
    let mut off = Command::new(env!("CARGO_BIN_EXE_workflow-bridge"));
    let off = off.args(["spool", "drain"]).current_dir(&*folder).env("WORKFLOW_EVENTS_SPOOL_DIR", "off");
    let (code, text) = output_of(&off.stdin(Stdio::null()).output().expect("the binary starts"));
    assert_eq!((code, text.contains("--spool")), (Some(78), true), "{text}");
}

fn bridge_on(kafka: &Kafka, topic: &str, folder: &Path) -> BridgeSetup {
    let spool = folder.join("spool").display().to_string();
    BridgeSetup::new(kafka, topic).routing(RULES).env("WORKFLOW_EVENTS_SPOOL_DIR", &spool)
}

#[test]
fn a_bridge_that_is_pointed_at_a_folder_empties_it_when_kafka_is_back() {
    let mut broker = Broker::start();
    let topic = broker.topic("spool", 2);
    let folder = Scratch::new("spool");
    let spool = spool(&folder);
    let mut bridge = bridge_on(&broker, &topic, &folder).start();
    bridge.wait_ready(PATIENCE);
    assert_eq!(bridge.metric("spool_events_total", &[("outcome", "published")]), 0.0);
    assert_eq!(bridge.status()["spool"]["waiting"], 0);

    broker.stop();
    let all = events("away", 40);
    put(&spool, &topic, broker.bootstrap(), &all);
    poll(PATIENCE, "the bridge sees them, cannot publish them, and says so", || {
        let status = bridge.status()["spool"].clone();
        when(status["waiting"] == 40 && status["last_error"].is_string(), status)
    });
    broker.start_again();
    // It tries again after a minute at most. When its page has changed, its metrics have.
    let status = poll(3 * PATIENCE, "the bridge has emptied the spool", || {
        let (found, status) = (spool.stats().map_err(|error| error.to_string())?, bridge.status()["spool"].clone());
        if found.events == 0 && status["waiting"] == 0 { Ok(status) } else { Err(format!("{found:?}, {status}")) }
    });
    assert_eq!(bridge.metric("spool_waiting_events", &[]), 0.0);
    assert_eq!(ids(&broker, &topic), ids_of(&all));
    // One whose acknowledgement comes after it was put back leaves the spool uncounted.
    let published = bridge.metric("spool_events_total", &[("outcome", "published")]);
    assert!(published > 0.0 && published <= 40.0 && status["published"] == published, "{published}, {status}");
    // They are the bridge's own events now, and some of them twice, if an acknowledgement was lost.
    poll(PATIENCE, "each of them has its outcome", || {
        let unmatched = bridge.metric("events_total", &[("outcome", "unmatched")]);
        when(unmatched >= 40.0, unmatched)
    });
    bridge.stop();
}

#[test]
fn a_bridge_that_stops_while_kafka_is_silent_puts_back_what_it_took() {
    // A thread that stands still for a second at the stop leaves its claims to the next drain, as the log says.
    assert!((0..3).any(|_| is_put_back_at_a_stop()), "the spool's thread never ended in time");
}

/// `false` when the spool's thread did not end in time. Nothing is lost in any case.
fn is_put_back_at_a_stop() -> bool {
    let mut broker = Broker::start();
    let (topic, folder, all) = (broker.topic("spool", 1), Scratch::new("spool"), events("silent", 10));
    let spool = spool(&folder);
    let mut bridge = bridge_on(&broker, &topic, &folder).start();
    bridge.wait_ready(PATIENCE);
    broker.freeze();
    put(&spool, &topic, broker.bootstrap(), &all);
    poll(3 * PATIENCE, "the bridge has taken them", || {
        let stats = spool.stats().map_err(|error| error.to_string())?;
        when(stats.claimed == 10, format!("{stats:?}"))
    });
    bridge.stop();
    let stats = spool.stats().expect("the folder can be read");
    let late = bridge.logged("the spool's thread has not ended yet: the next drain takes over what it claimed");
    assert!(stats.events == 10 && (stats.claimed == 0 || !late.is_empty()), "{stats:?}");
    broker.thaw();
    let (code, text, _) = drain(&folder, broker.bootstrap());
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(ids(&broker, &topic), ids_of(&all), "nothing is lost");
    stats.claimed == 0
}

const CHILD_FOLDER: &str = "WORKFLOW_BRIDGE_TEST_CHAOS";
/// Processes at once.
const PROCESSES: usize = 20;
/// How long they are killed and started again, at least.
const CHAOS: Duration = Duration::from_secs(20);

/// A child of the test below: spools, publishes and drains, until it is killed. It notes each event that
/// it was promised not to lose, in one write, before it goes on.
#[test]
fn child_that_spools_and_drains_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER).map(PathBuf::from) else { return };
    let [servers, topic] = ["SERVERS", "TOPIC"].map(|name| std::env::var(name).expect("the parent sets it"));
    let topic: Arc<str> = Arc::from(topic);
    let publisher = Publisher::builder()
        .bootstrap_servers(&servers)
        .topic(&*topic)
        .spool(spool(&folder))
        .build()
        .expect("good settings");
    let notes = folder.join(format!("promised-{}", std::process::id()));
    let mut notes = OpenOptions::new().create(true).append(true).open(notes).expect("the folder can be written");
    let draining = || {
        let budget = Budget { events: 50, time: Duration::from_secs(5) };
        loop {
            publisher.drain(budget, Interrupt::never()).expect("the folder can be used");
            thread::sleep(Duration::from_millis(5));
        }
    };
    let own = spool(&folder);
    thread::scope(|scope| {
        scope.spawn(draining);
        for number in 0_u64.. {
            let event = event(&unique("chaos"));
            let record = record(&event, &topic);
            // Straight into the spool; or published, and spooled when the time is too short for it.
            let promised = match number % 3 {
                0 => matches!(
                    publisher.publish_record(record, Duration::from_millis(30)),
                    Ok(_) | Err(PublishError::Spooled { .. })
                ),
                1 => matches!(publisher.publish_record(record, Duration::ZERO), Err(PublishError::Spooled { .. })),
                _ => own.put(&record, &servers, "a test").is_ok(),
            };
            assert!(promised, "event {} was not taken", event.id());
            notes.write_all(format!("{}\n", event.id()).as_bytes()).expect("the folder can be written");
            thread::sleep(Duration::from_millis(10));
        }
    });
}

/// What the children were promised so far.
fn promised(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("it can be listed").flatten();
    let notes = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("promised-"));
    let texts = notes.map(|entry| fs::read_to_string(entry.path()).expect("it can be read"));
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn twenty_processes_that_spool_and_drain_and_are_killed_lose_nothing() {
    let folder = Scratch::new("chaos");
    let topic = kafka().topic("chaos", 4);
    let mut child = Command::new(std::env::current_exe().expect("this test has a file"));
    child
        .args(["--exact", "spool::child_that_spools_and_drains_until_it_is_killed", "--nocapture"])
        .env(CHILD_FOLDER, &*folder)
        .env("SERVERS", kafka().bootstrap())
        .env("TOPIC", &topic);
    let start = || Process::spawn("a child", &child, Arc::new(Log::default()));
    let mut children: Vec<Process> = (0..PROCESSES).map(|_| start()).collect();
    let begin = Instant::now();
    let mut kills = 0;
    // Longer on a slow disk, until there is enough to lose.
    while begin.elapsed() < CHAOS || (begin.elapsed() < PATIENCE && promised(&folder).len() <= 500) {
        thread::sleep(Duration::from_millis(rand::rng().random_range(20..200)));
        let index = rand::rng().random_range(0..PROCESSES);
        let victim = &mut children[index];
        if let Some(status) = victim.exit_status() {
            panic!("a child ended by itself ({status}):\n{}", victim.log().tail(40));
        }
        victim.kill();
        kills += 1;
        *victim = start();
    }
    for child in &mut children {
        assert!(child.exit_status().is_none(), "a child ended by itself:\n{}", child.log().tail(40));
        child.kill();
    }
    let took = begin.elapsed();
    let spool = spool(&folder);
    let at_the_end = spool.stats().expect("the folder can be read");
    let (code, text, _) = drain(&folder, kafka().bootstrap());
    assert_eq!(code, Some(0), "{text}");
    let promised = promised(&folder);
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for stored in kafka().read_all(&topic) {
        *found.entry(stored.header("event_id").expect("every record has it")).or_default() += 1;
    }
    let lost: Vec<&String> = promised.iter().filter(|id| !found.contains_key(*id)).collect();
    let copies: u64 = found.values().map(|copies| copies - 1).sum();
    println!(
        "{PROCESSES} processes, {kills} killed in {took:.1?}: {} events promised, {} lost, {} in the topic, {copies} of them \
         again; {} waited at the end, {} of them in dead hands",
        promised.len(),
        lost.len(),
        found.len(),
        at_the_end.events,
        at_the_end.claimed,
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(promised.len() > 500, "only {} events: this was no test", promised.len());
    let stats = spool.stats().expect("the folder can be read");
    assert_eq!((stats.events, stats.quarantined, stats.strangers), (0, 0, 0));
}
