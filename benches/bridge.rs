//! `make bench`: the bridge beside its ceilings, in one run on the same machine.
//!
//! Reading: events that no rule matches through the whole path, beside a bare consumer that only reads, and one that parses
//! each event with serde_json and compares a field. Delivering: events to a local HTTP agent with the ledger on, beside the
//! same HTTP client that posts the same bodies with no Kafka. Then what a bridge takes to start, and to do nothing.
//! The figures are for comparison within one run; there is no pass or fail. `BENCH_ROUNDS` says how many rounds (5).

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a benchmark says why it cannot go on"
)]

#[allow(dead_code, unused_imports, reason = "the kit serves tests")]
#[path = "../tests/it/kit/mod.rs"]
mod kit;

use std::{
    hint::black_box,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use kit::{Bridge, BridgeSetup, HttpAgent, Kafka, Record, block_on, event, kafka, poll, unique, when};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use tokio::sync::Semaphore;

const UNMATCHED: usize = 1_000_000;
const DELIVERED: usize = 200_000;
const PARTITIONS: i32 = 4;
const IN_FLIGHT: usize = 64;
/// How long a bridge may settle (half a minute after it got its partitions it still looks for what their former owners write), and how long it is then measured while it does nothing.
const IDLE_AFTER: Duration = Duration::from_secs(40);
const IDLE_FOR: Duration = Duration::from_secs(60);
/// The ceilings of reading, before the rows of the bridge.
const ALONE: usize = 2;

/// Events of about 700 bytes.
fn produce(kafka: &Kafka, topic: &str, count: usize, event_type: &str) {
    let prefix = unique("bench");
    let padding = "x".repeat(330);
    kafka.produce_all(
        topic,
        (0..count).map(|n| {
            let event = event(&format!("{prefix}-{n:07}")).run(&format!("run-{}", n % 10_000)).event_type(event_type);
            let value = event.data(serde_json::json!({"status": "success", "note": padding})).json().to_string();
            Record::new(value).partition(i32::try_from(n).unwrap_or_default() % PARTITIONS)
        }),
    );
}

/// `settings` is a bridge.yaml.
fn bridge(kafka: &Kafka, topic: &str, agent: &HttpAgent, settings: &str) -> Bridge {
    BridgeSetup::new(kafka, topic)
        .config(settings)
        .routing(&format!(
            "agents:
  audit: {{http: {{url: '{}/events'}}, concurrency: {IN_FLIGHT}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
            agent.url()
        ))
        .start()
}

fn rate(count: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64()
}

/// Reads the whole topic, and does `each` with the value of each record.
fn consumer_alone(kafka: &Kafka, topic: &str, each: impl Fn(&[u8])) -> f64 {
    let consumer: BaseConsumer = kafka
        .client()
        .set("group.id", unique("bare"))
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "10")
        .create()
        .expect("a consumer can be made");
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning).expect("a plain offset");
    }
    consumer.assign(&partitions).expect("the partitions can be assigned");
    let (mut read, mut started) = (0, Instant::now());
    while read < UNMATCHED {
        match consumer.poll(Duration::from_secs(30)) {
            Some(Ok(record)) => {
                each(record.payload().expect("an event"));
                read += 1;
            }
            Some(Err(error)) => panic!("the consumer: {error}"),
            None => panic!("the consumer read {read} of {UNMATCHED} and then nothing for 30 s"),
        }
        if read == 1 {
            started = Instant::now();
        }
    }
    rate(read, started.elapsed())
}

/// One rule, as a program of ten lines would have it.
fn parse_and_compare(value: &[u8]) {
    let event: serde_json::Value = serde_json::from_slice(value).expect("JSON");
    assert!(black_box(&event)["event_type"] != "WORKFLOW_COMPLETED");
}

fn unmatched_through_the_bridge(kafka: &Kafka, topic: &str, settings: &str) -> (f64, u64) {
    let agent = HttpAgent::start();
    let mut bridge = bridge(kafka, topic, &agent, settings);
    let consumed = |bridge: &Bridge| bridge.metric("events_total", &[("outcome", "unmatched")]);
    let mut first = None;
    poll(Duration::from_secs(300), "every event was consumed", || {
        let seen = consumed(&bridge);
        if seen > 0.0 && first.is_none() {
            first = Some((Instant::now(), seen));
        }
        when(seen >= UNMATCHED as f64, seen)
    });
    let (started, before) = first.expect("events were consumed");
    let speed = (UNMATCHED as f64 - before) / started.elapsed().as_secs_f64();
    let peak = bridge.peak_rss_bytes() >> 20;
    bridge.stop();
    (speed, peak)
}

