//! Whose fault a failure is: agents that refuse, hang or are away, and brokers that are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{OnceLock, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use crate::kit::{
    Bridge, BridgeSetup, Broker, HttpAgent, PATIENCE, Reply, Stored, TestEvent, bridge::LONG_SESSION, event, kafka,
    poll, unique, when,
};

fn rule(agent: &str) -> String {
    format!("agents:\n{agent}\nrules:\n  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}\n")
}

/// One rule for this agent. The time-out is longer than a machine stands still: no request is repeated because its
/// answer was late.
fn all_to(agent: &HttpAgent) -> String {
    rule(&format!("  audit: {{http: {{url: '{}/events'}}, timeout: 60s}}", agent.url()))
}

/// Deliveries wait in memory, however long their agent is down.
fn nothing_is_parked() -> String {
    format!("{LONG_SESSION}park_after: off\n")
}

/// The loop has polled within the last seconds.
#[track_caller]
fn wait_healthy(bridge: &Bridge) {
    poll(PATIENCE, "/healthz says 200", || {
        let seen = bridge.probe("/healthz");
        when(seen == Ok(200), seen)
    });
}

/// The events of each workflow run were accepted in the order of publishing. One whose answer was late may come again,
/// and its first request may be read last: the first acceptance counts.
fn assert_in_order(agent: &HttpAgent) {
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for request in agent.accepted().into_iter().filter(|request| seen.insert(request.event_id.clone())) {
        let run = request.json()["workflow_run_id"].as_str().unwrap_or_default().to_owned();
        if let Some(before) = last.insert(run.clone(), request.event_id.clone()) {
            assert!(before < request.event_id, "run {run}: {} was accepted before {}", before, request.event_id);
        }
    }
}

/// `count` events over ten workflow runs, with ids that sort in the order of publishing.
fn publish(kafka: &crate::kit::Kafka, topic: &str, prefix: &str, count: usize) -> BTreeSet<String> {
    let events: Vec<_> =
        (0..count).map(|n| event(&format!("{prefix}-{n:06}")).run(&format!("run-{}", n % 10))).collect();
    kafka.produce_all(topic, events.iter().map(TestEvent::record));
    events.iter().map(|event| event.id().to_owned()).collect()
}

fn accepted(agent: &HttpAgent) -> BTreeSet<String> {
    agent.accepted_by_event().into_keys().collect()
}

/// The offset and the reason of each dead letter, once: dead letters are at least once.
fn offsets_and_reasons(letters: &[Stored]) -> BTreeSet<(String, String)> {
    let header = |letter: &Stored, name| letter.header(name).unwrap_or_default();
    letters.iter().map(|letter| (header(letter, "dlq-offset"), header(letter, "dlq-reason"))).collect()
}

/// The same of a topic with one dead letter.
fn one(offset: &str, reason: &str) -> BTreeSet<(String, String)> {
    BTreeSet::from([(offset.to_owned(), reason.to_owned())])
}

#[test]
fn a_rotated_key_holds_a_backlog_and_dead_letters_nothing() {
    let agent = HttpAgent::start();
    agent.require_key(Some("old"));
    let topic = kafka().topic("rotated", 4);
    let audit = "  audit:
    http: {url: 'PLACE/events', auth: {bearer: {file: key.txt}}}
    timeout: 60s
    retry: {initial: 50ms, max: 300ms}";
    let rules = rule(&audit.replace("PLACE", &agent.url()));
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&rules).prepare();
    std::fs::write(bridge.folder().join("key.txt"), "old\n").expect("the scratch folder can be written");
    bridge.start_again();
    let mut ids = publish(kafka(), &topic, &unique("a-before"), 100);
    agent.wait_accepted(100, PATIENCE);

    agent.require_key(Some("new"));
    ids.extend(publish(kafka(), &topic, &unique("b-after"), 1_000));
    poll(PATIENCE, "the breaker is open", || {
        let open = bridge.metric("breaker_open", &[("agent", "audit")]);
        when(open > 0.5, open)
    });
    // Probes go out one at a time, and nothing is given up meanwhile.
    let (since, before) = (Instant::now(), agent.count());
    poll(PATIENCE, "ten probes went out", || when(agent.count() > before + 10, agent.count()));
    // At most every 25 ms, however long this thread stood still.
    let sent = (agent.count() - before) as u64;
    let elapsed = since.elapsed();
    assert!(sent < 200 + 40 * elapsed.as_secs(), "only probes go out, not {sent} requests in {elapsed:?}");
    // The bridge itself is well, though a broker that stands still may hide it.
    bridge.wait_ready(PATIENCE);
    assert_eq!(bridge.metric("dead_letters_total", &[]), 0.0);

    std::fs::write(bridge.folder().join("key.txt"), "new\n").expect("the scratch folder can be written");
    agent.wait_accepted(1_100, PATIENCE);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    assert_eq!(accepted(&agent), ids);
    assert_in_order(&agent);
    assert_eq!(bridge.metric("breaker_open", &[("agent", "audit")]), 0.0);
    assert_eq!(bridge.metric("dead_letters_total", &[]), 0.0);
    bridge.stop();
    assert!(kafka().read_all(&format!("{topic}.dlq")).is_empty());
}

