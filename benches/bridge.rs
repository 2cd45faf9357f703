//! `make bench`: the bridge beside its ceilings, in one run on the same machine.
//!
//! Reading: events that no rule matches through the whole path, beside a bare consumer that only reads. Delivering: events to
//! a local HTTP agent with the ledger on, beside the same HTTP client that posts the same bodies with no Kafka.
//! The figures are for comparison within one run; there is no pass or fail.

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
    sync::Arc,
    time::{Duration, Instant},
};

use kit::{Bridge, BridgeSetup, HttpAgent, Kafka, Record, block_on, event, kafka, poll, unique, when};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use tokio::sync::Semaphore;

const UNMATCHED: usize = 1_000_000;
const DELIVERED: usize = 50_000;
const PARTITIONS: i32 = 4;
const IN_FLIGHT: usize = 64;

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

fn bridge(kafka: &Kafka, topic: &str, agent: &HttpAgent) -> Bridge {
    BridgeSetup::new(kafka, topic)
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

/// Reads the whole topic and does nothing with it.
fn bare_consumer(kafka: &Kafka, topic: &str) -> f64 {
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
            Some(Ok(_)) => read += 1,
            Some(Err(error)) => panic!("the bare consumer: {error}"),
            None => panic!("the bare consumer read {read} of {UNMATCHED} and then nothing for 30 s"),
        }
        if read == 1 {
            started = Instant::now();
        }
    }
    rate(read, started.elapsed())
}

fn unmatched_through_the_bridge(kafka: &Kafka, topic: &str) -> (f64, u64) {
    let agent = HttpAgent::start();
    let mut bridge = bridge(kafka, topic, &agent);
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

fn delivered_by_the_bridge(kafka: &Kafka, topic: &str) -> (f64, u64) {
    let agent = HttpAgent::start();
    agent.keep_bodies(false);
    let mut bridge = bridge(kafka, topic, &agent);
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

fn main() {
    let kafka = kafka();
    let unmatched = kafka.topic("bench-unmatched", PARTITIONS);
    produce(kafka, &unmatched, UNMATCHED, "WORKFLOW_TRIGGERED");
    let bare = bare_consumer(kafka, &unmatched);
    let (read, read_rss) = unmatched_through_the_bridge(kafka, &unmatched);

    let matched = kafka.topic("bench-matched", PARTITIONS);
    produce(kafka, &matched, DELIVERED, "WORKFLOW_COMPLETED");
    let bodies = kafka.read_all(&matched).into_iter().filter_map(|record| record.value).collect();
    let alone = posted_by_the_client_alone(bodies);
    let (delivered, delivered_rss) = delivered_by_the_bridge(kafka, &matched);

    println!("{:<58} {:>12} {:>8} {:>9}", "700-byte events, one run", "events/s", "ratio", "RSS MiB");
    println!("{:<58} {bare:>12.0} {:>8} {:>9}", "reading: a bare consumer, nothing done", "1", "");
    println!("{:<58} {read:>12.0} {:>8.2} {read_rss:>9}", "reading: unmatched events through the bridge", read / bare);
    println!("{:<58} {alone:>12.0} {:>8} {:>9}", "delivering: the HTTP client alone, 64 in flight", "1", "");
    println!(
        "{:<58} {delivered:>12.0} {:>8.2} {delivered_rss:>9}",
        "delivering: the bridge, ledger on, 64 in flight",
        delivered / alone
    );
}
