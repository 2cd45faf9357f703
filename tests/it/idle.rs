//! A bridge that has nothing to do sleeps.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use crate::kit::{Bridge, BridgeSetup, HttpAgent, PATIENCE, Record, event, kafka, poll, unique, when};

/// What a former owner of a partition wrote late is looked for during the first 30 s.
const DEADLINE: Duration = Duration::from_secs(180);
const WATCHED: Duration = Duration::from_secs(5);
/// Of our own threads that have much to do at other times: the consumer, the reader of the ledger topic, and whatever is
/// a task. librdkafka has several threads for each client, and sled looks each 100 ms for what to force to the disk.
const MOST_WAKES: [(&str, f64); 3] = [("kafka-consumer", 8.0), ("kafka-ledger-re", 4.5), ("tokio-rt-worker", 8.0)];

/// Of all our own.
const MOST_TOGETHER: f64 = 27.0;

/// How many times a second the threads of each name went on after a wait.
fn rates(bridge: &mut Bridge) -> BTreeMap<String, f64> {
    let (before, started) = (bridge.wakes(), Instant::now());
    thread::sleep(WATCHED);
    let (after, seconds) = (bridge.wakes(), started.elapsed().as_secs_f64());
    let rate = |(name, after): (String, u64)| {
        let before = before.get(&name).copied().unwrap_or(0);
        (name, after.saturating_sub(before) as f64 / seconds)
    };
    after.into_iter().map(rate).collect()
}

#[test]
fn a_bridge_with_nothing_to_do_wakes_seldom() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("idle", 4);
    kafka().produce(&topic, Record::new(event(&unique("idle")).json().to_string()));
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .routing(&format!(
            "agents:
  audit: {{http: {{url: '{}/events'}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
            agent.url()
        ))
        .start();
    poll(PATIENCE, "the event was delivered", || when(agent.accepted().len() == 1, agent.count()));
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    let found = poll(DEADLINE, "its threads sleep", || {
        let rates = rates(&mut bridge);
        let sleeps = |(name, most): (&str, f64)| rates.get(name).is_some_and(|rate| *rate > 0.0 && *rate < most);
        let ours =
            rates.iter().filter(|(name, _)| !["rdk:", "sled-io", "log flusher"].iter().any(|of| name.starts_with(of)));
        let together: f64 = ours.map(|(_, rate)| rate).sum();
        when(MOST_WAKES.into_iter().all(sleeps) && together < MOST_TOGETHER, rates.clone()).map(|()| rates)
    });
    println!("wakes a second: {found:?}");
    // It is not asleep for good.
    kafka().produce(&topic, Record::new(event(&unique("idle")).json().to_string()));
    poll(PATIENCE, "another event was delivered", || when(agent.accepted().len() == 2, agent.count()));
    bridge.stop();
}
