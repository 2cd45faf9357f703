//! The admin pages of a running bridge.

use crate::kit::{BridgeSetup, HttpAgent, PATIENCE, TestEvent, event, kafka, poll, unique, when};

#[test]
fn metrics_health_and_status_say_what_happened() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("admin", 2);
    // The time-out is longer than a machine stands still: each delivery is one attempt.
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .routing(&format!(
            "agents:
  audit: {{http: {{url: '{}/events'}}, timeout: 60s}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
            agent.url()
        ))
        .start();
    bridge.wait_ready(PATIENCE);
    poll(PATIENCE, "/healthz says 200", || when(bridge.probe("/healthz") == Ok(200), bridge.probe("/healthz")));
    let prefix = unique("admin");
    let delivered: Vec<_> = (0..5).map(|n| event(&format!("{prefix}-{n}"))).collect();
    let unmatched = event(&unique("admin")).event_type("WORKFLOW_TRIGGERED");
    let records = delivered.iter().chain(&delivered[..2]).chain([&unmatched]).map(TestEvent::record);
    kafka().produce_all(&topic, records);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    poll(PATIENCE, "the metrics count every record", || {
        let metrics = bridge.metrics();
        let seen = [
            metrics.sum("records_consumed_total", &[("topic", &topic)]),
            metrics.sum("events_total", &[("outcome", "delivered")]),
            metrics.sum("events_total", &[("outcome", "duplicate")]),
            metrics.sum("events_total", &[("outcome", "unmatched")]),
            metrics.sum("attempts_total", &[("agent", "audit"), ("result", "2xx")]),
            metrics.sum("attempt_duration_seconds_count", &[("agent", "audit")]),
            metrics.sum("acceptance_latency_seconds_count", &[("agent", "audit")]),
            metrics.sum("dedup_records", &[]),
            metrics.sum("in_flight_events", &[]),
            metrics.sum("in_flight_bytes", &[]),
            metrics.sum("committed_offset", &[("topic", &topic)]),
            metrics.sum("consumer_lag_records", &[("topic", &topic)]),
            metrics.sum("rules_loaded", &[]),
            metrics.sum("partitions_assigned", &[]),
        ];
        let wanted = [8.0, 5.0, 2.0, 1.0, 5.0, 5.0, 5.0, 5.0, 0.0, 0.0, 8.0, 0.0, 1.0, 2.0];
        when(seen == wanted, seen)
    });
    let status = bridge.status();
    assert_eq!(status["group"], bridge.group());
    assert_eq!(status["agents"][0]["agent"], "audit");
    assert_eq!(status["agents"][0]["breaker"], "closed");
    assert_eq!(status["ledger"]["records"], 5);
    let documented: Vec<&str> = workflow_bridge::testing::metrics().iter().map(|metric| metric.name).collect();
    for sample in bridge.metrics().0 {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.name.strip_suffix(end));
        assert!(
            documented.contains(&sample.name.as_str()) || base.is_some_and(|base| documented.contains(&base)),
            "{} is not documented",
            sample.name
        );
    }
    bridge.stop();
}
