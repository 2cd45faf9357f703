//! A program with a handler, as a process of its own: this test binary, started again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::signal::unix::{SignalKind, signal};
use workflow_bridge::{
    bridge::{Bridge, HandlerOptions},
    event::{Event, EventType},
};

use crate::kit::{
    PATIENCE, TestEvent,
    events::events,
    kafka, poll,
    process::{Log, Process, Scratch},
    unique, when,
};

/// The settings of the program: its topic, group, folder, the time of a call in ms, and how many calls it makes at once.
const SETTINGS: &str = "HANDLERS_PROGRAM";
/// What was called, in the folder of the program.
const CALLS: &str = "calls";

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis()
}

/// The program. Where nobody has set it up there is nothing to run.
#[test]
fn the_program_of_the_tests_below() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    let settings: Vec<&str> = settings.split(' ').collect();
    let [bootstrap, topic, group, folder, call_ms, concurrency] = settings[..] else { panic!("{settings:?}") };
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let calls = OpenOptions::new().create(true).append(true).open(Path::new(folder).join(CALLS));
    let calls: Arc<File> = Arc::new(calls.expect("the folder can be written"));
    let takes = Duration::from_millis(call_ms.parse().expect("a number"));
    let options = HandlerOptions::default().concurrency(concurrency.parse().expect("a number"));
    let note = |mut calls: &File, what: &str, event: &Event| {
        // One write each, so that lines stay whole.
        let line = format!("{what} {} {}\n", event.id(), now_ms());
        calls.write_all(line.as_bytes()).expect("the file can be written");
    };
    let bridge = Bridge::builder()
        .bootstrap_servers(bootstrap)
        .topic(topic)
        .group_id(group)
        .data_dir(Path::new(folder).join("data"))
        .handle_with("store", EventType::Completed, options, move |event| {
            let calls = Arc::clone(&calls);
            async move {
                note(&calls, "begin", &event);
                tokio::time::sleep(takes).await;
                note(&calls, "end", &event);
                Ok(())
            }
        })
        .build()
        .expect("nothing is wrong with it");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).expect("signals can be had");
        bridge.run(async move { terminate.recv().await.unwrap_or_default() }).await.expect("it ends well");
    });
}

/// The program, running.
struct Program {
    command: Command,
    process: Option<Process>,
    log: Arc<Log>,
    calls: PathBuf,
    _folder: Scratch,
}

/// A call that was noted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    what: String,
    id: String,
    at_ms: u128,
}

impl Program {
    fn new(topic: &str, group: &str, call_ms: u32, concurrency: u32) -> Self {
        let folder = Scratch::new("program");
        let path = folder.display();
        let mut command = Command::new(std::env::current_exe().expect("the tests have a path"));
        command.args(["--exact", "handlers::killed::the_program_of_the_tests_below", "--nocapture"]);
        let bootstrap = kafka().bootstrap();
        command.env(SETTINGS, format!("{bootstrap} {topic} {group} {path} {call_ms} {concurrency}"));
        Self { command, process: None, log: Arc::default(), calls: folder.join(CALLS), _folder: folder }
    }

    fn start(&mut self) {
        self.process = Some(Process::spawn("the program", &self.command, Arc::clone(&self.log)));
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was started")
    }

    fn calls(&self) -> Vec<Call> {
        let text = std::fs::read_to_string(&self.calls).unwrap_or_default();
        let calls = text.lines().filter_map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            let (what, id, at_ms) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
            Some(Call { what, id, at_ms })
        });
        calls.collect()
    }

    fn ended(&self) -> BTreeMap<String, Vec<u128>> {
        let mut ended: BTreeMap<String, Vec<u128>> = BTreeMap::new();
        for call in self.calls().into_iter().filter(|call| call.what == "end") {
            ended.entry(call.id).or_default().push(call.at_ms);
        }
        ended
    }

    /// An orderly stop.
    #[track_caller]
    fn stop(&mut self) {
        self.process().signal(rustix::process::Signal::TERM);
        let status = self.process().wait_exit(PATIENCE);
        assert!(status.success(), "{status}; the log ends with:\n{}", self.log.tail(40));
    }
}

#[test]
fn five_kills_lose_nothing_and_repeat_only_what_was_under_way() {
    const EVENTS: usize = 1_500;
    /// A flush takes milliseconds; a machine that stands still is given more.
    const UNDER_WAY_MS: u128 = 3_000;
    let (topic, group) = (kafka().topic("handlers-killed", 4), unique("handlers-killed"));
    let all = events("killed", EVENTS);
    kafka().produce_all(&topic, all.iter().map(TestEvent::record));
    let mut program = Program::new(&topic, &group, 10, 8);
    program.start();
    let mut kills = Vec::new();
    for kill in 1..=5 {
        poll(PATIENCE, "it makes calls", || when(program.ended().len() >= kill * EVENTS / 8, program.ended().len()));
        program.process().kill();
        kills.push(now_ms());
        program.start();
    }
    kafka().wait_committed(&group, &topic, PATIENCE);
    program.stop();
    let ended = program.ended();
    let ids: BTreeSet<_> = all.iter().map(|event| event.id().to_owned()).collect();
    assert_eq!(ended.keys().cloned().collect::<BTreeSet<_>>(), ids, "none is lost");
    let twice: Vec<_> = ended.iter().filter(|(_, ends)| ends.len() > 1).collect();
    for (id, ends) in &twice {
        for end in &ends[..ends.len() - 1] {
            let is_under_way = kills.iter().any(|kill| end <= kill && kill - end <= UNDER_WAY_MS);
            assert!(is_under_way, "{id} ended at {ends:?}, and the kills were at {kills:?}");
        }
    }
    println!("five SIGKILLs: {EVENTS} events, none lost, {} handled more than once", twice.len());
    assert!(twice.len() <= 5 * 8 * 2, "{} of {EVENTS} were repeated", twice.len());
    assert_eq!(kafka().read_all(&format!("{topic}.dlq")), []);
}

#[test]
fn fifty_calls_that_take_longer_than_a_session_cause_no_rebalance() {
    const EVENTS: usize = 50;
    let (topic, group) = (kafka().topic("handlers-slow", 2), unique("handlers-slow"));
    let all = events("slow", EVENTS);
    kafka().produce_all(&topic, all.iter().map(TestEvent::record));
    // The session takes 10 s.
    let mut program = Program::new(&topic, &group, 12_000, 50);
    program.start();
    kafka().wait_committed(&group, &topic, PATIENCE);
    let log = program.log.since(0);
    let moved: Vec<_> =
        log.iter().filter(|line| line.contains("partitions revoked") || line.contains("assignment lost")).collect();
    assert!(moved.is_empty(), "{moved:#?}");
    assert!(log.iter().any(|line| line.contains("partitions assigned")), "{log:#?}");
    let began = program.calls().iter().filter(|call| call.what == "begin").count();
    assert_eq!((began, program.ended().len()), (EVENTS, EVENTS), "each is called for once");
    program.stop();
}
