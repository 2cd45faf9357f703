//! Events of which the rules ask for more deliveries than are made.

use std::ops::ControlFlow;

use super::*;
use crate::{
    dedup::{DeliveryStatus, PlannedDelivery, Record},
    event::{RECORDED_MS, RedriveRequest, decode, digest},
    kafka::{ScanProgress, TopicReader, TopicRecord, testing::with_headers},
};

/// So many rules with two agents each match a type.
async fn start(completed: usize, failed: usize) -> (SampleAgent, PipelineFixture) {
    let agent = agent(SampleOptions::default()).await;
    let rules = |count: usize, event_type: &str, name: &str| -> String {
        let rule = |n| format!("  - {{name: {name}-{n}, when: {{event_type: [{event_type}]}}, to: [a, b]}}\n");
        (0..count).map(rule).collect()
    };
    let fixture = PipelineFixture::start(&format!(
        "agents:
  a: {{http: {{url: 'http://{0}/events'}}, timeout: 10m}}
  b: {{http: {{url: 'http://{0}/events'}}, timeout: 10m}}
rules:
{1}{2}",
        agent.addr(),
        rules(completed, "WORKFLOW_COMPLETED", "completed"),
        rules(failed, "WORKFLOW_FAILED", "failed")
    ));
    (agent, fixture)
}

fn failed(id: &str) -> serde_json::Value {
    let mut failed = event(id, "run");
    failed["event_type"] = "WORKFLOW_FAILED".into();
    failed
}

async fn receive(
    fixture: &mut PipelineFixture,
    event: &serde_json::Value,
    headers: &[(String, Option<Vec<u8>>)],
) -> (Outcome, Option<&'static str>) {
    let (ownership, offset) = (Arc::clone(&fixture.ownership), fixture.next_offset);
    with_headers(headers, |headers| fixture.receive(&ownership, 0, event, headers));
    fixture.until("it has its outcome", |fixture| fixture.open_offsets() == 0).await;
    let outcomes = fixture.outcomes.lock().unwrap();
    outcomes.iter().find(|seen| seen.origin.offset == offset).map(|seen| (seen.outcome, seen.reason)).unwrap()
}

/// What the dead letters say.
fn errors(fixture: &PipelineFixture) -> Vec<String> {
    let settings = KafkaSettings { bootstrap_servers: fixture.broker.bootstrap_servers(), ..KafkaSettings::default() };
    let mut errors = Vec::new();
    tokio::task::block_in_place(|| {
        let reader = TopicReader::connect(&settings, "test").unwrap();
        let ranges = reader.ranges("events.dlq", None, None).unwrap();
        let read = reader.read("events.dlq", &ranges, &mut ScanProgress::of(&ranges), &mut |_, record| {
            let Some(record) = record else { return ControlFlow::Continue(()) };
            let headers: Vec<_> = record.headers.iter().collect();
            if let TopicRecord::Letter(head) = TopicRecord::read(&headers) {
                errors.push(head.error.to_owned());
            }
            ControlFlow::Continue(())
        });
        assert_eq!(read.unwrap(), ControlFlow::Continue(()));
    });
    errors
}

/// What the ledger has of an event with two deliveries: neither has ended, or one has.
fn known(event: &serde_json::Value, is_partly_delivered: bool) -> Record {
    let plan = ["a", "b"].map(|agent| PlannedDelivery { rule: "failed-0".into(), agent: agent.into() });
    let event = decode(event.to_string().as_bytes()).unwrap();
    let mut record = Record::new(digest(&event), now_ms(), &plan);
    if is_partly_delivered {
        record.finish("failed-0", "a", DeliveryStatus::Delivered, now_ms());
    }
    record
}

const TOO_MANY: (Outcome, Option<&str>) = (Outcome::DeadLettered, Some("too_many_deliveries"));

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_deliveries_of_an_event_are_made_and_one_with_more_is_a_dead_letter() {
    let (agent, mut fixture) = start(500, 501).await;
    assert_eq!(receive(&mut fixture, &failed("failed"), &[]).await, TOO_MANY);
    assert_eq!(receive(&mut fixture, &event("completed", "run"), &[]).await, (Outcome::Delivered, None));
    assert_eq!(agent.received().len(), 1_000);
    assert!(fixture.ledger.get("failed").unwrap().is_none(), "it can be redriven when fewer rules match it");
    let expected = "the rules ask for 1002 deliveries of this event, and at most 1000 of one event are made: let fewer rules \
                    match it, and redrive this dead letter";
    assert_eq!(errors(&fixture), [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_planned_before_too_many_rules_matched_is_made() {
    let (agent, mut fixture) = start(1, 501).await;
    let (open, partly) = (failed("open"), failed("partly"));
    fixture.ledger.merge("open", &known(&open, false)).unwrap();
    fixture.ledger.merge("partly", &known(&partly, true)).unwrap();
    assert_eq!(
        receive(&mut fixture, &open, &[]).await,
        TOO_MANY,
        "nothing of it has ended: its plan is that of the rules"
    );
    assert_eq!(fixture.ledger.get("open").unwrap().unwrap().deliveries().len(), 2, "what is known of it stays");
    assert_eq!(receive(&mut fixture, &partly, &[]).await, (Outcome::Delivered, None));
    assert_eq!(agent.received().len(), 1, "the one that was left");
    assert_eq!(receive(&mut fixture, &partly, &[]).await, (Outcome::Duplicate, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_delivery_of_an_event_with_too_many_can_be_asked_for() {
    let (agent, mut fixture) = start(1, 501).await;
    let failed = failed("failed");
    let asked = RedriveRequest { rule: "failed-7".into(), agent: "b".into(), generation: 1.into(), is_forced: true };
    let published = (RECORDED_MS.to_owned(), Some(now_ms().to_string().into_bytes()));
    let headers = [asked.headers(), vec![published]].concat();
    for expected in [Outcome::Delivered, Outcome::Duplicate] {
        assert_eq!(receive(&mut fixture, &failed, &headers).await, (expected, None));
    }
    assert_eq!(agent.received().len(), 1);
}
