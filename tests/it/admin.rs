//! The admin pages of a running bridge.

use serde_json::Value;

use crate::kit::{Bridge, BridgeSetup, HttpAgent, PATIENCE, TestEvent, event, kafka, poll, unique, when};

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
    newest_outcomes(&bridge, &topic, &prefix, unmatched.id());
    bridge.stop();
}

/// `/api/events` after five events, two repeats and one that no rule matches.
fn newest_outcomes(bridge: &Bridge, topic: &str, prefix: &str, unmatched: &str) {
    let ask = |query: &str| {
        let (status, body) = bridge.ask(&format!("/api/events{query}"));
        (status, serde_json::from_str::<Value>(&body).expect("it is JSON"))
    };
    let outcomes = |page: &Value| {
        let events = page["events"].as_array().into_iter().flatten();
        let mut outcomes: Vec<_> =
            events.map(|event| event["outcome"].as_str().unwrap_or_default().to_owned()).collect();
        outcomes.sort();
        outcomes
    };
    let (status, page) = ask("");
    let expected: Vec<_> = [["delivered"; 5].as_slice(), &["duplicate"; 2], &["unmatched"]].concat();
    assert_eq!(
        (status, outcomes(&page), &page["remembered"]),
        (200, expected.iter().map(ToString::to_string).collect(), &8.into())
    );
    assert_eq!(page["partitions"].as_array().map(Vec::len), Some(2), "{page:#}");
    let (_, page) = ask("?outcome=delivered&limit=2");
    assert_eq!(
        (outcomes(&page).len(), &page["not_listed"], &page["events"][0]["state"]),
        (2, &3.into(), &"delivered".into())
    );
    let (_, page) = ask(&format!("?workflow=etl_daily&run=run-{prefix}-0"));
    assert_eq!(outcomes(&page), ["delivered", "duplicate"], "{page:#}");
    let (_, page) = ask(&format!("?run=run-{unmatched}"));
    let line = &page["events"][0];
    assert_eq!(
        (&line["event_type"], &line["record"]["topic"]),
        (&"WORKFLOW_TRIGGERED".into(), &topic.into()),
        "{page:#}"
    );
    for (query, says) in [
        ("?outcome=lost", "delivered, parked, duplicate, unmatched, dead_lettered"),
        ("?limit=0", "from 1 to 1000"),
        ("?flow=a", "workflow, run, outcome and limit"),
    ] {
        let (status, page) = ask(query);
        assert!(status == 400 && page["error"].as_str().is_some_and(|error| error.contains(says)), "{page}");
    }
}
