use std::{net::Ipv4Addr, time::Duration};

use serde_json::{Value, json};

use super::super::{testing::*, *};
use crate::demo::agent::{SampleAgent, SampleOptions};

async fn sample(options: SampleOptions) -> SampleAgent {
    SampleAgent::start((Ipv4Addr::LOCALHOST, 0).into(), options).await.unwrap()
}

fn asked(sample: &SampleAgent) -> Vec<String> {
    let kind = |path: &str| match path.split('?').next().unwrap_or("").split('/').skip(1).collect::<Vec<_>>()[..] {
        ["threads"] => "claim",
        ["threads", _] => "whose",
        ["threads", _, "runs"] => "runs",
        _ => "other",
    };
    sample.requests().iter().map(|r| format!("{} {} {}", r.method, kind(&r.path), r.status)).collect()
}

#[tokio::test]
async fn a_delivery_is_claimed_and_run_once() {
    let server = sample(SampleOptions::default()).await;
    let (mut spec, mut langgraph) = langgraph_spec(server.addr());
    langgraph.ttl = Some(Ttl { after: Duration::from_secs(8 * 24 * 3600), strategy: TtlStrategy::KeepLatest });
    langgraph.context = Some(json!({"tone": "dry"}));
    spec.endpoint = Endpoint::LangGraph(langgraph);
    let (agent, _) = connect(spec);
    let delivery = delivery("e1");

    let answer = agent.attempt(&mut agent.session(), &delivery).await;
    assert!(matches!(&answer, Answer::Accepted { run_id: Some(_), found: false, status: Some(200) }), "{answer:?}");
    assert_eq!(asked(&server), ["POST claim 200", "POST runs 200"]);
    assert_eq!(server.executions(), [("e1".to_owned(), 1)].into());
    let run = &server.runs()[0];
    let document = delivery.event.document();
    assert_eq!(run["assistant_id"], "analyst");
    assert_eq!(run["multitask_strategy"], "reject");
    assert_eq!(run["context"], json!({"tone": "dry"}));
    assert_eq!(run["input"]["event"], *document);
    assert_eq!(run["input"]["messages"], json!([{"role": "user", "content": document.to_string()}]));
    let metadata = json!({
        "event_id": "e1", "event_type": "WORKFLOW_COMPLETED", "workflow_id": "etl", "workflow_run_id": "run 1",
        "rule": "rule", "agent": "agent", "kafka_topic": "workflow-events", "kafka_partition": 3,
        "kafka_offset": 42, "traceparent": TRACEPARENT, "delivery_id": delivery.id.to_string(),
    });
    let mark = json!({"delivery_id": delivery.id.to_string()});
    assert_eq!(run["config"], json!({"tags": ["WORKFLOW_COMPLETED", "etl"], "metadata": mark}));
    assert_eq!(run["metadata"], metadata);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_rendered_template_is_the_input() {
    let server = sample(SampleOptions::default()).await;
    let (agent, _) = connect(langgraph_spec(server.addr()).0);
    let delivery = Delivery { body: Some(json!({"messages": []})), ..delivery("e1") };
    agent.attempt(&mut agent.session(), &delivery).await;
    assert_eq!(server.runs()[0]["input"], json!({"messages": []}));
}

#[tokio::test]
async fn another_process_finds_the_run() {
    let server = sample(SampleOptions::default()).await;
    let (agent, _) = connect(langgraph_spec(server.addr()).0);
    agent.attempt(&mut agent.session(), &delivery("e1")).await;
    let answer = agent.attempt(&mut agent.session(), &delivery("e1")).await;
    assert!(matches!(answer, Answer::Accepted { found: true, .. }), "{answer:?}");
    assert_eq!(server.executions()["e1"], 1);
}

#[tokio::test]
async fn a_run_whose_answer_was_lost_is_found_at_once() {
    let server = sample(SampleOptions { lose_first: 1, ..SampleOptions::default() }).await;
    let (agent, _) = connect(langgraph_spec(server.addr()).0);
    let answer = agent.attempt(&mut agent.session(), &delivery("e1")).await;
    assert!(matches!(answer, Answer::Accepted { found: true, .. }), "{answer:?}");
    assert_eq!(server.executions()["e1"], 1);
}

#[tokio::test]
async fn a_post_answered_503_is_repeated_only_after_settle_and_a_claim_of_the_next_turn() {
    let server = sample(SampleOptions { fail_first: 1, ..SampleOptions::default() }).await;
    let (agent, clock) = connect(langgraph_spec(server.addr()).0);
    let (mut session, delivery) = (agent.session(), delivery("e1"));
    let failure = failed(agent.attempt(&mut session, &delivery).await);
    assert_eq!((failure.class, failure.status, failure.kind), (Class::Ambiguous, Some(503), "503"));
    assert!(failure.reason.ends_with("not yet"), "{}", failure.reason);

    clock.pass(Duration::from_secs(20));
    assert_eq!(agent.attempt(&mut session, &delivery).await, Answer::Wait(Duration::from_secs(40)));
    clock.pass(Duration::from_secs(40));
    let answer = agent.attempt(&mut session, &delivery).await;
    assert!(matches!(answer, Answer::Accepted { found: false, .. }), "{answer:?}");
    let expected = [
        "POST claim 200",
        "POST runs 503",
        "GET runs 200", // refused
        "GET runs 200", // too early
        "GET runs 200",
        "POST claim 200",
        "GET runs 200",
        "POST runs 200",
    ];
    assert_eq!(asked(&server), expected);
}

#[tokio::test]
async fn anothers_claim_is_waited_for() {
    let server = sample(SampleOptions { fail_first: 1, ..SampleOptions::default() }).await;
    let (agent, clock) = connect(langgraph_spec(server.addr()).0);
    failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    let mut second = agent.session();
    let takeover = SETTLE + Duration::from_secs(10);
    assert_eq!(agent.attempt(&mut second, &delivery("e1")).await, Answer::Wait(takeover));
    clock.pass(takeover);
    let answer = agent.attempt(&mut second, &delivery("e1")).await;
    assert!(matches!(answer, Answer::Accepted { found: false, .. }), "{answer:?}");
    assert_eq!(server.executions()["e1"], 1);
}

#[tokio::test]
async fn a_process_that_was_stopped_before_the_write_does_not_write() {
    let server = sample(SampleOptions::default()).await;
    let (agent, clock) = connect(langgraph_spec(server.addr()).0);
    // 1: the attempt begins, 2: the claim is written, 3: it is answered, 4: the post is to be written.
    clock.stop_before_call(4);
    let answer = agent.attempt(&mut agent.session(), &delivery("e1")).await;
    assert!(matches!(answer, Answer::Accepted { found: false, .. }), "{answer:?}");
    let answered: Vec<_> = asked(&server).into_iter().filter(|line| line.ends_with("200")).collect();
    let expected = ["POST claim 200", "GET runs 200", "POST claim 200", "GET runs 200", "POST runs 200"];
    assert_eq!(answered, expected);
    assert_eq!(server.executions()["e1"], 1);
}

#[tokio::test]
async fn a_post_that_was_dropped_on_the_way_counts_as_ambiguous() {
    let server = Scripted::start(|heard| {
        if heard.line == "POST /threads" {
            let body: Value = serde_json::from_slice(&heard.body).unwrap();
            Act::json(200, &json!({"thread_id": body["thread_id"], "metadata": body["metadata"]}))
        } else if heard.line.starts_with("POST") {
            Act::Hang
        } else {
            Act::json(200, &json!([]))
        }
    })
    .await;
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    let (mut session, delivery) = (agent.session(), delivery("e1"));
    tokio::select! {
        answer = agent.attempt(&mut session, &delivery) => panic!("{answer:?}"),
        () = until(|| server.lines().len() == 2) => {}
    }
    assert_eq!(agent.attempt(&mut session, &delivery).await, Answer::Wait(SETTLE));
}

async fn until(done: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within five seconds");
}

/// What the server does with the post.
type Acts = fn() -> Act;

/// A server that grants every claim, shows no run, and does `act` with the post.
async fn posting_to(act: Acts) -> Scripted {
    Scripted::start(move |heard| match heard.line.split(' ').next() {
        Some("POST") if heard.line == "POST /threads" => {
            let body: Value = serde_json::from_slice(&heard.body).unwrap();
            Act::json(200, &json!({"thread_id": body["thread_id"], "metadata": body["metadata"]}))
        }
        Some("POST") => act(),
        _ => Act::json(200, &json!([])),
    })
    .await
}

async fn attempt_with_post(act: Acts) -> (Failure, Answer) {
    let server = posting_to(act).await;
    let (mut spec, _) = langgraph_spec(server.addr);
    // Long enough for what is answered, on a slow machine too.
    spec.timeout = Duration::from_secs(if matches!(act(), Act::Hang) { 2 } else { 30 });
    let (agent, _) = connect(spec);
    let mut session = agent.session();
    let failure = failed(agent.attempt(&mut session, &delivery("e1")).await);
    let next = agent.attempt(&mut session, &delivery("e1")).await;
    (failure, next)
}

#[tokio::test]
async fn what_may_have_been_accepted_is_ambiguous_and_waited_for() {
    let cases: [(&str, Acts); 6] = [
        ("unreadable", || Act::text(200, "content-type: text/html\r\n", "<html>sign in</html>")),
        ("unreadable", || Act::json(200, &json!({"run_id": "r", "thread_id": "of somebody else"}))),
        ("5xx", || Act::text(502, "", "")),
        ("4xx", || Act::text(408, "", "")),
        ("io", || Act::Close),
        ("timeout", || Act::Hang),
    ];
    for (kind, act) in cases {
        let (failure, next) = attempt_with_post(act).await;
        assert_eq!((failure.class, failure.kind), (Class::Ambiguous, kind), "{}", failure.reason);
        assert_eq!(next, Answer::Wait(SETTLE), "{kind}");
    }
}

#[tokio::test]
async fn what_was_refused_is_repeated_without_a_wait() {
    let cases: [(Class, &str, Acts); 8] = [
        (Class::Busy, "409", || {
            let busy =
                "Thread is already running a task. Wait for it to finish or choose a different multitask strategy.";
            Act::text(422, "content-type: text/plain;charset=UTF-8\r\n", busy)
        }),
        (Class::AgentFault, "unknown_assistant", || {
            Act::text(
                404,
                "content-type: text/plain\r\n",
                "No assistant found for \"x\". Make sure the assistant ID is",
            )
        }),
        (Class::EventFault, "422", || Act::json(422, &json!({"detail": "7 is not an object, Invalid assistant"}))),
        (Class::AgentFault, "unknown_assistant", || {
            Act::json(422, &json!({"detail": "Invalid assistant: 'x'. Must be either:\n- A valid assistant UUID"}))
        }),
        (Class::AgentFault, "404", || Act::json(404, &json!({"detail": "Thread or assistant not found."}))),
        (Class::AgentFault, "429", || Act::text(429, "retry-after: 7\r\n", "")),
        (Class::AgentFault, "3xx", || Act::text(307, "location: http://127.0.0.1:1/\r\n", "")),
        (Class::Busy, "409", || Act::json(409, &json!({"detail": "busy"}))),
    ];
    for (class, kind, act) in cases {
        let (failure, next) = attempt_with_post(act).await;
        assert_eq!((failure.class, failure.kind), (class, kind), "{}", failure.reason);
        assert_eq!(failure.retry_after, (kind == "429").then_some(Duration::from_secs(7)));
        assert_eq!(failed(next).kind, kind);
    }
}

#[tokio::test]
async fn an_agent_that_is_away_is_tried_again_without_a_wait() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (agent, _) = connect(langgraph_spec(gone).0);
    let mut session = agent.session();
    for _ in 0..2 {
        let failure = failed(agent.attempt(&mut session, &delivery("e1")).await);
        assert_eq!((failure.class, failure.kind, failure.status), (Class::AgentFault, "connect", None));
        assert!(
            failure.reason.starts_with(&format!("POST http://{gone}/threads was not answered: ")),
            "{}",
            failure.reason
        );
    }
}