#[test]
fn an_event_that_the_agent_alone_refuses_is_dead_lettered_and_holds_nobody() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("refused", 1);
    let prefix = unique("refused");
    let bad = format!("{prefix}-000005");
    let refused = bad.clone();
    agent.behave(move |request| Reply::Status(if request.event_id == refused { 400 } else { 200 }));
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&all_to(&agent)).start();
    publish(kafka(), &topic, &prefix, 30);
    agent.wait_accepted(29, PATIENCE);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    assert_eq!(agent.sent_by_event()[&bad], 1, "it is not tried again");
    bridge.stop();
    let letters = kafka().read_all(&format!("{topic}.dlq"));
    assert_eq!(offsets_and_reasons(&letters), one("5", "refused"));
    let letter = &letters[0];
    let header = |name: &str| letter.header(name).unwrap_or_default();
    assert_eq!((header("dlq-rule"), header("dlq-agent")), ("all".to_owned(), "audit".to_owned()));
    assert_eq!((header("dlq-status"), header("dlq-topic")), ("400".to_owned(), topic.clone()));
    assert_eq!(header("dlq-attempts"), "1", "one attempt was made");
    assert_eq!(header("dlq-partition"), "0");
    assert!(!header("dlq-error").is_empty() && !header("dlq-time").is_empty());
    assert_eq!(header("event_id"), bad, "the original headers are kept");
    assert!(letter.text().contains(&bad), "the original value is kept");
    assert_eq!(letter.key.as_deref(), Some("etl_daily/run-5".as_bytes()));
}

#[test]
fn the_log_says_which_run_an_event_became_and_counts_the_attempts() {
    let agent = HttpAgent::start();
    let (failures, runs) = (std::sync::atomic::AtomicUsize::new(2), unique("run"));
    let run_id = runs.clone();
    agent.behave(move |request| {
        let full = |body: Vec<u8>| Reply::Full(hyper::Response::new(body.into()));
        match request.path.as_str() {
            _ if failures.load(SeqCst) > 0 => {
                failures.fetch_sub(1, SeqCst);
                let mut response = hyper::Response::new(bytes::Bytes::from_static(b"the pool is exhausted"));
                *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
                Reply::Full(response)
            }
            "/threads" => full(request.body.to_vec()),
            _ => full(serde_json::json!({"run_id": run_id}).to_string().into_bytes()),
        }
    });
    let topic = kafka().topic("logged", 1);
    let id = unique("logged");
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .routing(&rule(&format!(
            "  audit:
    langgraph: {{url: '{}', assistant: analyst, max_request_lifetime: 120s}}
    timeout: 60s
    retry: {{initial: 50ms, max: 200ms}}",
            agent.url()
        )))
        .start();
    kafka().produce(&topic, event(&id).record());
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bridge.stop();
    let delivered = bridge.logged("delivered");
    assert_eq!(delivered.len(), 1, "one line for each delivery: {delivered:?}");
    let line = &delivered[0];
    assert_eq!((&line["event_id"], &line["rule"], &line["agent"]), (&id.into(), &"all".into(), &"audit".into()));
    assert_eq!((&line["run_id"], &line["attempt"], &line["level"]), (&runs.into(), &3.into(), &"INFO".into()));
    let thread = agent.requests().iter().find_map(|request| request.json()["thread_id"].as_str().map(str::to_owned));
    assert_eq!(line["thread_id"].as_str(), thread.as_deref());
    let failed = bridge.logged("attempt failed: retrying");
    let attempts: Vec<_> = failed.iter().map(|line| (&line["attempt"], &line["status"])).collect();
    assert_eq!(attempts, [(&1.into(), &503.into()), (&2.into(), &503.into())]);
    assert!(failed[0]["url"].as_str().is_some_and(|url| url.starts_with(&agent.url())), "{failed:?}");
    assert!(failed[0]["error"].as_str().is_some_and(|reason| reason.contains("the pool is exhausted")), "{failed:?}");
    assert!(failed[0]["retry_in_ms"].is_u64(), "{failed:?}");
}

