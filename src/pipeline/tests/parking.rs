//! Parking with the embedded broker.

use std::sync::atomic::Ordering;

use super::{given_up::Switched, replicated::digest_of, *};
use crate::{
    dedup::{DeliveryStatus, PlannedDelivery, Record, RecordState, Source},
    event::{Generation, RECORDED_MS, RedriveRequest},
    kafka::{
        ParkError, ParkedDelivery, ParkedHead,
        testing::{commit, with_headers},
    },
};

const PARK_AFTER: Option<Duration> = Some(Duration::from_millis(300));

fn received_ids(agent: &SampleAgent) -> Vec<(String, String)> {
    let text = |event: &serde_json::Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    agent
        .received()
        .iter()
        .map(|request| serde_json::from_slice::<serde_json::Value>(&request.body).unwrap())
        .map(|event| (text(&event, "workflow_run_id"), text(&event, "event_id")))
        .collect()
}

fn assert_once_and_in_order(agent: &SampleAgent, events: usize) {
    assert_in_order(&received_ids(agent), events);
}

fn assert_in_order(received: &[(String, String)], events: usize) {
    assert_eq!(received.len(), events, "each once: {received:?}");
    for run in 0..3 {
        let ids: Vec<_> = received.iter().filter(|(of, _)| *of == format!("run-{run}")).map(|(_, id)| id).collect();
        assert!(ids.is_sorted(), "run {run}: {ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_its_outcome_when_its_delivery_is_parked_and_the_delivery_is_made_later() {
    let agent = Switched::default();
    let mut fixture = PipelineFixture::parking(&rules(agent.start().await, ""), PARK_AFTER);
    for n in 0..60 {
        fixture.publish(&format!("{n:03}"), &format!("run-{}", n % 3));
    }
    fixture.until("every event has its outcome", |fixture| fixture.open_offsets() == 0).await;
    assert!(agent.accepted().is_empty(), "before the agent has accepted any");
    assert_eq!(fixture.count(Outcome::Parked), 60);
    let status = &fixture.pipeline.agents()[0];
    assert!(status.parked && status.parked_deliveries > 0, "{status:?}");
    // Behind the others.
    for n in 60..90 {
        fixture.publish(&format!("{n:03}"), &format!("run-{}", n % 3));
    }
    agent.up.store(true, Ordering::SeqCst);
    fixture.until("the agent has accepted all of them", |_| agent.accepted().len() >= 90).await;
    fixture.until("nothing is parked", |fixture| !fixture.pipeline.agents()[0].parked).await;
    fixture.publish("090", "run-0");
    let is_last = |seen: &CompletedEvent| seen.event_id.as_deref() == Some("090") && seen.outcome == Outcome::Delivered;
    fixture.until("it was delivered", |fixture| fixture.outcomes.lock().unwrap().iter().any(is_last)).await;
    let run_of = |id: &str| format!("run-{}", id.parse::<u32>().unwrap() % 3);
    let accepted: Vec<_> = agent.accepted().into_iter().map(|id| (run_of(&id), id)).collect();
    assert_in_order(&accepted, 91);
    // A delivery of another key may have been accepted, and not recorded yet.
    fixture.until("nothing is pending", |fixture| fixture.pending() == 0).await;
    let status = &fixture.pipeline.agents()[0];
    assert_eq!(status.parked_deliveries, 0, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_not_to_be_parked_waits() {
    let agent = agent(SampleOptions { refuse_first: 60, ..SampleOptions::default() }).await;
    let mut fixture = PipelineFixture::parking(&rules(agent.addr(), ""), None);
    for n in 0..30 {
        fixture.publish(&format!("{n:03}"), &format!("run-{}", n % 3));
    }
    fixture.until("all were delivered", |fixture| fixture.count(Outcome::Delivered) == 30).await;
    assert_once_and_in_order(&agent, 30);
}

/// The ledger calls the delivery of the event at this offset parked, and the parked topic has nothing.
pub(super) async fn parked_by_another(offset: i64) -> Record {
    let plan = [PlannedDelivery { rule: "all".into(), agent: "audit".into() }];
    let mut record = Record::new(digest_of("000", "run-0").await, 1, &plan);
    record.record_source(Source { topic: "events".into(), partition: 0, offset });
    record.finish("all", "audit", DeliveryStatus::Parked, 2);
    record
}

/// A record of the parked topic whose headers name the first event.
pub(super) fn parked_record(value: &serde_json::Value) -> ParkedDelivery {
    ParkedDelivery {
        origin: Origin { topic: "events".into(), partition: 0, offset: 0 },
        key: None,
        value: Some(value.to_string().into()),
        headers: [].into(),
        timestamp_ms: Some(1),
        head: ParkedHead {
            event_id: "000".into(),
            rule: "all".into(),
            agent: "audit".into(),
            generation: Generation::FIRST,
            attempts: 0,
            failed_attempts: 0,
            first_attempt_ms: None,
            parked_ms: 5,
        },
    }
}

/// Parks a record. The topic refuses it for a while when its broker does not answer in time.
pub(super) async fn park(topics: &ParkedTopics, record: &ParkedDelivery) {
    let parked = timeout(DEADLINE, async {
        while let Err(error) = topics.park(record, std::future::pending()).await {
            assert!(matches!(error, ParkError::Refused { .. }), "{error}");
            println!("{error}");
        }
    });
    parked.await.expect("it is parked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_another_event_than_its_headers_name_does_not_take_the_place_of_the_parked_one() {
    let agent = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::parking(&rules(agent.addr(), ""), PARK_AFTER);
    fixture.ledger.merge("000", &parked_by_another(0).await).unwrap();
    let kafka = KafkaSettings {
        bootstrap_servers: fixture.broker.bootstrap_servers(),
        parked_topic: Some("parked".into()),
        ..KafkaSettings::default()
    };
    let topics = ParkedTopics::connect(&kafka).unwrap();
    for (id, run) in [("other", "run-0"), ("000", "another-run"), ("000", "run-0")] {
        park(&topics, &parked_record(&event(id, run))).await;
    }
    // With its first event the partition is known, and what is parked is looked up.
    fixture.publish("001", "run-1");
    fixture.until("both were delivered", |_| agent.received().len() >= 2).await;
    fixture.until("nothing is parked", |fixture| !fixture.pipeline.agents()[0].parked).await;
    let mut received = received_ids(&agent);
    received.sort();
    let expected = [("run-0", "000"), ("run-1", "001")].map(|(run, id)| (run.to_owned(), id.to_owned()));
    assert_eq!(received, expected);
}

/// The ledger has lost that the delivery was redriven: it knows the generation before.
#[tokio::test(flavor = "multi_thread")]
async fn a_parked_delivery_that_is_no_event_any_more_is_a_dead_letter_whatever_generation_the_ledger_knows() {
    let agent = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::parking(&rules(agent.addr(), ""), PARK_AFTER);
    let mut known = parked_by_another(0).await;
    known.finish("all", "audit", DeliveryStatus::Dead, 3);
    fixture.ledger.merge("000", &known).unwrap();
    let kafka = KafkaSettings {
        bootstrap_servers: fixture.broker.bootstrap_servers(),
        parked_topic: Some("parked".into()),
        ..KafkaSettings::default()
    };
    let topics = ParkedTopics::connect(&kafka).unwrap();
    commit(&kafka, ("events", 0), 1);
    let mut redriven = parked_record(&json!("no event"));
    redriven.head.generation = 1.into();
    redriven.head.parked_ms = now_ms();
    park(&topics, &redriven).await;
    fixture.publish("001", "run-1");
    let end = |fixture: &PipelineFixture| {
        let record = fixture.ledger.get("000").unwrap().unwrap();
        (record.generation("all", "audit"), record.deliveries()[0].status)
    };
    fixture.until("it is dead", |fixture| end(fixture) == (1.into(), DeliveryStatus::Dead)).await;
    fixture.until("nothing is parked", |fixture| !fixture.pipeline.agents()[0].parked).await;
    fixture.until("the other one is delivered", |_| !agent.received().is_empty()).await;
    assert_eq!(agent.received().len(), 1);
}

/// It was a former owner of the partition, and this process had looked into the parked topic before.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_another_process_parked_late_is_made_when_its_event_is_read() {
    let agent = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::parking(&rules(agent.addr(), ""), PARK_AFTER);
    fixture.ledger.merge("000", &parked_by_another(0).await).unwrap();
    fixture.publish("000", "run-0");
    fixture.until("it is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    assert_once_and_in_order(&agent, 1);
    assert!(fixture.ledger.get("000").unwrap().unwrap().state().is_final());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_while_its_agent_is_down_is_parked_and_made_once() {
    const SENT: usize = 30;
    let agent = Switched::default();
    agent.up.store(true, Ordering::SeqCst);
    let mut fixture = PipelineFixture::parking(&rules(agent.start().await, ""), PARK_AFTER);
    let events: Vec<_> = (0..SENT).map(|n| (format!("{n:03}"), format!("run-{}", n % 3))).collect();
    for (id, run) in &events {
        fixture.publish(id, run);
    }
    fixture.until("all were delivered", |fixture| fixture.count(Outcome::Delivered) == SENT).await;
    agent.up.store(false, Ordering::SeqCst);
    let generation = Generation { again: 1, number: 0 };
    let request = RedriveRequest { rule: "all".into(), agent: "audit".into(), generation, is_forced: false };
    let published = (RECORDED_MS.to_owned(), Some(now_ms().to_string().into_bytes()));
    let headers = [request.headers(), vec![published]].concat();
    let send_again = |fixture: &mut PipelineFixture| {
        let ownership = Arc::clone(&fixture.ownership);
        for (id, run) in &events {
            with_headers(&headers, |headers| fixture.receive(&ownership, 0, &event(id, run), headers));
        }
    };
    send_again(&mut fixture);
    fixture.until("every request has its outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!((fixture.count(Outcome::Parked), agent.accepted().len()), (SENT, SENT));
    // Whoever asks once more finds them parked.
    send_again(&mut fixture);
    fixture.until("every request has its outcome", |fixture| fixture.open_offsets() == 0).await;
    agent.up.store(true, Ordering::SeqCst);
    fixture.until("each was accepted again", |_| agent.accepted().len() >= 2 * SENT).await;
    fixture.until("nothing is parked", |fixture| !fixture.pipeline.agents()[0].parked).await;
    fixture.until("nothing is pending", |fixture| fixture.pending() == 0).await;
    send_again(&mut fixture);
    fixture.until("every request has its outcome", |fixture| fixture.open_offsets() == 0).await;
    let mut accepted = agent.accepted();
    accepted.sort();
    let twice: Vec<_> = events.iter().flat_map(|(id, _)| [id.clone(), id.clone()]).collect();
    assert_eq!(accepted, twice);
    let record = fixture.ledger.get("000").unwrap().unwrap();
    assert_eq!((record.generation("all", "audit"), record.state()), (generation, RecordState::Done));
}

/// The ledgers were lost. The first record of the event is committed, so what is parked of it is made; the second one is read again.
#[tokio::test(flavor = "multi_thread")]
async fn another_record_of_an_event_that_only_the_parked_topic_knows_is_not_delivered_again() {
    let agent = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::parking(&rules(agent.addr(), ""), PARK_AFTER);
    let kafka = KafkaSettings {
        bootstrap_servers: fixture.broker.bootstrap_servers(),
        parked_topic: Some("parked".into()),
        ..KafkaSettings::default()
    };
    let topics = ParkedTopics::connect(&kafka).unwrap();
    commit(&kafka, ("events", 0), 1);
    let mut parked = parked_record(&event("000", "run-0"));
    parked.head.parked_ms = now_ms();
    park(&topics, &parked).await;
    fixture.publish("000", "run-0");
    fixture.until("it has its outcome", |fixture| fixture.open_offsets() == 0).await;
    fixture.until("nothing is parked", |fixture| !fixture.pipeline.agents()[0].parked).await;
    fixture.until("nothing is pending", |fixture| fixture.pending() == 0).await;
    assert_once_and_in_order(&agent, 1);
}

/// The ledger lost an event of which one of two deliveries was parked, and it is read again. A ledger record that is made of the
/// parked one would call the event done, and the other delivery would never be made.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_read_again_is_not_known_by_what_is_parked_of_it() {
    let (parked, other) = (agent(SampleOptions::default()).await, agent(SampleOptions::default()).await);
    let second = format!("  other: {{http: {{url: 'http://{}/events'}}}}\nrules:", other.addr());
    let rules = rules(parked.addr(), "").replace("rules:", &second).replace("to: [audit]", "to: [audit, other]");
    let mut fixture = PipelineFixture::parking(&rules, PARK_AFTER);
    let kafka = KafkaSettings {
        bootstrap_servers: fixture.broker.bootstrap_servers(),
        parked_topic: Some("parked".into()),
        ..KafkaSettings::default()
    };
    let topics = ParkedTopics::connect(&kafka).unwrap();
    commit(&kafka, ("events", 0), 0);
    let mut copy = parked_record(&event("000", "run-0"));
    (copy.origin.offset, copy.head.parked_ms) = (1, now_ms());
    park(&topics, &copy).await;
    // Whatever is parked is made before it.
    fixture.publish("001", "run-1");
    fixture.until("it has its outcome", |fixture| fixture.open_offsets() == 0).await;
    fixture.publish("000", "run-0");
    fixture.until("it has its outcome too", |fixture| fixture.open_offsets() == 0).await;
    fixture.until("nothing is parked", |fixture| fixture.pipeline.agents().iter().all(|agent| !agent.parked)).await;
    fixture.until("nothing is pending", |fixture| fixture.pending() == 0).await;
    assert_once_and_in_order(&parked, 2);
    assert_once_and_in_order(&other, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_record_of_an_event_that_is_parked_is_a_duplicate() {
    let agent = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::parking(&rules(agent.addr(), ""), PARK_AFTER);
    fixture.ledger.merge("000", &parked_by_another(7).await).unwrap();
    fixture.publish("000", "run-0");
    fixture.until("it has its outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!((fixture.count(Outcome::Duplicate), agent.received().len()), (1, 0));
}

/// Nobody would notice that the agent works again, if what cannot be parked were not attempted.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_cannot_be_written_does_not_keep_the_agent_from_being_probed() {
    let agent = agent(SampleOptions { refuse_first: 100, ..SampleOptions::default() }).await;
    let mut fixture =
        PipelineFixture::start_with(&rules(agent.addr(), ""), (PARK_AFTER, "cannot-be-created"), |_, _| None);
    for n in 0..30 {
        fixture.publish(&format!("{n:03}"), &format!("run-{}", n % 3));
    }
    fixture.until("all were delivered", |fixture| fixture.count(Outcome::Delivered) == 30).await;
    assert_once_and_in_order(&agent, 30);
    fixture.until("the agent is live", |fixture| !fixture.pipeline.agents()[0].parked).await;
}
