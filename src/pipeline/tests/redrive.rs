//! Deliveries that are made again on purpose.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    answers::{agent_that, status},
    *,
};
use crate::{
    dedup::{DeliveryRecord, DeliveryStatus, Record},
    event::{Generation, RECORDED_MS, RedriveRequest},
    kafka::{ScanProgress, TopicReader, TopicRecord, testing::with_headers},
};

/// What a dead letter says: reason, rule and agent, generation, and when its record was published.
type Letter = (String, Option<(String, String)>, Generation, Option<i64>);

/// Two agents: one refuses everything until it is repaired.
struct TwoAgents {
    fixture: PipelineFixture,
    repaired: Arc<AtomicBool>,
    /// What was accepted, by path and event.
    accepted: Arc<Mutex<BTreeMap<(String, String), usize>>>,
    /// Every `Idempotency-Key`.
    keys: Arc<Mutex<BTreeSet<String>>>,
}

impl TwoAgents {
    async fn start() -> Self {
        let (repaired, accepted): (Arc<AtomicBool>, Arc<Mutex<BTreeMap<_, usize>>>) = (Arc::default(), Arc::default());
        let keys: Arc<Mutex<BTreeSet<_>>> = Arc::default();
        let (works, counts, seen) = (Arc::clone(&repaired), Arc::clone(&accepted), Arc::clone(&keys));
        let addr = agent_that(move |asked| {
            seen.lock().unwrap().extend(asked.key().map(str::to_owned));
            if asked.path() == "/broken" && !works.load(Ordering::SeqCst) {
                return status(400);
            }
            *counts.lock().unwrap().entry((asked.path().to_owned(), asked.event_id())).or_default() += 1;
            status(200)
        })
        .await;
        let fixture = PipelineFixture::start(&format!(
            "agents:
  broken: {{http: {{url: 'http://{addr}/broken'}}, timeout: 10m}}
  other: {{http: {{url: 'http://{addr}/other'}}, timeout: 10m}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED], workflow_id: [etl]}}, to: [broken, other]}}
