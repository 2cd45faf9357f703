//! Figures of several replicas: `make replicas`. They run one after the other, each on one broker.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use crate::kit::{Bridge, BridgeSetup, Broker, HttpAgent, Kafka, Reply, event, kafka, poll, unique, when};
use crate::seeded_faults::{
    follower::Follower,
    history::{Kind, Published},
    publisher,
    schedule::SESSION,
    since,
};

const PARTITIONS: i32 = 12;
/// Requests that one replica has under way at most.
const CONCURRENCY: usize = 8;

/// A replica of this group, with these properties of the consumer.
fn replica_with(kafka: &Kafka, topic: &str, group: &str, agent: &HttpAgent, properties: &str) -> BridgeSetup {
    BridgeSetup::new(kafka, topic)
        .group(group)
        .config(&format!("kafka: {{properties: {{{properties}}}}}\ndrain_timeout: 3s\n"))
        .routing(&format!(
            "agents:
  audit: {{http: {{url: '{}/events'}}, concurrency: {CONCURRENCY}, timeout: 5s, retry: {{initial: 100ms, max: 1s}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
            agent.url()
        ))
}

/// The session that a classic group is told.
fn session() -> String {
    format!("session.timeout.ms: '{}', heartbeat.interval.ms: '1000'", SESSION.as_millis())
}

/// A replica of this group on the shared cluster.
fn replica(topic: &str, group: &str, agent: &HttpAgent) -> BridgeSetup {
    replica_with(kafka(), topic, group, agent, &session())
}

/// Publishes this many events, each of a workflow run of its own, evenly over the partitions.
fn publish(topic: &str, count: usize) {
    let prefix = unique("replicas");
    let records = (0..count).map(|n| {
        let partition = i32::try_from(n).unwrap_or_default() % PARTITIONS;
        event(&format!("{prefix}-{n:05}")).record().partition(partition)
    });
    kafka().produce_all(topic, records);
}

/// Where the figure stands: how many requests were repeats, and of which event there were the most.
fn repeats(agent: &HttpAgent) -> (usize, usize) {
    let sent = agent.sent_by_event();
    (sent.values().map(|count| count - 1).sum(), sent.values().copied().max().unwrap_or_default())
}

/// When the ledger topic was first seen to have each event as delivered, in milliseconds since the test began.
fn recorded(follower: &Follower) -> BTreeMap<String, u64> {
    let (seen, gaps) = follower.read_to_the_end().expect("there is a ledger topic");
    assert!(gaps.is_empty(), "records were missed: {gaps:?}");
    let mut recorded = BTreeMap::new();
    for record in seen {
        let deliveries = workflow_bridge::testing::ledger_entry(&record.value).unwrap_or_default();
        if deliveries.iter().any(|(_, _, status)| *status == "delivered") {
            recorded.entry(String::from_utf8_lossy(&record.key).into_owned()).or_insert(record.at);
        }
    }
    recorded
}

/// The events that were requested again although the ledger topic had them as delivered when their replica was struck by the
/// last of these faults before the repeat.
fn known_repeats(
    agent: &HttpAgent,
    recorded: &BTreeMap<String, u64>,
    (began, faults): (Instant, &[u64]),
) -> Vec<String> {
    let mut requests: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for request in agent.requests() {
        let at = request.at.saturating_duration_since(began).as_millis();
        requests.entry(request.event_id).or_default().push(u64::try_from(at).unwrap_or(u64::MAX));
    }
    let known = requests.into_iter().filter_map(|(id, at)| {
        let (recorded, repeat) = (*recorded.get(&id)?, *at.get(1)?);
        let fault = faults.iter().filter(|fault| **fault < repeat).max()?;
        (recorded < *fault).then(|| format!("{id}: requests at {at:?} ms, recorded at {recorded} ms"))
    });
    known.collect()
}

#[test]
fn replicas_that_come_and_go_repeat_only_what_the_ledger_topic_did_not_have() {
    const EVENTS: usize = 5_000;
    let (topic, group, began) = (kafka().topic("come-and-go", PARTITIONS), unique("replicas"), Instant::now());
    let follower = Follower::start(kafka(), format!("{group}-ledger"), began);
    let agent = HttpAgent::start();
    agent.reply(Reply::ok_after(Duration::from_millis(20)));
    publish(&topic, EVENTS);
    let start = || replica(&topic, &group, &agent).start();
    let (mut first, mut second) = (start(), start());
    let deadline = Duration::from_secs(180);
    agent.wait_accepted(EVENTS / 5, deadline);
    let mut third = start();
    println!("a third replica joined after {} events: {:?} repeats", EVENTS / 5, repeats(&agent).0);
    agent.wait_accepted(2 * EVENTS / 5, deadline);
    let killed = since(began);
    first.kill9();
    println!("one was killed after {} events: {} repeats", 2 * EVENTS / 5, repeats(&agent).0);
    agent.wait_accepted(3 * EVENTS / 5, deadline);
    let stopped = since(began);
    second.sigstop();
    println!("one was stopped after {} events: {} repeats", 3 * EVENTS / 5, repeats(&agent).0);
    let mut fourth = start();
    let until = Instant::now() + SESSION + Duration::from_secs(4);
    poll(deadline, "the stop has outlasted the session", || when(Instant::now() >= until, ()));
    second.sigcont();
    agent.wait_accepted(EVENTS, deadline);
    kafka().wait_committed(&group, &topic, deadline);
    for running in [&mut second, &mut third, &mut fourth] {
        running.stop();
    }
    let (repeats, most) = repeats(&agent);
    println!("{EVENTS} events, {} requests: {repeats} repeats, at most {most} requests of one event", agent.count());
    println!(
        "requests that may have been under way in the two: {}; a further repeat is one that was answered, and whose record the \
         ledger topic did not have yet",
        2 * CONCURRENCY
    );
    let keys = agent.keys_by_event();
    assert!(keys.values().all(|keys| keys.len() == 1), "a repeat carries the same key");
    let known = known_repeats(&agent, &recorded(&follower), (began, &[killed, stopped]));
    assert!(known.is_empty(), "{known:#?}");
}

/// Events a second of so many replicas, from the first request to the last, once each replica has partitions.
fn rate(replicas: usize) -> f64 {
    const EACH: usize = 1_500;
    let (topic, group) = (kafka().topic("scale", PARTITIONS), unique("replicas"));
    let agent = HttpAgent::start();
    agent.keep_bodies(false);
    agent.reply(Reply::ok_after(Duration::from_millis(50)));
    let mut running: Vec<Bridge> = (0..replicas).map(|_| replica(&topic, &group, &agent).start()).collect();
    let deadline = Duration::from_secs(180);
    poll(deadline, "each replica has its share of the partitions", || {
        let shares: Vec<usize> = running.iter().map(assigned).collect();
        let share = usize::try_from(PARTITIONS).unwrap_or_default() / replicas;
        when(shares.iter().all(|assigned| *assigned == share), shares)
    });
    publish(&topic, EACH * replicas);
    agent.wait_accepted(EACH * replicas, deadline);
    kafka().wait_committed(&group, &topic, deadline);
    for bridge in &mut running {
        bridge.stop();
    }
    let requests = agent.requests();
    let (first, last) = (requests.first().expect("there are requests").at, requests.last().expect("there are").at);
    let by_event: BTreeSet<&str> = requests.iter().map(|request| &*request.event_id).collect();
    assert_eq!(by_event.len(), EACH * replicas);
    requests.len() as f64 / (last - first).as_secs_f64()
}

/// How many partitions a replica has, as its status page says.
fn assigned(bridge: &Bridge) -> usize {
    let status = bridge.status();
    status["consumer"]["assigned"].as_array().map_or(0, Vec::len)
}

#[test]
fn events_a_second_grow_with_the_replicas() {
    let rates: BTreeMap<usize, f64> = [1, 2, 4].into_iter().map(|replicas| (replicas, rate(replicas))).collect();
    let one = rates[&1];
    for (replicas, rate) in &rates {
        println!(
            "{replicas} replicas, {PARTITIONS} partitions, an agent of 50 ms, {CONCURRENCY} requests each at a time: {rate:.0} \
             events/s, {:.2} times one replica",
            rate / one
        );
    }
}

/// A group mode: its name, and the properties of its members.
type Mode = (&'static str, fn(usize) -> String);

const MODES: [Mode; 3] = [
    ("cooperative-sticky", |_| session()),
    ("static membership", |number| format!("{}, group.instance.id: 'r{number}'", session())),
    ("group.protocol=consumer", |_| "group.protocol: consumer".to_owned()),
];

/// The longest that an event waited for its first request, of those acknowledged from a second before this moment on until
/// so long after it. Events that got no request yet are not counted.
fn longest_wait(waits: &[(u64, u64)], moment: u64, after: u64) -> u64 {
    let near = waits.iter().filter(|(at, _)| (moment.saturating_sub(1_000)..moment + after).contains(at));
    near.map(|(_, wait)| *wait).max().unwrap_or_default()
}

/// Each event of this agent's rule: when it was acknowledged, and how long it waited for its first request.
fn waits(published: &[Published], agent: &HttpAgent, began: Instant) -> Vec<(u64, u64)> {
    let mut first: BTreeMap<String, u64> = BTreeMap::new();
    for request in agent.requests() {
        let at = request.at.saturating_duration_since(began).as_millis();
        first.entry(request.event_id).or_insert(u64::try_from(at).unwrap_or(u64::MAX));
    }
    let events = published.iter().filter(|record| record.kind == Kind::Http);
    events.filter_map(|record| Some((record.at, first.get(&record.id)?.saturating_sub(record.at)))).collect()
}

#[test]
fn events_wait_this_long_for_a_rebalance_in_each_group_mode() {
    let timeout = SESSION.as_millis().to_string();
    let broker = Broker::start_with(&[
        ("group.consumer.session.timeout.ms", &timeout),
        ("group.consumer.min.session.timeout.ms", "1000"),
        ("group.consumer.heartbeat.interval.ms", "1000"),
        ("group.consumer.min.heartbeat.interval.ms", "500"),
    ]);
    for (name, properties) in MODES {
        let (topic, group) = (broker.topic("modes", PARTITIONS), unique("modes"));
        let agent = HttpAgent::start();
        agent.keep_bodies(false);
        let start = |number| replica_with(&broker, &topic, &group, &agent, &properties(number)).start();
        let (mut first, mut second) = (start(0), start(1));
        let (began, stop) = (Instant::now(), AtomicBool::new(false));
        let pause = |seconds| thread::sleep(Duration::from_secs(seconds));
        let mut moments: Vec<(&str, u64)> = Vec::new();
        let (published, _) = thread::scope(|scope| {
            let publisher = scope.spawn(|| publisher::publish(&broker, &topic, (1, 100), began, &stop));
            pause(10);
            moments.push(("a replica joins", since(began)));
            let mut third = start(2);
            pause(15);
            moments.push(("it is terminated", since(began)));
            third.sigterm();
            pause(15);
            moments.push(("one is killed and started again on its folder", since(began)));
            first.kill9();
            first.launch();
            pause(15);
            moments.push(("one is killed for good", since(began)));
            first.kill9();
            pause(15);
            stop.store(true, SeqCst);
            publisher.join().expect("events can be published")
        });
        broker.wait_committed(&group, &topic, Duration::from_secs(120));
        second.stop();
        let waits = waits(&published, &agent, began);
        for (what, moment) in moments {
            println!("{name}: {what}: an event waits {} ms at most", longest_wait(&waits, moment, 13_000));
        }
        println!("{name}: nothing happens: an event waits {} ms at most", longest_wait(&waits, 6_000, 3_000));
    }
}
