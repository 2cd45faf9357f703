use std::{net::Ipv4Addr, time::Instant};

use reqwest::{Client, Method};
use serde_json::json;
use uuid::Uuid;

use super::*;

struct Caller {
    agent: SampleAgent,
    client: Client,
}

impl Caller {
    async fn new(options: SampleOptions) -> Self {
        let agent = SampleAgent::start((Ipv4Addr::LOCALHOST, 0).into(), options).await.unwrap();
        let client = Client::builder().timeout(Duration::from_secs(60)).no_proxy().build().unwrap();
        Self { agent, client }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.client.request(method, format!("http://{}{path}", self.agent.addr()));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn thread(&self) -> Uuid {
        let id = Uuid::new_v4();
        let body = json!({"thread_id": id.to_string(), "if_exists": "raise", "metadata": {"nonce": "n"}});
        assert_eq!(self.post("/threads", body).await.0, 200);
        id
    }
}

#[tokio::test]
async fn a_thread_is_created_once_however_many_ask() {
    let caller = Caller::new(SampleOptions::default()).await;
    let body = json!({"thread_id": Uuid::nil().to_string(), "if_exists": "raise", "metadata": {"a": 1}});
    let all = futures_util::future::join_all((0..50).map(|_| caller.post("/threads", body.clone()))).await;
    assert_eq!(all.iter().filter(|(status, _)| *status == 200).count(), 1);
    assert_eq!(all.iter().filter(|(status, _)| *status == 409).count(), 49);
    let (status, thread) = caller.call(Method::GET, &format!("/threads/{}", Uuid::nil()), None).await;
    assert_eq!((status, &thread["metadata"]), (200, &json!({"a": 1})));
    let (status, again) =
        caller.post("/threads", json!({"thread_id": Uuid::nil().to_string(), "if_exists": "do_nothing"})).await;
    assert_eq!((status, &again["metadata"]), (200, &json!({"a": 1})));
}

#[tokio::test]
async fn a_busy_thread_rejects_and_takes_again_when_the_run_has_ended() {
    let caller = Caller::new(SampleOptions { run_time: Duration::from_secs(3_600), ..SampleOptions::default() }).await;
    let runs = format!("/threads/{}/runs", caller.thread().await);
    let run = json!({
        "assistant_id": "analyst", "multitask_strategy": "reject", "metadata": {"event_id": "e1"},
        "input": {"event": {"event_id": "e1"}},
    });
    let (status, first) = caller.post(&runs, run.clone()).await;
    assert_eq!((status, &first["status"]), (200, &json!("pending")));
    assert_eq!(first["metadata"], json!({"nonce": "n", "event_id": "e1"}), "a run inherits its thread's metadata");
    assert_eq!(caller.post(&runs, run.clone()).await.0, 409);
    assert_eq!(caller.agent.executions()["e1"], 1);

    let caller = Caller::new(SampleOptions { run_time: Duration::from_millis(20), ..SampleOptions::default() }).await;
    let runs = format!("/threads/{}/runs", caller.thread().await);
    let (_, first) = caller.post(&runs, run.clone()).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while caller.post(&runs, run.clone()).await.0 == 409 {
        assert!(Instant::now() < deadline, "still busy: {:?}", caller.agent.requests());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(caller.agent.executions()["e1"], 2, "a run is not idempotent");
    let (_, newest) = caller.call(Method::GET, &format!("{runs}?limit=1"), None).await;
    assert_eq!(newest.as_array().unwrap().len(), 1);
    assert!(first["run_id"].is_string(), "{first}");
    assert_ne!(newest[0]["run_id"], first["run_id"]);
}

#[tokio::test]
async fn what_cannot_be_is_refused_as_by_the_real_server() {
    let caller = Caller::new(SampleOptions::default()).await;
    let run = |assistant: &str| json!({"assistant_id": assistant, "input": {}});
    let nowhere = format!("/threads/{}/runs", Uuid::nil());
    let somewhere = format!("/threads/{}/runs", caller.thread().await);
    assert_eq!(caller.post("/threads", json!({"thread_id": "x"})).await.0, 422);
    assert_eq!(caller.post("/threads", json!([])).await.0, 422);
    assert_eq!(caller.post(&nowhere, run("analyst")).await.0, 404);
    assert_eq!(caller.post(&somewhere, run("6ba7b810-9dad-11d1-80b4-00c04fd430c8")).await.0, 404);
    let (status, body) = caller.post(&somewhere, run("nope")).await;
    assert_eq!(status, 422);
    assert!(body["detail"].as_str().unwrap().starts_with("Invalid assistant: 'nope'."), "{body}");
    assert_eq!(caller.call(Method::GET, &nowhere, None).await.0, 404);
    assert_eq!(caller.call(Method::GET, "/threads/x", None).await.0, 404);
    assert_eq!(caller.call(Method::GET, "/ok", None).await.0, 200);
    assert!(caller.agent.executions().is_empty());
}

#[tokio::test]
async fn it_fails_first_and_loses_first_as_its_options_say() {
    let caller = Caller::new(SampleOptions { fail_first: 2, lose_first: 1, ..SampleOptions::default() }).await;
    let mut statuses = Vec::new();
    for event_id in ["e1", "e2", "e3", "e4"] {
        let run = json!({"assistant_id": "analyst", "input": {"event": {"event_id": event_id}}});
        statuses.push(caller.post(&format!("/threads/{}/runs", caller.thread().await), run).await.0);
    }
    assert_eq!(statuses, [503, 503, 502, 200]);
    assert_eq!(caller.agent.executions(), [("e3".to_owned(), 1), ("e4".to_owned(), 1)].into());
}

#[tokio::test]
async fn without_the_key_nothing_is_taken() {
    let caller = Caller::new(SampleOptions { api_key: Some("k".into()), ..SampleOptions::default() }).await;
    assert_eq!(caller.post("/events", json!({"event_id": "e1"})).await.0, 401);
    assert_eq!(caller.post("/threads", json!({})).await.0, 401);
    assert!(caller.agent.executions().is_empty());
    let requests = caller.agent.requests();
    assert_eq!(requests[0], Answered { method: "POST".into(), path: "/events".into(), status: 401 });
    caller.agent.stop().await.unwrap();
}
