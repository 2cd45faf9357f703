//! HTTP agents: nothing is lost, the key never changes, a half-done fan-out repeats only its other half.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::kit::{
    BridgeSetup, HttpAgent, PATIENCE, Reply, TestEvent, bridge::LONG_SESSION, event, kafka, poll, unique, when,
};

const EVENTS: usize = 2_000;

/// Longer than a machine stands still: no request is repeated because its answer was late, and a drain waits for it.
const TIMEOUT: &str = "60s";

fn one_agent(url: &str) -> String {
    format!(
        "agents:
  audit: {{http: {{url: '{url}/events'}}, timeout: {TIMEOUT}, concurrency: 16, retry: {{initial: 50ms, max: 500ms}}}}
rules:
  - {{name: audit-all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
"
    )
}

fn two_agents(steady: &str, failing: &str) -> String {
    format!(
        "agents:
  steady: {{http: {{url: '{steady}/events'}}, timeout: {TIMEOUT}, retry: {{initial: 50ms, max: 500ms}}}}
  failing: {{http: {{url: '{failing}/events'}}, timeout: {TIMEOUT}, retry: {{initial: 50ms, max: 500ms}}}}
rules:
  - {{name: both, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [steady, failing]}}
"
    )
}

fn publish(topic: &str, prefix: &str, count: usize) -> BTreeSet<String> {
    let events: Vec<_> = (0..count).map(|n| event(&format!("{prefix}-{n:05}"))).collect();
    kafka().produce_all(topic, events.iter().map(TestEvent::record));
    events.iter().map(|event| event.id().to_owned()).collect()
}

fn assert_one_key_each(agent: &HttpAgent) {
    for (event_id, keys) in agent.keys_by_event() {
        assert!(keys.len() == 1 && !keys[0].is_empty(), "{event_id} bore the keys {keys:?}");
    }
}

#[test]
fn five_kills_lose_nothing_and_never_change_a_key() {
    let agent = HttpAgent::start();
    agent.reply(Reply::ok_after(Duration::from_millis(5)));
    let topic = kafka().topic("kills", 4);
    let ids = publish(&topic, &unique("kills"), EVENTS);
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .config("kafka: {properties: {session.timeout.ms: '9000'}}\n")
        .routing(&one_agent(&agent.url()))
        .start();
    for kill in 1..=5 {
        agent.wait_accepted(kill * EVENTS / 8, PATIENCE);
        bridge.kill9();
        bridge.start_again();
    }
    agent.wait_accepted(EVENTS, Duration::from_secs(120));
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bridge.stop();
    let accepted = agent.accepted_by_event();
    assert_eq!(accepted.keys().cloned().collect::<BTreeSet<_>>(), ids);
    assert_one_key_each(&agent);
    let twice = accepted.values().filter(|count| **count > 1).count();
    println!("five SIGKILLs: {EVENTS} events, none lost, {twice} sent more than once");
}

#[test]
fn five_orderly_stops_lose_nothing_and_repeat_nothing() {
    let agent = HttpAgent::start();
    agent.reply(Reply::ok_after(Duration::from_millis(5)));
    let topic = kafka().topic("stops", 4);
    let ids = publish(&topic, &unique("stops"), EVENTS);
    // A stop that runs out of time may repeat what it could not commit.
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .config(&format!("{LONG_SESSION}drain_timeout: 30s\n"))
        .routing(&one_agent(&agent.url()))
        .start();
    for stop in 1..=5 {
        agent.wait_accepted(stop * EVENTS / 8, PATIENCE);
        bridge.stop();
        bridge.start_again();
    }
    agent.wait_accepted(EVENTS, Duration::from_secs(120));
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bridge.stop();
    assert_eq!(agent.accepted_by_event(), ids.into_iter().map(|id| (id, 1)).collect::<BTreeMap<_, _>>());
    assert_eq!(agent.count(), EVENTS, "no event was sent twice");
}

#[test]
fn a_second_signal_ends_a_stop_at_once_and_what_was_open_is_delivered_after_it() {
    let agent = HttpAgent::start();
    agent.reply(Reply::Hang);
    let topic = kafka().topic("second-signal", 1);
    let ids = publish(&topic, &unique("second-signal"), 1);
    // The drain does not end by itself before the second signal comes, which may be late. The next start waits for the
    // end of the session.
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .config("drain_timeout: 30s\nkafka: {properties: {session.timeout.ms: '35000'}}\n")
        .routing(&one_agent(&agent.url()))
        .start();
    poll(PATIENCE, "the attempt is under way", || when(agent.count() >= 1, agent.count()));
    let stopped = std::time::Instant::now();
    bridge.sigterm();
    // Signals of the first half second count as the first one.
    poll(PATIENCE, "a later signal ends it", || {
        bridge.sigterm();
        when(!bridge.runs(), stopped.elapsed())
    });
    assert_eq!(bridge.wait_exit(Duration::from_secs(5)).code(), Some(143));
    assert_eq!(bridge.logged("second signal: ending at once").len(), 1, "{}", bridge.log().tail(40));
    agent.reply(Reply::Status(200));
    bridge.start_again();
    agent.wait_accepted(1, PATIENCE);
    bridge.stop();
    assert_eq!(agent.accepted_by_event().into_keys().collect::<BTreeSet<_>>(), ids);
    assert_one_key_each(&agent);
}

#[test]
fn an_agent_that_succeeded_is_not_called_again_for_the_one_that_did_not() {
    let (steady, failing) = (HttpAgent::start(), HttpAgent::start());
    failing.reply(Reply::Status(503));
    let topic = kafka().topic("fan-out", 2);
    let ids = publish(&topic, &unique("fan-out"), 50);
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .config("kafka: {properties: {session.timeout.ms: '9000'}}\npark_after: off\n")
        .routing(&two_agents(&steady.url(), &failing.url()))
        .start();
    steady.wait_accepted(50, PATIENCE);
    // A delivery is pending until the ledger has its end.
    poll(PATIENCE, "the ledger has all 50 halves", || {
        let pending = bridge.metric("pending_deliveries", &[("agent", "steady")]);
        when(pending == 0.0, pending)
    });
    for _ in 0..2 {
        bridge.kill9();
        bridge.start_again();
        let before = failing.count();
        poll(PATIENCE, "the failing agent is tried again", || when(failing.count() > before, failing.count()));
    }
    failing.reply(Reply::Status(200));
    failing.wait_accepted(50, PATIENCE);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bridge.stop();
    let once: BTreeMap<String, usize> = ids.into_iter().map(|id| (id, 1)).collect();
    assert_eq!(steady.sent_by_event(), once, "the steady agent was called once for each event");
    assert_eq!(failing.accepted_by_event(), once);
    assert_one_key_each(&failing);
}

#[test]
fn a_delivery_bears_its_headers_its_body_and_a_signature() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("shape", 1);
    let rules = format!(
        "agents:
  raw:
    http:
      url: '{url}/raw'
      headers: {{x-team: data}}
      auth: {{bearer: {{env: TOKEN}}}}
      sign: {{secret: {{env: SIGN}}}}
    timeout: {TIMEOUT}
  shaped: {{http: {{url: '{url}/shaped', method: PUT, auth: {{api_key: {{env: TOKEN}}}}}}, timeout: {TIMEOUT}}}
rules:
  - {{name: raw, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [raw]}}
  - name: shaped
    when: {{event_type: [WORKFLOW_COMPLETED]}}
    to: [shaped]
    body: {{run: '{{{{ workflow_run_id }}}}', data: '{{{{ payload.data }}}}', text: 'ended: {{{{ payload.data | tojson }}}}'}}
",
        url = agent.url()
    );
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .routing(&rules)
        .env("TOKEN", "t0ken")
        .env("SIGN", "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ=")
        .start();
    let id = unique("shape");
    let published = event(&id);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    kafka().produce(&topic, published.record().header("traceparent", trace));
    poll(PATIENCE, "both deliveries came", || {
        let paths: BTreeSet<_> = agent.accepted().into_iter().map(|request| request.path).collect();
        when(paths.len() == 2, paths)
    });
    bridge.stop();
    let requests = agent.requests();
    let raw = requests.iter().find(|request| request.path == "/raw").expect("the raw delivery came");
    assert_eq!(raw.method, "POST");
    assert_eq!(raw.body, published.json().to_string(), "the event as it was published");
    assert_eq!(raw.header("authorization"), Some("Bearer t0ken"));
    assert_eq!(raw.header("x-team"), Some("data"));
    assert_eq!(raw.header("traceparent"), Some(trace));
    assert_eq!(raw.header("webhook-id"), raw.key.as_deref());
    assert!(raw.header("webhook-signature").is_some_and(|signature| signature.starts_with("v1,")));
    let shaped = requests.iter().find(|request| request.path == "/shaped").expect("the shaped delivery came");
    assert_eq!(shaped.method, "PUT");
    assert_eq!(shaped.header("x-api-key"), Some("t0ken"));
    assert_eq!(
        shaped.json(),
        serde_json::json!({
            "run": format!("run-{id}"),
            "data": {"status": "success"},
            "text": "ended: {\"status\":\"success\"}",
        })
    );
    assert_ne!(shaped.key, raw.key, "each delivery has a key of its own");
    let log = bridge.log().tail(10_000);
    assert!(!log.contains("t0ken") && !log.contains("c2VjcmV0"), "a secret is in the log:\n{log}");
}
