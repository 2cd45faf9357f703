//! The pipeline with real agents on loopback, a real ledger and the embedded broker for dead letters.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Mutex,
    time::Duration,
};

use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::{
    dedup::{LedgerError, LedgerOptions},
    demo::testing::{SampleAgent, SampleOptions},
    event::Origin,
    kafka::{
        Consumer, DeadLetters, EmbeddedBroker, Headers, Incoming, KafkaSettings, Ownership, Receive,
        testing::{TestBudget, owned, owned_ticket},
    },
    routing::{LoadOptions, Routing},
};

mod answers;
mod fan_out;
mod given_up;
mod handlers;
mod parking;
mod recorded;
mod redrive;
mod reload;
mod replicated;
mod unsent;
mod waiting;

/// Parking that the topic refused once, because its broker stood still, is tried again after 30 s.
const DEADLINE: Duration = Duration::from_secs(180);

struct PipelineFixture {
    pipeline: Pipeline,
    intake: Intake,
    shutdown: CancellationToken,
    outcomes: Arc<Mutex<Vec<CompletedEvent>>>,
    settled: Arc<Mutex<Vec<(i64, bool)>>>,
    ledger: Ledger,
    next_offset: i64,
    ownership: Arc<Ownership>,
    broker: EmbeddedBroker,
    folder: tempfile::TempDir,
}

fn open(folder: &Path) -> Ledger {
    Ledger::open(folder, &LedgerOptions::sample()).unwrap().0
}

fn event(id: &str, run: &str) -> serde_json::Value {
    json!({
        "event_id": id, "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T12:00:00Z",
        "source": "AIRFLOW", "workflow_id": "etl", "workflow_run_id": run,
    })
}

impl PipelineFixture {
    fn start(rules: &str) -> Self {
        Self::start_with(rules, (None, "parked"), |_, _| None)
    }

    fn parking(rules: &str, park_after: Option<Duration>) -> Self {
        Self::start_with(rules, (park_after, "parked"), |_, _| None)
    }

    fn start_with(
        rules: &str,
        (park_after, parked): (Option<Duration>, &str),
        replication: impl FnOnce(&Ledger, &KafkaSettings) -> Option<Replication>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("routing")).unwrap();
        std::fs::write(folder.path().join("routing/rules.yaml"), rules).unwrap();
        let options = LoadOptions { env: Box::new(|_| None), dedup_window: Duration::from_secs(3600) };
        let routing = Routing::load(&folder.path().join("routing"), &options).unwrap();
        Self::start_plan(folder, Arc::new(routing), (park_after, parked), replication)
    }

    fn start_plan(
        folder: tempfile::TempDir,
        plan: Arc<dyn Plan>,
        parking: (Option<Duration>, &str),
        replication: impl FnOnce(&Ledger, &KafkaSettings) -> Option<Replication>,
    ) -> Self {
        Self::start_sending(folder, plan, parking, replication, None)
    }

    fn start_sending(
        folder: tempfile::TempDir,
        plan: Arc<dyn Plan>,
        (park_after, parked): (Option<Duration>, &str),
        replication: impl FnOnce(&Ledger, &KafkaSettings) -> Option<Replication>,
        letters: Option<DeadLetterSink>,
    ) -> Self {
        let topics = [("events", 1), ("events.dlq", 1), ("ledger", 1), ("parked-events", 1)];
        let broker = EmbeddedBroker::start(&topics).unwrap();
        let kafka = KafkaSettings { bootstrap_servers: broker.bootstrap_servers(), ..KafkaSettings::default() };
        let ledger = open(&folder.path().join("data"));
        let outcomes: Arc<Mutex<Vec<CompletedEvent>>> = Arc::default();
        let seen = Arc::clone(&outcomes);
        let shutdown = CancellationToken::new();
        let parts = Parts {
            plan,
            ledger: ledger.clone(),
            replication: replication(&ledger, &kafka),
            dead_letters: letters
                .unwrap_or_else(|| DeadLetterSink::Topic(Box::new(DeadLetters::connect(&kafka).unwrap()))),
            max_events: 20_000,
            max_bytes: 64 << 20,
            limits: Limits::default(),
            observer: Some(Arc::new(move |outcome| seen.lock().unwrap().push(outcome))),
            consumer: Consumer::new(&kafka).unwrap().view(),
            parked_topics: ParkedTopics::connect(&KafkaSettings {
                parked_topic: Some(parked.to_owned()),
                ..kafka.clone()
            })
            .unwrap(),
            park_after,
            drain_timeout: Duration::from_secs(1),
            outcome_log: OutcomeLog { failures: true, matched: true, unmatched: true },
        };
        let (pipeline, intake) = Pipeline::start(parts, shutdown.clone()).unwrap();
        Self {
            pipeline,
            intake,
            shutdown,
            outcomes,
            settled: Arc::default(),
            ledger,
            next_offset: 0,
            ownership: owned(),
            broker,
            folder,
        }
    }

    fn publish(&mut self, id: &str, run: &str) {
        let ownership = Arc::clone(&self.ownership);
        self.publish_in(&ownership, 0, id, run);
    }

    /// Publishes in an assignment of a partition.
    fn publish_in(&mut self, ownership: &Arc<Ownership>, partition: i32, id: &str, run: &str) {
        self.receive(ownership, partition, &event(id, run), Headers::default());
    }

    fn receive(&mut self, ownership: &Arc<Ownership>, partition: i32, event: &serde_json::Value, headers: Headers<'_>) {
        let event = event.to_string();
        let (offset, settled) = (self.next_offset, Arc::clone(&self.settled));
        self.next_offset += 1;
        self.intake.receive(Incoming {
            origin: Origin { topic: "events".into(), partition, offset },
            key: None,
            value: Some(event.as_bytes()),
            headers,
            timestamp_ms: Some(1),
            ticket: owned_ticket(ownership, move |was| settled.lock().unwrap().push((offset, was))),
        });
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let polled = timeout(DEADLINE, async {
            while !holds(self) {
                sleep(Duration::from_millis(5)).await;
            }
        });
        if polled.await.is_err() {
            let outcomes = self.outcomes.lock().unwrap();
            panic!("not within {DEADLINE:?}: {what}; {} outcomes: {:?}", outcomes.len(), outcomes.last());
        }
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.lock().unwrap().iter().filter(|seen| seen.outcome == outcome).count()
    }

    /// The offsets that are not completed, or whose outcome is not known yet: it is reported a moment later.
    fn open_offsets(&self) -> usize {
        let completed = self.settled.lock().unwrap().iter().filter(|(_, was)| *was).count();
        let known = self.outcomes.lock().unwrap().len();
        usize::try_from(self.next_offset).unwrap() - completed.min(known)
    }
}

