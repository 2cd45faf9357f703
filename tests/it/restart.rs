//! How long nothing is delivered after a crash, a stop and the loss of the broker, for each way to be a member of a group.
//!
//! `make measure-restarts` sets `MEASURE_RESTARTS`, and prints the figures of each way to be a member; without it one crash is tried.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

use crate::kit::{Bridge, BridgeSetup, Broker, HttpAgent, event, poll, unique, when};

const PATIENCE: Duration = Duration::from_secs(120);

/// The ways to be a member: a name, and `kafka.properties`; `ID` is an id of the replica's own. With `group.protocol=consumer`
/// an id cannot be taken over after a crash: the broker refuses it (`UNRELEASED_INSTANCE_ID`) for the rest of the session.
const MODES: [(&str, &str); 6] = [
    ("cooperative-sticky, 45 s", "session.timeout.ms: '45000'"),
    ("cooperative-sticky, 10 s", "session.timeout.ms: '10000', heartbeat.interval.ms: '3000'"),
    ("cooperative-sticky, 6 s", "session.timeout.ms: '6000', heartbeat.interval.ms: '2000'"),
    ("static, 45 s", "session.timeout.ms: '45000', group.instance.id: ID"),
    ("static, 10 s", "session.timeout.ms: '10000', heartbeat.interval.ms: '3000', group.instance.id: ID"),
    ("consumer", "group.protocol: consumer"),
];

struct Cell<'a> {
    broker: &'a Broker,
    agent: HttpAgent,
    topic: String,
    group: String,
    properties: String,
    published: AtomicUsize,
}

impl<'a> Cell<'a> {
    fn new(broker: &'a Broker, properties: &str) -> Self {
        let (topic, group) = (broker.topic("restart", 4), unique("restart"));
        broker.create_topic(&format!("{group}-ledger"), 4, &[]);
        let (agent, properties) = (HttpAgent::start(), properties.to_owned());
        Self { broker, agent, topic, group, properties, published: AtomicUsize::new(0) }
    }

    fn replica(&self, id: &str) -> Bridge {
        BridgeSetup::new(self.broker, &self.topic)
            .group(&self.group)
            .config(&format!("drain_timeout: 4s\nkafka: {{properties: {{{}}}}}\n", self.properties.replace("ID", id)))
            .routing(&format!(
                "agents:
  audit: {{http: {{url: '{}/events'}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
                self.agent.url()
            ))
            .start()
    }

    /// Publishes one event to each partition and waits until all are accepted; returns when the first was.
    fn deliver(&self) -> (Instant, Instant) {
        let batch = self.published.fetch_add(1, SeqCst);
        let before = self.agent.count();
        let ids = |partition| format!("{}-{batch}-{partition}", self.topic);
        self.broker
            .produce_all(&self.topic, (0..4).map(|partition| event(&ids(partition)).record().partition(partition)));
        poll(PATIENCE, "the events are accepted", || {
            let accepted = self.agent.accepted_by_event();
            let missing: Vec<i32> = (0..4).filter(|partition| !accepted.contains_key(&ids(*partition))).collect();
            when(missing.is_empty(), missing)
        });
        let times: Vec<_> = self.agent.requests()[before..].iter().map(|request| request.at).collect();
        (times[0], times[times.len() - 1])
    }

    fn show(&self, what: &str, since: Instant) {
        let (first, last) = self.deliver();
        let seconds = |at: Instant| at.saturating_duration_since(since).as_secs_f64();
        println!(
            "    {what}: first delivery after {:.1} s, every partition after {:.1} s",
            seconds(first),
            seconds(last)
        );
    }
}

#[test]
fn after_a_crash_deliveries_go_on_long_before_a_session_of_45_s_would_have_ended() {
    let broker = Broker::start();
    let cell = Cell::new(&broker, "");
    let mut replica = cell.replica("one");
    cell.deliver();
    let killed = Instant::now();
    replica.kill9();
    replica.start_again();
    // Not the start itself, which may take long. After a start within 15 s more than this is left of a session of 45 s.
    // However long it took: such a session begins at a heartbeat, and would have lasted for 42 s after the crash.
    let started = Instant::now();
    let (first, _) = cell.deliver();
    let (waited, away) = (first.duration_since(started), first.duration_since(killed));
    let is_long_before = waited < Duration::from_secs(30) || away < Duration::from_secs(40);
    assert!(is_long_before, "{waited:?} after the start, {away:?} after the crash");
    replica.stop();
    drop(broker);
    if let Ok(only) = std::env::var("MEASURE_RESTARTS") {
        measure(&only);
    }
}

fn measure(only: &str) {
    let broker = Broker::start();
    for (name, properties) in MODES.iter().filter(|(name, _)| only == "1" || name.starts_with(only)) {
        println!("{name}");
        let cell = Cell::new(&broker, properties);
        let mut first = cell.replica("one");
        cell.deliver();
        let killed = Instant::now();
        first.kill9();
        first.start_again();
        cell.show("SIGKILL, the same folder, alone", killed);
        let killed = Instant::now();
        first.kill9();
        first.delete_data();
        first.start_again();
        cell.show("SIGKILL, an empty folder, alone", killed);
        let killed = Instant::now();
        first.kill9();
        drop(first);
        let mut second = cell.replica("two");
        cell.show("SIGKILL, another member instead, alone", killed);
        let mut third = cell.replica("three");
        poll(PATIENCE, "both have a share", || {
            let seen = (second.metric("partitions_assigned", &[]), third.metric("partitions_assigned", &[]));
            when(seen == (2.0, 2.0), seen)
        });
        cell.deliver();
        let stopped = Instant::now();
        third.stop();
        cell.show("SIGTERM, the neighbour", stopped);
        third.start_again();
        poll(PATIENCE, "both have a share", || {
            let seen = (second.metric("partitions_assigned", &[]), third.metric("partitions_assigned", &[]));
            when(seen == (2.0, 2.0), seen)
        });
        cell.deliver();
        let killed = Instant::now();
        third.kill9();
        cell.show("SIGKILL, the neighbour", killed);
        second.stop();
    }
    for (name, properties) in MODES.iter().filter(|(name, _)| only == "1" || name.starts_with(only)) {
        let mut broker = Broker::start();
        let mut bridge = {
            let cell = Cell::new(&broker, properties);
            let bridge = cell.replica("one");
            cell.deliver();
            bridge
        };
        let killed = Instant::now();
        broker.kill();
        broker.start_again();
        let up = Instant::now();
        bridge.wait_ready(PATIENCE);
        poll(PATIENCE, "the lease is valid", || {
            let seen = (bridge.metric("lease_valid", &[]), bridge.metric("partitions_assigned", &[]));
            when(seen == (1.0, 4.0), seen)
        });
        println!(
            "{name}: broker killed, up again after {:.1} s, the bridge ready {:.1} s later",
            (up - killed).as_secs_f64(),
            up.elapsed().as_secs_f64()
        );
        bridge.stop();
    }
}
