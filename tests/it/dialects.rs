//! Other publishers' records: matched by a rule, delivered once, a duplicate the second time, dead letters as they were.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::kit::{BridgeSetup, HttpAgent, PATIENCE, Record, event, kafka, poll, unique, when};

/// A record of each dialect, all of one workflow of their own, and what an agent gets of each.
fn records(workflow: &str) -> Vec<(&'static str, Record)> {
    let airflow = json!({
        "schema_version": 1, "source": "airflow-prod", "event": "dag_run.success",
        "timestamp": "2026-01-31T12:00:00.250000+00:00", "dag_id": workflow, "run_id": "r-airflow",
        "run_type": "scheduled", "logical_date": "", "start_date": "", "end_date": "", "msg": "",
    });
    let structured = json!({
        "specversion": "1.0", "type": "com.example.workflow.completed", "source": "/airflow/prod", "id": workflow,
        "time": "2026-01-31T12:00:00Z", "workflowid": workflow, "workflowrunid": "r-structured", "data": {"rows": 7},
    });
    let lineage = json!({
        "eventType": "COMPLETE", "eventTime": "2026-01-31T13:00:00+01:00", "producer": "https://example.com",
        "run": {"runId": "r-lineage"},
        "job": {"namespace": "prod", "name": workflow, "facets": {"jobType": {"integration": "AIRFLOW", "jobType": "DAG"}}},
    });
    let integration = json!({
        "event_id": unique("integration"), "event_type": "WORKFLOW_COMPLETED", "event_version": "1.0",
        "occurred_at": "2026-01-31T12:00:00Z", "correlation_id": null, "causation_id": null, "source_service": "airflow",
        "payload": {"aggregate_type": workflow, "aggregate_id": "r-integration", "amount": 5},
    });
    let mut native = event(&unique("native")).workflow(workflow).run("r-native").record();
    native.key = Some(format!("{workflow}/r-native").into_bytes());
    vec![
        ("r-native", native),
        ("r-airflow", Record::new(airflow.to_string()).key(format!("{workflow}/r-airflow"))),
        (
            "r-structured",
            Record::new(structured.to_string())
                .key("r-structured")
                .header("content-type", "application/cloudevents+json; charset=UTF-8"),
        ),
        (
            "r-binary",
            Record::new(r#"{"rows": 8}"#)
                .header("ce_specversion", "1.0")
                .header("ce_type", "workflow.completed")
                .header("ce_source", "urn:airflow:prod")
                .header("ce_id", workflow)
                .header("ce_subject", format!("{workflow}/r-binary"))
                .header("ce_traceparent", TRACE)
                .header("content-type", "application/json"),
        ),
        ("r-lineage", Record::new(lineage.to_string()).key(format!("run:prod/{workflow}"))),
        ("r-integration", Record::new(integration.to_string()).key("r-integration")),
    ]
}

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The time-out is longer than a machine stands still: no request is repeated because its answer was late.
fn rules(workflow: &str, url: &str) -> String {
    format!(
        "agents:
  audit: {{http: {{url: '{url}/events'}}, timeout: 60s}}
rules:
  - name: native
    when: {{event_type: [WORKFLOW_COMPLETED], workflow_id: [{workflow}], workflow_run_id: [r-native]}}
    to: [audit]
  - name: airflow
    when:
      event_type: [WORKFLOW_COMPLETED]
      source: [AIRFLOW]
      workflow_id: [{workflow}]
      payload: {{data: {{source: [airflow-prod], run_type: [scheduled]}}}}
      metadata: {{scope: [dag]}}
    to: [audit]
  - name: structured
    when:
      event_type: [WORKFLOW_COMPLETED]
      workflow_id: [{workflow}]
      cloudevent: {{type: [{{prefix: com.example.}}]}}
      payload: {{data: {{rows: [7]}}}}
    to: [audit]
  - name: binary
    when:
      event_type: [WORKFLOW_COMPLETED]
      source: [AIRFLOW]
      workflow_id: [{workflow}]
      cloudevent: {{datacontenttype: [application/json]}}
      payload: {{data: {{rows: [8]}}}}
    to: [audit]
  - name: lineage
    when:
      event_type: [WORKFLOW_COMPLETED]
      source: [AIRFLOW]
      workflow_id: [{workflow}]
      metadata: {{job_namespace: [prod], scope: [dag]}}
    to: [audit]
  - name: integration
    when: {{event_type: [WORKFLOW_COMPLETED], workflow_id: [{workflow}], payload: {{data: {{amount: [5]}}}}}}
    to: [audit]
"
    )
}

#[test]
fn every_dialect_is_matched_delivered_once_and_a_duplicate_the_second_time() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("dialects", 1);
    let workflow = unique("etl");
    let records = records(&workflow);
    kafka().produce_all(&topic, records.iter().map(|(_, record)| record.clone()));
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&rules(&workflow, &agent.url())).start();
    agent.wait_accepted(6, PATIENCE);
    kafka().produce_all(&topic, records.iter().map(|(_, record)| record.clone()));
    poll(PATIENCE, "each is a duplicate the second time", || {
        let outcome = |outcome| bridge.metric("events_total", &[("outcome", outcome)]);
        let seen = ["delivered", "duplicate", "unmatched", "dead_lettered"].map(outcome);
        // One that is read again is a duplicate once more.
        let [delivered, duplicate, unmatched, dead_lettered] = seen;
        when(duplicate >= 6.0 && [delivered, unmatched, dead_lettered] == [6.0, 0.0, 0.0], seen)
    });
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bridge.stop();

    let accepted = agent.accepted();
    let got: BTreeMap<String, Value> = accepted
        .iter()
        .map(|request| {
            let body = request.json();
            (body["workflow_run_id"].as_str().unwrap_or_default().to_owned(), body)
        })
        .collect();
    assert_eq!((accepted.len(), got.len()), (6, 6), "each was delivered once: {got:?}");
    for (run, body) in &got {
        assert_eq!(body["event_type"], "WORKFLOW_COMPLETED", "{run}");
        assert_eq!(body["source"], "AIRFLOW", "{run}");
        assert_eq!(body["workflow_id"], workflow, "{run}");
        assert!(body["event_id"].as_str().is_some_and(|id| !id.is_empty()), "{run}");
    }
    assert_eq!(got["r-airflow"]["payload"]["data"]["event"], "dag_run.success");
    assert_eq!(got["r-structured"]["cloudevent"]["id"], workflow);
    assert_eq!(got["r-lineage"]["payload"]["data"]["run"], json!({"runId": "r-lineage"}));
    assert_eq!(got["r-binary"]["payload"]["data"], json!({"rows": 8}));

    let of = |run: &str| accepted.iter().find(|request| request.json()["workflow_run_id"] == run);
    let trace = |run: &str| of(run).and_then(|request| request.header("traceparent").map(str::to_owned));
    assert_eq!((trace("r-binary").as_deref(), trace("r-structured")), (Some(TRACE), None));
    let published = &records[0].1.value;
    assert_eq!(of("r-native").map(|request| request.body.to_vec()), *published, "a native event is sent as it was");
}

