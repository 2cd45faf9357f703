//! What the ledger topic carries from one process to the next.

use std::{collections::BTreeMap, time::Duration};

use crate::kit::{
    Bridge, BridgeSetup, HttpAgent, Reply, TestEvent, bridge::LONG_SESSION, event, kafka, poll, unique, when,
};

const SOON: Duration = Duration::from_secs(90);
const SHORT_SESSION: &str =
    "drain_timeout: 3s\nkafka: {properties: {session.timeout.ms: 6000, heartbeat.interval.ms: 1000}}\n";
/// Longer than a machine stands still, for a member that is to lose its partitions at its end and not before.
const SESSION: &str =
    "drain_timeout: 3s\nkafka: {properties: {session.timeout.ms: 20000, heartbeat.interval.ms: 1000}}\n";

fn events(prefix: &str, count: usize) -> Vec<TestEvent> {
    let prefix = unique(prefix);
    (0..count).map(|n| event(&format!("{prefix}-{n:04}")).run(&format!("run-{n}"))).collect()
}

fn publish(topic: &str, events: &[TestEvent]) {
    kafka().produce_all(topic, events.iter().map(TestEvent::record));
}

fn once(events: &[TestEvent]) -> BTreeMap<String, usize> {
    events.iter().map(|event| (event.id().to_owned(), 1)).collect()
}

fn rules(agents: &[(&str, &HttpAgent)]) -> String {
    let specs = agents.iter().map(|(name, agent)| {
        let url = agent.url();
        let http = format!("http: {{url: '{url}/{name}'}}, timeout: 60s");
        format!("  {name}: {{{http}, concurrency: 8, retry: {{initial: 50ms, max: 500ms}}}}\n")
    });
    let names: Vec<_> = agents.iter().map(|(name, _)| *name).collect();
    format!(
        "agents:\n{}rules:\n  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [{}]}}\n",
        specs.collect::<String>(),
        names.join(", ")
    )
}

#[test]
fn a_bridge_that_starts_with_an_empty_folder_knows_what_was_delivered() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("empty-folder", 3);
    let delivered = events("delivered", 300);
    publish(&topic, &delivered);
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&rules(&[("audit", &agent)])).start();
    agent.wait_accepted(300, SOON);
    kafka().wait_committed(bridge.group(), &topic, SOON);
    bridge.stop();

    bridge.delete_data();
    bridge.start_again();
    publish(&topic, &delivered);
    let later = events("later", 10);
    publish(&topic, &later);
    kafka().wait_committed(bridge.group(), &topic, SOON);
    let all: Vec<TestEvent> = delivered.into_iter().chain(later).collect();
    assert_eq!(agent.sent_by_event(), once(&all), "nothing was sent again");
    // An event is counted a moment after its offset can be committed.
    poll(SOON, "they count as duplicates", || {
        let duplicates = bridge.metric("events_total", &[("outcome", "duplicate")]);
        when(duplicates >= 300.0, duplicates)
    });
    poll(SOON, "the ledger has them all", || {
        let records = bridge.metric("dedup_records", &[]);
        when(records >= 310.0, records)
    });
    bridge.stop();
}

/// How many failed attempts the log line of an attempt says.
fn failed_attempts(bridge: &Bridge, start: usize) -> Vec<u64> {
    let lines = bridge.logged("attempt failed: retrying").into_iter().skip(start);
    lines.filter_map(|line| line["failed_attempts"].as_u64()).collect()
}

#[test]
fn half_a_fan_out_and_its_attempts_are_known_to_a_process_with_another_disk() {
    let (works, fails) = (HttpAgent::start(), HttpAgent::start());
    fails.reply(Reply::Status(500));
    let topic = kafka().topic("fan-out", 1);
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .config(SHORT_SESSION)
        .routing(&rules(&[("works", &works), ("fails", &fails)]))
        .start();
    let all = events("fan-out", 1);
    publish(&topic, &all);
    poll(SOON, "it was tried three times", || when(failed_attempts(&bridge, 0).len() >= 3, fails.count()));
    // A delivery is pending until the ledger has its end.
    poll(SOON, "the other half is done", || {
        let seen = (works.sent_by_event(), bridge.metric("pending_deliveries", &[("agent", "works")]));
        when(seen == (once(&all), 0.0), seen)
    });
    poll(SOON, "the topic has what the ledger says", || {
        let unacknowledged = bridge.status()["ledger"]["unacknowledged"].clone();
        when(unacknowledged == 0, unacknowledged)
    });
    bridge.kill9();
    // Its last lines are there by now, and none of them is taken for one of the next process.
    let before = failed_attempts(&bridge, 0);
    bridge.delete_data();
    bridge.start_again();
    let lines = before.len();
    poll(SOON, "it is tried again", || when(failed_attempts(&bridge, 0).len() > lines, fails.count()));
    let first = failed_attempts(&bridge, lines)[0];
    assert!(first > 3, "the next process counts on: {first} after {before:?}");
    fails.reply(Reply::Status(200));
    kafka().wait_committed(bridge.group(), &topic, SOON);
    assert_eq!(works.sent_by_event(), once(&all), "the half that was done is not sent again");
    assert_eq!(fails.accepted_by_event(), once(&all));
    bridge.stop();
}

#[test]
fn a_replica_that_is_killed_repeats_no_more_than_was_under_way() {
    let agent = HttpAgent::start();
    agent.reply(Reply::ok_after(Duration::from_millis(20)));
    let topic = kafka().topic("killed", 4);
    let group = unique("killed");
    let start = |config: &str| {
        BridgeSetup::new(kafka(), &topic).group(&group).config(config).routing(&rules(&[("audit", &agent)])).start()
    };
    // Only the one that is killed is to lose its partitions.
    let (mut first, mut second) = (start(SESSION), start(LONG_SESSION));
    let both = |first: &Bridge, second: &Bridge| {
        [first, second].map(|bridge| bridge.status()["consumer"]["assigned"].as_array().map_or(0, Vec::len))
    };
    poll(SOON, "both have a share", || when(both(&first, &second) == [2, 2], both(&first, &second)));
    let all = events("killed", 2_000);
    publish(&topic, &all);
    poll(SOON, "a part of them was delivered", || when(agent.accepted().len() >= 600, agent.accepted().len()));
    // What the topic has not acknowledged yet, on a busy machine, may be repeated too; and what is accepted from here to the
    // kill, if this test is held up.
    let accepted = agent.accepted().len();
    let unacknowledged = first.status()["ledger"]["unacknowledged"].as_u64().expect("it is shown");
    first.kill9();
    let meanwhile = agent.accepted().len() - accepted;
    agent.wait_accepted(2_000, SOON);
    kafka().wait_committed(&group, &topic, SOON);
    let repeated = agent.sent_by_event().values().filter(|count| **count > 1).count();
    println!(
        "{repeated} of 2,000 sent twice; {unacknowledged} not acknowledged before the last {meanwhile} were accepted"
    );
    // Under way, or accepted within the time that the topic took to acknowledge their records, which is milliseconds unless
    // the machine is busy. Without the topic it would be what was delivered since the last commit, some 400.
    let most = 60 + unacknowledged + meanwhile as u64;
    assert!(repeated as u64 <= most, "{repeated} repeated, and no more than {most} are explained");
    assert!(agent.keys_by_event().values().all(|keys| keys.iter().all(|key| *key == keys[0])));
    second.stop();
}
