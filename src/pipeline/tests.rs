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
    dedup::Options,
    demo::agent::{SampleAgent, SampleOptions},
    kafka::{EmbeddedBroker, Headers, Incoming, KafkaSettings, Receive},
    routing::LoadOptions,
};

mod answers;

const DEADLINE: Duration = Duration::from_secs(60);

struct Bench {
    pipeline: Pipeline,
    intake: Intake,
    stopper: Stopper,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    settled: Arc<Mutex<Vec<(i64, bool)>>>,
    ledger: Ledger,
    next_offset: i64,
    _broker: EmbeddedBroker,
    _folder: tempfile::TempDir,
}

fn open(folder: &Path) -> Ledger {
    let options = Options {
        group: "test".into(),
        window: Duration::from_secs(3600),
        cache_bytes: 1 << 20,
        flush_delay: Duration::from_millis(3),
    };
    Ledger::open(folder, &options).unwrap().0
}

impl Bench {
    fn start(rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("routing")).unwrap();
        std::fs::write(folder.path().join("routing/rules.yaml"), rules).unwrap();
        let options = LoadOptions { env: Box::new(|_| None), dedup_window: Duration::from_secs(3600) };
        let routing = Arc::new(Routing::load(&folder.path().join("routing"), &options).unwrap());
        let broker = EmbeddedBroker::start(&[("events", 1), ("events.dlq", 1)]).unwrap();
        let kafka = KafkaSettings { bootstrap_servers: broker.bootstrap_servers(), ..KafkaSettings::default() };
        let ledger = open(&folder.path().join("data"));
        let outcomes: Arc<Mutex<Vec<Outcome>>> = Arc::default();
        let seen = Arc::clone(&outcomes);
        let (stopper, stop_signal) = stop();
        let parts = Parts {
            routing,
            ledger: ledger.clone(),
            dead_letters: DeadLetters::connect(&kafka).unwrap(),
            max_events: 20_000,
            limits: Limits::default(),
            observer: Some(Arc::new(move |outcome| seen.lock().unwrap().push(outcome))),
            claim_policy: ClaimPolicy::default(),
            consumer: Arc::default(),
        };
        let (pipeline, intake) = Pipeline::start(parts, stop_signal).unwrap();
        Self {
            pipeline,
            intake,
            stopper,
            outcomes,
            settled: Arc::default(),
            ledger,
            next_offset: 0,
            _broker: broker,
            _folder: folder,
        }
    }

    fn publish(&mut self, id: &str, run: &str) {
        let event = json!({
            "event_id": id, "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T12:00:00Z",
            "source": "AIRFLOW", "workflow_id": "etl", "workflow_run_id": run,
        })
        .to_string();
        let (offset, settled) = (self.next_offset, Arc::clone(&self.settled));
        self.next_offset += 1;
        self.intake.receive(Incoming {
            origin: Origin { topic: "events".into(), partition: 0, offset },
            key: None,
            value: Some(event.as_bytes()),
            headers: Headers::owned(&[]),
            timestamp_ms: Some(1),
            ticket: Ticket::observed(move |was| settled.lock().unwrap().push((offset, was))),
        });
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let polled = timeout(DEADLINE, async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        if polled.await.is_err() {
            let outcomes = self.outcomes.lock().unwrap();
            panic!("not within {DEADLINE:?}: {what}; {} outcomes: {:?}", outcomes.len(), outcomes.last());
        }
    }

    fn count(&self, outcome: &str) -> usize {
        self.outcomes.lock().unwrap().iter().filter(|seen| seen.outcome == outcome).count()
    }

    fn open_offsets(&self) -> usize {
        usize::try_from(self.next_offset).unwrap() - self.settled.lock().unwrap().iter().filter(|(_, was)| *was).count()
    }
}

async fn agent(options: SampleOptions) -> SampleAgent {
    SampleAgent::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options).await.unwrap()
}