#[test]
fn a_cloudevent_that_lacks_something_is_kept_byte_for_byte_and_the_letter_says_what() {
    let agent = HttpAgent::start();
    let topic = kafka().topic("lacking", 1);
    let workflow = unique("etl");
    let lacking = Record::new(b"\x00avro\xff".to_vec())
        .key("k")
        .header("ce_specversion", "1.0")
        .header("ce_type", "workflow.completed")
        .header("ce_id", "1")
        .header("content-type", "application/avro");
    let good = records(&workflow).remove(3).1;
    kafka().produce_all(&topic, [lacking.clone(), good]);
    let mut bridge = BridgeSetup::new(kafka(), &topic).routing(&rules(&workflow, &agent.url())).start();
    agent.wait_accepted(1, PATIENCE);
    kafka().wait_committed(bridge.group(), &topic, PATIENCE);
    bridge.stop();
    let letters = kafka().read_all(&format!("{topic}.dlq"));
    let offsets: BTreeSet<_> = letters.iter().filter_map(|letter| letter.header("dlq-offset")).collect();
    assert_eq!(offsets, BTreeSet::from(["0".to_owned()]), "dead letters are at least once");
    let letter = &letters[0];
    assert_eq!((&letter.key, &letter.value), (&lacking.key, &lacking.value));
    for (name, value) in &lacking.headers {
        assert_eq!(letter.header(name).map(String::into_bytes), *value, "{name}");
    }
    assert_eq!(letter.header("dlq-reason").as_deref(), Some("missing_field"));
    let error = letter.header("dlq-error").unwrap_or_default();
    assert!(error.contains("`ce_source`") && error.contains("ce_specversion, ce_type"), "{error}");
}