fn delivered_by_the_bridge(kafka: &Kafka, topic: &str, settings: &str) -> (f64, u64) {
    let agent = HttpAgent::start();
    agent.keep_bodies(false);
    let mut bridge = bridge(kafka, topic, &agent, settings);
    poll(Duration::from_secs(300), "every event was delivered", || {
        let seen = bridge.metric("events_total", &[("outcome", "delivered")]);
        when(seen >= DELIVERED as f64, seen)
    });
    let requests = agent.accepted();
    let (first, last) = (requests.first().expect("requests came").at, requests.last().expect("requests came").at);
    assert_eq!(requests.len(), DELIVERED, "each event once");
    let peak = bridge.peak_rss_bytes() >> 20;
    bridge.stop();
    (rate(DELIVERED, last - first), peak)
}

/// Milliseconds from before the process is made until an event that waits in the topic is at the agent: for a new group,
/// which has to create its ledger topic, and for one that was stopped.
fn started_until_delivered(kafka: &Kafka) -> [f64; 2] {
    let topic = kafka.topic("bench-start", 1);
    let agent = HttpAgent::start();
    let mut stopped: Option<Bridge> = None;
    [(); 2].map(|()| {
        let event = event(&unique("first")).run("run").event_type("WORKFLOW_COMPLETED");
        kafka.produce(&topic, Record::new(event.json().to_string()));
        agent.forget();
        let started = Instant::now();
        let mut bridge = match stopped.take() {
            None => bridge(kafka, &topic, &agent, "{}"),
            Some(mut bridge) => {
                bridge.start_again();
                bridge
            }
        };
        let delivered = || agent.accepted().first().map(|request| request.at).ok_or_else(|| agent.count());
        let first = poll(Duration::from_secs(60), "the event was delivered", delivered);
        kafka.wait_committed(bridge.group(), &topic, Duration::from_secs(60));
        bridge.stop();
        stopped = Some(bridge);
        (first - started).as_secs_f64() * 1_000.0
    })
}

/// Of a bridge with one rule and nothing to read: MiB that are resident, the share of a processor that it takes, and how many
/// times a second its threads wake.
fn idle(kafka: &Kafka) -> (u64, f64, f64) {
    let topic = kafka.topic("bench-idle", PARTITIONS);
    let agent = HttpAgent::start();
    let mut bridge = bridge(kafka, &topic, &agent, "{}");
    thread::sleep(IDLE_AFTER);
    let wakes = |bridge: &mut Bridge| bridge.wakes().into_values().sum::<u64>();
    let (started, before, woken) = (Instant::now(), bridge.cpu_seconds(), wakes(&mut bridge));
    thread::sleep(IDLE_FOR);
    let seconds = started.elapsed().as_secs_f64();
    let share = (bridge.cpu_seconds() - before) / seconds;
    let rate = wakes(&mut bridge).saturating_sub(woken) as f64 / seconds;
    let resident = bridge.rss_bytes() >> 20;
    bridge.stop();
    (resident, share, rate)
}

