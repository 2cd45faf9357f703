//! One accepted run for each event, rule and agent, on a real LangGraph server behind a network that
//! loses and holds requests; and the proof that these tests can fail.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::kit::{
    Bridge, BridgeSetup, FaultPlan, FaultProxy, LangGraph, PATIENCE, TestEvent,
    bridge::LONG_SESSION,
    commands::{beside, until_kafka_answers},
    event, kafka,
    once::{
        EVENTS, HOLD, MAX_REQUEST_LIFETIME, TIMEOUT, all_committed, histogram, publish_twice, routing, routing_with,
        runs_reach, settled,
    },
    poll, unique, when,
};

/// A parked delivery would be committed before its run.
fn nothing_is_parked() -> String {
    format!("{LONG_SESSION}park_after: off\n")
}

/// How often the graphs run behind a network with these faults, for an agent with this `max_request_lifetime`.
fn executions_through(plan: FaultPlan, max_request_lifetime: Duration) -> (BTreeMap<usize, usize>, crate::kit::Faults) {
    let (kafka, langgraph) = (kafka(), LangGraph::start());
    let topic = kafka.topic("once", 4);
    let proxy = FaultProxy::start(&langgraph.url(), plan, 7);
    let prefix = publish_twice(kafka, &topic);
    let mut bridge = BridgeSetup::new(kafka, &topic)
        .config(&nothing_is_parked())
        .routing(&routing_with(&proxy.url(), max_request_lifetime))
        .start();
    all_committed(kafka, bridge.group(), &topic);
    bridge.stop();
    settled(&proxy, &langgraph);
    let executions = langgraph.executions_of(&prefix);
    assert_eq!(executions.len(), EVENTS, "every event ran");
    (histogram(&executions), proxy.faults())
}

#[test]
fn every_graph_runs_once_through_lost_and_held_requests() {
    let (executions, faults) = executions_through(FaultPlan::hostile(HOLD), MAX_REQUEST_LIFETIME);
    println!("claim, then find: executions -> events {executions:?}, {faults:?}");
    assert!(faults.requests_dropped > 50 && faults.responses_dropped > 50 && faults.runs_held > 20, "{faults:?}");
    assert_eq!(executions, BTreeMap::from([(1, EVENTS)]));
}

#[test]
fn behind_a_server_that_lists_no_run_graphs_run_twice() {
    let plan = FaultPlan { hide_runs: true, ..FaultPlan::hostile(HOLD) };
    // Shorter than above, for an event waits for it several times, and it does not matter here if the machine stands still.
    let (executions, faults) = executions_through(plan, 2 * HOLD);
    println!("no run is listed: executions -> events {executions:?}, {faults:?}");
    assert!(executions.keys().any(|count| *count > 1), "the test above could not fail: {executions:?}");
}

#[test]
fn where_requests_outlive_their_lifetime_graphs_run_twice() {
    // The shortest that is allowed, and half of how long the network holds a request.
    let (executions, faults) = executions_through(FaultPlan::hostile(2 * HOLD), 2 * TIMEOUT);
    println!("requests outlive max_request_lifetime: executions -> events {executions:?}, {faults:?}");
    assert!(executions.keys().any(|count| *count > 1), "the test above could not fail: {executions:?}");
}

#[test]
fn every_graph_runs_once_through_five_kills_and_a_long_stop() {
    let (kafka, langgraph) = (kafka(), LangGraph::start());
    let topic = kafka.topic("once-kills", 4);
    let proxy = FaultProxy::start(&langgraph.url(), FaultPlan::hostile(HOLD), 11);
    let prefix = publish_twice(kafka, &topic);
    let mut bridge = BridgeSetup::new(kafka, &topic)
        .config("kafka: {properties: {session.timeout.ms: '9000'}}\npark_after: off\n")
        .routing(&routing(&proxy.url()))
        .start();
    let started = Instant::now();
    for kill in 1..=5_usize {
        runs_reach(&langgraph, &prefix, kill * EVENTS / 8);
        bridge.kill9();
        if kill == 3 {
            bridge.start_again();
            runs_reach(&langgraph, &prefix, kill * EVENTS / 8 + 5);
            stop_for_longer_than_a_request_lives(&mut bridge);
        } else {
            bridge.start_again();
        }
    }
    all_committed(kafka, bridge.group(), &topic);
    bridge.stop();
    settled(&proxy, &langgraph);
    let executions = langgraph.executions_of(&prefix);
    println!(
        "five kills and a stop: executions -> events {:?} in {:?}, {:?}",
        histogram(&executions),
        started.elapsed(),
        proxy.faults()
    );
    assert_eq!(histogram(&executions), BTreeMap::from([(1, EVENTS)]));
}

/// The pause itself is what is tested, so this waits on the clock.
fn stop_for_longer_than_a_request_lives(bridge: &mut Bridge) {
    bridge.sigstop();
    let until = Instant::now() + MAX_REQUEST_LIFETIME + Duration::from_secs(2);
    poll(PATIENCE, "the stop is over", || when(Instant::now() >= until, ()));
    bridge.sigcont();
}

