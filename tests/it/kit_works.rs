//! The kit's own promises: without them the other tests prove nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::kit::{
    self, Broker, FaultPlan, FaultProxy, Flavor, HttpAgent, LangGraph, Link, PATIENCE, Record, Reply, TcpLink,
    bridge::Metrics,
    event, http, poll,
    process::{Log, Process},
    topic_id::topic_id,
    unique, when,
};

#[test]
fn the_broker_gives_back_what_was_published() {
    let kafka = kit::kafka();
    let topic = kafka.topic("kit", 3);
    let first = event("a").record();
    let places = kafka.produce_all(&topic, [first.clone(), Record::tombstone().partition(2)]);
    let stored = kafka.read_all(&topic);
    assert_eq!(stored.len(), 2);
    let read = stored.iter().find(|record| (record.partition, record.offset) == places[0]).expect("it is there");
    assert_eq!((&read.key, &read.value, &read.headers), (&first.key, &first.value, &first.headers));
    let tombstone = stored.iter().find(|record| (record.partition, record.offset) == places[1]).expect("it is there");
    assert_eq!((&tombstone.key, &tombstone.value), (&None, &None));
    assert!(kafka.read_all("never-created").is_empty());
    assert!(!kafka.topic_exists("never-created"), "looking creates nothing");
}

#[test]
fn deleted_records_leave_a_low_watermark() {
    let kafka = kit::kafka();
    let topic = kafka.topic("kit", 1);
    kafka.produce_all(&topic, (0..10).map(|number| Record::new(format!("{number}"))));
    kafka.delete_records(&topic, 0, 6);
    assert_eq!(kafka.watermarks(&topic), BTreeMap::from([(0, (6, 10))]));
    assert_eq!(kafka.lag("nobody", &topic), 4);
}

#[test]
fn a_topic_that_was_deleted_leaves_its_name_to_another() {
    let kafka = kit::kafka();
    let topic = kafka.topic("kit", 2);
    let brokers = || -> Vec<_> {
        kafka.bootstrap().split(',').map(|at| topic_id(at.parse().expect("host:port"), &topic)).collect()
    };
    let first = brokers();
    assert!(first.iter().all(|id| matches!(id, Ok(Some(_)))), "{first:?}");
    kafka.produce_all(&topic, (0..10).map(|number| Record::new(format!("{number}"))));
    assert!(kafka.delete_topic(&topic), "there was one");
    assert!(!kafka.topic_exists(&topic));
    assert!(brokers().iter().all(|id| *id == Ok(None)), "{:?}", brokers());
    assert!(!kafka.delete_topic(&topic), "there is none");
    kafka.create_topic(&topic, 1, &[]);
    assert!(kafka.read_all(&topic).is_empty());
    assert_ne!(brokers(), first);
}

