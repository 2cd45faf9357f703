//! `make lost-disk RECORDS=`: a replica is killed with that many records in its window, and its disk is thrown away. How long
//! until it delivers again, in how much memory, and whether it still knows what it had delivered.

use std::time::{Duration, Instant};

use crate::kit::{BridgeSetup, HttpAgent, Record, event, kafka, poll, unique, when};

const PARTITIONS: i32 = 12;
/// Runs that are under way at a time, as far as the keys say.
const KEYS: usize = 5_000;
/// Events that are published once more afterwards.
const AGAIN: usize = 20_000;

fn record(id: &str, key: usize) -> Record {
    let run = format!("run-{key}");
    Record::new(event(id).run(&run).json().to_string()).key(run)
}

#[test]
fn a_lost_disk_repeats_nothing() {
    let asked = std::env::var("LOST_DISK_RECORDS").ok().filter(|asked| !asked.is_empty());
    let records: usize = asked.map_or(100_000, |asked| asked.parse().expect("RECORDS is a number"));
    // A slow machine delivers 200 events a second.
    let patience = Duration::from_secs(60 + records as u64 / 200);
    let (topic, prefix) = (kafka().topic("lost-disk", PARTITIONS), unique("event"));
    let agent = HttpAgent::start();
    agent.keep_bodies(false);
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .config("log_outcomes: failures\n")
        .routing(&format!(
            "agents:
  audit: {{http: {{url: '{}/events'}}, concurrency: 64}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
            agent.url()
        ))
        .start();
    let of = |n: usize| record(&format!("{prefix}-{n:08}"), n % KEYS);
    let began = Instant::now();
    kafka().produce_all(&topic, (0..records).map(of));
    poll(patience, "everything is delivered", || when(agent.count() >= records, agent.count()));
    kafka().wait_committed(bridge.group(), &topic, patience);
    let counts = agent.sent_by_event();
    assert_eq!((counts.len(), agent.count()), (records, records), "each event is delivered once");
    println!("{records} events were delivered in {:.0} s", began.elapsed().as_secs_f64());
    println!("resident then: {} MiB", bridge.rss_bytes() >> 20);

    bridge.kill9();
    bridge.delete_data();
    agent.forget();
    let new: Vec<_> = (0..PARTITIONS)
        .map(|partition| record(&format!("{prefix}-new-{partition}"), records).partition(partition))
        .collect();
    kafka().produce_all(&topic, new);
    let launched = Instant::now();
    bridge.launch();
    poll(patience, "a delivery", || when(agent.count() > 0, bridge.log().tail(1)));
    let first = launched.elapsed();
    let partitions = PARTITIONS as usize;
    poll(patience, "a delivery of each partition", || when(agent.count() >= partitions, agent.count()));
    println!(
        "from the start with an empty folder: {:.1} s to the first delivery, {:.1} s to one of each partition; at most {} MiB resident",
        first.as_secs_f64(),
        launched.elapsed().as_secs_f64(),
        bridge.peak_rss_bytes() >> 20
    );

    kafka().produce_all(&topic, (0..records.min(AGAIN)).map(of));
    kafka().wait_committed(bridge.group(), &topic, patience);
    let repeated = agent.sent_by_event().into_keys().filter(|id| !id.contains("-new-")).count();
    println!("{} of them were published once more: {repeated} deliveries were repeated", records.min(AGAIN));
    assert_eq!((repeated, agent.count()), (0, partitions));
    bridge.stop();
}