#[test]
fn an_id_used_for_other_content_is_a_conflict_and_no_duplicate() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("conflict", 1);
    let id = unique("conflict");
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&all_to(&agent)).start();
    let first = event(&id);
    kafka().produce_all(&topic, [first.record(), first.record(), event(&id).run("another").record()]);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    assert_eq!(agent.count(), 1);
    // An event is counted a moment after its offset can be committed, and once more if it is read again.
    poll(PATIENCE, "the second is a duplicate", || {
        let duplicates = bridge.metric("events_total", &[("outcome", "duplicate")]);
        when(duplicates >= 1.0, duplicates)
    });
    bridge.stop();
    let letters = kafka().read_all(&format!("{topic}.dlq"));
    assert_eq!(offsets_and_reasons(&letters), one("2", "id_conflict"));
}

#[test]
fn a_rule_removed_from_under_a_half_delivered_event_is_plan_gone() {
    let (steady, failing) = (HttpAgent::start(), HttpAgent::start());
    failing.reply(Reply::Status(503));
    let agents = format!(
        "agents:
  steady: {{http: {{url: '{}/events'}}, timeout: 60s}}
  failing: {{http: {{url: '{}/events'}}, timeout: 60s, retry: {{initial: 50ms, max: 200ms}}}}
",
        steady.url(),
        failing.url()
    );
    let topic = kafka().topic("gone", 1);
    let id = unique("gone");
    let both = format!(
        "{agents}rules:\n  - {{name: both, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [steady, failing]}}\n"
    );
    // With the other half parked, the event would be committed before it is a dead letter.
    let mut bridge = BridgeSetup::new(kafka(), &topic).config(&nothing_is_parked()).routing(&both).start();
    kafka().produce(&topic, event(&id).record());
    steady.wait_accepted(1, PATIENCE);
    // A delivery is pending until the ledger has its end, for which the drain does not wait for ever.
    poll(PATIENCE, "the ledger has the half that is done", || {
        let pending = bridge.metric("pending_deliveries", &[("agent", "steady")]);
        when(pending == 0.0, pending)
    });
    poll(PATIENCE, "the failing agent was tried", || when(failing.count() > 0, failing.count()));
    bridge.stop();
    bridge.write_routing(
        "rules.yaml",
        &format!(
            "{agents}rules:\n  - {{name: other, when: {{event_type: [WORKFLOW_FAILED]}}, to: [steady, failing]}}\n"
        ),
    );
    bridge.start_again();
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bridge.stop();
    let letters = kafka().read_all(&format!("{topic}.dlq"));
    assert_eq!(offsets_and_reasons(&letters), one("0", "plan_gone"));
    assert_eq!(letters[0].header("dlq-agent").as_deref(), Some("failing"));
    assert_eq!(steady.count(), 1, "the half that was done is not done again");
}

#[test]
fn agents_that_are_busy_or_never_answer_do_not_hold_up_another() {
    let [busy, stuck, other] = [(); 3].map(|()| HttpAgent::start());
    // Neither goes on while the test runs, so whoever waits for one of them is not served, however slow the machine is.
    busy.reply(Reply::RetryAfter(503, 3_600));
    stuck.reply(Reply::Hang);
    let topic = kafka().topic("busy", 2);
    let rules = format!(
        "agents:
  busy: {{http: {{url: '{}/events'}}, timeout: 1h}}
  stuck: {{http: {{url: '{}/events'}}, timeout: 1h, concurrency: 8}}
  other: {{http: {{url: '{}/events'}}, timeout: 60s}}
rules:
  - {{name: busy, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [busy]}}
  - {{name: stuck, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [stuck]}}
  - {{name: other, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [other]}}
",
        busy.url(),
        stuck.url(),
        other.url()
    );
    let bridge = BridgeSetup::new(kafka(), &topic).config(&nothing_is_parked()).routing(&rules).start();
    publish(kafka(), &topic, &unique("busy"), 300);
    other.wait_accepted(300, PATIENCE);
    poll(PATIENCE, "both were asked", || {
        let asked = [busy.count(), stuck.count()];
        when(!asked.contains(&0), asked)
    });
    bridge.wait_ready(PATIENCE);
    let asked = [busy.count(), stuck.count()];
    assert!(asked[0] <= 16, "at most what was under way before the first answer: {asked:?}");
    assert!(asked[1] <= 8, "no more than its concurrency: {asked:?}");
    assert_in_order(&other);
}

