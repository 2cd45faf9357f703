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
/// For all threads but those of librdkafka (several for each client) and of sled (which looks each 100 ms for what to force to
/// the disk).
const MOST_WAKES: f64 = 27.0;

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

fn is_ours(name: &str) -> bool {
    !name.starts_with("rdk:") && !name.starts_with("sled-io") && name != "log flusher"
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
        let ours: f64 = rates.iter().filter(|(name, _)| is_ours(name)).map(|(_, rate)| rate).sum();
        when(ours > 0.0 && ours < MOST_WAKES, rates.clone()).map(|()| rates)
    });
    println!("wakes a second: {found:?}");
    // It is not asleep for good.
    kafka().produce(&topic, Record::new(event(&unique("idle")).json().to_string()));
    poll(PATIENCE, "another event was delivered", || when(agent.accepted().len() == 2, agent.count()));
    bridge.stop();
}
