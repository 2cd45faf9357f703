use std::time::Duration;

use serde_json::{Value, json};

use super::{
    super::super::{testing::*, *},
    *,
};

#[tokio::test]
async fn anothers_claim_is_waited_for() {
    let server = sample(SampleOptions { fail_first: 1, ..SampleOptions::default() }).await;
    let (agent, clock) = connect(langgraph_spec(server.addr()).0);
    failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    let mut second = agent.session();
    assert_eq!(agent.attempt(&mut second, &delivery("e1")).await, Answer::Wait(TAKEOVER));
    clock.pass(TAKEOVER);
    let answer = agent.attempt(&mut second, &delivery("e1")).await;
    assert!(matches!(answer, Answer::Accepted { found: false, .. }), "{answer:?}");
    assert_eq!(server.executions()["e1"], 1);
}

#[tokio::test]
async fn an_agent_that_is_away_is_tried_again_without_a_wait() {
    let (agent, _) = connect(langgraph_spec(NOBODY).0);
    let mut session = agent.session();
    for _ in 0..2 {
        let failure = failed(agent.attempt(&mut session, &delivery("e1")).await);
        assert_eq!((failure.class, failure.kind.as_str(), failure.status), (Class::AgentFault, "connect", None));
        assert!(
            failure.reason.starts_with(&format!("POST http://{NOBODY}/threads was not answered: ")),
            "{}",
            failure.reason
        );
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
    assert_eq!((failure.class, failure.kind.as_str(), failure.status), (Class::AgentFault, "401", Some(401)));
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
    assert_eq!((failure.class, failure.kind.as_str()), (Class::AgentFault, "secret"));
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
    assert_eq!((failure.class, failure.kind.as_str()), (Class::AgentUnavailable, "claim_invisible"));
    assert_eq!(server.lines().len(), 4, "{:?}", server.lines());
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
    assert_eq!((failure.class, failure.kind.as_str()), (Class::AgentUnavailable, "claim_invisible"));
    assert!(failure.reason.contains("if_exists: raise"), "{}", failure.reason);
    assert_eq!(server.lines(), ["POST /threads", "POST /threads"]);
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
    assert_eq!(failure.reason.len(), failure::MAX_REASON_BYTES);
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
        assert_eq!((failure.class, failure.kind.as_str()), (Class::AgentFault, "422"));
        assert!(failure.reason.ends_with("answered 422 (expected 2xx): not this one"), "{}", failure.reason);
    }
    assert_eq!(server.lines().len(), 4, "the ttl was not what it refused");
}
