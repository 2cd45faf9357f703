//! Servers that lack what the LangGraph server has: no event runs twice on any of them, and what they
//! answer is read in bounded memory.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde_json::json;

use crate::kit::{
    BridgeSetup, FaultPlan, FaultProxy, HttpAgent, PATIENCE, Reply, TestEvent,
    bridge::LONG_SESSION,
    event, http, kafka, poll,
    stub::{Lack, StubLangGraph},
    unique, when,
};

const EVENTS: usize = 15;

fn routing(urls: &[(String, String)], (timeout, max_request_lifetime): (&str, &str)) -> String {
    let mut agents = String::new();
    for (name, url) in urls {
        let _ = write!(
            agents,
            "  {name}:
    langgraph: {{url: '{url}', assistant: analyst, max_request_lifetime: {max_request_lifetime}}}
    timeout: {timeout}
    retry: {{initial: 100ms, max: 1s, give_up_after: 1h}}
"
        );
    }
    let names: Vec<_> = urls.iter().map(|(name, _)| name.as_str()).collect();
    format!(
        "agents:
{agents}rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [{}]}}
",
        names.join(", ")
    )
}

/// Two bridges deliver each event at the same time, through a network that loses and holds: for 2 s, so that a machine may
/// stand still for 10 s, and for some more, and no request outlives `max_request_lifetime`.
#[test]
fn no_server_runs_an_event_twice_whatever_its_answers_lack() {
    let topic = kafka().topic("lacking", 4);
    let stubs: Vec<_> = Lack::ALL.map(|lack| (lack, StubLangGraph::start(lack))).into();
    let plan = FaultPlan::hostile(Duration::from_secs(2));
    let proxies: Vec<_> =
        (1..).zip(&stubs).map(|(seed, (_, stub))| FaultProxy::start(&stub.url(), plan, seed)).collect();
    let urls: Vec<_> = stubs
        .iter()
        .zip(&proxies)
        .map(|((lack, _), proxy)| (format!("{lack:?}").to_lowercase(), proxy.url()))
        .collect();
    let prefix = unique("lacking");
    let events: Vec<_> = (0..EVENTS).map(|n| event(&format!("{prefix}-{n:02}"))).collect();
    kafka().produce_all(&topic, events.iter().map(TestEvent::record));
    // A parked delivery would have no end yet, and be committed.
    let config = format!("{LONG_SESSION}park_after: off\n");
    let rules = routing(&urls, ("1s", "20s"));
    let bridges = [0, 1].map(|_| BridgeSetup::new(kafka(), &topic).config(&config).routing(&rules).start());
    for mut bridge in bridges {
        poll(Duration::from_secs(480), "every delivery has come to its end", || {
            let waiting: Vec<_> = urls
                .iter()
                .map(|(name, _)| (name, bridge.metric("pending_deliveries", &[("agent", name)])))
                .filter(|(_, waiting)| *waiting > 0.5)
                .collect();
            let lag = kafka().lag(bridge.group(), &topic);
            when(waiting.is_empty() && lag == 0, (lag, waiting, bridge.log().tail(1)))
        });
        bridge.stop();
    }
    poll(PATIENCE, "no request is held any more", || {
        let holding: u64 = proxies.iter().map(|proxy| proxy.faults().holding).sum();
        when(holding == 0, holding)
    });
    let expected: BTreeMap<_, _> = events.iter().map(|event| (event.id().to_owned(), 1)).collect();
    for (lack, stub) in &stubs {
        assert_eq!(stub.created(), expected, "a server that lacks {lack:?}");
    }
    // Where nobody can tell whose a run is, that is what the dead letters say.
    let letters = kafka().read_all(&format!("{topic}.dlq"));
    println!("{} dead letters of {} deliveries", letters.len(), 2 * EVENTS * stubs.len());
    for letter in letters {
        let (agent, error) = (letter.header("dlq-agent"), letter.header("dlq-error").unwrap_or_default());
        assert_eq!(agent.as_deref(), Some("runorigin"), "{error}");
        assert!(error.contains("may or may not be this event's"), "{error}");
    }
}

#[test]
fn a_list_of_four_megabytes_costs_little_more_than_its_bytes() {
    let agent = HttpAgent::start();
    agent.keep_bodies(false);
    let zeros = vec![0_u8; 2 * 1024 * 1024 - 200];
    let list = json!([{"run_id": "r", "metadata": {"event_id": "x", "zeros": zeros}}]);
    let reply = http::json(200, &list);
    agent.behave(move |request| match (request.method.as_str(), request.path.as_str()) {
        ("POST", _) => Reply::Status(409),
        (_, path) if path.contains("offset=0") => Reply::Full(reply.clone()),
        (_, path) if path.contains("offset=") => Reply::Full(http::json(200, &json!([]))),
        (_, path) if path.ends_with("/r") => Reply::Full(http::json(200, &json!({"run_id": "r"}))),
        _ => Reply::Status(500),
    });
    let topic = kafka().topic("big-list", 1);
    let urls = [("analyst".to_owned(), agent.url())];
    // Time enough to read the list on a slow machine.
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&routing(&urls, ("30s", "60s"))).start();
    // What the start takes is no part of it.
    bridge.wait_ready(PATIENCE);
    let before = bridge.rss_bytes();
    kafka().produce(&topic, event(&unique("big")).record());
    poll(PATIENCE, "the list was read five times, and counts as an unknown run", || {
        let attempts = bridge.metric("attempts_total", &[("agent", "analyst"), ("result", "unknown_run")]);
        when(attempts >= 5.0, attempts)
    });
    let grown = bridge.peak_rss_bytes().saturating_sub(before);
    println!("a list of 4 MiB, read five times: {} MiB more resident memory at its peak", grown >> 20);
    assert!(grown < 64 * 1024 * 1024, "{} MiB more", grown >> 20);
    bridge.stop();
}