#[test]
fn a_killed_broker_comes_back_with_its_records() {
    let mut broker = Broker::start();
    let topic = broker.topic("kit", 1);
    broker.produce_all(&topic, (0..100).map(|number| Record::new(format!("{number}"))));
    broker.kill();
    broker.start_again();
    let values: Vec<String> = broker.read_all(&topic).iter().map(kit::Stored::text).collect();
    assert_eq!(values, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    broker.stop();
}

/// Posts a run as the bridge will: a thread of its own, then the run.
fn run_on(url: &str, assistant: &str, input: &serde_json::Value) {
    let thread = uuid::Uuid::new_v4();
    let (status, body) =
        http::post(&format!("{url}/threads"), &json!({"thread_id": thread.to_string()})).expect("it answers");
    assert_eq!(status, 200, "{body}");
    let run = json!({"assistant_id": assistant, "input": input, "multitask_strategy": "reject"});
    let (status, body) = http::post(&format!("{url}/threads/{thread}/runs"), &run).expect("it answers");
    assert_eq!(status, 200, "{body}");
}

/// The executions of the event, and how many runs they are of.
fn executed(langgraph: &LangGraph, id: &str) -> (usize, usize) {
    let executed = langgraph.executed().into_iter().filter(|run| run["event_id"] == id);
    let runs: Vec<String> = executed.map(|run| run["run_id"].to_string()).collect();
    (runs.len(), runs.iter().collect::<BTreeSet<_>>().len())
}

#[test]
fn a_server_executes_a_run_twice_when_it_is_told_to_and_when_it_is_restarted() {
    let mut langgraph = LangGraph::start_that_executes_again(Flavor::Dev);
    let (told, restarted) = (unique("told"), unique("restarted"));
    langgraph.execute_again(100);
    run_on(&langgraph.url(), "analyst", &json!({"event": event(&told).json()}));
    poll(PATIENCE, "it was executed twice", || {
        let seen = executed(&langgraph, &told);
        when(seen == (2, 1), seen)
    });
    langgraph.wait_idle(PATIENCE);
    langgraph.execute_again(0);
    run_on(&langgraph.url(), "analyst", &json!({"event": event(&restarted).json()}));
    // It is under way for a moment, and whether the server ends in that moment is chance: at least it is not lost.
    langgraph.stop();
    langgraph.start_again();
    langgraph.wait_idle(PATIENCE);
    let (executions, runs) = executed(&langgraph, &restarted);
    assert!((1..=2).contains(&executions) && runs == 1, "{executions} executions of {runs} runs");
}

#[test]
fn both_graphs_count_one_execution_for_one_run() {
    let langgraph = LangGraph::shared();
    for assistant in ["analyst", "chat"] {
        let id = unique(assistant);
        let event = event(&id).json().clone();
        let message = json!({"role": "user", "content": event.to_string()});
        run_on(&langgraph.url(), assistant, &json!({"event": event, "messages": [message]}));
        let counted = poll(PATIENCE, "the graph has run", || {
            let counted = langgraph.executions_of(&id);
            if counted.is_empty() { Err(langgraph.executions()) } else { Ok(counted) }
        });
        assert_eq!(counted, BTreeMap::from([(id.clone(), 1)]));
        let execution = langgraph.executed().into_iter().find(|run| run["event_id"] == id.as_str()).expect("counted");
        assert_eq!(execution["graph"], assistant);
        assert_eq!(execution["run_id"].as_str().map(str::len), Some(36), "{execution}");
    }
    // Other tests use it too.
    langgraph.wait_idle(4 * PATIENCE);
}

#[test]
fn a_dropped_request_never_arrives_and_a_dropped_response_does() {
    let agent = HttpAgent::start();
    let proxy = FaultProxy::start(&agent.url(), FaultPlan { drop_requests: 1.0, ..FaultPlan::default() }, 1);
    let lost = http::post(&proxy.url(), &json!({"event_id": "lost"}));
    assert!(lost.is_err(), "{lost:?}");
    assert_eq!(agent.count(), 0);
    proxy.set_plan(FaultPlan { drop_responses: 1.0, ..FaultPlan::default() });
    let unanswered = http::post(&proxy.url(), &json!({"event_id": "unanswered"}));
    assert!(unanswered.is_err(), "{unanswered:?}");
    assert_eq!(agent.accepted_by_event(), BTreeMap::from([("unanswered".to_owned(), 1)]));
    proxy.set_plan(FaultPlan::default());
    assert_eq!(http::post(&proxy.url(), &json!({"event_id": "fine"})).map(|answer| answer.0), Ok(200));
    let faults = proxy.faults();
    assert_eq!((faults.requests, faults.requests_dropped, faults.responses_dropped), (3, 1, 1));
}

/// Sends a request on a link that loses it. Then the link holds what it is given, and has cut this connection.
fn lose(link: &TcpLink, id: &str) {
    let body = json!({"event_id": id}).to_string();
    let request = format!("POST / HTTP/1.1\r\nhost: agent\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut client = TcpStream::connect(link.address()).expect("it listens");
    client.write_all(request.as_bytes()).expect("it is taken");
    // What the link has not read by then it may still carry when it is open again.
    poll(PATIENCE, "the request is lost", || when(link.lost() == request.len(), link.lost()));
    link.set(Link::Held);
    client.set_read_timeout(Some(PATIENCE)).expect("a time");
    match client.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("the connection stands: {other:?}"),
    }
}

#[test]
fn a_link_refuses_loses_holds_and_slows() {
    let agent = HttpAgent::start();
    let link = TcpLink::start(agent.address());
    let post = |id: &str| {
        let request = http::client().post(format!("http://{}/", link.address())).json(&json!({"event_id": id}));
        http::send_within(PATIENCE, request).map(|answer| answer.status().as_u16())
    };
    assert_eq!(post("open").ok(), Some(200));

    link.set(Link::Refused);
    poll(PATIENCE, "a connection is refused", || {
        let answer = post("refused");
        when(answer.as_ref().is_err_and(reqwest::Error::is_connect), format!("{answer:?}"))
    });
    link.set(Link::Open);
    poll(PATIENCE, "it is open again", || when(post("again").is_ok(), ()));

    link.set(Link::Lossy);
    lose(&link, "lost");
    thread::scope(|scope| {
        // A server may drop a request whose client has gone when it arrives, so this client waits.
        let held = scope.spawn(|| post("held"));
        let (began, soon) = (Instant::now(), Duration::from_millis(500));
        poll(PATIENCE, "it has had time to arrive", || when(began.elapsed() >= soon, ()));
        let before = agent.sent_by_event();
        assert!(!before.contains_key("held"), "{before:?}");
        link.set(Link::Open);
        assert_eq!(held.join().expect("no panic").ok(), Some(200), "what was held arrives");
    });
    link.set(Link::Slow(Duration::from_millis(150)));
    let start = Instant::now();
    assert_eq!(post("slow").ok(), Some(200));
    assert!(start.elapsed() >= Duration::from_millis(300), "a read for each direction: {:?}", start.elapsed());
    let sent = agent.sent_by_event();
    assert!(!sent.contains_key("lost") && !sent.contains_key("refused"), "what was lost stays lost: {sent:?}");
}

#[test]
fn a_held_run_post_arrives_after_its_client_has_gone() {
    let agent = HttpAgent::start();
    // So long that it is seen, and the client has gone before its end, although the machine may stand still.
    let hold_for = Duration::from_secs(30);
    let proxy = FaultProxy::start(&agent.url(), FaultPlan { hold_runs: 1.0, hold_for, ..FaultPlan::default() }, 1);
    let start = Instant::now();
    let run_post = http::client().post(format!("{}/threads/x/runs", proxy.url())).json(&json!({"event_id": "held"}));
    let client = kit::runtime().spawn(run_post.send());
    poll(PATIENCE, "the request is held", || {
        let faults = proxy.faults();
        when(faults.holding == 1, faults)
    });
    client.abort();
    assert!(agent.count() == 0 || start.elapsed() >= hold_for, "it arrived after {:?}", start.elapsed());
    agent.wait_accepted(1, PATIENCE);
    assert!(start.elapsed() >= hold_for, "it arrived after {:?}", start.elapsed());
    poll(PATIENCE, "nothing is held any more", || {
        let faults = proxy.faults();
        when(faults.holding == 0 && faults.abandoned == 1 && faults.runs_held == 1, faults)
    });
    assert_eq!(http::post(&format!("{}/threads", proxy.url()), &json!({})).map(|answer| answer.0), Ok(200));
    assert_eq!(proxy.faults().runs_held, 1, "only run posts are held");
}

#[test]
fn the_shares_of_the_faults_are_those_of_the_plan() {
    let agent = HttpAgent::start();
    let proxy = FaultProxy::start(&agent.url(), FaultPlan::hostile(Duration::ZERO), 7);
    for number in 0..400 {
        let _ = http::post(&format!("{}/threads/{number}/runs", proxy.url()), &json!({"event_id": "x"}));
    }
    let faults = proxy.faults();
    // Shares that were drawn are near to those of the plan.
    let share = |part: u64, of: u64| part as f64 / of as f64;
    let near = |seen: f64, wanted: f64| (seen - wanted).abs() < 0.06;
    assert!(near(share(faults.requests_dropped, faults.requests), 0.15), "{faults:?}");
    assert!(near(share(faults.responses_dropped, faults.forwarded), 0.15), "{faults:?}");
    assert!(near(share(faults.runs_held, faults.forwarded), 0.2), "{faults:?}");
    assert_eq!(u64::try_from(agent.count()), Ok(faults.forwarded));
}

#[test]
fn the_agent_answers_as_it_is_told_and_keeps_every_request() {
    let agent = HttpAgent::start();
    let url = agent.url();
    agent.require_key(Some("new"));
    assert_eq!(http::post(&url, &json!({"event_id": "a"})).map(|answer| answer.0), Ok(401));
    let with_key = http::client().post(&url).header("x-api-key", "new").header("idempotency-key", "k");
    assert_eq!(http::send(with_key.json(&json!({"event_id": "a"}))).map(|answer| answer.0), Ok(200));
    agent.require_key(None);
    agent.behave(|request| match request.event_id.as_str() {
        "bad" => Reply::Status(400),
        "busy" => Reply::RetryAfter(503, 20),
        "closed" => Reply::Close,
        _ => Reply::ok_after(Duration::from_millis(1)),
    });
    assert_eq!(http::post(&url, &json!({"event_id": "bad"})).map(|answer| answer.0), Ok(400));
    let busy = http::client().post(&url).json(&json!({"event_id": "busy"}));
    let busy = http::send_within(PATIENCE, busy).expect("it answers");
    assert_eq!((busy.status().as_u16(), &busy.headers()["retry-after"]), (503, &20.into()));
    assert!(http::post(&url, &json!({"event_id": "closed"})).is_err());
    agent.reply(Reply::Hang);
    let hung = kit::runtime().spawn(http::client().post(&url).json(&json!({"event_id": "hung"})).send());
    poll(PATIENCE, "the request has come", || when(agent.sent_by_event().contains_key("hung"), agent.count()));
    thread::sleep(Duration::from_millis(200));
    assert!(!hung.is_finished(), "it has no answer");
    hung.abort();
    agent.close();
    assert!(http::post(&url, &json!({"event_id": "away"})).is_err());
    agent.open();
    agent.reply(Reply::Status(202));
    assert_eq!(http::post(&url, &json!({"event_id": "b"})).map(|answer| answer.0), Ok(202));
    let accepted: Vec<_> =
        agent.accepted().iter().map(|request| (request.event_id.clone(), request.key.clone())).collect();
    assert_eq!(accepted, [("a".to_owned(), Some("k".to_owned())), ("b".to_owned(), None)]);
    assert_eq!(agent.sent_by_event()["hung"], 1);
}

#[test]
fn metrics_are_read_with_their_labels() {
    let metrics = Metrics::parse(
        "# HELP x help\n# TYPE x counter\nworkflow_bridge_events_total{outcome=\"delivered\"} 3\n\
         workflow_bridge_events_total{outcome=\"a \\\"b\\\", c\",x=\"\"} 4\nplain 1.5\n",
    );
    assert_eq!(metrics.sum("events_total", &[("outcome", "delivered")]).to_string(), "3");
    assert_eq!(metrics.sum("events_total", &[("outcome", "a \"b\", c")]).to_string(), "4");
    assert_eq!(metrics.sum("workflow_bridge_events_total", &[]).to_string(), "7");
    assert_eq!(metrics.sum("plain", &[("no", "label")]).to_string(), "0");
}

#[test]
fn a_poll_that_fails_tells_what_it_saw() {
    let mut asked = 0;
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        poll(Duration::from_secs(2), "a number that never comes", || {
            asked += 1;
            when(false, format!("{} so far", asked.min(2)))
        });
    }));
    let message = *failed.expect_err("it gives up").downcast::<String>().expect("a text");
    // A machine that stands still before the first look has no second one.
    let seen = (1..=asked.min(2)).map(|number| format!("{number} so far"));
    for part in seen.chain(["a number that never comes".to_owned()]) {
        assert!(message.contains(&part), "{message}");
    }
}

