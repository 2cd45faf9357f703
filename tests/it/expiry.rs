//! The dedup window: what may leave the ledger, and what a restart would read again.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use crate::kit::{
    HttpAgent, Record, Reply,
    embedded::{EmbeddedBridge, Switches},
    event, kafka, poll, unique, when,
};

fn switches() -> Switches {
    Switches { window: Some(Duration::from_secs(1)), ..Switches::default() }
}

/// Delivers events behind `blocker`, which gets no outcome, until others have left the ledger; restarts; and
/// looks whether one of them was sent again. The topic's second partition stays empty.
fn nothing_behind_is_sent_again(name: &str, dead_letter_bytes: &str, blocker: Record) {
    let agent = HttpAgent::start();
    agent.behave(|request| Reply::Status(if request.event_id.ends_with("open") { 409 } else { 200 }));
    let topic = kafka().topic(name, 2);
    kafka().create_topic(&format!("{topic}.dlq"), 1, &[("max.message.bytes", dead_letter_bytes)]);
    let routing = format!(
        "agents:
  audit: {{http: {{url: '{}/events'}}, retry: {{initial: 200ms, max: 1s}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
        agent.url()
    );
    let prefix = unique(name);
    let send = |what: &str, count: usize| {
        let ids: Vec<_> = (0..count).map(|n| format!("{prefix}-{what}-{n:02}")).collect();
        kafka().produce_all(&topic, ids.iter().map(|id| event(id).record().partition(0)));
        ids
    };
    let bridge = EmbeddedBridge::start_with(kafka(), &topic, &routing, switches());
    let records = |bridge: &EmbeddedBridge| bridge.status()["ledger"]["records"].as_u64().unwrap_or_default();

    send("before", 10);
    kafka().wait_committed(bridge.group(), &topic, Duration::from_secs(60));
    kafka().produce(&topic, blocker.partition(0));
    let behind = send("behind", 10);
    agent.wait_accepted(20, Duration::from_secs(60));
    // Newer records make the ledger's time go on.
    let mut later = 0;
    poll(Duration::from_secs(60), "what was committed has left the ledger", || {
        send(&format!("later-{later:03}"), 1);
        later += 1;
        std::thread::sleep(Duration::from_millis(200));
        let (left, accepted) = (records(&bridge), agent.accepted_by_event().len());
        // Those before the blocker are gone; those behind it, and it itself where it has a record, are not.
        when(accepted >= 20 + later && left <= accepted as u64 - 9, (left, accepted))
    });
    // Time enough for whatever else would leave.
    for _ in 0..10 {
        send(&format!("later-{later:03}"), 1);
        later += 1;
        std::thread::sleep(Duration::from_millis(200));
    }
    agent.wait_accepted(20 + later, Duration::from_secs(60));
    let left = records(&bridge);
    assert!(left >= (10 + later) as u64, "{left} records are left of 10 and {later} behind the blocker");

    let bridge = bridge.restart(kafka(), &topic, switches());
    let last: BTreeSet<_> = send("last", 1).into_iter().collect();
    poll(Duration::from_secs(60), "the last event is delivered", || {
        let accepted = agent.accepted_by_event();
        when(last.iter().all(|id| accepted.contains_key(id)), accepted.len())
    });
    bridge.stop();
    let again: Vec<_> = agent.accepted_by_event().into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(again.is_empty(), "sent again after the restart: {again:?}, of {behind:?} and later ones");
}

#[test]
fn nothing_delivered_behind_poison_that_waits_for_its_dead_letter_is_sent_again() {
    // No dead letter fits, so the poison waits.
    nothing_behind_is_sent_again("behind-poison", "60", Record::new(b"no event".to_vec()));
}

#[test]
fn nothing_delivered_behind_an_open_event_from_the_future_is_sent_again() {
    // Brokers take up to an hour.
    let ahead = Timestamp::now().as_millisecond() + 50 * 60_000;
    let blocker = event(&format!("{}-open", unique("future"))).record().timestamp_ms(ahead);
    nothing_behind_is_sent_again("behind-future", "1000000", blocker);
}