fn rules(agent: SocketAddr, more: &str) -> String {
    format!(
        "agents:
  audit: {{http: {{url: 'http://{agent}/events'}}, retry: {{initial: 5ms, max: 20ms{more}}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [audit]}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_repetitions_wait_for_the_first_and_none_is_delivered() {
    let agent = agent(SampleOptions { refuse_first: 3, ..SampleOptions::default() }).await;
    let mut bench = Bench::start(&rules(agent.addr(), ""));
    for _ in 0..10_000 {
        bench.publish("same", "run");
    }
    bench.until("all have their outcome", |bench| bench.open_offsets() == 0).await;
    assert_eq!((bench.count("delivered"), bench.count("duplicate")), (1, 9_999));
    assert_eq!(agent.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_delivered_in_order_although_attempts_fail() {
    let agent = agent(SampleOptions { refuse_first: 25, ..SampleOptions::default() }).await;
    let mut bench = Bench::start(&rules(agent.addr(), ""));
    for n in 0..200 {
        bench.publish(&format!("{n:03}"), &format!("run-{}", n % 3));
    }
    bench.until("all are delivered", |bench| bench.count("delivered") == 200).await;
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
async fn an_offset_is_settled_only_when_the_ledger_has_its_event() {
    let agent = agent(SampleOptions::default()).await;
    let mut bench = Bench::start(&rules(agent.addr(), ""));
    let ledger = bench.ledger.clone();
    let early = Arc::new(Mutex::new(Vec::new()));
    for n in 0..100_i64 {
        let id = n.to_string();
        let event = json!({
            "event_id": id, "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T12:00:00Z",
            "source": "AIRFLOW", "workflow_id": "etl", "workflow_run_id": id,
        })
        .to_string();
        let (ledger, early, settled) = (ledger.clone(), Arc::clone(&early), Arc::clone(&bench.settled));
        bench.next_offset += 1;
        bench.intake.receive(Incoming {
            origin: Origin { topic: "events".into(), partition: 0, offset: n },
            key: None,
            value: Some(event.as_bytes()),
            headers: Headers::owned(&[]),
            timestamp_ms: Some(1),
            ticket: Ticket::observed(move |was| {
                let done = ledger.get(&id).unwrap().is_some_and(|record| record.state().is_final());
                if was && !done {
                    early.lock().unwrap().push(id);
                }
                settled.lock().unwrap().push((n, was));
            }),
        });
    }
    bench.until("all are settled", |bench| bench.open_offsets() == 0).await;
    assert_eq!(*early.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_given_up_is_a_dead_letter_and_the_lane_goes_on() {
    let agent = agent(SampleOptions { refuse_first: 3, ..SampleOptions::default() }).await;
    let mut bench = Bench::start(&rules(agent.addr(), ", max_attempts: 3"));
    bench.publish("first", "run");
    bench.publish("second", "run");
    bench.until("both have their outcome", |bench| bench.open_offsets() == 0).await;
    assert_eq!((bench.count("dead_lettered"), bench.count("delivered")), (1, 1));
    let record = bench.ledger.get("first").unwrap().unwrap();
    assert_eq!(record.state(), crate::dedup::State::Dead);
    assert_eq!((record.attempts("all", "audit"), record.tried("all", "audit")), (3, 3));
    assert_eq!(bench.ledger.get("second").unwrap().unwrap().tried("all", "audit"), 1, "a success is an attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_ledger_record_cannot_be_read_is_a_dead_letter_and_never_delivered() {
    let agent = agent(SampleOptions::default()).await;
    let mut bench = Bench::start(&rules(agent.addr(), ""));
    bench.ledger.spoil("first");
    bench.publish("first", "run");
    bench.publish("second", "run");
    bench.until("both have their outcome", |bench| bench.open_offsets() == 0).await;
    assert_eq!((bench.count("dead_lettered"), bench.count("delivered")), (1, 1));
    let buried = bench.outcomes.lock().unwrap().iter().find(|seen| seen.outcome == "dead_lettered").cloned();
    let buried = buried.map(|outcome| (outcome.event_id, outcome.reason));
    assert_eq!(buried, Some((Some("first".to_owned()), Some("ledger_record"))));
    assert_eq!(agent.received().len(), 1, "it may have run before, so it does not run now");
    assert_eq!(bench.ledger.get("first").unwrap_err().kind(), "corrupt_record", "left as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_dead_letters_nothing_however_few_attempts_are_allowed() {
    let agent = agent(SampleOptions { api_key: Some("right".into()), ..SampleOptions::default() }).await;
    let mut bench = Bench::start(&rules(agent.addr(), ", max_attempts: 1"));
    for n in 0..30 {
        bench.publish(&n.to_string(), &n.to_string());
    }
    bench.until("probes went out", |_| agent.requests().len() > 20).await;
    assert_eq!(bench.outcomes.lock().unwrap().len(), 0);
    assert!(bench.pipeline.agents()[0].held);
    assert!(bench.pipeline.agents()[0].last_failure.as_ref().is_some_and(|failure| failure.contains("401")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_langgraph_delivery_that_always_gets_a_500_ends_after_a_last_look() {
    let agent = agent(SampleOptions { fail_first: u32::MAX, ..SampleOptions::default() }).await;
    let mut bench = Bench::start(&format!(
        "agents:
  analyst:
    langgraph: {{url: 'http://{}', assistant: analyst, settle: 600ms}}
    timeout: 300ms
    retry: {{initial: 5ms, max: 20ms, max_attempts: 2}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [analyst]}}
",
        agent.addr()
    ));
    bench.publish("first", "run");
    bench.until("it has its outcome", |bench| bench.open_offsets() == 0).await;
    assert_eq!(bench.count("dead_lettered"), 1);
    let requests = agent.requests();
    let posts = requests.iter().filter(|request| request.method == "POST" && request.path.ends_with("/runs")).count();
    assert_eq!(posts, 2, "as many as were allowed: {requests:?}");
    assert_eq!(requests.last().map(|request| request.method.as_str()), Some("GET"), "the last word is a look");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_what_is_unfinished_open_and_ends_at_once() {
    let agent = agent(SampleOptions { refuse_first: u32::MAX, ..SampleOptions::default() }).await;
    let mut bench = Bench::start(&rules(agent.addr(), ""));
    for n in 0..50 {
        bench.publish(&n.to_string(), &n.to_string());
    }
    bench.until("attempts were made", |_| agent.requests().len() > 20).await;
    bench.stopper.stop();
    timeout(DEADLINE, bench.pipeline.ended()).await.expect("it ends").unwrap();
    drop(bench.intake);
    let settled = bench.settled.lock().unwrap();
    assert_eq!(settled.iter().filter(|(_, was)| *was).count(), 0, "nothing was delivered");
    assert_eq!(settled.len(), 50, "every ticket was given back");
}