async fn agent(options: SampleOptions) -> SampleAgent {
    SampleAgent::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options).await.unwrap()
}

/// No attempt times out: it would be one more, and the agent may have accepted it.
fn rules(agent: SocketAddr, more: &str) -> String {
    format!(
        "agents:
  audit: {{http: {{url: 'http://{agent}/events'}}, timeout: 10m, retry: {{initial: 5ms, max: 20ms{more}}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_repetitions_wait_for_the_first_and_none_is_delivered() {
    let agent = agent(SampleOptions { refuse_first: 3, ..SampleOptions::default() }).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ""));
    for _ in 0..10_000 {
        fixture.publish("same", "run");
    }
    fixture.until("all have their outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!((fixture.count(Outcome::Delivered), fixture.count(Outcome::Duplicate)), (1, 9_999));
    assert_eq!(agent.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_delivered_in_order_although_attempts_fail() {
    let agent = agent(SampleOptions { refuse_first: 25, ..SampleOptions::default() }).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ""));
    for n in 0..200 {
        fixture.publish(&format!("{n:03}"), &format!("run-{}", n % 3));
    }
    fixture.until("all are delivered", |fixture| fixture.count(Outcome::Delivered) == 200).await;
    for run in 0..3 {
        let received: Vec<_> = agent
            .received()
            .iter()
            .map(|request| serde_json::from_slice::<serde_json::Value>(&request.body).unwrap())
            .filter(|event| event["workflow_run_id"] == format!("run-{run}"))
            .map(|event| event["event_id"].as_str().unwrap().to_owned())
            .collect();
        assert!(received.is_sorted(), "run {run}: {received:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_charged_where_an_agent_needs_it() {
    let agent = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let published = rules(agent.addr(), "");
    let with_body = published.replace("to: [", "body: {whole: '{{ event }}'}, to: [");
    let langgraph =
        published.replace("http: {", "langgraph: {assistant: a, max_request_lifetime: 20m, ").replace("/events", "");
    let mut event = event("one", "run");
    event["payload"] = json!({"data": {"numbers": vec![0; 10_000]}});
    let value = event.to_string();
    let document = crate::event::decode(value.as_bytes()).unwrap().document_bytes() as u64;
    assert!(document > 10 * value.len() as u64, "{document}");
    let mut charged = Vec::new();
    for rules in [&published, &with_body, &langgraph] {
        let mut fixture = PipelineFixture::start(rules);
        let budget = TestBudget::new();
        fixture.intake.receive(Incoming {
            origin: Origin { topic: "events".into(), partition: 0, offset: 0 },
            key: None,
            value: Some(value.as_bytes()),
            headers: Headers::default(),
            timestamp_ms: Some(1),
            ticket: budget.ticket(&fixture.ownership),
        });
        charged.push(budget.bytes());
        fixture.shutdown.cancel();
        fixture.until("the charge is refunded", |_| budget.bytes() == 0).await;
    }
    assert!(charged[0] < document && charged[0] > 2 * value.len() as u64, "{charged:?}, document {document}");
    assert!(charged[1..].iter().all(|charged| *charged > 3 * document), "{charged:?}, document {document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_is_completed_only_when_the_ledger_has_its_event() {
    let agent = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ""));
    let ledger = fixture.ledger.clone();
    let early = Arc::new(Mutex::new(Vec::new()));
    for n in 0..100_i64 {
        let id = n.to_string();
        let event = json!({
            "event_id": id, "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T12:00:00Z",
            "source": "AIRFLOW", "workflow_id": "etl", "workflow_run_id": id,
        })
        .to_string();
        let (ledger, early, settled) = (ledger.clone(), Arc::clone(&early), Arc::clone(&fixture.settled));
        fixture.next_offset += 1;
        fixture.intake.receive(Incoming {
            origin: Origin { topic: "events".into(), partition: 0, offset: n },
            key: None,
            value: Some(event.as_bytes()),
            headers: Headers::default(),
            timestamp_ms: Some(1),
            ticket: owned_ticket(&fixture.ownership, move |was| {
                let done = ledger.get(&id).unwrap().is_some_and(|record| record.state().is_final());
                if was && !done {
                    early.lock().unwrap().push(id);
                }
                settled.lock().unwrap().push((n, was));
            }),
        });
    }
    fixture.until("all are settled", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!(*early.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_given_up_is_a_dead_letter_and_the_lane_goes_on() {
    let agent = agent(SampleOptions { refuse_first: 3, ..SampleOptions::default() }).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ", max_attempts: 3"));
    fixture.publish("first", "run");
    fixture.publish("second", "run");
    fixture.until("both have their outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!((fixture.count(Outcome::DeadLettered), fixture.count(Outcome::Delivered)), (1, 1));
    let record = fixture.ledger.get("first").unwrap().unwrap();
    assert_eq!(record.state(), crate::dedup::RecordState::Dead);
    assert_eq!((record.failed_attempts("all", "audit"), record.attempts("all", "audit")), (3, 3));
    assert_eq!(fixture.ledger.get("second").unwrap().unwrap().attempts("all", "audit"), 1, "a success is an attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_ledger_record_cannot_be_read_is_a_dead_letter_and_never_delivered() {
    let agent = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ""));
    fixture.ledger.spoil("first");
    fixture.publish("first", "run");
    fixture.publish("second", "run");
    fixture.until("both have their outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!((fixture.count(Outcome::DeadLettered), fixture.count(Outcome::Delivered)), (1, 1));
    let dead = fixture.outcomes.lock().unwrap().iter().find(|seen| seen.outcome == Outcome::DeadLettered).cloned();
    let dead = dead.map(|outcome| (outcome.event_id, outcome.reason));
    assert_eq!(dead, Some((Some("first".to_owned()), Some("ledger_record"))));
    assert_eq!(agent.received().len(), 1, "it may have run before, so it does not run now");
    let error = fixture.ledger.get("first").unwrap_err();
    assert!(matches!(error, LedgerError::CorruptRecord { .. }), "left as it was: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_dead_letters_nothing_however_few_attempts_are_allowed() {
    let agent = agent(SampleOptions { api_key: Some("right".into()), ..SampleOptions::default() }).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ", max_attempts: 1"));
    for n in 0..30 {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    fixture.until("probes were sent", |_| agent.requests().len() > 20).await;
    assert_eq!(fixture.outcomes.lock().unwrap().len(), 0);
    assert_ne!(fixture.pipeline.agents()[0].breaker, BreakerState::Closed);
    assert!(fixture.pipeline.agents()[0].last_failure.as_ref().is_some_and(|failure| failure.contains("401")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_langgraph_delivery_that_always_gets_a_500_ends_after_a_last_search() {
    let agent = agent(SampleOptions { fail_first: u32::MAX, ..SampleOptions::default() }).await;
    let mut fixture = PipelineFixture::start(&format!(
        "agents:
  analyst:
    langgraph: {{url: 'http://{}', assistant: analyst, max_request_lifetime: 2s}}
    timeout: 1s
    retry: {{initial: 5ms, max: 20ms, max_attempts: 2}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [analyst]}}
",
        agent.addr()
    ));
    fixture.publish("first", "run");
    fixture.until("it has its outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!(fixture.count(Outcome::DeadLettered), 1);
    let requests = agent.requests();
    let posts = requests.iter().filter(|request| request.method == "POST" && request.path.ends_with("/runs")).count();
    // Fewer, if one timed out on its way.
    assert!(posts <= 2, "as many as were allowed: {requests:?}");
    assert_eq!(fixture.ledger.get("first").unwrap().unwrap().failed_attempts("all", "analyst"), 2);
    assert_eq!(requests.last().map(|request| request.method.as_str()), Some("GET"), "the last request is a search");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_leaves_what_is_unfinished_uncommitted_and_ends_at_once() {
    let agent = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ""));
    for n in 0..50 {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    fixture.until("attempts were made", |_| agent.requests().len() > 20).await;
    fixture.shutdown.cancel();
    timeout(DEADLINE, fixture.pipeline.ended()).await.expect("it ends").unwrap();
    drop(fixture.intake);
    let settled = fixture.settled.lock().unwrap();
    assert_eq!(settled.iter().filter(|(_, was)| *was).count(), 0, "nothing was delivered");
    assert_eq!(settled.len(), 50, "every ticket was dropped or settled");
}
