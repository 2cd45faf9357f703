use serde_json::{Value, json};

use super::{
    super::super::{testing::*, *},
    *,
};

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
async fn a_listing_reads_past_the_runs_of_others() {
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
    assert_eq!((failure.class, failure.kind.as_str()), (Class::Busy, "unknown_run"), "{}", failure.reason);
    assert_eq!(server.lines().len(), 1 + super::super::api::MAX_PAGES);
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
async fn a_run_that_nothing_identifies_is_neither_no_run_nor_acceptance() {
    let server = with_a_run(json!({"run_id": "r1", "metadata": null})).await;
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    assert_eq!((failure.class, failure.kind.as_str()), (Class::EventFault, "unknown_run"), "a dead letter says so");
    assert!(failure.reason.starts_with("run r1 on the event's own thread "), "{}", failure.reason);
}

#[tokio::test]
async fn a_run_without_our_mark_is_anothers_once_the_server_has_shown_marks() {
    // Inherited from the thread, as a run of Studio's on it would.
    let server = with_a_run(json!({"run_id": "r1", "metadata": {"event_id": "e1", "nonce": "x"}})).await;
    let (agent, _) = connect(langgraph_spec(server.addr).0);
    let mut session = agent.session();
    let failure = failed(agent.attempt(&mut session, &delivery("e1")).await);
    assert_eq!(
        (failure.class, failure.kind.as_str()),
        (Class::Busy, "unknown_run"),
        "it may be a server that shows no marks"
    );
    let answer = agent.attempt(&mut agent.session(), &delivery("e2")).await;
    assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
    assert_eq!(agent.attempt(&mut session, &delivery("e1")).await, Answer::Wait(TAKEOVER));
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

/// A run that was created is found in the list if the response to its creation cannot be read, and is not
/// created twice.
#[tokio::test]
async fn a_run_whose_answer_cannot_be_parsed_is_found_and_never_created_again() {
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