#[test]
fn a_ledger_that_was_deleted_doubles_no_graph() {
    let (kafka, langgraph) = (kafka(), LangGraph::start());
    let topic = kafka.topic("relearn", 4);
    let prefix = unique("relearn");
    let events: Vec<_> = (0..50).map(|n| event(&format!("{prefix}-{n:02}"))).collect();
    kafka.produce_all(&topic, events.iter().map(TestEvent::record));
    let rules = routing(&langgraph.url());
    let mut bridge = BridgeSetup::new(kafka, &topic).config(&nothing_is_parked()).routing(&rules).start();
    all_committed(kafka, bridge.group(), &topic);
    bridge.stop();
    langgraph.wait_idle(PATIENCE);
    assert_eq!(histogram(&langgraph.executions_of(&prefix)), BTreeMap::from([(1, 50)]));

    // A new group with no ledger reads the topic from its start.
    let mut again = BridgeSetup::new(kafka, &topic).config(&nothing_is_parked()).routing(&rules).start();
    all_committed(kafka, again.group(), &topic);
    let found = again.metric("attempts_total", &[("agent", "analyst"), ("result", "found")]);
    again.stop();
    langgraph.wait_idle(PATIENCE);
    assert_eq!(histogram(&langgraph.executions_of(&prefix)), BTreeMap::from([(1, 50)]));
    assert!((found - 50.0).abs() < 0.5, "all 50 were found on the server, not {found}");

    // The same group, its folder deleted: the offsets are kept, and what comes again is known to the server.
    bridge.delete_data();
    kafka.produce_all(&topic, events.iter().map(TestEvent::record));
    bridge.start_again();
    all_committed(kafka, bridge.group(), &topic);
    bridge.stop();
    langgraph.wait_idle(PATIENCE);
    assert_eq!(histogram(&langgraph.executions_of(&prefix)), BTreeMap::from([(1, 50)]));
}

#[test]
fn every_graph_runs_once_more_for_each_number_through_a_kill() {
    const SENT: usize = 100;
    let (kafka, langgraph) = (kafka(), LangGraph::start());
    let topic = kafka.topic("again", 4);
    let prefix = unique("again");
    let events: Vec<_> = (0..SENT).map(|n| event(&format!("{prefix}-{n:02}"))).collect();
    kafka.produce_all(&topic, events.iter().map(TestEvent::record));
    let rules = routing(&langgraph.url());
    let mut bridge = BridgeSetup::new(kafka, &topic).config(&nothing_is_parked()).routing(&rules).start();
    all_committed(kafka, bridge.group(), &topic);
    langgraph.wait_idle(PATIENCE);
    assert_eq!(histogram(&langgraph.executions_of(&prefix)), BTreeMap::from([(1, SENT)]));
    for again in [1, 2] {
        let number = again.to_string();
        let arguments = ["replay", "--deliver", "--since", "1h", "--rule", "analyse", "--again", &number, "--yes"];
        let (code, stdout, stderr) = until_kafka_answers("the command", || beside(&bridge, &arguments));
        assert_eq!((code, stdout.lines().count()), (Some(0), SENT), "{stderr}");
        assert!(stderr.contains("LangGraph: it runs again for each, in another thread"), "{stderr}");
        poll(PATIENCE, "some ran again", || {
            let ran: usize = langgraph.executions_of(&prefix).values().sum();
            when(ran >= again * SENT + SENT / 4, ran)
        });
        bridge.kill9();
        println!("killed after {} runs", langgraph.executions_of(&prefix).values().sum::<usize>());
        bridge.start_again();
        all_committed(kafka, bridge.group(), &topic);
        langgraph.wait_idle(PATIENCE);
        assert_eq!(histogram(&langgraph.executions_of(&prefix)), BTreeMap::from([(1 + again, SENT)]));
    }
    let mut threads: Vec<_> =
        langgraph.executed().iter().filter_map(|run| run["thread_id"].as_str().map(str::to_owned)).collect();
    threads.sort();
    threads.dedup();
    assert_eq!(threads.len(), 3 * SENT, "each in a thread of its own");
    bridge.stop();
}

#[test]
fn both_kinds_of_graph_get_the_event() {
    let (kafka, langgraph) = (kafka(), LangGraph::shared());
    let topic = kafka.topic("kinds", 1);
    let prefix = unique("kinds");
    let url = langgraph.url();
    let rules = format!(
        "agents:
  typed: {{langgraph: {{url: '{url}', assistant: analyst}}}}
  chatty: {{langgraph: {{url: '{url}', assistant: chat}}}}
rules:
  - {{name: both, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [typed, chatty]}}
"
    );
    let mut bridge = BridgeSetup::new(kafka, &topic).routing(&rules).start();
    kafka.produce(&topic, event(&format!("{prefix}-1")).record());
    all_committed(kafka, bridge.group(), &topic);
    bridge.stop();
    let ran = || -> Vec<String> {
        let runs = langgraph.executed().into_iter();
        let runs = runs.filter(|run| run["event_id"].as_str().is_some_and(|id| id.starts_with(&prefix)));
        let mut graphs: Vec<_> = runs.filter_map(|run| run["graph"].as_str().map(str::to_owned)).collect();
        graphs.sort();
        graphs
    };
    // The server is idle too before it has begun with them.
    poll(PATIENCE, "both graphs ran", || when(ran().len() >= 2, ran()));
    langgraph.wait_idle(PATIENCE);
    assert_eq!(ran(), ["analyst", "chat"]);
}
