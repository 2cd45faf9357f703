//! What the tests of "one run for each event" share: the events, the times, how executions are counted.

use std::{collections::BTreeMap, time::Duration};

use super::{FaultProxy, Kafka, LangGraph, PATIENCE, TestEvent, event, poll, unique, when};

/// How many events, each of which is published twice.
pub const EVENTS: usize = 200;
/// How long a request may take.
pub const TIMEOUT: Duration = Duration::from_millis(1500);
/// How long the network holds a run request.
pub const HOLD: Duration = Duration::from_secs(4);
/// The agent's `max_request_lifetime`: the network and the server keep to it although the machine stands still for 10 s.
pub const MAX_REQUEST_LIFETIME: Duration = Duration::from_secs(16);

/// One rule that sends everything to the server at this URL.
pub fn routing(url: &str) -> String {
    routing_with(url, MAX_REQUEST_LIFETIME)
}

/// The same with another `max_request_lifetime`.
pub fn routing_with(url: &str, max_request_lifetime: Duration) -> String {
    format!(
        "agents:
  analyst:
    langgraph: {{url: '{url}', assistant: analyst, max_request_lifetime: {}ms}}
    concurrency: 16
    timeout: {}ms
    retry: {{initial: 100ms, max: 1s, give_up_after: 1h}}
rules:
  - name: analyse
    when: {{event_type: [WORKFLOW_COMPLETED]}}
    to: [analyst]
",
        max_request_lifetime.as_millis(),
        TIMEOUT.as_millis(),
    )
}

/// Publishes each event twice and returns the prefix of their ids.
pub fn publish_twice(kafka: &Kafka, topic: &str) -> String {
    let prefix = unique("once");
    let events: Vec<_> = (0..EVENTS).map(|n| event(&format!("{prefix}-{n:03}"))).collect();
    kafka.produce_all(topic, events.iter().chain(&events).map(TestEvent::record));
    prefix
}

/// How many events ran how often.
pub fn histogram(executions: &BTreeMap<String, usize>) -> BTreeMap<usize, usize> {
    let mut histogram = BTreeMap::new();
    for count in executions.values() {
        *histogram.entry(*count).or_default() += 1;
    }
    histogram
}

/// Waits until everything is done.
#[track_caller]
pub fn all_committed(kafka: &Kafka, group: &str, topic: &str) {
    kafka.wait_committed(group, topic, Duration::from_secs(480));
}

/// Nothing may still be on its way when the runs are counted.
pub fn settled(proxy: &FaultProxy, langgraph: &LangGraph) {
    arrived(proxy);
    langgraph.wait_idle(PATIENCE);
}

/// The same of a server that may have lost runs that it had begun: its threads stay busy.
pub fn arrived(proxy: &FaultProxy) {
    poll(PATIENCE, "no request is held any more", || {
        let faults = proxy.faults();
        when(faults.holding == 0, faults)
    });
}

/// Waits until this many of the events have run.
#[track_caller]
pub fn runs_reach(langgraph: &LangGraph, prefix: &str, wanted: usize) {
    poll(PATIENCE, &format!("{wanted} events ran"), || {
        let ran = langgraph.executions_of(prefix).len();
        when(ran >= wanted, ran)
    });
}
