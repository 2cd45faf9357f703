//! The pipeline with a ledger topic: what it appends, what offsets wait for, and what other processes write.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{
    super::{replica::Applier, rewrite::Rewrites},
    answers::{agent_that, status},
    given_up::Switched,
    *,
};
use tokio::time::Instant;

use crate::{
    agents::EndpointId,
    dedup::{DeliveryStatus, PlannedDelivery, Record, RecordState, Source, encode_entry, ledger_owner},
    kafka::{
        ApplyEntries as _, LedgerAppender, LedgerPosition, LedgerTopicSettings,
        testing::{Held, entries, leased},
    },
};

/// A fixture with a ledger topic, and the other end of the topic.
struct Replicated {
    fixture: PipelineFixture,
    appender: LedgerAppender,
    applier: Applier,
}

/// Nothing listens there, so that no record is acknowledged.
const NOBODY: &str = "127.0.0.1:1";

impl Replicated {
    /// With `brokers` the ledger topic is on another cluster than the events.
    fn start(rules: &str, brokers: Option<&str>) -> Self {
        let mut ends = None;
        let fixture = PipelineFixture::start_with(rules, (None, "parked"), |ledger, kafka| {
            let bootstrap_servers = brokers.map_or_else(|| kafka.bootstrap_servers.clone(), str::to_owned);
            let settings = KafkaSettings { bootstrap_servers, ..kafka.clone() };
            let topic = LedgerTopicSettings { topic: "ledger".into(), window: Duration::from_secs(3_600) };
            let appender = LedgerAppender::connect(&settings, &topic).unwrap();
            let (replication, applier) = replicate(ledger, "test", appender.clone());
            ends = Some((appender, applier));
            Some(replication)
        });
        let (appender, applier) = ends.unwrap();
        Self { fixture, appender, applier }
    }

    fn record(&self, id: &str) -> Record {
        self.fixture.ledger.get(id).unwrap().unwrap()
    }

    /// Another process's record of an event arrives.
    fn arrives(&mut self, id: &str, record: &Record) {
        let value = encode_entry(ledger_owner("test"), 7, record);
        let position = LedgerPosition { offset: 1, anchor: 0 };
        self.applier.apply(0, &entries(&[(id, &value)]), position).unwrap();
    }
}

fn plan(deliveries: &[(&str, &str)]) -> Vec<PlannedDelivery> {
    deliveries.iter().map(|(rule, agent)| PlannedDelivery { rule: (*rule).into(), agent: (*agent).into() }).collect()
}

/// A record of the event that the fixture publishes, with these deliveries finished.
fn known(digest: u64, deliveries: &[(&str, &str)], delivered: &[(&str, &str)]) -> Record {
    let mut record = Record::new(digest, 1, &plan(deliveries));
    for (rule, agent) in delivered {
        record.finish(rule, agent, DeliveryStatus::Delivered, 2);
    }
    record
}

/// The outcome is counted after the offset.
fn is_completed(fixture: &PipelineFixture) -> bool {
    fixture.open_offsets() == 0 && !fixture.outcomes.lock().unwrap().is_empty()
}

