//! A ledger topic that lost what it held gets it again from the replica that knows it.

use std::{collections::BTreeSet, fs, time::Duration};

use crate::kit::{
    Bridge, BridgeSetup, HttpAgent, TestEvent, bridge::LONG_SESSION, broker::kafka_tool, event, kafka, poll, unique,
    when,
};

const SOON: Duration = Duration::from_secs(120);
const EVENTS: usize = 200;

/// A bridge that delivered [`EVENTS`] events, and committed them.
struct Delivered {
    agent: HttpAgent,
    topic: String,
    events: Vec<TestEvent>,
    bridge: Bridge,
}

fn config(ledger_topic: &str) -> String {
    format!("{LONG_SESSION}dedup: {{ledger_topic: {ledger_topic}}}\n")
}

impl Delivered {
    fn with(ledger_topic: &str) -> Self {
        let agent = HttpAgent::start();
        let topic = kafka().topic("refill", 3);
        let prefix = unique("refill");
        let events: Vec<_> = (0..EVENTS).map(|n| event(&format!("{prefix}-{n:03}")).run(&format!("run-{n}"))).collect();
        kafka().produce_all(&topic, events.iter().map(TestEvent::record));
        let rules = format!(
            "agents:
  audit: {{http: {{url: '{}/events'}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
            agent.url()
        );
        let bridge = BridgeSetup::new(kafka(), &topic).config(&config(ledger_topic)).routing(&rules).start();
        agent.wait_accepted(EVENTS, SOON);
        kafka().wait_committed(bridge.group(), &topic, SOON);
        Self { agent, topic, events, bridge }
    }

    /// Starts again with another ledger topic, or none.
    fn restart_with(&mut self, ledger_topic: &str) {
        self.bridge.stop();
        fs::write(self.bridge.folder().join("bridge.yaml"), config(ledger_topic)).expect("the folder can be written");
        self.bridge.start_again();
    }

    #[track_caller]
    fn until_topic_knows_all(&self, ledger_topic: &str) {
        let expected: BTreeSet<_> = self.events.iter().map(|event| event.id().to_owned()).collect();
        poll(SOON, "the ledger topic knows every event", || {
            let exists = kafka().topic_exists(ledger_topic);
            let records = if exists { kafka().read_all(ledger_topic) } else { Vec::new() };
            let keys: BTreeSet<_> =
                records.into_iter().filter_map(|record| String::from_utf8(record.key?).ok()).collect();
            when(keys == expected, (exists, keys.len()))
        });
    }

    /// Throws the data folder away, publishes every event again, and expects that none is sent again.
    #[track_caller]
    fn repeats_nothing_without_its_folder(mut self) {
        self.bridge.stop();
        self.bridge.delete_data();
        self.bridge.start_again();
        kafka().produce_all(&self.topic, self.events.iter().map(TestEvent::record));
        kafka().wait_committed(self.bridge.group(), &self.topic, SOON);
        let sent = self.agent.sent_by_event();
        assert_eq!(sent.len(), EVENTS);
        let again: Vec<_> = sent.into_iter().filter(|(_, count)| *count > 1).collect();
        assert!(again.is_empty(), "sent again: {again:?}");
        self.bridge.stop();
    }
}

#[test]
fn a_ledger_topic_that_was_deleted_gets_what_the_bridge_knows_and_another_disk_repeats_nothing() {
    let name = unique("ledger");
    let delivered = Delivered::with(&name);
    delivered.until_topic_knows_all(&name);
    kafka_tool(
        "org.apache.kafka.tools.TopicCommand",
        &["--bootstrap-server", kafka().bootstrap(), "--delete", "--topic", &name],
    );
    // The bridge is idle, and notices by itself.
    poll(SOON, "the log says so", || {
        let lines = delivered.bridge.logged("ledger records were written to the ledger topic again");
        let written: u64 = lines.iter().filter_map(|line| line["records"].as_u64()).sum();
        when(written >= EVENTS as u64, lines)
    });
    delivered.until_topic_knows_all(&name);
    delivered.repeats_nothing_without_its_folder();
}

#[test]
fn a_ledger_topic_of_another_name_and_one_that_was_off_get_what_the_bridge_knows() {
    let mut delivered = Delivered::with("off");
    let (first, second) = (unique("ledger"), unique("ledger"));
    delivered.restart_with(&first);
    delivered.until_topic_knows_all(&first);
    delivered.restart_with(&second);
    delivered.until_topic_knows_all(&second);

    // What is delivered while it is off is unknown to the topic.
    delivered.restart_with("off");
    let more: Vec<_> = (0..20).map(|n| event(&unique("more")).run(&format!("more-{n}"))).collect();
    kafka().produce_all(&delivered.topic, more.iter().map(TestEvent::record));
    delivered.agent.wait_accepted(EVENTS + 20, SOON);
    kafka().wait_committed(delivered.bridge.group(), &delivered.topic, SOON);
    delivered.restart_with(&second);
    delivered.events.extend(more);
    delivered.until_topic_knows_all(&second);
    delivered.bridge.stop();
}
