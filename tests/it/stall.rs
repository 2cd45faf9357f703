//! An agent that stalls before a backlog of a million events: bounded memory, and the member stays.

use std::time::{Duration, Instant};

use crate::kit::{BridgeSetup, HttpAgent, PATIENCE, Record, Reply, event, kafka, poll, unique, when};

const BACKLOG: usize = 1_000_000;
/// The session too: longer than a machine stands still.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(20);
const MEMORY: u64 = 300 * 1024 * 1024;

#[test]
fn a_stalled_agent_with_a_million_events_behind_it_costs_bounded_memory_and_no_membership() {
    let agent = HttpAgent::start();
    agent.reply(Reply::Hang);
    agent.keep_bodies(false);
    let topic = kafka().topic("stall", 4);
    let prefix = unique("stall");
    let padding = "p".repeat(300);
    kafka().produce_all(
        &topic,
        (0..BACKLOG).map(|n| {
            let event = event(&format!("{prefix}-{n:07}")).run(&format!("run-{}", n % 5_000));
            Record::new(event.data(serde_json::json!({"status": "success", "padding": padding})).json().to_string())
                .partition(i32::try_from(n % 4).unwrap_or_default())
        }),
    );
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .config(
            "kafka: {properties: {max.poll.interval.ms: '20000', session.timeout.ms: '20000', heartbeat.interval.ms: '1000'}}
park_after: off
",
        )
        .routing(&format!(
            "agents:
  audit: {{http: {{url: '{}/events'}}, timeout: 5s, retry: {{initial: 100ms, max: 1s}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
",
            agent.url()
        ))
        .start();
    poll(PATIENCE, "the budget is used up and the partitions are paused", || {
        // The metric alone also counts partitions that wait for the ledger topic.
        let is_paused = bridge.status()["consumer"]["paused"].clone();
        let seen = (bridge.metric("partitions_paused", &[]), bridge.metric("in_flight_events", &[]), is_paused);
        when(seen.0 > 3.5 && seen.1 > 100.0 && seen.2 == true, seen)
    });
    let started = Instant::now();
    let mut most = 0;
    poll(PATIENCE, "two poll intervals have passed", || {
        most = most.max(bridge.rss_bytes());
        assert_eq!(bridge.probe("/healthz"), Ok(200));
        when(started.elapsed() >= MAX_POLL_INTERVAL * 2, ())
    });
    let peak = bridge.peak_rss_bytes();
    println!("stalled before {BACKLOG} events: resident at most {} MiB, peak {} MiB", most >> 20, peak >> 20);
    assert!(peak < MEMORY, "resident memory reached {} MiB", peak >> 20);
    poll(PATIENCE, "every partition is assigned", || {
        let assigned = bridge.metric("partitions_assigned", &[]);
        when(assigned == 4.0, assigned)
    });
    let losses =
        bridge.log().since(0).iter().filter(|line| line.contains("MAXPOLL") || line.contains("revoked")).count();
    assert_eq!(losses, 0, "the membership was never lost");
    let pending = bridge.metric("pending_deliveries", &[("agent", "audit")]);
    assert!(pending > 100.0, "the metric shows which agent the rest waits for: {pending}");
    bridge.wait_ready(PATIENCE);

    // It answers again, and everything goes on.
    agent.reply(Reply::Status(200));
    let before = agent.accepted().len();
    poll(PATIENCE, "two thousand more were accepted", || {
        let accepted = agent.accepted().len();
        when(accepted > before + 2_000, accepted)
    });
    bridge.stop();
}