#[tokio::test]
async fn an_unknown_assistant_is_the_agents_fault() {
    let server = sample(SampleOptions::default()).await;
    for (assistant, kind) in [("nope", "unknown_assistant"), ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "404")] {
        let (mut spec, mut langgraph) = langgraph_spec(server.addr());
        langgraph.assistant = assistant.into();
        spec.endpoint = Endpoint::LangGraph(langgraph);
        let (agent, _) = connect(spec);
        let failure = failed(agent.attempt(&mut agent.session(), &delivery(assistant)).await);
        assert_eq!((failure.class, failure.kind), (Class::AgentFault, kind));
    }
}

#[tokio::test]
async fn a_refused_key_is_the_agents_fault_and_is_never_shown() {
    let server = Scripted::start(|heard| {
        let key = heard.head.lines().find_map(|line| line.strip_prefix("x-api-key: ")).unwrap_or("");
        Act::json(401, &json!({"detail": format!("no such key: {key}")}))
    })
    .await;
    let (mut spec, mut langgraph) = langgraph_spec(server.addr);
    langgraph.api_key = Some(secret("hunter2"));
    spec.endpoint = Endpoint::LangGraph(langgraph);
    let (agent, _) = connect(spec);
    let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    assert_eq!((failure.class, failure.kind, failure.status), (Class::AgentFault, "401", Some(401)));
    assert!(failure.reason.ends_with("no such key: [secret]"), "{}", failure.reason);
    assert!(!format!("{agent:?}{failure:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_secret_that_is_gone_is_the_agents_fault() {
    let server = sample(SampleOptions::default()).await;
    let (mut spec, mut langgraph) = langgraph_spec(server.addr());
    langgraph.api_key = Some(Secret::File("/nonexistent/key".into()));
    spec.endpoint = Endpoint::LangGraph(langgraph);
    let (agent, _) = connect(spec);
    let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    assert_eq!((failure.class, failure.kind), (Class::AgentFault, "secret"));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_claim_that_nobody_can_see_is_the_agents_fault() {
    let server = Scripted::start(|heard| {
        if heard.line.starts_with("POST") {
            Act::json(409, &json!({"detail": "exists"}))
        } else {
            Act::json(404, &json!({"detail": "Thread with ID x not found"}))
        }
    })
    .await;
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    assert_eq!((failure.class, failure.kind), (Class::AgentFault, "claim_invisible"));
    assert_eq!(server.lines().len(), 4, "{:?}", server.lines());
}

#[tokio::test]
async fn a_look_reads_past_the_runs_of_others() {
    let ours = delivery("e1").id.to_string();
    let server = Scripted::start(move |heard| {
        if heard.line.starts_with("POST") {
            return Act::json(409, &json!({"detail": "exists"}));
        }
        let other = json!({"run_id": "other", "metadata": {"event_id": "e1"}});
        let page = if heard.line.contains("offset=0") {
            vec![other; 7]
        } else {
            vec![json!({"run_id": "ours", "metadata": {"delivery_id": ours}})]
        };
        Act::json(200, &page.into())
    })
    .await;
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    let answer = agent.attempt(&mut agent.session(), &delivery("e1")).await;
    assert_eq!(answer, Answer::Accepted { run_id: Some("ours".into()), found: true, status: Some(200) });
    assert!(server.lines()[2].contains("offset=7"), "however many the server gives: {:?}", server.lines());
}

#[tokio::test]
async fn a_list_without_an_end_is_not_read_for_ever_and_is_never_no_run() {
    let server = Scripted::start(|heard| {
        if heard.line.starts_with("POST") {
            return Act::json(409, &json!({"detail": "exists"}));
        }
        let page = json!([{"run_id": heard.line, "metadata": {}}]);
        Act::json(200, &page)
    })
    .await;
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    assert_eq!((failure.class, failure.kind), (Class::Busy, "unknown_run"), "{}", failure.reason);
    assert_eq!(server.lines().len(), 1 + super::wording::PAGES);
}

/// A server that answers every claim 200 without the thread's metadata, but refuses those from the `refuses`th on.
async fn claims_without_metadata(refuses: usize) -> Scripted {
    let claims = std::sync::atomic::AtomicUsize::new(0);
    Scripted::start(move |heard| {
        let body: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
        if heard.line != "POST /threads" {
            let thread = heard.line.split('/').nth(2).unwrap_or_default();
            return Act::json(200, &json!({"run_id": "r", "thread_id": thread}));
        }
        if claims.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 == refuses {
            return Act::json(409, &json!({"detail": "exists"}));
        }
        Act::json(200, &json!({"thread_id": body["thread_id"]}))
    })
    .await
}

#[tokio::test]
async fn a_claim_that_does_not_say_whose_it_is_counts_when_the_thread_is_then_refused() {
    let server = claims_without_metadata(2).await;
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    for event in ["e1", "e2"] {
        let answer = agent.attempt(&mut agent.session(), &delivery(event)).await;
        assert!(matches!(answer, Answer::Accepted { found: false, .. }), "{answer:?}");
    }
    let claims = server.lines().iter().filter(|line| *line == "POST /threads").count();
    assert_eq!(claims, 3, "the second delivery knows already: {:?}", server.lines());
}

#[tokio::test]
async fn a_server_on_which_nothing_can_be_claimed_gets_no_run() {
    let server = claims_without_metadata(0).await;
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    assert_eq!((failure.class, failure.kind), (Class::AgentFault, "claim_invisible"));
    assert!(failure.reason.contains("if_exists: raise"), "{}", failure.reason);
    assert_eq!(server.lines(), ["POST /threads", "POST /threads"]);
}

/// A server whose thread for e1 was claimed by another process and holds one run, which is shown as `run`. It
/// takes every other event, and shows those runs as it was given them.
async fn with_a_run(run: Value) -> Scripted {
    let known = delivery("e1").id.to_string();
    let given = std::sync::Mutex::new(json!([]));
    Scripted::start(move |heard| {
        let body: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
        let mut given = given.lock().unwrap();
        match heard.line.split_once(' ').unwrap() {
            ("POST", "/threads") if body["thread_id"] == known => Act::json(409, &json!({"detail": "exists"})),
            ("POST", "/threads") => {
                Act::json(200, &json!({"thread_id": body["thread_id"], "metadata": body["metadata"]}))
            }
            ("POST", path) => {
                assert!(!path.contains(&known), "a second run");
                let thread = path.split('/').nth(2);
                *given = json!([{"run_id": "r", "thread_id": thread, "metadata": body["metadata"]}]);
                Act::json(200, &given[0])
            }
            (_, path) if path.contains("/runs?") && !path.contains("offset=0") => Act::json(200, &json!([])),
            (_, path) if path.contains("/runs?") && path.contains(&known) => Act::json(200, &json!([run])),
            (_, path) if path.contains("/runs?") => Act::json(200, &given),
            (_, path) if path.contains("/runs/") => Act::json(200, &run),
            (_, path) if path.ends_with(&known) => {
                Act::json(200, &json!({"thread_id": known, "metadata": {"nonce": "x"}}))
            }
            _ => Act::json(404, &json!({"detail": "Thread not found"})),
        }
    })
    .await
}

#[tokio::test]
async fn a_run_that_nothing_tells_about_is_neither_no_run_nor_acceptance() {
    let server = with_a_run(json!({"run_id": "r1", "metadata": null})).await;
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    assert_eq!((failure.class, failure.kind), (Class::EventFault, "unknown_run"), "a dead letter says so");
    assert!(failure.reason.starts_with("run r1 on the event's own thread "), "{}", failure.reason);
}

#[tokio::test]
async fn a_run_without_our_mark_is_anothers_once_the_server_has_shown_marks() {
    // Inherited from the thread, as a run of Studio's on it would.
    let server = with_a_run(json!({"run_id": "r1", "metadata": {"event_id": "e1", "nonce": "x"}})).await;
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    let mut session = agent.session();
    let failure = failed(agent.attempt(&mut session, &delivery("e1")).await);
    assert_eq!((failure.class, failure.kind), (Class::Busy, "unknown_run"), "it may be a server that shows no marks");
    let answer = agent.attempt(&mut agent.session(), &delivery("e2")).await;
    assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
    let takeover = SETTLE + Duration::from_secs(10);
    assert_eq!(agent.attempt(&mut session, &delivery("e1")).await, Answer::Wait(takeover));
}

#[tokio::test]
async fn a_run_whose_own_page_shows_the_mark_is_ours() {
    let ours = delivery("e1").id.to_string();
    let listed = json!({"run_id": "r1"});
    let server = Scripted::start(move |heard| match heard.line.split_once(' ').unwrap() {
        ("POST", _) => Act::json(409, &json!({"detail": "exists"})),
        (_, path) if path.contains("offset=0") => Act::json(200, &json!([listed])),
        (_, path) if path.contains("offset=") => Act::json(200, &json!([])),
        _ => Act::json(200, &json!({"run_id": "r1", "config": {"metadata": {"delivery_id": ours}}})),
    })
    .await;
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    let answer = agent.attempt(&mut agent.session(), &delivery("e1")).await;
    assert_eq!(answer, Answer::Accepted { run_id: Some("r1".into()), found: true, status: Some(200) });
}

#[tokio::test]
async fn a_thread_that_a_busy_server_has_lost_is_claimed_again() {
    // LangGraph.js says busy when the thread is gone, and 404 in plain text when it is looked at.
    let posts = std::sync::atomic::AtomicUsize::new(0);
    let server = Scripted::start(move |heard| {
        let body: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
        match heard.line.split_once(' ').unwrap() {
            ("POST", "/threads") => {
                Act::json(200, &json!({"thread_id": body["thread_id"], "metadata": body["metadata"]}))
            }
            ("POST", _) if posts.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 => {
                Act::text(422, "content-type: text/plain\r\n", "Thread is already running a task. Wait for it.")
            }
            ("POST", path) => Act::json(200, &json!({"run_id": "r", "thread_id": path.split('/').nth(2)})),
            _ => Act::text(404, "content-type: text/plain\r\n", "Thread with ID x not found"),
        }
    })
    .await;
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    let answer = agent.attempt(&mut agent.session(), &delivery("e1")).await;
    assert!(matches!(answer, Answer::Accepted { found: false, .. }), "{answer:?}");
}

#[tokio::test]
async fn an_endless_answer_is_read_up_to_the_limit() {
    let server = Scripted::start(|_| Act::text(400, "", &"x".repeat(8 * 1024 * 1024))).await;
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    assert_eq!((failure.class, failure.status), (Class::AgentFault, Some(400)));
    assert_eq!(failure.reason.len(), MAX_REASON_BYTES);
}

/// A run that was created is found by a look when the answer that says so cannot be read, and it is
/// never asked for twice.
#[tokio::test]
async fn a_run_whose_answer_cannot_be_parsed_is_looked_for_and_never_posted_again() {
    for head in ["content-length: two\r\n", "content-length: 1\r\ncontent-length: 2\r\n", "content-le"] {
        let server = Scripted::start(move |heard| match heard.line.split(' ').next() {
            Some("POST") if heard.line == "POST /threads" => {
                let body: Value = serde_json::from_slice(&heard.body).unwrap();
                Act::json(200, &json!({"thread_id": body["thread_id"], "metadata": body["metadata"]}))
            }
            Some("POST") => Act::Raw(format!("HTTP/1.1 200 OK\r\n{head}\r\n{{}}").into()),
            _ => {
                Act::json(200, &json!([{"run_id": "ours", "metadata": {"delivery_id": delivery("e1").id.to_string()}}]))
            }
        })
        .await;
        let (agent, _) = connect(langgraph_spec(server.addr).0);
        let answer = agent.attempt(&mut agent.session(), &delivery("e1")).await;
        assert_eq!(answer, Answer::Accepted { run_id: Some("ours".into()), found: true, status: Some(200) });
        let posts = server.lines().iter().filter(|line| line.ends_with("/runs")).count();
        assert_eq!(posts, 1, "{head:?}: {:?}", server.lines());
    }
}

#[tokio::test]
async fn a_run_is_read_whatever_the_form_of_the_response() {
    for extra in ["x-trace: a\r\n  b\r\n", "x-trace : a\r\n", "x-name: \u{e9}\r\n", "nonsense\r\n"] {
        let server = Scripted::start(move |heard| {
            let body: Value = serde_json::from_slice(&heard.body).unwrap();
            let thread = body["thread_id"].as_str().unwrap_or_else(|| heard.line.split('/').nth(2).unwrap());
            let mut answer = json!({"thread_id": thread, "metadata": body["metadata"]});
            if heard.line != "POST /threads" {
                answer["run_id"] = "ours".into();
            }
            Act::text(200, extra, &answer.to_string())
        })
        .await;
        let (agent, _) = connect(langgraph_spec(server.addr).0);
        let answer = agent.attempt(&mut agent.session(), &delivery("e1")).await;
        assert_eq!(
            answer,
            Answer::Accepted { run_id: Some("ours".into()), found: false, status: Some(200) },
            "{extra:?}"
        );
    }
}

fn grants(heard: &Heard) -> Act {
    let body: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
    if heard.line == "POST /threads" {
        return Act::json(200, &json!({"thread_id": body["thread_id"], "metadata": body["metadata"]}));
    }
    Act::json(200, &json!({"run_id": "ours"}))
}

#[tokio::test]
async fn the_run_carries_the_trace_and_every_request_the_delivery() {
    let server = Scripted::start(grants).await;
    let (mut spec, mut langgraph) = langgraph_spec(server.addr);
    langgraph.auth = Some(Auth::Bearer(secret("hunter2")));
    langgraph.tracer_project = Some("events".into());
    langgraph.config = Some(json!({"tags": ["mine", "etl"], "recursion_limit": 5}));
    spec.endpoint = Endpoint::LangGraph(langgraph);
    let (agent, _) = connect(spec);
    let delivery = delivery("e1");
    let answer = agent.attempt(&mut agent.session(), &delivery).await;
    assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");

    let heard = server.heard();
    let has = |heard: &Heard, header: &str| heard.head.lines().any(|line| line == header);
    let trace = [&format!("traceparent: {TRACEPARENT}"), "tracestate: rojo=1", "baggage: team=core"];
    for (request, traced) in [(&heard[0], false), (&heard[1], true)] {
        assert!(has(request, &format!("x-request-id: {}", delivery.id)), "{}", request.head);
        assert!(has(request, "authorization: Bearer hunter2"), "{}", request.head);
        for header in trace {
            assert_eq!(has(request, header), traced, "{}", request.head);
        }
    }
    let run: Value = serde_json::from_slice(&heard[1].body).unwrap();
    let metadata = json!({"delivery_id": delivery.id.to_string()});
    let tags = ["mine", "etl", "WORKFLOW_COMPLETED"];
    assert_eq!(run["config"], json!({"tags": tags, "recursion_limit": 5, "metadata": metadata}));
    assert_eq!(run["langsmith_tracer"], json!({"project_name": "events"}));
}

#[tokio::test]
async fn a_server_that_refuses_the_ttl_gets_the_claim_without_it() {
    let server = Scripted::start(|heard| {
        let text = String::from_utf8_lossy(&heard.body);
        if text.contains("keep_latest") {
            Act::json(422, &json!({"detail": "no such strategy"}))
        } else {
            grants(heard)
        }
    })
    .await;
    let (mut spec, mut langgraph) = langgraph_spec(server.addr);
    langgraph.ttl = Some(Ttl { after: Duration::from_secs(60), strategy: TtlStrategy::KeepLatest });
    spec.endpoint = Endpoint::LangGraph(langgraph);
    let (agent, _) = connect(spec);
    for event in ["e1", "e2"] {
        let answer = agent.attempt(&mut agent.session(), &delivery(event)).await;
        assert!(matches!(answer, Answer::Accepted { found: false, .. }), "{answer:?}");
    }
    let claims = server.lines().iter().filter(|line| *line == "POST /threads").count();
    assert_eq!(claims, 3, "the second delivery need not ask again");
}

#[tokio::test]
async fn a_claim_that_is_refused_with_and_without_its_ttl_is_the_agents_fault() {
    let server = Scripted::start(|_| Act::json(422, &json!({"detail": "not this one"}))).await;
    let (mut spec, mut langgraph) = langgraph_spec(server.addr);
    langgraph.ttl = Some(Ttl { after: Duration::from_secs(60), strategy: TtlStrategy::Delete });
    spec.endpoint = Endpoint::LangGraph(langgraph);
    let (agent, _) = connect(spec);
    for _ in 0..2 {
        let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
        assert_eq!((failure.class, failure.kind), (Class::AgentFault, "422"));
        assert!(failure.reason.ends_with("which refuses it: not this one"), "{}", failure.reason);
    }
    assert_eq!(server.lines().len(), 4, "the ttl was not what it refused");
}
