//! What the ledger's record tells of an event afterwards.

use super::*;
use crate::{
    dedup::{DeliveryStatus, RunRecord, Source},
    event::{DeliveryId, Generation},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_the_source_the_end_the_run_and_the_last_failure_of_its_deliveries() {
    // Each its own: of an agent that both share, one delivery might get every refusal.
    let refuses = || agent(SampleOptions { refuse_first: 2, ..SampleOptions::default() });
    let (runs, events) = (refuses().await, refuses().await);
    let mut fixture = PipelineFixture::start(&format!(
        "agents:
  analyst:
    langgraph: {{url: 'http://{}', assistant: analyst, max_request_lifetime: 20m}}
    timeout: 10m
    retry: {{initial: 5ms, max: 20ms}}
  audit: {{http: {{url: 'http://{}/events'}}, timeout: 10m, retry: {{initial: 5ms, max: 20ms}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [analyst, audit]}}
",
        runs.addr(),
        events.addr()
    ));
    fixture.publish("before", "run");
    fixture.until("it is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    let began = now_ms();
    fixture.publish("event", "run");
    fixture.until("it is delivered", |fixture| fixture.count(Outcome::Delivered) == 2).await;

    let record = fixture.ledger.get("event").unwrap().unwrap();
    assert_eq!(record.source(), Some(&Source { topic: "events".into(), partition: 0, offset: 1 }));
    let [analyst, audit] = record.deliveries() else { panic!("{record:?}") };
    for delivery in [analyst, audit] {
        assert_eq!(delivery.status, DeliveryStatus::Delivered);
        assert!(delivery.ended_ms.is_some_and(|ended| (began..=now_ms()).contains(&ended)), "{delivery:?}");
        assert_eq!(delivery.last_failure, None);
    }
    let thread = DeliveryId::new("all", "analyst", "event", Generation::FIRST).to_string();
    let without_run = RunRecord::new(&thread, None);
    assert!(analyst.run.as_ref().is_some_and(|run| **run > without_run), "the thread and a run: {analyst:?}");
    assert!(format!("{analyst:?}").contains(&thread), "{analyst:?}");
    assert_eq!(audit.run, None);

    let record = fixture.ledger.get("before").unwrap().unwrap();
    let failures = format!("{:?}", record.deliveries().iter().map(|one| &one.last_failure).collect::<Vec<_>>());
    assert!(failures.contains("status: Some(503)") && failures.contains("class: \"agent_fault\""), "{failures}");
}

/// What another process adds meanwhile is neither lost nor undone.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_knows_of_an_event_is_kept() {
    let agent = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ", max_attempts: 12"));
    fixture.publish("event", "run");
    let failed = |fixture: &PipelineFixture| {
        fixture.ledger.get("event").unwrap().map_or(0, |record| record.failed_attempts("all", "audit"))
    };
    fixture.until("it has failed", |fixture| failed(fixture) >= 1).await;
    // A former owner's record arrives late: it saw the event earlier, and delivered it for a rule that is gone.
    let mut late = fixture.ledger.get("event").unwrap().unwrap();
    let both = ["all", "gone"].map(|rule| crate::dedup::PlannedDelivery { rule: rule.into(), agent: "audit".into() });
    let mut other = crate::dedup::Record::new(late.digest(), 5, &both);
    other.finish("gone", "audit", DeliveryStatus::Delivered, 6);
    late.merge(&other);
    fixture.ledger.merge("event", &late).unwrap();
    fixture.until("it is a dead letter", |fixture| fixture.open_offsets() == 0).await;
    let record = fixture.ledger.get("event").unwrap().unwrap();
    let statuses: Vec<_> = record.deliveries().iter().map(|one| (&*one.rule, one.status)).collect();
    assert_eq!(statuses, [("all", DeliveryStatus::Dead), ("gone", DeliveryStatus::Delivered)]);
    assert_eq!(record.first_seen_ms(), 5);
    assert_eq!(record.failed_attempts("all", "audit"), 12);
}

/// Its plan was frozen by another process whose rules were others: the event has its outcome.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_a_frozen_plan_does_not_name_is_not_made() {
    let agent = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ""));
    fixture.publish("event", "run");
    fixture.until("it has failed", |fixture| fixture.ledger.get("event").unwrap().is_some()).await;
    let gone = [crate::dedup::PlannedDelivery { rule: "gone".into(), agent: "audit".into() }];
    let mut other = crate::dedup::Record::new(fixture.ledger.get("event").unwrap().unwrap().digest(), 5, &gone);
    other.finish("gone", "audit", DeliveryStatus::Delivered, 6);
    fixture.ledger.merge("event", &other).unwrap();
    fixture.until("it has its outcome", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    assert!(fixture.ledger.get("event").unwrap().unwrap().state().is_final());
}