/// Set for the inner process of the test below: it starts a child that would sleep for ever, says who it
/// is, and waits to be killed.
const INNER: &str = "KIT_WORKS_INNER";

fn wait_to_be_killed() {
    let mut sleeper = Command::new("sleep");
    sleeper.arg("100000");
    let child = Process::spawn("sleeper", &sleeper, Arc::new(Log::default()));
    let folder = kit::process::Scratch::new("killed");
    println!("child {} {}", child.pid(), folder.display());
    thread::sleep(Duration::from_secs(600));
}

#[test]
fn no_child_outlives_a_killed_test_process() {
    if std::env::var_os(INNER).is_some() {
        return wait_to_be_killed();
    }
    let mut inner = Command::new(std::env::current_exe().expect("this test has a path"));
    inner.args(["--exact", "--nocapture", "kit_works::no_child_outlives_a_killed_test_process"]).env(INNER, "1");
    let log = Arc::new(Log::default());
    let mut tests = Process::spawn("the inner tests", &inner, Arc::clone(&log));
    let said = poll(PATIENCE, "the inner tests start their child", || {
        let lines = log.since(0);
        lines.iter().find_map(|line| line.split_once("child ").map(|(_, rest)| rest.to_owned())).ok_or(lines)
    });
    let (pid, folder) = said.split_once(' ').expect("a pid and a folder");
    let alive = || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    let folder = std::path::Path::new(folder);
    assert!(alive() && folder.exists());
    tests.kill();
    poll(PATIENCE, "the child and its folder are gone", || {
        when(!alive() && !folder.exists(), format!("alive: {}, folder: {}", alive(), folder.exists()))
    });
}
