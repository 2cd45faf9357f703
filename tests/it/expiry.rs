//! The dedup window: a record expires only if no restart can read its event again.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use crate::kit::{HttpAgent, PATIENCE, Record, Reply, embedded::EmbeddedBridge, event, kafka, poll, unique, when};

const WINDOW: Duration = Duration::from_secs(1);

/// The time-out is longer than a machine stands still: no request is repeated because its answer was late.
fn routing(agent: &HttpAgent) -> String {
    format!(
        "agents:
  audit: {{http: {{url: '{}/events'}}, timeout: 60s, retry: {{initial: 200ms, max: 1s}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
        agent.url()
    )
}

/// Delivers events after `blocker`, which gets no outcome, until earlier records have expired. Then restarts and
/// checks that no event is sent again. The topic's second partition stays empty.
fn nothing_behind_is_sent_again(name: &str, dead_letter_bytes: &str, blocker: Record) {
    let agent = HttpAgent::start();
    agent.behave(|request| Reply::Status(if request.event_id.ends_with("open") { 409 } else { 200 }));
    let topic = kafka().topic(name, 2);
    kafka().create_topic(&format!("{topic}.dlq"), 1, &[("max.message.bytes", dead_letter_bytes)]);
    let prefix = unique(name);
    let send = |what: &str, count: usize| {
        let ids: Vec<_> = (0..count).map(|n| format!("{prefix}-{what}-{n:02}")).collect();
        kafka().produce_all(&topic, ids.iter().map(|id| event(id).record().partition(0)));
        ids
    };
    let bridge = EmbeddedBridge::start(kafka(), &topic, &routing(&agent), WINDOW);
    let records = |bridge: &EmbeddedBridge| bridge.status()["ledger"]["records"].as_u64().unwrap_or_default();

    send("before", 10);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    kafka().produce(&topic, blocker.partition(0));
    let behind = send("behind", 10);
    agent.wait_accepted(20, PATIENCE);
    // Newer records advance the ledger's clock.
    let mut later = 0;
    poll(PATIENCE, "committed records have expired", || {
        send(&format!("later-{later:03}"), 1);
        later += 1;
        // However long that takes: at a fixed time a slow machine may be one event behind at each look.
        agent.wait_accepted(20 + later, PATIENCE);
        std::thread::sleep(Duration::from_millis(200));
        let (left, accepted) = (records(&bridge), 20 + later);
        // Records before the blocker have expired; later ones, and its own if it has one, have not.
        when(left <= accepted as u64 - 9, (left, accepted))
    });
    // Enough time for any other record to expire.
    for _ in 0..10 {
        send(&format!("later-{later:03}"), 1);
        later += 1;
        std::thread::sleep(Duration::from_millis(200));
    }
    agent.wait_accepted(20 + later, PATIENCE);
    // The agent counts an acceptance a moment before the ledger has its record, and the blocker may have a record too.
    poll(PATIENCE, &format!("the records of 10 events and of {later} behind the blocker are left"), || {
        let in_flight = bridge.status()["consumer"]["in_flight_events"].clone();
        let left = records(&bridge);
        when(left >= (10 + later) as u64 && in_flight == 1, (left, in_flight))
    });

    let bridge = bridge.restart(kafka(), &topic);
    let last: BTreeSet<_> = send("last", 1).into_iter().collect();
    poll(PATIENCE, "the last event is delivered", || {
        let accepted = agent.accepted_by_event();
        when(last.iter().all(|id| accepted.contains_key(id)), accepted.len())
    });
    bridge.stop();
    let again: Vec<_> = agent.accepted_by_event().into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(again.is_empty(), "sent again after the restart: {again:?}, of {behind:?} and later ones");
}

#[test]
fn nothing_delivered_behind_poison_that_waits_for_its_dead_letter_is_sent_again() {
    // The dead letter is too large for its topic, so the poison has no outcome.
    nothing_behind_is_sent_again("behind-poison", "60", Record::new(b"no event".to_vec()));
}

#[test]
fn nothing_delivered_behind_an_open_event_from_the_future_is_sent_again() {
    // Brokers accept up to an hour.
    let ahead = Timestamp::now().as_millisecond() + 50 * 60_000;
    let blocker = event(&format!("{}-open", unique("future"))).record().timestamp_ms(ahead);
    nothing_behind_is_sent_again("behind-future", "1000000", blocker);
}
