//! The ledger as an operator sees it.

use std::{collections::BTreeMap, fs};

use crate::kit::{
    Bridge, BridgeSetup, HttpAgent, PATIENCE, TestEvent, bridge::field, event, kafka, poll, unique, when,
};

/// One rule for this agent. The time-out is longer than a machine stands still: no request is repeated because its
/// answer was late.
fn routing(agent: &HttpAgent) -> String {
    format!(
        "agents:
  audit: {{http: {{url: '{}/events'}}, timeout: 60s}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
        agent.url()
    )
}

/// A bridge with an agent, whose 20 events were delivered and committed, and whose data folder was then damaged.
struct Damaged {
    agent: HttpAgent,
    topic: String,
    events: Vec<TestEvent>,
    bridge: Bridge,
}

impl Damaged {
    fn with(config: &str) -> Self {
        let agent = HttpAgent::start();
        let topic = kafka().topic("damaged", 1);
        let prefix = unique("damaged");
        let events: Vec<_> = (0..20).map(|n| event(&format!("{prefix}-{n:02}"))).collect();
        kafka().produce_all(&topic, events.iter().map(TestEvent::record));
        let mut bridge = BridgeSetup::new(kafka(), &topic).config(config).routing(&routing(&agent)).start();
        agent.wait_accepted(20, PATIENCE);
        kafka().wait_committed(bridge.group(), &topic, PATIENCE);
        bridge.stop();
        fs::write(bridge.data_dir().join("conf"), b"not what sled wrote").expect("the data folder can be written");
        Self { agent, topic, events, bridge }
    }

    /// Publishes these and one more, and checks that each event was accepted once.
    fn goes_on(&mut self, published_again: &[TestEvent]) {
        let later = event(&unique("later"));
        let records = published_again.iter().chain([&later]).map(TestEvent::record);
        kafka().produce_all(&self.topic, records);
        self.agent.wait_accepted(21, PATIENCE);
        kafka().wait_committed(self.bridge.group(), &self.topic, PATIENCE);
        self.bridge.stop();
        let once: BTreeMap<_, _> = self.events.iter().chain([&later]).map(|event| (event.id().to_owned(), 1)).collect();
        assert_eq!(self.agent.accepted_by_event(), once);
    }
}

#[test]
fn a_damaged_ledger_without_a_ledger_topic_is_refused_and_moved_aside_as_the_docs_say() {
    let mut damaged = Damaged::with("dedup: {ledger_topic: off}\n");
    let data = damaged.bridge.data_dir();
    damaged.bridge.launch();
    assert_eq!(damaged.bridge.wait_exit(PATIENCE).code(), Some(74));
    let log = damaged.bridge.log().tail(20);
    for word in ["data", "mv ", "Idempotency-Key"] {
        assert!(log.contains(word), "no `{word}` in\n{log}");
    }
    assert!(data.join("db").exists(), "the bridge deletes nothing");

    fs::rename(&data, data.with_extension("bad")).expect("`mv data data.bad`");
    damaged.bridge.start_again();
    // The offsets were kept, so nothing is repeated.
    damaged.goes_on(&[]);
}

#[test]
fn a_damaged_ledger_is_replaced_and_filled_again_from_the_ledger_topic() {
    let mut damaged = Damaged::with("");
    damaged.bridge.start_again();
    assert_eq!(damaged.bridge.metric("ledger_replaced_total", &[]), 1.0);
    let message = "the ledger is damaged and was replaced by an empty one, to be filled from the ledger topic";
    assert_eq!(damaged.bridge.logged(message).len(), 1);
    let kept: Vec<_> = fs::read_dir(damaged.bridge.data_dir())
        .expect("the data folder can be read")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "bad"))
        .collect();
    assert!(matches!(&kept[..], [folder] if folder.join("db").exists()), "{kept:?}");
    let again = damaged.events.clone();
    damaged.goes_on(&again);
}

#[test]
fn records_that_kafka_dropped_unread_are_counted_and_logged() {
    // Where the group's offsets cannot be had in time, it is not known from where on they were unread, and another try
    // is made.
    let said = (0..3).any(|_| dropped_records_are_counted_and_logged());
    assert!(said, "the broker never gave the group's offsets in time");
}

/// `false` when the broker did not give the group's offsets in time, so that nothing can be said.
fn dropped_records_are_counted_and_logged() -> bool {
    let agent = HttpAgent::start();
    let topic = kafka().topic("dropped", 1);
    let prefix = unique("dropped");
    let events: Vec<_> = (0..30).map(|n| event(&format!("{prefix}-{n:02}"))).collect();
    kafka().produce_all(&topic, events[..10].iter().map(TestEvent::record));
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&routing(&agent)).start();
    agent.wait_accepted(10, PATIENCE);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bridge.stop();
    kafka().produce_all(&topic, events[10..].iter().map(TestEvent::record));
    kafka().delete_records(&topic, 0, 20);
    bridge.start_again();
    agent.wait_accepted(20, PATIENCE);
    let said = poll(PATIENCE, "the loss is counted", || {
        let lost = bridge.metric("records_lost_total", &[("topic", &topic)]);
        let errors = bridge.logged("Kafka client error");
        let late = errors.iter().any(|line| field(line, "error") == Some("CommittedOffsets"));
        when(lost == 10.0 || late, lost).map(|()| !late)
    });
    bridge.stop();
    let errors = bridge.log().since(0).iter().filter(|line| line.contains("\"ERROR\"")).count();
    assert!(!said || errors >= 1, "a loss is an error in the log");
    said
}