/// The same client, as many requests under way, no Kafka and no ledger.
fn posted_by_the_client_alone(bodies: Vec<Vec<u8>>) -> f64 {
    let agent = HttpAgent::start();
    agent.keep_bodies(false);
    let client =
        reqwest::Client::builder().no_proxy().pool_max_idle_per_host(IN_FLIGHT).build().expect("a client can be built");
    let url = format!("{}/events", agent.url());
    let count = bodies.len();
    let started = Instant::now();
    block_on(async {
        let slots = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut tasks = tokio::task::JoinSet::new();
        for (n, body) in bodies.into_iter().enumerate() {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore stays open");
            let request = client
                .post(&url)
                .header("content-type", "application/json")
                .header("idempotency-key", n.to_string())
                .body(body);
            tasks.spawn(async move {
                let answer = request.send().await.expect("the agent answers");
                assert!(answer.status().is_success());
                answer.bytes().await.expect("a small body");
                drop(slot);
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("a post does not panic");
        }
    });
    rate(count, started.elapsed())
}

/// What is measured of the bridge while it reads, and while it delivers: a name, and a bridge.yaml.
const READING: [(&str, &str); 2] = [("", "{}"), (", each logged", "log_outcomes: all")];
const DELIVERING: [(&str, &str); 6] = [
    ("ledger topic and log of outcomes: the defaults", "{}"),
    ("at most 2,000 events in flight", "kafka: {budget: {max_events: 2000}}"),
    ("20 ms for a batch of the ledger topic", "kafka: {properties: {linger.ms: '20'}}"),
    ("no log of outcomes", "log_outcomes: none"),
    ("no ledger topic", "dedup: {ledger_topic: 'off'}"),
    ("neither", "{log_outcomes: none, dedup: {ledger_topic: 'off'}}"),
];

/// What one row saw in each round: events a second, and the most that was resident, in MiB.
#[derive(Default)]
struct Row {
    name: String,
    rates: Vec<f64>,
    peak: u64,
}

impl Row {
    fn add(&mut self, name: String, (rate, peak): (f64, u64)) {
        self.name = name;
        self.rates.push(rate);
        self.peak = self.peak.max(peak);
    }

    fn median(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or_default()
    }

    fn print(&self, ceiling: f64) {
        let least = self.rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.rates.iter().copied().fold(0.0, f64::max);
        let peak = if self.peak == 0 { String::new() } else { self.peak.to_string() };
        let (median, spread) = (self.median(), format!("{least:.0} to {most:.0}"));
        println!("{:<68} {median:>9.0} {:>6.2} {spread:>20} {peak:>8}", self.name, median / ceiling);
    }
}

fn main() {
    let rounds = std::env::var("BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let kafka = kafka();
    let unmatched = kafka.topic("bench-unmatched", PARTITIONS);
    produce(kafka, &unmatched, UNMATCHED, "WORKFLOW_TRIGGERED");
    let matched = kafka.topic("bench-matched", PARTITIONS);
    produce(kafka, &matched, DELIVERED, "WORKFLOW_COMPLETED");
    let bodies: Vec<_> = kafka.read_all(&matched).into_iter().filter_map(|record| record.value).collect();

    let mut reading: Vec<Row> = (0..ALONE + READING.len()).map(|_| Row::default()).collect();
    let mut delivering: Vec<Row> = (0..=DELIVERING.len()).map(|_| Row::default()).collect();
    // Every row once in each round, so that what the machine does meanwhile is shared. The first round warms up.
    for round in 0..=rounds {
        let add = |row: &mut Row, name: String, seen| {
            if round > 0 {
                row.add(name, seen);
            }
        };
        let alone = consumer_alone(kafka, &unmatched, |_| {});
        add(&mut reading[0], "reading: a bare consumer, nothing done".into(), (alone, 0));
        let alone = consumer_alone(kafka, &unmatched, parse_and_compare);
        add(&mut reading[1], "reading: a bare consumer, serde_json, one comparison".into(), (alone, 0));
        for ((name, settings), row) in READING.iter().zip(&mut reading[ALONE..]) {
            let seen = unmatched_through_the_bridge(kafka, &unmatched, settings);
            add(row, format!("reading: unmatched events through the bridge{name}"), seen);
        }
        let alone = posted_by_the_client_alone(bodies.clone());
        add(&mut delivering[0], format!("delivering: the HTTP client alone, {IN_FLIGHT} in flight"), (alone, 0));
        for ((name, settings), row) in DELIVERING.iter().zip(&mut delivering[1..]) {
            let seen = delivered_by_the_bridge(kafka, &matched, settings);
            add(row, format!("delivering: the bridge, {name}"), seen);
        }
    }
    println!("{rounds} rounds after one to warm up, events of about 700 bytes");
    println!("{:<68} {:>9} {:>6} {:>20} {:>8}", "", "median/s", "ratio", "spread", "peak MiB");
    for rows in [reading, delivering] {
        let ceiling = rows[0].median();
        for row in rows {
            row.print(ceiling);
        }
    }
    let mut starts = [Row::default(), Row::default()];
    for _ in 0..rounds {
        for (row, took) in starts.iter_mut().zip(started_until_delivered(kafka)) {
            row.add(String::new(), (took, 0));
        }
    }
    let [new, again] = starts.map(|row| row.median());
    println!("start to first delivery: {new:.0} ms for a new group, {again:.0} ms after a stop, medians of {rounds}");
    let (resident, share, wakes) = idle(kafka);
    let seconds = IDLE_FOR.as_secs();
    println!(
        "idle for {seconds} s: {resident} MiB resident, {:.2} % of a processor, {wakes:.0} wakes a second",
        share * 100.0
    );
}
