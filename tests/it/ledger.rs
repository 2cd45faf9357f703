//! The ledger as whoever is on call meets it.

use std::{collections::BTreeMap, fs, time::Duration};

use crate::kit::{BridgeSetup, HttpAgent, TestEvent, event, kafka, unique};

#[test]
fn a_damaged_ledger_is_refused_and_moved_aside_as_the_docs_say() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("damaged", 1);
    let prefix = unique("damaged");
    let events: Vec<_> = (0..20).map(|n| event(&format!("{prefix}-{n:02}"))).collect();
    kafka().produce_all(&topic, events.iter().map(TestEvent::record));
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
    agent.wait_accepted(20, Duration::from_secs(30));
    kafka().wait_committed(bridge.group(), &topic, Duration::from_secs(30));
    bridge.stop();

    let data = bridge.data_dir();
    fs::write(data.join("conf"), b"not what sled wrote").expect("the data folder can be written");
    bridge.launch();
    assert_eq!(bridge.wait_exit(Duration::from_secs(30)).code(), Some(74));
    let said = bridge.log().tail(20);
    for word in ["data", "mv ", "Idempotency-Key"] {
        assert!(said.contains(word), "no `{word}` in\n{said}");
    }
    assert!(data.join("db").exists(), "nothing is deleted by itself");

    fs::rename(&data, data.with_extension("bad")).expect("`mv data data.bad`");
    bridge.start_again();
    let later = event(&format!("{prefix}-later"));
    kafka().produce(&topic, later.record());
    agent.wait_accepted(21, Duration::from_secs(30));
    kafka().wait_committed(bridge.group(), &topic, Duration::from_secs(30));
    bridge.stop();
    let once: BTreeMap<_, _> = events.iter().chain([&later]).map(|event| (event.id().to_owned(), 1)).collect();
    assert_eq!(agent.accepted_by_event(), once, "the offsets were kept, so nothing was repeated");
}

#[test]
fn records_that_kafka_dropped_unread_are_counted_and_logged() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("dropped", 1);
    let prefix = unique("dropped");
    let events: Vec<_> = (0..30).map(|n| event(&format!("{prefix}-{n:02}"))).collect();
    kafka().produce_all(&topic, events[..10].iter().map(TestEvent::record));
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
    agent.wait_accepted(10, Duration::from_secs(30));
    kafka().wait_committed(bridge.group(), &topic, Duration::from_secs(30));
    bridge.stop();
    kafka().produce_all(&topic, events[10..].iter().map(TestEvent::record));
    kafka().delete_records(&topic, 0, 20);
    bridge.start_again();
    agent.wait_accepted(20, Duration::from_secs(30));
    crate::kit::poll(Duration::from_secs(30), "the loss is counted", || {
        let lost = bridge.metric("records_lost_total", &[("topic", &topic)]);
        crate::kit::when(lost == 10.0, lost)
    });
    bridge.stop();
    let errors = bridge.log().since(0).iter().filter(|line| line.contains("\"ERROR\"")).count();
    assert!(errors >= 1, "a loss is an error in the log");
}
