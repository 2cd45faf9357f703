//! One run for each event on other real servers than LangGraph's own: `make test-aegra`, `make
//! test-langgraph-js`. They stand apart because they need more of a machine than `make test`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on says why and ends; figures are printed"
)]

#[path = "../it/kit/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the kit serves tests that come and go")]
mod kit;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use kit::{
    BridgeSetup, FaultPlan, FaultProxy, Flavor, LangGraph, kafka,
    once::{EVENTS, HOLD, all_committed, arrived, histogram, publish_twice, routing, runs_reach, settled},
};

/// Runs on the server for each number of events, and how often the server executed one run: it may repeat
/// a run that it owns, and lose one when it is killed.
fn accepted_once(langgraph: &LangGraph, prefix: &str) -> BTreeMap<usize, usize> {
    let mut executed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for run in langgraph.executed() {
        let text = |name: &str| run[name].as_str().unwrap_or_default().to_owned();
        if text("event_id").starts_with(prefix) {
            executed.entry(text("event_id")).or_default().insert(text("run_id"));
        }
    }
    let double = executed.values().filter(|runs| runs.len() > 1).count();
    assert_eq!(double, 0, "events that two runs executed: {executed:?}");
    println!("executions -> events, as the graph counts them: {:?}", histogram(&langgraph.executions_of(prefix)));
    let runs: BTreeMap<_, _> =
        langgraph.runs().into_iter().filter(|(event_id, _)| event_id.starts_with(prefix)).collect();
    histogram(&runs)
}

/// 200 events, each published twice, through a network that loses and holds, while the bridge is killed three
/// times, and the server `server_kills` times.
fn once_on(flavor: Flavor, server_kills: usize) {
    let (kafka, mut langgraph) = (kafka(), LangGraph::start_flavor(flavor));
    let topic = kafka.topic("other", 4);
    let proxy = FaultProxy::start(&langgraph.url(), FaultPlan::hostile(HOLD), 13);
    let prefix = publish_twice(kafka, &topic);
    let mut bridge = BridgeSetup::new(kafka, &topic)
        .config("kafka: {properties: {session.timeout.ms: '9000'}}\n")
        .routing(&routing(&proxy.url()))
        .start();
    let started = Instant::now();
    for kill in 1..=3_usize {
        runs_reach(&langgraph, &prefix, kill * EVENTS / 8);
        if kill <= server_kills {
            langgraph.kill();
            langgraph.start_again();
        }
        bridge.kill9();
        bridge.start_again();
    }
    all_committed(kafka, bridge.group(), &topic);
    bridge.stop();
    if server_kills == 0 {
        settled(&proxy, &langgraph);
    } else {
        arrived(&proxy);
    }
    let runs = accepted_once(&langgraph, &prefix);
    println!("{flavor:?}: runs -> events {runs:?} in {:?}, {:?}", started.elapsed(), proxy.faults());
    assert_eq!(runs, BTreeMap::from([(1, EVENTS)]));
    assert!(started.elapsed() < Duration::from_secs(600), "it hung");
}

#[test]
fn aegra_accepts_one_run_of_each_event_though_it_is_killed_too() {
    once_on(Flavor::Aegra, 2);
}

#[test]
fn langgraph_js_accepts_one_run_of_each_event() {
    once_on(Flavor::Js, 0);
}
