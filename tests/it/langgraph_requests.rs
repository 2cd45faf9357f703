//! What a real LangGraph server makes of the bridge's requests: traces, tags, metadata, the ttl of a claim;
//! and that the example of a side effect in docs/agents.md happens once.

use serde_json::{Value, json};

use crate::kit::{BridgeSetup, LangGraph, PATIENCE, bridge::field, commands, event, http, kafka, poll, unique, when};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Asks again while there is no answer: a server may close a connection that a machine stood still before using.
fn ask(url: &str) -> Value {
    let (status, body) = poll(PATIENCE, "the server answers", || http::get(url));
    assert_eq!(status, 200, "{url}: {body}");
    serde_json::from_str(&body).expect("the server answers with JSON")
}

/// As [`ask`]: a repetition does no harm here.
fn tell(url: &str, body: &Value) -> Value {
    let (status, answer) = poll(PATIENCE, "the server answers", || http::post(url, body));
    assert_eq!(status, 200, "{url}: {answer}");
    serde_json::from_str(&answer).expect("the server answers with JSON")
}

#[test]
fn a_run_is_found_by_its_tags_its_metadata_and_its_trace() {
    let (kafka, langgraph) = (kafka(), LangGraph::shared());
    let (topic, prefix, url) = (kafka.topic("requests", 1), unique("requests"), langgraph.url());
    let rules = format!(
        "agents:
  writer:
    langgraph:
      url: '{url}'
      assistant: receipts
      ttl: 30d
      langsmith_tracer: {{project_name: events}}
      config: {{tags: [from-kafka]}}
rules:
  - {{name: receipts, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [writer]}}
"
    );
    let traced = event(&format!("{prefix}-1"));
    // Nothing that stands beside the event may turn it into a dead letter.
    let hostile = event(&format!("{prefix}-2")).workflow(&format!("etl\0{}", "x".repeat(9_000)));
    kafka.produce(
        &topic,
        traced
            .record()
            .header("Traceparent", TRACEPARENT)
            .header("TRACESTATE", "rojo=1")
            .header("Baggage", "team=core"),
    );
    kafka.produce(
        &topic,
        hostile
            .record()
            .header("traceparent", "0".repeat(9_000))
            .header("tracestate", [0xff, 0xfe])
            .header("baggage", "a\r\nb".repeat(3_000)),
    );
    let mut bridge = BridgeSetup::new(kafka, &topic).routing(&rules).start();
    kafka.wait_committed(bridge.group(), &topic, PATIENCE);
    let page = ask(&format!("{}/api/events/{}", bridge.admin(), traced.id()));
    let delivery = &page["deliveries"][0];
    let run = ask(delivery["run_url"].as_str().unwrap_or_default());
    assert_eq!((&page["state"], &run["run_id"]), (&"delivered".into(), &delivery["run_id"]), "{page} {run}");
    bridge.stop();
    let accepted = bridge.logged("delivered");
    assert_eq!(accepted.len(), 2, "{accepted:?}\n{}", bridge.log().tail(40));

    // As Studio and the SDK search: by metadata.
    let search = json!({"metadata": {"workflow_run_id": format!("run-{prefix}-1"), "agent": "writer"}});
    let threads = tell(&format!("{url}/threads/search"), &search);
    assert_eq!(threads.as_array().map(Vec::len), Some(1), "{threads}");
    let thread = threads[0]["thread_id"].as_str().expect("a thread has an id").to_owned();
    let line =
        accepted.iter().find(|line| field(line, "thread_id") == Some(&thread)).expect("the log names the thread");
    assert_eq!(field(line, "level"), Some("INFO"));

    let runs = ask(&format!("{url}/threads/{thread}/runs"));
    let run = &runs[0];
    assert_eq!(run["run_id"].as_str(), field(line, "run_id"), "{run}");
    assert_eq!(run["metadata"]["delivery_id"], thread.as_str());
    let config = &run["kwargs"]["config"];
    assert_eq!(config["tags"], json!(["from-kafka", "WORKFLOW_COMPLETED", "etl_daily"]));
    let configurable = &config["configurable"];
    assert_eq!(configurable["langgraph_request_id"], thread.as_str(), "x-request-id is the delivery");
    assert_eq!(configurable["__langsmith_project__"], "events");
    assert_eq!(configurable["traceparent"], TRACEPARENT);
    assert_eq!((&configurable["tracestate"], &configurable["baggage"]), (&"rojo=1".into(), &"team=core".into()));

    let other = accepted.iter().find(|line| field(line, "thread_id") != Some(&thread)).expect("the other was accepted");
    let other = field(other, "thread_id").expect("the log names the thread");
    let run = &ask(&format!("{url}/threads/{other}/runs"))[0];
    for header in ["traceparent", "tracestate", "baggage"] {
        assert!(run["kwargs"]["config"]["configurable"].get(header).is_none(), "{run}");
    }
    let workflow = run["metadata"]["workflow_id"].as_str().expect("the run names the workflow");
    assert!(workflow.starts_with("etl\u{fffd}x") && workflow.len() <= 255, "{workflow}");

    // A server that executes the graph again for the event finds its effect done.
    receipt(&url, &thread, "written");
    let again = json!({"assistant_id": "receipts", "input": {"event": traced.json()}});
    tell(&format!("{url}/threads/{thread}/runs"), &again);
    receipt(&url, &thread, "was there already");
}

