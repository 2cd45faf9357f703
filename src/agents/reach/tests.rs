use std::time::Duration;

use serde_json::json;

use super::{super::testing::*, *};
use crate::{agents::*, probe::Verdict};

const WITHIN: Duration = Duration::from_secs(60);

/// What a LangGraph server with this status and body is told to be.
async fn asked(status: u16, body: &'static str, assistant: &str) -> Probed {
    let server = Scripted::start(move |_| Act::text(status, "", body)).await;
    let (mut spec, mut langgraph) = langgraph_spec(server.addr);
    langgraph.assistant = assistant.into();
    langgraph.api_key = Some(secret("hunter2"));
    spec.endpoint = Endpoint::LangGraph(langgraph);
    let probed = reach(&spec, WITHIN).await;
    assert!(!format!("{probed:?}").contains("hunter2"), "{probed:?}");
    probed
}

#[tokio::test]
async fn an_assistant_is_looked_up_with_the_agents_key() {
    let server = Scripted::start(|_| Act::text(200, "", r#"[{"assistant_id": "a", "graph_id": "analyst"}]"#)).await;
    let (mut spec, mut langgraph) = langgraph_spec(server.addr);
    langgraph.api_key = Some(secret("hunter2"));
    langgraph.assistant = "analyst".into();
    spec.endpoint = Endpoint::LangGraph(langgraph);
    let probed = reach(&spec, WITHIN).await;
    assert_eq!((probed.verdict, probed.remedy.as_deref()), (Verdict::Ok, None), "{probed:?}");
    let received = server.heard();
    assert_eq!(received.len(), 1, "one question, and no run");
    assert!(received[0].line.starts_with("POST /assistants/search"), "{}", received[0].line);
    assert!(received[0].head.contains("x-api-key: hunter2"));
    let body: Value = serde_json::from_slice(&received[0].body).unwrap();
    assert_eq!(body, json!({"graph_id": "analyst", "limit": 1}));
}

#[tokio::test]
async fn each_answer_of_a_server_has_a_verdict_and_a_remedy() {
    let id = "fe096781-5601-53d2-b2f6-0d3403f7e9ca";
    for (status, body, assistant, verdict, remedy) in [
        (200, r#"{"assistant_id": "x", "graph_id": "g"}"#, id, Verdict::Ok, ""),
        (200, "[]", "analyst", Verdict::Error, "correct `assistant`"),
        (200, "<html>", "analyst", Verdict::Error, "check `url`"),
        (200, "[1]", "analyst", Verdict::Error, "check `url`"),
        (401, r#"{"detail": "no hunter2"}"#, "analyst", Verdict::Error, "check `api_key` or `auth`"),
        (403, "", "analyst", Verdict::Error, "check `api_key` or `auth`"),
        (404, r#"{"detail": "Assistant not found"}"#, id, Verdict::Error, "check `assistant`, and `url`"),
        (404, "", "analyst", Verdict::Error, "check `url`"),
        (404, r#"{"detail": "Graph 'analyst' not found"}"#, "analyst", Verdict::Error, "correct `assistant`"),
        (308, "", "analyst", Verdict::Error, "final address"),
        (503, "", "analyst", Verdict::Warning, "see its log"),
        (422, "", "analyst", Verdict::Warning, "see the server's log"),
    ] {
        let probed = asked(status, body, assistant).await;
        assert_eq!(probed.verdict, verdict, "{status} {body}: {probed:?}");
        assert!(probed.remedy.as_deref().unwrap_or_default().contains(remedy), "{status} {body}: {probed:?}");
    }
}

#[tokio::test]
async fn an_http_endpoint_is_connected_to_and_gets_nothing() {
    let server = Scripted::start(|_| Act::text(200, "", "")).await;
    let (mut spec, mut http) = http_spec(server.addr);
    http.url.set_path("/hooks/hunter2");
    spec.endpoint = Endpoint::Http(http);
    let probed = reach(&spec, WITHIN).await;
    assert_eq!(probed.verdict, Verdict::Ok, "{probed:?}");
    assert!(server.heard().is_empty(), "nothing is sent");
    assert!(!format!("{probed:?}").contains("hunter2"), "the path of a hook is its secret: {probed:?}");
}

#[tokio::test]
async fn an_agent_that_is_away_or_stands_still_is_an_error_in_time() {
    let (spec, http) = http_spec(NOBODY);
    let mut specs = vec![spec];
    let (spec, _) = langgraph_spec(NOBODY);
    specs.push(spec);
    // Not TLS.
    let server = Scripted::start(|_| Act::text(200, "", "")).await;
    let (mut spec, _) = http_spec(server.addr);
    let mut tls = http;
    tls.url = format!("https://{}/hooks/hunter2", server.addr).parse().unwrap();
    spec.endpoint = Endpoint::Http(tls);
    specs.push(spec);
    for spec in &specs {
        // The last one waits for the rest of a request.
        let probed = reach(spec, Duration::from_secs(2)).await;
        assert_eq!(probed.verdict, Verdict::Error, "{probed:?}");
        assert!(probed.remedy.is_some() && !format!("{probed:?}").contains("hunter2"), "{probed:?}");
    }
    // It takes the connection and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (spec, _) = langgraph_spec(silent.local_addr().unwrap());
    let probed = reach(&spec, Duration::from_millis(200)).await;
    assert!(probed.found.contains("no answer within 200ms"), "{probed:?}");
}
