//! A cluster that cannot fully be reached, and a group that cannot be joined.

use std::{
    thread,
    time::{Duration, Instant},
};

use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;

use super::{SOON, bridge, readiness, resolved};
use crate::kit::{Broker, HttpAgent, Kafka, bridge::field, free_port, kafka, poll, unique, when};

#[test]
fn a_listener_that_cannot_be_resolved_stays_the_cause_and_the_advice_names_it() {
    let (port, controller) = (free_port(), free_port());
    let broker = Broker::start_with(&[
        ("listeners", &format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}")),
        ("controller.quorum.voters", &format!("1@127.0.0.1:{controller}")),
        ("advertised.listeners", &format!("PLAINTEXT://kafka.invalid:{port}")),
    ]);
    let agent = HttpAgent::start();
    let reached = Kafka::at(&format!("127.0.0.1:{port}"));
    let mut bridge = bridge(&reached, "anything", &agent).start();
    poll(SOON, "the note names the listener", || {
        let seen = readiness(&bridge);
        when(seen.0 == 503 && seen.1.contains(&format!("kafka.invalid:{port}")), seen)
    });
    // Longer than it takes to look at everything that does answer.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(8) {
        let seen = readiness(&bridge);
        assert!(seen.0 == 503 && seen.1.contains("kafka.invalid"), "after {:?}: {seen:?}", start.elapsed());
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(resolved(&bridge, "kafka.invalid"), 0);
    // If a broker was reached before the name was looked up, it is complained about when that lasts.
    let about = |line: &Value| field(line, "reason").is_some_and(|reason| reason.contains("kafka.invalid"));
    let said = poll(SOON, "it is complained about", || {
        let said = bridge.logged("Kafka client error");
        said.into_iter().find(about).ok_or_else(|| bridge.log().tail(5))
    });
    let advice = field(&said, "advice").expect("each complaint has some");
    assert!(advice.contains("advertised.listeners") && !advice.contains("bootstrap_servers"), "{advice}");
    bridge.stop();
    drop(broker);
}

#[test]
fn a_member_with_another_strategy_stays_the_cause_until_it_leaves() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("range", 1);
    let group = unique("range");
    let other: BaseConsumer = kafka()
        .client()
        .set("group.id", &group)
        .set("partition.assignment.strategy", "range")
        .set("session.timeout.ms", "45000")
        .create()
        .expect("a consumer can be made");
    other.subscribe(&[&topic]).expect("it subscribes");
    poll(SOON, "the other member has the partition", || {
        drop(other.poll(Duration::from_millis(50)));
        let count = other.assignment().map(|list| list.count()).unwrap_or_default();
        when(count == 1, count)
    });
    let mut bridge = bridge(kafka(), &topic, &agent).group(&group).start();
    poll(SOON, "the note names the strategy", || {
        drop(other.poll(Duration::from_millis(50)));
        let seen = readiness(&bridge);
        when(seen.0 == 503 && seen.1.contains("InconsistentGroupProtocol"), seen)
    });
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(8) {
        drop(other.poll(Duration::from_millis(50)));
        let seen = readiness(&bridge);
        assert!(seen.1.contains("InconsistentGroupProtocol"), "after {:?}: {seen:?}", start.elapsed());
    }
    assert_eq!(resolved(&bridge, "InconsistentGroupProtocol"), 0);
    drop(other);
    bridge.wait_ready(SOON);
    poll(SOON, "it is over", || {
        let seen = readiness(&bridge);
        when(seen == (200, "[]".to_owned()), seen)
    });
    bridge.stop();
    assert_eq!(resolved(&bridge, "InconsistentGroupProtocol"), 1);
}

#[test]
fn the_bridge_is_not_ready_within_ten_seconds_of_the_death_of_the_last_broker() {
    let mut broker = Broker::start();
    let agent = HttpAgent::start();
    let topic = broker.topic("dead", 2);
    let mut bridge = bridge(&broker, &topic, &agent).start();
    bridge.wait_ready(SOON);
    for way in ["killed", "frozen"] {
        if way == "killed" {
            broker.kill();
        } else {
            broker.freeze();
        }
        let died = Instant::now();
        // Both together: the group, which has to form again after a broker has started again, is a reason for a moment.
        poll(SOON, "/readyz says 503, and Kafka is why", || {
            let seen = (bridge.probe("/readyz"), bridge.metric("kafka_reachable", &[]));
            when(seen == (Ok(503), 0.0), seen)
        });
        let took = died.elapsed();
        println!("/readyz says 503 {:.1} s after the last broker was {way}", took.as_secs_f64());
        // The ten seconds, and three times as long for a machine that stands still: less than the session, and than the
        // time that a request may take.
        assert!(took < Duration::from_secs(40), "it took {took:?} after the broker was {way}");
        poll(SOON, "/healthz says 200", || {
            let seen = bridge.probe("/healthz");
            when(seen == Ok(200), seen)
        });
        if way == "killed" {
            broker.start_again();
        } else {
            broker.thaw();
        }
        poll(SOON, "it is ready again", || {
            let seen = (bridge.probe("/readyz"), bridge.metric("kafka_reachable", &[]));
            when(seen == (Ok(200), 1.0), seen)
        });
    }
    bridge.stop();
}