#[test]
fn a_busy_agent_is_left_alone_for_as_long_as_it_asked() {
    let agent = HttpAgent::start();
    let first = OnceLock::new();
    // Whatever was under way before the first answer is told the same.
    agent.behave(move |request| {
        let later_by = request.at.duration_since(*first.get_or_init(|| request.at));
        if later_by < Duration::from_secs(15) { Reply::RetryAfter(503, 30) } else { Reply::Status(200) }
    });
    let topic = kafka().topic("left-alone", 2);
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&all_to(&agent)).start();
    let ids = publish(kafka(), &topic, &unique("left-alone"), 300);
    agent.wait_accepted(300, PATIENCE);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bridge.stop();
    let came: Vec<Instant> = agent.requests().iter().map(|request| request.at).collect();
    let first = *came.iter().min().expect("300 were accepted");
    let early = came.iter().filter(|at| at.duration_since(first) < Duration::from_secs(29)).count();
    assert!(early <= 16, "at most what was under way before the first answer: {early}");
    assert_eq!(accepted(&agent), ids);
    assert_in_order(&agent);
}

#[test]
fn an_agent_that_hangs_holds_only_its_own() {
    let (hanging, other) = (HttpAgent::start(), HttpAgent::start());
    hanging.reply(Reply::Hang);
    let topic = kafka().topic("hanging", 2);
    let rules = format!(
        "agents:
  hanging: {{http: {{url: '{}/events'}}, timeout: 1s, retry: {{initial: 50ms, max: 500ms}}}}
  other: {{http: {{url: '{}/events'}}, timeout: 60s}}
rules:
  - {{name: hanging, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [hanging]}}
  - {{name: other, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [other]}}
",
        hanging.url(),
        other.url()
    );
    let mut bridge = BridgeSetup::new(kafka(), &topic).config(&nothing_is_parked()).routing(&rules).start();
    bridge.wait_ready(PATIENCE);
    let ids = publish(kafka(), &topic, &unique("hanging"), 500);
    other.wait_accepted(500, PATIENCE);
    poll(PATIENCE, "the breaker is open", || {
        let open = bridge.metric("breaker_open", &[("agent", "hanging")]);
        when(open > 0.5, open)
    });
    poll(PATIENCE, "a metric shows which agent they wait for", || {
        let pending = bridge.metric("pending_deliveries", &[("agent", "hanging")]);
        when(pending > 499.0, pending)
    });
    poll(PATIENCE, "nothing waits for the other one", || {
        let pending = bridge.metric("pending_deliveries", &[("agent", "other")]);
        when(pending == 0.0, pending)
    });
    assert!(bridge.metric("in_flight_bytes", &[]) <= 67_108_864.0, "the budget holds");
    hanging.reply(Reply::Status(200));
    hanging.wait_accepted(500, PATIENCE);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bridge.stop();
    assert_eq!(accepted(&hanging), ids);
    assert_in_order(&hanging);
}

#[test]
fn a_broker_that_is_away_for_twenty_seconds_loses_nothing() {
    let mut broker = Broker::start();
    let agent = HttpAgent::start();
    agent.reply(Reply::ok_after(Duration::from_millis(20)));
    let topic = broker.topic("away", 4);
    let ids = publish(&broker, &topic, &unique("away"), 2_000);
    let audit = format!("  audit: {{http: {{url: '{}/events'}}, timeout: 60s, concurrency: 4}}", agent.url());
    let mut bridge = BridgeSetup::new(&broker, &topic).routing(&rule(&audit)).start();
    agent.wait_accepted(200, PATIENCE);
    broker.stop();
    let away = Instant::now();
    poll(PATIENCE, "the broker was away for 20 s", || {
        when(away.elapsed() >= Duration::from_secs(20), bridge.probe("/healthz"))
    });
    // The loop goes on without a broker.
    wait_healthy(&bridge);
    broker.start_again();
    agent.wait_accepted(2_000, PATIENCE);
    broker.wait_committed(bridge.group(), &topic, PATIENCE);
    assert_eq!(accepted(&agent), ids);
    assert_in_order(&agent);
    let repeated = agent.accepted_by_event().values().filter(|count| **count > 1).count();
    assert_eq!(repeated, 0, "what was accepted is in the ledger, whatever the broker does");
    bridge.stop();
}

#[test]
fn a_bridge_that_starts_before_its_broker_and_its_topic_waits_for_both() {
    let mut broker = Broker::start();
    let agent = HttpAgent::start();
    broker.stop();
    let topic = unique("later");
    let mut bridge = BridgeSetup::new(&broker, &topic).routing(&all_to(&agent)).start();
    wait_healthy(&bridge);
    assert_eq!(bridge.ask("/readyz").0, 503);
    broker.start_again();
    broker.create_topic(&topic, 2, &[]);
    let ids = publish(&broker, &topic, &unique("later"), 20);
    agent.wait_accepted(20, PATIENCE);
    bridge.wait_ready(PATIENCE);
    assert_eq!(accepted(&agent), ids);
    bridge.stop();
}