"
        ));
        Self { fixture, repaired, accepted, keys }
    }

    fn redrive(
        &mut self,
        event: &serde_json::Value,
        (rule, agent): (&str, &str),
        generation: impl Into<Generation>,
        is_forced: bool,
    ) {
        let request =
            RedriveRequest { rule: rule.into(), agent: agent.into(), generation: generation.into(), is_forced };
        let published = (RECORDED_MS.to_owned(), Some(now_ms().to_string().into_bytes()));
        self.receive(event, &[request.headers(), vec![published]].concat());
    }

    fn receive(&mut self, event: &serde_json::Value, headers: &[(String, Option<Vec<u8>>)]) {
        let ownership = Arc::clone(&self.fixture.ownership);
        with_headers(headers, |headers| self.fixture.receive(&ownership, 0, event, headers));
    }

    async fn settled(&self) {
        self.fixture.until("all have their outcome", |fixture| fixture.open_offsets() == 0).await;
    }

    fn accepted(&self, path: &str, id: &str) -> usize {
        self.accepted.lock().unwrap().get(&(path.to_owned(), id.to_owned())).copied().unwrap_or_default()
    }

    /// The outcome of the last record, and its reason if it is a dead letter as a whole.
    fn last(&self) -> (Outcome, Option<&'static str>) {
        let outcomes = self.fixture.outcomes.lock().unwrap();
        outcomes.iter().max_by_key(|seen| seen.origin.offset).map(|seen| (seen.outcome, seen.reason)).unwrap()
    }

    /// The dead letters, in their order.
    fn letters(&self) -> Vec<Letter> {
        let bootstrap_servers = self.fixture.broker.bootstrap_servers();
        let settings = KafkaSettings { bootstrap_servers, ..KafkaSettings::default() };
        let mut letters = Vec::new();
        tokio::task::block_in_place(|| {
            let reader = TopicReader::connect(&settings, "test").unwrap();
            let ranges = reader.ranges("events.dlq", None, None).unwrap();
            let mut progress = ScanProgress::of(&ranges);
            let read = reader.read("events.dlq", &ranges, &mut progress, &mut |_, record| {
                let Some(record) = record else { return ControlFlow::Continue(()) };
                let headers: Vec<_> = record.headers.iter().collect();
                if let TopicRecord::Letter(head) = TopicRecord::read(&headers) {
                    let delivery = head.delivery.map(|(rule, agent)| (rule.to_owned(), agent.to_owned()));
                    letters.push((head.reason.to_owned(), delivery, head.generation, head.recorded_ms));
                }
                ControlFlow::Continue(())
            });
            assert_eq!((read.unwrap(), progress.withheld), (ControlFlow::Continue(()), 0));
        });
        letters
    }

    fn delivery(&self, id: &str, agent: &str) -> DeliveryRecord {
        let record: Record = self.fixture.ledger.get(id).unwrap().unwrap();
        record.deliveries().iter().find(|delivery| *delivery.agent == *agent).unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_makes_the_failed_delivery_again_once_and_no_other() {
    let mut agents = TwoAgents::start().await;
    let event = event("first", "run");
    agents.receive(&event, &[]);
    agents.settled().await;
    assert_eq!(agents.last(), (Outcome::DeadLettered, None));

    // It fails again, and may be redriven again.
    agents.redrive(&event, ("all", "broken"), 1, false);
    agents.settled().await;
    assert_eq!(agents.last(), (Outcome::DeadLettered, None));
    let again = agents.delivery("first", "broken");
    assert_eq!((again.generation, again.status, again.attempts), (1.into(), DeliveryStatus::Dead, 1), "it counts anew");

    agents.repaired.store(true, Ordering::SeqCst);
    for _ in 0..50 {
        agents.redrive(&event, ("all", "broken"), 1, false);
        agents.redrive(&event, ("all", "broken"), 2, false);
    }
    agents.settled().await;
    assert_eq!((agents.accepted("/broken", "first"), agents.accepted("/other", "first")), (1, 1));
    let delivered = agents.delivery("first", "broken");
    assert_eq!((delivered.generation, delivered.status), (2.into(), DeliveryStatus::Delivered));
    assert_eq!((agents.fixture.count(Outcome::Delivered), agents.fixture.count(Outcome::Duplicate)), (1, 99));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_a_redrive_gets_no_more_than_the_rules_and_the_ledger_allow() {
    const REFUSED: (Outcome, Option<&str>) = (Outcome::DeadLettered, Some("redrive_refused"));
    let mut agents = TwoAgents::start().await;
    let known = event("known", "run");
    agents.receive(&known, &[]);
    agents.settled().await;
    agents.repaired.store(true, Ordering::SeqCst);
    let unknown = event("unknown", "run");
    let mut unmatched = event("unmatched", "run");
    unmatched["workflow_id"] = "another".into();
    let conflicting = event("known", "another run");
    for forced in [false, true] {
        for (event, delivery, generation, expected) in [
            (&known, ("all", "other"), 1, (Outcome::Duplicate, None)),
            (&known, ("all", "broken"), 2, REFUSED),
            (&known, ("all", "broken"), u32::MAX, REFUSED),
            (&known, ("all", "nobody"), 1, REFUSED),
            (&unmatched, ("all", "broken"), 1, REFUSED),
            (&unknown, ("no such rule", "broken"), 1, REFUSED),
            (&conflicting, ("all", "broken"), 1, (Outcome::DeadLettered, Some("id_conflict"))),
        ] {
            agents.redrive(event, delivery, generation, forced);
            agents.settled().await;
            assert_eq!(agents.last(), expected, "{delivery:?} {generation} {event}");
        }
    }
    agents.receive(&unknown, &[("dlq-redrive-rule".to_owned(), Some(b"all".to_vec()))]);
    agents.settled().await;
    assert_eq!(agents.last(), REFUSED, "half of the headers");
    agents.redrive(&unknown, ("all", "broken"), 7, false);
    agents.settled().await;
    assert_eq!(agents.last(), REFUSED, "the ledger does not know it");
    assert_eq!(agents.accepted.lock().unwrap().len(), 1, "nothing ran but what ran at first");

    // With force it runs that agent alone, once.
    for _ in 0..3 {
        agents.redrive(&unknown, ("all", "broken"), 7, true);
    }
    agents.settled().await;
    assert_eq!((agents.accepted("/broken", "unknown"), agents.accepted("/other", "unknown")), (1, 0));
    assert_eq!(agents.delivery("unknown", "broken").generation, 7.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_is_a_dead_letter_for_any_reason_can_be_redriven_again() {
    const PUBLISHED: i64 = 1_769_860_800_000;
    let mut agents = TwoAgents::start().await;
    agents.receive(&event("known", "run"), &[]);
    agents.fixture.ledger.spoil("spoilt");
    agents.settled().await;
    let no_event = serde_json::json!("no event");
    for (value, reason) in [
        (event("known", "another run"), "id_conflict"),
        (event("spoilt", "run"), "ledger_record"),
        (no_event, "not_an_object"),
        (event("unknown", "run"), "redrive_refused"),
    ] {
        let request =
            RedriveRequest { rule: "all".into(), agent: "broken".into(), generation: 7.into(), is_forced: false };
        let mut headers = request.headers();
        headers.push((RECORDED_MS.to_owned(), Some(PUBLISHED.to_string().into_bytes())));
        agents.receive(&value, &headers);
        agents.settled().await;
        assert_eq!(agents.last(), (Outcome::DeadLettered, Some(reason)));
        let delivery = Some(("all".to_owned(), "broken".to_owned()));
        assert_eq!(agents.letters().pop(), Some((reason.to_owned(), delivery, 6.into(), Some(PUBLISHED))));
    }
    assert_eq!(agents.letters()[0].3, Some(1), "Kafka's timestamp, of a record that was published once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_no_rule_had_planned_is_made_once_and_nothing_else() {
    const REFUSED: (Outcome, Option<&str>) = (Outcome::DeadLettered, Some("redrive_refused"));
    let mut agents = TwoAgents::start().await;
    agents.repaired.store(true, Ordering::SeqCst);
    let asking = |agent: &str, published_ms: u64| {
        let request =
            RedriveRequest { rule: "all".into(), agent: agent.into(), generation: Generation::FIRST, is_forced: false };
        let published = ("dlq-timestamp-ms".to_owned(), Some(published_ms.to_string().into_bytes()));
        [request.headers(), vec![published]].concat()
    };
    let event = event("late", "run");
    agents.receive(&event, &asking("broken", 0));
    agents.settled().await;
    assert_eq!(agents.last(), REFUSED, "the ledger may have forgotten it");
    let request = asking("broken", 0);
    agents.receive(&event, &request[..request.len() - 1]);
    agents.settled().await;
    assert_eq!(agents.last(), REFUSED, "nobody says how old it is");
    for _ in 0..20 {
        agents.receive(&event, &asking("broken", now_ms()));
    }
    // Nor does the event itself bring the other one.
    agents.receive(&event, &[]);
    agents.settled().await;
    assert_eq!((agents.accepted("/broken", "late"), agents.accepted("/other", "late")), (1, 0));
    for _ in 0..20 {
        agents.receive(&event, &asking("other", now_ms()));
    }
    agents.settled().await;
    assert_eq!((agents.accepted("/broken", "late"), agents.accepted("/other", "late")), (1, 1));
    assert_eq!((agents.fixture.count(Outcome::Delivered), agents.fixture.count(Outcome::Duplicate)), (2, 39));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_sent_again_once_for_each_number() {
    let mut agents = TwoAgents::start().await;
    agents.repaired.store(true, Ordering::SeqCst);
    let event = event("first", "run");
    agents.receive(&event, &[]);
    agents.settled().await;
    let delivery = ("all", "broken");
    for again in [1, 2] {
        for _ in 0..20 {
            agents.redrive(&event, delivery, Generation { again, number: 0 }, false);
            agents.receive(&event, &[]);
        }
        agents.settled().await;
        let accepted = ["/broken", "/other"].map(|path| agents.accepted(path, "first"));
        assert_eq!(accepted, [1 + usize::from(again), 1], "again {again}");
    }
    assert_eq!(agents.keys.lock().unwrap().len(), 4, "a key for each delivery");
    agents.redrive(&event, delivery, Generation { again: 1, number: 0 }, false);
    agents.settled().await;
    assert_eq!((agents.last(), agents.accepted("/broken", "first")), ((Outcome::Duplicate, None), 3), "it is too late");

    // What fails is redriven as any delivery, and is the same sending still.
    agents.repaired.store(false, Ordering::SeqCst);
    let third = Generation { again: 3, number: 0 };
    agents.redrive(&event, delivery, third, false);
    agents.settled().await;
    let letter = agents.letters().pop().unwrap();
    assert_eq!((letter.0.as_str(), letter.2), ("refused", third));
    agents.repaired.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        agents.redrive(&event, delivery, letter.2.next().unwrap(), false);
        agents.redrive(&event, delivery, third, false);
    }
    agents.settled().await;
    assert_eq!((agents.accepted("/broken", "first"), agents.accepted("/other", "first")), (4, 1));
    let known = agents.delivery("first", "broken");
    assert_eq!((known.generation, known.status), (Generation { again: 3, number: 1 }, DeliveryStatus::Delivered));
}
