//! Templates: what they fill in arrives at a real LangGraph server, and what they cost hurts nobody else.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::kit::{BridgeSetup, HttpAgent, LangGraph, PATIENCE, TestEvent, event, http, kafka, poll, unique, when};

#[test]
fn config_context_and_metadata_arrive_as_the_event_fills_them_in() {
    let langgraph = LangGraph::shared();
    let topic = kafka().topic("settings", 1);
    let bridge = BridgeSetup::new(kafka(), &topic)
        .routing(&format!(
            "agents:
  analyst:
    langgraph:
      url: '{0}'
      assistant: analyst
      config: {{recursion_limit: '{{{{ payload.data.rows }}}}', configurable: {{dag: '{{{{ workflow_id }}}}', list: '{{{{ payload.data.files }}}}'}}}}
      metadata: {{dag: '{{{{ workflow_id }}}}', rows: '{{{{ payload.data.rows }}}}', team: data}}
  with-context:
    langgraph:
      url: '{0}'
      assistant: analyst
      context: {{dag: '{{{{ workflow_id }}}}', rows: '{{{{ payload.data.rows }}}}'}}
rules:
  - {{name: settings, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [analyst, with-context]}}
",
            langgraph.url()
        ))
        .start();
    let id = unique("settings");
    let completed = event(&id).workflow("etl_orders").data(json!({"rows": 37, "files": ["a", "b"]}));
    kafka().produce_all(&topic, [completed.record()]);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    langgraph.wait_idle(PATIENCE);

    let fetch = |path: String| -> Value {
        let url = format!("{}{path}", langgraph.url());
        let (status, body) = poll(PATIENCE, "the server answers", || http::get(&url));
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("the server answers with JSON")
    };
    let executed = poll(PATIENCE, "both runs were executed", || {
        let executed = langgraph.executed().into_iter().filter(|run| run["event_id"] == id.as_str());
        let executed: Vec<_> = executed.collect();
        if executed.len() >= 2 { Ok(executed) } else { Err(executed) }
    });
    assert_eq!(executed.len(), 2, "{executed:?}");
    let runs: Vec<Value> = executed
        .iter()
        .map(|run| {
            let id = |field: &str| run[field].as_str().unwrap_or_default().to_owned();
            fetch(format!("/threads/{}/runs/{}", id("thread_id"), id("run_id")))
        })
        .collect();
    let of = |agent: &str| runs.iter().find(|run| run["metadata"]["agent"] == agent).expect("each agent has a run");

    let run = of("analyst");
    let config = &run["kwargs"]["config"];
    assert_eq!(config["recursion_limit"], 37, "{run}");
    assert_eq!(
        (&config["configurable"]["dag"], &config["configurable"]["list"]),
        (&json!("etl_orders"), &json!(["a", "b"]))
    );
    let thread = fetch(format!("/threads/{}", run["thread_id"].as_str().unwrap_or_default()));
    for metadata in [&run["metadata"], &thread["metadata"]] {
        assert_eq!(
            (&metadata["dag"], &metadata["rows"], &metadata["team"]),
            (&json!("etl_orders"), &json!(37), &json!("data"))
        );
        assert_eq!((&metadata["event_id"], &metadata["rule"]), (&json!(id), &json!("settings")));
    }
    let search = json!({"metadata": {"dag": "etl_orders", "event_id": id}});
    let url = format!("{}/threads/search", langgraph.url());
    let (status, found) = poll(PATIENCE, "the server answers", || http::post(&url, &search));
    assert!(status == 200 && found.contains(thread["thread_id"].as_str().unwrap_or("?")), "{found}");
    let context = &of("with-context")["kwargs"]["context"];
    assert_eq!((&context["dag"], &context["rows"]), (&json!("etl_orders"), &json!(37)), "{}", of("with-context"));
}

/// Ten events of 380 KB, and a template that looks for each item of their list in the list: it took 95 s an
/// event, on a thread that serves `/healthz` too.
#[test]
fn a_costly_template_is_a_dead_letter_and_holds_up_neither_healthz_nor_another_agent() {
    let (slow, quick) = (HttpAgent::start(), HttpAgent::start());
    let topic = kafka().topic("costly", 1);
    let mut bridge = BridgeSetup::new(kafka(), &topic)
        .routing(&format!(
            "agents:
  slow: {{http: {{url: '{}/events'}}, timeout: 60s}}
  quick: {{http: {{url: '{}/events'}}, timeout: 60s}}
rules:
  - name: costly
    when: {{event_type: [WORKFLOW_COMPLETED]}}
    to: [slow]
    body: {{text: '{{% for i in payload.data.done %}}{{% if i not in payload.data.done %}}{{{{ i }}}}{{% endif %}}{{% endfor %}}'}}
  - {{name: plain, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [quick], body: {{id: '{{{{ event_id }}}}'}}}}
",
            slow.url(),
            quick.url()
        ))
        .start();
    bridge.wait_ready(PATIENCE);
    let done: Vec<_> = (0..27_000).map(|n| format!("task-{n:06}")).collect();
    let prefix = unique("costly");
    let events: Vec<_> = (0..10).map(|n| event(&format!("{prefix}-{n}")).data(json!({"done": done}))).collect();
    kafka().produce_all(&topic, events.iter().map(TestEvent::record));
    let mut longest = Duration::ZERO;
    poll(2 * PATIENCE, "every costly delivery is a dead letter, and /healthz answers meanwhile", || {
        let asked = Instant::now();
        assert_eq!(bridge.probe("/healthz"), Ok(200));
        longest = longest.max(asked.elapsed());
        let dead = bridge.metrics().sum("dead_letters_total", &[("reason", "template")]);
        // Its body does not name the event.
        let delivered: BTreeSet<_> = quick.accepted().into_iter().map(|request| request.key).collect();
        when(dead >= 10.0 && delivered.len() == 10, (dead, delivered.len()))
    });
    assert_eq!(slow.count(), 0);
    let letters = kafka().read_all(&format!("{topic}.dlq"));
    let error = letters[0].header("dlq-error").unwrap_or_default();
    assert!(error.starts_with("rule `costly`, body.text: cannot render") && error.contains("too much work"), "{error}");
    println!("ten costly renders: /healthz took {longest:?} at the most");
    bridge.stop();
}
