//! `make bench-peers`: the bridge beside other programs that send the events of a topic to an HTTP agent, in one run.
//!
//! All read the same topic and send to the same agent, which answers at once, with as many requests under way as each can
//! have. The figures are for comparison within one run; there is no pass or fail, and docs/performance.md says what each of them
//! guarantees. Bento has a row when `make bench-peers` could build it. `BENCH_ROUNDS` says how many rounds (3).

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a benchmark says why it cannot go on"
)]

#[allow(dead_code, unused_imports, reason = "the kit serves tests")]
#[path = "../../tests/it/kit/mod.rs"]
mod kit;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use kit::{
    Bridge, BridgeSetup, HttpAgent, Kafka, PATIENCE, Record, event, kafka, poll, prepared,
    process::{Log, Process},
    unique, when,
};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

/// Events of the topic that is delivered as fast as each can.
const EVENTS: usize = 50_000;
/// How long each delivers them.
const LONGEST: Duration = Duration::from_secs(20);
const PARTITIONS: i32 = 4;
const IN_FLIGHT: usize = 64;
/// Events a second when the latency is measured, and for how many seconds.
const PACE: Pace = Pace { rate: 200, seconds: 10, linger_ms: "0" };
/// A busy pace, for those that deliver twice as many when nothing is published meanwhile.
const BUSY: Pace = Pace { rate: 4_000, seconds: 10, linger_ms: "1" };

const BRIDGE: &str = "workflow-bridge";
const BENTO: &str = "bento";
const NAMES: [&str; 4] = [BRIDGE, BENTO, "aiokafka-loop", "kafka-agent-bridge"];

/// The program of `benches/peers/bento`, which needs Go to be built.
fn bento() -> PathBuf {
    prepared("bench-peers-bento/bento")
}

/// What reads a topic and sends to an agent. Dropping it kills it.
enum Peer {
    Bridge(Box<Bridge>),
    Other(Process),
}