/// The digest of an event that the fixture publishes.
pub(super) async fn digest_of(id: &str, run: &str) -> u64 {
    let agent = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ""));
    fixture.publish(id, run);
    fixture.until("it is delivered", |fixture| fixture.open_offsets() == 0).await;
    fixture.ledger.get(id).unwrap().unwrap().digest()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_waits_for_the_ledger_topic() {
    let agent = agent(SampleOptions::default()).await;
    let mut without = Replicated::start(&rules(agent.addr(), ""), Some(NOBODY));
    without.fixture.publish("event", "run");
    without.fixture.until("it is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    assert_eq!((without.appender.unacknowledged(0), without.fixture.open_offsets()), (1, 1));

    let mut with = Replicated::start(&rules(agent.addr(), ""), None);
    with.fixture.publish("event", "run");
    with.fixture.until("its offset is completed", is_completed).await;
}

/// The process ended, or the partition moved away and came back, while the record was on its way to the topic.
#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_completed_only_when_the_ledger_topic_has_what_the_ledger_knows() {
    let agent = agent(SampleOptions::default()).await;
    let done = known(digest_of("event", "run").await, &[("all", "audit")], &[("all", "audit")]);
    let mut without = Replicated::start(&rules(agent.addr(), ""), Some(NOBODY));
    without.fixture.ledger.merge("event", &done).unwrap();
    without.fixture.publish("event", "run");
    without.fixture.until("it is a duplicate", |fixture| fixture.count(Outcome::Duplicate) == 1).await;
    assert_eq!((without.appender.unacknowledged(0), without.fixture.open_offsets()), (1, 1));

    let mut with = Replicated::start(&rules(agent.addr(), ""), None);
    with.fixture.ledger.merge("event", &done).unwrap();
    with.fixture.publish("event", "run");
    with.fixture.until("its offset is completed", is_completed).await;
    assert_eq!(agent.received().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_an_event_that_is_resumed_is_appended_before_anything_is_sent() {
    let agent = agent(SampleOptions::default()).await;
    let digest = digest_of("event", "run").await;
    let half = known(digest, &[("all", "audit"), ("old", "audit")], &[("old", "audit")]);
    let mut replicated = Replicated::start(&rules(agent.addr(), ""), Some(NOBODY));
    replicated.fixture.ledger.merge("event", &half).unwrap();
    let (lease, ownership) = leased();
    replicated.fixture.publish_in(&ownership, 0, "event", "run");
    let appender = replicated.appender.clone();
    replicated.fixture.until("it is appended", |_| appender.unacknowledged(0) == 1).await;
    assert_eq!(agent.received().len(), 0);
    let is_delivered = |fixture: &PipelineFixture| fixture.count(Outcome::Delivered) == 1;
    replicated.fixture.until_renewing(&lease, "it is delivered", is_delivered).await;
    assert_eq!(replicated.fixture.open_offsets(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_another_process_ended_meanwhile_is_not_attempted() {
    let agent = Switched::default();
    let mut replicated = Replicated::start(&rules(agent.start().await, ""), None);
    let (lease, ownership) = leased();
    replicated.fixture.publish_in(&ownership, 0, "event", "run");
    let digest = digest_of("event", "run").await;
    replicated.fixture.until("it is under way", |fixture| fixture.pending() == 1).await;
    replicated.arrives("event", &known(digest, &[("all", "audit")], &[("all", "audit")]));
    replicated.fixture.until_renewing(&lease, "its offset is completed", is_completed).await;
    assert_eq!((replicated.fixture.count(Outcome::Delivered), agent.requests()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_another_process_ended_meanwhile_is_no_dead_letter() {
    let agent = agent(SampleOptions::default()).await;
    let digest = digest_of("event", "run").await;
    // Of a rule that is gone, so that a dead letter is all that could become of the delivery.
    let gone = [("gone", "audit"), ("old", "audit")];
    let mut replicated = Replicated::start(&rules(agent.addr(), ""), None);
    replicated.fixture.ledger.merge("event", &known(digest, &gone, &[("old", "audit")])).unwrap();
    let (lease, ownership) = leased();
    replicated.fixture.publish_in(&ownership, 0, "event", "run");
    replicated.fixture.until("it is under way", |fixture| fixture.pending() == 1).await;
    replicated.arrives("event", &known(digest, &gone, &gone));
    replicated.fixture.until_renewing(&lease, "its offset is completed", is_completed).await;
    assert_eq!((replicated.fixture.count(Outcome::Delivered), replicated.fixture.count(Outcome::DeadLettered)), (1, 0));
    assert_eq!(replicated.record("event").state(), RecordState::Done);
}

/// The rules of a former owner were others, and it had begun: its plan stands.
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_a_former_owner_planned_and_did_not_make_are_made() {
    let (held, second) = (Held::default(), Switched::default());
    second.up.store(true, Ordering::SeqCst);
    let answer = held.clone();
    let first = agent_that(move |_| {
        answer.wait();
        status(200)
    });
    let mut replicated = Replicated::start(
        &format!(
            "agents:
  audit: {{http: {{url: 'http://{}/events'}}, timeout: 10m}}
  late: {{http: {{url: 'http://{}/events'}}, timeout: 10m}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
  - {{name: other, when: {{event_type: [WORKFLOW_FAILED]}}, to: [late]}}
",
            first.await,
            second.start().await
        ),
        None,
    );
    // Before the answer is held back, which is not for ever.
    let digest = digest_of("event", "run").await;
    replicated.fixture.publish("event", "run");
    replicated.fixture.until("it is under way", |fixture| fixture.pending() == 1).await;
    replicated.arrives("event", &known(digest, &[("old", "late"), ("other", "late")], &[("old", "late")]));
    held.release();
    replicated.fixture.until("its offset is completed", is_completed).await;
    assert_eq!(second.accepted(), ["event"]);
    assert_eq!(replicated.fixture.pending(), 0);
    assert_eq!(replicated.record("event").state(), RecordState::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_stay_open_are_written_to_the_ledger_topic_again() {
    let agent = agent(SampleOptions::default()).await;
    let replicated = Replicated::start(&rules(agent.addr(), ""), None);
    let mut open = known(1, &[("all", "audit")], &[]);
    open.record_written(3);
    open.record_source(Source { topic: "events".into(), partition: 0, offset: 4 });
    replicated.fixture.ledger.merge("event", &open).unwrap();
    let context = &replicated.fixture.pipeline.context;
    let before = now_ms();
    let mut rewrites = Rewrites::default();
    assert!(rewrites.append(context, vec![("event".into(), open.clone())]));
    assert_eq!(replicated.record("event").written_ms(), Some(3), "not before the broker has it");
    let rewrites = Mutex::new(rewrites);
    let is_noted = |_: &PipelineFixture| {
        let mut rewrites = rewrites.lock().unwrap();
        rewrites.note_written(context, Instant::now(), DEADLINE).unwrap();
        rewrites.is_complete()
    };
    replicated.fixture.until("it is acknowledged", is_noted).await;
    let mut rewrites = rewrites.into_inner().unwrap();
    assert_eq!(rewrites.take_written(), 1);
    assert!(replicated.record("event").written_ms().is_some_and(|written| written >= before));

    // One whose place is not known has nowhere to go.
    let unknown = known(1, &[("all", "audit")], &[]);
    assert!(rewrites.append(context, vec![("unknown".into(), unknown)]));
    assert!(rewrites.is_complete());
    assert_eq!(replicated.fixture.ledger.get("unknown").unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_records_are_not_acknowledged_keeps_up_no_other() {
    let agent = agent(SampleOptions::default()).await;
    let replicated = Replicated::start(&rules(agent.addr(), ""), Some(NOBODY));
    let context = &replicated.fixture.pipeline.context;
    let records = |partition: i32, numbers: std::ops::Range<usize>| {
        let of = move |n: usize| {
            let mut record = known(1, &[("all", "audit")], &[]);
            record.record_source(Source { topic: "events".into(), partition, offset: 4 });
            (format!("{partition}-{n}"), record)
        };
        numbers.map(of).collect::<Vec<_>>()
    };
    let mut rewrites = Rewrites::default();
    assert!(rewrites.append(context, records(0, 0..400)));
    assert!(!rewrites.append(context, records(0, 400..800)), "there is a limit");
    assert!(!rewrites.append(context, records(0, 800..801)));
    assert!(rewrites.append(context, records(1, 0..400)), "of a partition");
    rewrites.note_written(context, Instant::now(), DEADLINE).unwrap();
    assert!(!rewrites.is_complete());
    assert_eq!(rewrites.take_written(), 0);
    assert_eq!((replicated.appender.unacknowledged(0), replicated.appender.unacknowledged(1)), (512, 400));
}

/// Its former owner had other rules, and an ambiguous answer that it writes late.
#[tokio::test(flavor = "multi_thread")]
async fn what_turns_out_to_have_been_sent_to_a_known_endpoint_is_made_there() {
    let (asked, accepted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (requests, has_accepted) = (Arc::clone(&asked), Arc::clone(&accepted));
    // What keeps the endpoint known has no end before the event.
    let former = agent_that(move |asked| {
        requests.fetch_add(1, Ordering::SeqCst);
        let accepts = asked.event_id() == "event" || has_accepted.load(Ordering::SeqCst);
        has_accepted.fetch_or(accepts, Ordering::SeqCst);
        status(if accepts { 200 } else { 503 })
    });
    let present = Switched::default();
    let digest = digest_of("event", "run").await;
    let mut node = Replicated::start(&rules(former.await, ""), None);
    let endpoint = EndpointId::of(&node.fixture.pipeline.rules_view()().agents().next().unwrap().endpoint);
    node.fixture.publish("bound", "other-run");
    node.fixture.until("its answer was ambiguous", |_| asked.load(Ordering::SeqCst) > 0).await;
    // Nothing that the present one answers is ambiguous.
    let refusing = rules(present.start().await, "").replace("10m,", "10m, classify: {503: agent_fault},");
    node.fixture.reload(&refusing);
    node.fixture.publish("event", "run");
    node.fixture.until("it waits for the present one", |_| present.requests() > 0).await;
    let mut record = known(digest, &[("all", "audit")], &[]);
    record.record_sent_to("all", "audit", endpoint.number());
    node.arrives("event", &record);
    node.fixture.until("both are delivered", |fixture| fixture.count(Outcome::Delivered) == 2).await;
    assert!(accepted.load(Ordering::SeqCst) && present.accepted().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_later_version_is_not_passed() {
    let agent = agent(SampleOptions::default()).await;
    let mut node = Replicated::start(&rules(agent.addr(), ""), None);
    let mut value = encode_entry(ledger_owner("test"), 7, &known(1, &[("all", "audit")], &[]));
    value[17] = 99;
    let position = LedgerPosition { offset: 1, anchor: 0 };
    let error = node.applier.apply(0, &entries(&[("event", &value)]), position).unwrap_err();
    assert!(error.contains("format 99") && error.contains("update"), "{error}");
    assert_eq!(node.applier.position(0), None);
    // Of another group, or of no ledger.
    value[1] ^= 1;
    node.applier.apply(0, &entries(&[("event", &value), ("other", b"{}")]), position).unwrap();
}
