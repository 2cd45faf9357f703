use std::time::Duration;

use serde_json::{Value, json};

use super::{
    super::super::{testing::*, *},
    *,
};

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
async fn a_run_request_answered_503_is_repeated_only_after_its_lifetime_and_a_claim_of_the_next_round() {
    let server = sample(SampleOptions { fail_first: 1, ..SampleOptions::default() }).await;
    let (agent, clock) = connect(langgraph_spec(server.addr()).0);
    let (mut session, delivery) = (agent.session(), delivery("e1"));
    let failure = failed(agent.attempt(&mut session, &delivery).await);
    assert_eq!((failure.class, failure.status, failure.kind.as_str()), (Class::Ambiguous, Some(503), "503"));
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
async fn a_process_that_was_stopped_before_the_write_does_not_write() {
    let server = sample(SampleOptions::default()).await;
    let (agent, clock) = connect(langgraph_spec(server.addr()).0);
    // 1: the attempt begins, 2: the claim is written, 3: it is answered, 4: the run request is to be written.
    clock.jump_at_call(4);
    let answer = agent.attempt(&mut agent.session(), &delivery("e1")).await;
    assert!(matches!(answer, Answer::Accepted { found: false, .. }), "{answer:?}");
    let answered: Vec<_> = asked(&server).into_iter().filter(|line| line.ends_with("200")).collect();
    let expected = ["POST claim 200", "GET runs 200", "POST claim 200", "GET runs 200", "POST runs 200"];
    assert_eq!(answered, expected);
    assert_eq!(server.executions()["e1"], 1);
}

#[tokio::test]
async fn a_run_request_that_was_dropped_on_the_way_counts_as_ambiguous() {
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
    assert_eq!(agent.attempt(&mut session, &delivery).await, Answer::Wait(MAX_REQUEST_LIFETIME));
}

/// What the server does with the run request.
type Acts = fn() -> Act;

/// A server that grants every claim, shows no run, and does `act` with the run request.
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
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    let (mut session, delivery) = (agent.session(), delivery("e1"));
    let attempt = agent.attempt(&mut session, &delivery);
    let hangs = matches!(act(), Act::Hang);
    let answer = if hangs { timed_out(attempt, || server.lines().len() == 2).await } else { attempt.await };
    let next = agent.attempt(&mut session, &delivery).await;
    (failed(answer), next)
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
        assert_eq!((failure.class, failure.kind.as_str()), (Class::Ambiguous, kind), "{}", failure.reason);
        assert_eq!(next, Answer::Wait(MAX_REQUEST_LIFETIME), "{kind}");
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
        (Class::AgentUnavailable, "429", || Act::text(429, "retry-after: 7\r\n", "")),
        (Class::AgentFault, "3xx", || Act::text(307, "location: http://127.0.0.1:1/\r\n", "")),
        (Class::Busy, "409", || Act::json(409, &json!({"detail": "busy"}))),
    ];
    for (class, kind, act) in cases {
        let (failure, next) = attempt_with_post(act).await;
        assert_eq!((failure.class, failure.kind.as_str()), (class, kind), "{}", failure.reason);
        assert_eq!(failure.retry_after, (kind == "429").then_some(Duration::from_secs(7)));
        assert_eq!(failed(next).kind.as_str(), kind);
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
        assert_eq!((failure.class, failure.kind.as_str()), (Class::AgentFault, kind));
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
    let has = |heard: &ReceivedRequest, header: &str| heard.head.lines().any(|line| line == header);
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