impl Peer {
    fn start(name: &str, kafka: &Kafka, topic: &str, agent: &HttpAgent) -> Self {
        let url = format!("{}/events", agent.url());
        if name == BRIDGE {
            let rules = format!(
                "agents:
  audit: {{http: {{url: '{url}'}}, concurrency: {IN_FLIGHT}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
"
            );
            return Self::Bridge(Box::new(BridgeSetup::new(kafka, topic).config("{}").routing(&rules).start()));
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
        let (group, in_flight) = (unique("peer"), IN_FLIGHT.to_string());
        let mut command;
        if name == BENTO {
            command = Command::new(bento());
            command.arg("-c").arg(folder.join("bento/bento.yaml"));
            command.envs([("KAFKA_SERVERS", kafka.bootstrap()), ("TOPIC", topic), ("GROUP", &group)]);
            command.envs([("URL", &url), ("IN_FLIGHT", &in_flight)]);
        } else {
            command = Command::new(prepared("bench-peers-venv/bin/python"));
            command.arg(folder.join("peer.py"));
            command.args([name, kafka.bootstrap(), topic, &group, &url, &in_flight]);
        }
        Self::Other(Process::spawn(name, &command, Arc::new(Log::default())))
    }

    /// The seconds of processor time that it has used.
    fn cpu(&mut self) -> f64 {
        match self {
            Self::Bridge(bridge) => bridge.cpu_seconds(),
            Self::Other(process) => process.cpu_seconds(),
        }
    }

    fn peak_mib(&mut self) -> u64 {
        let bytes = match self {
            Self::Bridge(bridge) => bridge.peak_rss_bytes(),
            Self::Other(process) => process.peak_rss_bytes(),
        };
        bytes >> 20
    }

    /// Panics with the end of its log when it has ended.
    fn must_run(&mut self) {
        match self {
            Self::Bridge(bridge) => assert!(bridge.runs(), "the bridge ended:\n{}", bridge.log().tail(20)),
            Self::Other(process) => {
                assert!(process.exit_status().is_none(), "it ended:\n{}", process.log().tail(20));
            }
        }
    }
}

fn value(id: &str, run: usize) -> String {
    let event = event(id).run(&format!("run-{run}"));
    event.data(serde_json::json!({"status": "success", "note": "x".repeat(330)})).json().to_string()
}

/// What one round saw of a peer.
#[derive(Clone, Copy)]
struct Seen {
    rate: f64,
    cpu_per_100k: f64,
    peak_mib: u64,
    paced: Latency,
    busy: Option<Latency>,
}

#[derive(Clone, Copy)]
struct Pace {
    rate: u32,
    seconds: u32,
    /// How long the publisher waits for a batch.
    linger_ms: &'static str,
}

/// Milliseconds from the publishing of an event to its arrival at the agent.
#[derive(Clone, Copy)]
struct Latency {
    p50: f64,
    p99: f64,
}

/// Delivers as fast as it can: events a second, processor seconds for 100,000, and the most that was resident.
fn throughput(name: &str, kafka: &Kafka, topic: &str) -> (f64, f64, u64) {
    let agent = HttpAgent::start();
    agent.keep_bodies(false);
    let mut peer = Peer::start(name, kafka, topic, &agent);
    poll(PATIENCE, "a first event is delivered", || {
        peer.must_run();
        when(agent.count() > 0, agent.count())
    });
    let (started, before, used) = (Instant::now(), agent.count(), peer.cpu());
    while agent.count() < EVENTS && started.elapsed() < LONGEST {
        peer.must_run();
        thread::sleep(Duration::from_millis(5));
    }
    let (took, delivered, used) = (started.elapsed(), agent.count() - before, peer.cpu() - used);
    let delivered = delivered as f64;
    (delivered / took.as_secs_f64(), used / delivered * 100_000.0, peer.peak_mib())
}

fn latency(name: &str, kafka: &Kafka, pace: Pace) -> Latency {
    let paced = (pace.rate * pace.seconds) as usize;
    let topic = kafka.topic("peers-paced", PARTITIONS);
    let agent = HttpAgent::start();
    agent.keep_bodies(false);
    let first = (0..PARTITIONS).map(|partition| {
        let id = unique("first");
        Record::new(value(&id, 0)).partition(partition)
    });
    kafka.produce_all(&topic, first);
    let mut peer = Peer::start(name, kafka, &topic, &agent);
    poll(PATIENCE, "an event of each partition is delivered", || {
        peer.must_run();
        when(agent.count() >= PARTITIONS as usize, agent.count())
    });
    agent.forget();

    let mut client = kafka.client();
    let producer: ThreadedProducer<DefaultProducerContext> =
        client.set("linger.ms", pace.linger_ms).create().expect("a producer can be made");
    let mut published = HashMap::new();
    let started = Instant::now();
    for n in 0..paced {
        let due = started + Duration::from_secs(1) / pace.rate * u32::try_from(n).unwrap_or(u32::MAX);
        let early = due.saturating_duration_since(Instant::now());
        // Those of a millisecond come together: to wake for each would take the processor from the peer.
        if early > Duration::from_millis(1) {
            thread::sleep(early);
        }
        let id = unique("paced");
        let value = value(&id, n);
        published.insert(id, Instant::now());
        let partition = i32::try_from(n).unwrap_or_default() % PARTITIONS;
        let record = BaseRecord::<(), String>::to(&topic).payload(&value).partition(partition);
        producer.send(record).map_err(|(error, _)| error).expect("the producer has room");
    }
    producer.flush(PATIENCE).expect("the broker takes the events");
    poll(PATIENCE, "every event is delivered", || {
        peer.must_run();
        when(agent.count() >= paced, agent.count())
    });
    let mut took: Vec<f64> = Vec::new();
    for request in agent.requests() {
        let since = published.remove(&request.event_id).map(|since| request.at.saturating_duration_since(since));
        took.extend(since.map(|since| since.as_secs_f64() * 1_000.0));
    }
    assert_eq!(took.len(), paced, "{name}: each event is delivered");
    took.sort_by(f64::total_cmp);
    Latency { p50: took[paced / 2], p99: took[paced * 99 / 100] }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn main() {
    let rounds = std::env::var("BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let kafka = kafka();
    let topic = kafka.topic("peers", PARTITIONS);
    let prefix = unique("peers");
    kafka.produce_all(
        &topic,
        (0..EVENTS).map(|n| {
            let value = value(&format!("{prefix}-{n:07}"), n % 10_000);
            Record::new(value).partition(i32::try_from(n).unwrap_or_default() % PARTITIONS)
        }),
    );
    let names: Vec<&str> = NAMES.into_iter().filter(|name| *name != BENTO || bento().exists()).collect();
    let mut seen: Vec<Vec<Seen>> = vec![Vec::new(); names.len()];
    // Who is measured at a busy pace. The first round says it, which also warms the broker up: it compiles what it runs.
    let mut is_fast = vec![true; names.len()];
    for round in 0..=rounds {
        // Each round begins with another, so that none always follows the same other.
        for turn in 0..names.len() {
            let at = (round + turn) % names.len();
            let (name, seen) = (names[at], &mut seen[at]);
            let (rate, cpu_per_100k, peak_mib) = throughput(name, kafka, &topic);
            let paced = latency(name, kafka, PACE);
            if round == 0 {
                is_fast[at] = rate > f64::from(2 * BUSY.rate);
            }
            let busy = is_fast[at].then(|| latency(name, kafka, BUSY));
            if round > 0 {
                seen.push(Seen { rate, cpu_per_100k, peak_mib, paced, busy });
            }
        }
    }
    println!(
        "median of {rounds} rounds; events of about 700 bytes, {PARTITIONS} partitions, up to {IN_FLIGHT} requests under way"
    );
    println!(
        "{:<20} {:>12} {:>6} {:>20} {:>14} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "delivered/s", "ratio", "spread", "CPU s per 100k", "peak MiB", "p50 ms", "p99 ms", "p50 busy", "p99 busy"
    );
    let rate = |seen: &[Seen]| median(seen.iter().map(|seen| seen.rate));
    let busy = |seen: &[Seen], of: fn(Latency) -> f64| {
        let busy: Vec<f64> = seen.iter().filter_map(|seen| seen.busy.map(of)).collect();
        if busy.is_empty() { "-".to_owned() } else { format!("{:.2}", median(busy.into_iter())) }
    };
    let ours = rate(&seen[0]);
    for (name, seen) in names.iter().zip(&seen) {
        let (least, most) = seen
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(least, most), seen| (least.min(seen.rate), most.max(seen.rate)));
        println!(
            "{name:<20} {:>12.0} {:>6.2} {:>20} {:>14.1} {:>9} {:>9.2} {:>9.2} {:>9} {:>9}",
            rate(seen),
            rate(seen) / ours,
            format!("{least:.0} to {most:.0}"),
            median(seen.iter().map(|seen| seen.cpu_per_100k)),
            seen.iter().map(|seen| seen.peak_mib).max().unwrap_or_default(),
            median(seen.iter().map(|seen| seen.paced.p50)),
            median(seen.iter().map(|seen| seen.paced.p99)),
            busy(seen, |busy| busy.p50),
            busy(seen, |busy| busy.p99),
        );
    }
    println!(
        "Latency: from publish to agent at {} events a second, and at {} of those that deliver twice as many.",
        PACE.rate, BUSY.rate
    );
}