fn receipt(url: &str, thread: &str, expected: &str) {
    poll(PATIENCE, &format!("the receipt is {expected:?}"), || {
        let state = ask(&format!("{url}/threads/{thread}/state"));
        when(state["values"]["receipt"] == expected, state["values"].clone())
    });
}

/// What docs/agents.md says of `assistant`: a graph's name or an assistant's UUID, and nothing else.
#[test]
fn an_assistant_is_named_by_its_graph_or_its_uuid() {
    let url = LangGraph::shared().url();
    let name = unique("My Analyst");
    let assistant = tell(&format!("{url}/assistants"), &json!({"graph_id": "analyst", "name": name}));
    let id = assistant["assistant_id"].as_str().expect("an assistant has an id");
    let thread = tell(&format!("{url}/threads"), &json!({}));
    let runs = format!("{url}/threads/{}/runs", thread["thread_id"].as_str().expect("a thread has an id"));
    for (text, expected) in [(id, 200), ("analyst", 200), (&*name, 422), ("Analyst", 422)] {
        let body = json!({"assistant_id": text, "input": {"event": {"event_id": name}}});
        let (status, answer) = poll(PATIENCE, "the server answers", || http::post(&runs, &body));
        assert_eq!(status, expected, "{text}: {answer}");
    }
}

#[test]
fn check_connect_asks_for_the_assistant() {
    let (kafka, langgraph) = (kafka(), LangGraph::shared());
    let rules = format!(
        "agents:
  known: {{langgraph: {{url: '{url}', assistant: receipts}}}}
  unknown: {{langgraph: {{url: '{url}', assistant: no-such-graph}}}}
  unknown-id: {{langgraph: {{url: '{url}', assistant: 11111111-2222-4333-8444-555555555555}}}}
  wrong: {{langgraph: {{url: '{url}/docs', assistant: receipts}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [known, unknown, unknown-id, wrong]}}
",
        url = langgraph.url()
    );
    let folder = commands::folder_with(&[("routing/rules.yaml", &rules)]);
    let arguments = ["check", "--connect", "-o", "json", "--brokers", kafka.bootstrap()];
    let expected = [
        ("agent known", "ok", ""),
        ("agent unknown", "error", "correct `assistant`"),
        ("agent unknown-id", "error", "check `assistant`"),
        ("agent wrong", "error", "check `url`"),
    ];
    poll(PATIENCE, "each has its verdict", || {
        let output = commands::run(&folder, &arguments);
        let found: Value = serde_json::from_slice(&output.stdout).expect("the result is JSON");
        let answers = found["connections"].as_array().expect("there are answers");
        let is_as_expected = expected.iter().all(|(target, verdict, remedy)| {
            answers.iter().any(|answer| {
                answer["target"] == *target
                    && answer["verdict"] == *verdict
                    && answer["remedy"].as_str().unwrap_or_default().contains(remedy)
            })
        });
        when(is_as_expected && output.status.code() == Some(69), found)
    });
}
