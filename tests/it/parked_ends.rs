//! The end of a parked delivery that the ledger topic had not taken when the bridge was killed.

use std::{collections::BTreeMap, time::Duration};

use crate::kit::{
    Bridge, BridgeSetup, HttpAgent, Reply,
    broker::{accept_records, refuse_records},
    event, kafka, poll, unique, when,
};

const SOON: Duration = Duration::from_secs(180);
const WRITTEN: &str = "ends of parked deliveries were written to the ledger topic again, in case it did not have them";

#[track_caller]
fn park(bridge: &Bridge, topic: &str, agent: &str) -> String {
    let event = event(&unique(agent)).run(&format!("{agent}-1"));
    kafka().produce_all(topic, [event.record()]);
    poll(SOON, &format!("a delivery to {agent} is parked"), || {
        let parked = bridge.metric("parked_deliveries", &[("agent", agent)]);
        when(parked == 1.0, parked)
    });
    kafka().wait_committed(bridge.group(), topic, SOON);
    event.id().to_owned()
}

#[test]
fn an_end_that_only_a_killed_bridge_knew_is_known_to_the_next_one() {
    let (down, other) = (HttpAgent::start(), HttpAgent::start());
    for agent in [&down, &other] {
        agent.reply(Reply::Status(503));
    }
    let retry = "timeout: 60s, retry: {initial: 50ms, max: 300ms}";
    let rules = format!(
        "agents:
  down: {{http: {{url: '{}/events'}}, {retry}}}
  other: {{http: {{url: '{}/events'}}, {retry}}}
rules:
  - {{name: first, when: {{event_type: [WORKFLOW_COMPLETED], workflow_run_id: [{{prefix: down}}]}}, to: [down]}}
  - {{name: second, when: {{event_type: [WORKFLOW_COMPLETED], workflow_run_id: [{{prefix: other}}]}}, to: [other]}}
",
        down.url(),
        other.url()
    );
    let topic = kafka().topic("parked-ends", 1);
    let setup = BridgeSetup::new(kafka(), &topic).config("drain_timeout: 8s\npark_after: 1s\n").routing(&rules);
    let mut bridge = setup.start();
    let ledger_topic = format!("{}-ledger", bridge.group());
    // What is parked first stays: nothing above it is committed of the parked topic.
    let first = park(&bridge, &topic, "down");
    let second = park(&bridge, &topic, "other");

    refuse_records(kafka(), &ledger_topic);
    other.reply(Reply::Status(200));
    // Counted once the folder has the end; the ledger topic cannot have it.
    poll(SOON, "the end is in the folder", || {
        let ended = bridge.metric("parked_deliveries_total", &[("agent", "other"), ("outcome", "delivered")]);
        when(ended == 1.0, ended)
    });
    bridge.kill9();
    accept_records(kafka(), &ledger_topic);

    bridge.start_again();
    poll(SOON, "the end is written again", || {
        let lines = bridge.logged(WRITTEN);
        when(lines.iter().any(|line| line["records"] == 1), bridge.log().tail(5))
    });
    bridge.stop();
    bridge.delete_data();
    bridge.start_again();
    down.reply(Reply::Status(200));
    down.wait_accepted(1, SOON);
    kafka().wait_committed(bridge.group(), &format!("{}-parked-{topic}", bridge.group()), SOON);
    bridge.stop();
    assert_eq!(down.accepted_by_event(), BTreeMap::from([(first, 1)]));
    assert_eq!(other.accepted_by_event(), BTreeMap::from([(second, 1)]));
}
