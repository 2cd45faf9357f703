//! What happens to the events of a partition that is given up.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{
    answers::{agent_that, status},
    *,
};
use crate::kafka::testing::{Held, TestLease, give_up, leased};

impl PipelineFixture {
    /// The tickets that were dropped.
    pub(super) fn dropped(&self) -> usize {
        self.settled.lock().unwrap().iter().filter(|(_, completed)| !completed).count()
    }

    pub(super) fn pending(&self) -> i64 {
        self.pipeline.agents().iter().map(|agent| agent.pending_deliveries).sum()
    }

    /// Waits with a lease that is renewed all the while: a renewal is valid for 10 s, and they may pass at any point.
    pub(super) async fn until_renewing(&self, lease: &TestLease, what: &str, holds: impl Fn(&Self) -> bool) {
        let renewed = |fixture: &Self| {
            lease.renew();
            holds(fixture)
        };
        self.until(what, renewed).await;
    }
}

/// An agent that answers 503 until it is `up`, and what it accepted, in order.
#[derive(Clone, Default)]
pub(super) struct Switched {
    pub(super) up: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<String>>>,
    requests: Arc<AtomicUsize>,
}

impl Switched {
    pub(super) async fn start(&self) -> SocketAddr {
        let agent = self.clone();
        agent_that(move |asked| {
            agent.requests.fetch_add(1, Ordering::SeqCst);
            if !agent.up.load(Ordering::SeqCst) {
                return status(503);
            }
            agent.accepted.lock().unwrap().push(asked.event_id());
            status(200)
        })
        .await
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(super) fn accepted(&self) -> Vec<String> {
        self.accepted.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_waits_for_a_given_up_partition_ends_and_its_next_assignment_delivers_it() {
    let agent = Switched::default();
    let mut fixture = PipelineFixture::start(&rules(agent.start().await, ""));
    let (first, other) = (owned(), owned());
    for n in 0..300 {
        fixture.publish_in(&first, 0, &format!("lost-{n}"), &format!("run-{}", n % 7));
        fixture.publish_in(&other, 1, &format!("kept-{n}"), &format!("run-{}", n % 7));
    }
    fixture.until("attempts failed", |_| agent.requests() > 5).await;
    give_up(&first);
    fixture.until("its tickets are dropped", |fixture| fixture.dropped() == 300).await;
    assert_eq!(first.attempts(), 0);
    agent.up.store(true, Ordering::SeqCst);
    fixture.until("the others are delivered", |fixture| fixture.count(Outcome::Delivered) == 300).await;
    assert_eq!(fixture.pending(), 0);
    assert!(agent.accepted().iter().all(|id| id.starts_with("kept")), "nothing of it was sent");

    let second = owned();
    for n in 0..300 {
        fixture.publish_in(&second, 0, &format!("lost-{n}"), &format!("run-{}", n % 7));
    }
    fixture.until("they are delivered", |fixture| fixture.count(Outcome::Delivered) == 600).await;
    assert_eq!(fixture.pending(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_comes_back_while_old_deliveries_wait_goes_on_in_the_same_lanes() {
    let agent = Switched::default();
    let mut fixture = PipelineFixture::start(&rules(agent.start().await, ""));
    let (first, second) = (owned(), owned());
    for n in 0..50 {
        fixture.publish_in(&first, 0, &n.to_string(), "one");
    }
    fixture.until("an attempt failed", |_| agent.requests() > 0).await;
    // The first 50 wait for the former ones with the same ids, the others in the same lane behind them.
    for n in 0..100 {
        fixture.publish_in(&second, 0, &n.to_string(), "one");
    }
    give_up(&first);
    agent.up.store(true, Ordering::SeqCst);
    fixture.until("they are delivered", |fixture| fixture.count(Outcome::Delivered) == 100).await;
    assert_eq!(fixture.pending(), 0);
    let mut accepted = agent.accepted();
    accepted.sort_by_key(|id| id.parse::<u32>().unwrap());
    assert_eq!(accepted, (0..100).map(|n| n.to_string()).collect::<Vec<_>>(), "once each");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_under_way_is_recorded_and_counts_until_its_event_is_completed() {
    let held = Held::default();
    let (count, gate) = (Arc::new(AtomicUsize::new(0)), held.clone());
    let seen = Arc::clone(&count);
    let addr = agent_that(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        gate.wait();
        status(200)
    })
    .await;
    let mut fixture = PipelineFixture::start(&rules(addr, ""));
    let (first, second) = (owned(), owned());
    fixture.publish_in(&first, 0, "one", "run");
    fixture.publish_in(&first, 0, "two", "run");
    fixture.until("an attempt is under way", |_| count.load(Ordering::SeqCst) == 1).await;
    // One that is not in its lane when the partition is given up is dropped at once.
    fixture.until("the second one waits behind it", |fixture| fixture.pending() == 2).await;
    fixture.publish_in(&second, 1, "one", "run");
    give_up(&first);
    assert_eq!((first.attempts(), fixture.dropped()), (1, 0));
    held.release();
    fixture.until("its event is completed", |_| first.attempts() == 0).await;
    fixture.until("the second one is dropped", |fixture| fixture.dropped() == 1).await;
    fixture.until("the copy is a duplicate", |fixture| fixture.count(Outcome::Duplicate) == 1).await;
    assert_eq!(fixture.count(Outcome::Delivered), 1);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(fixture.pending(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_fails_after_its_partition_was_given_up_is_recorded_and_not_repeated() {
    let held = Held::default();
    let (count, gate) = (Arc::new(AtomicUsize::new(0)), held.clone());
    let seen = Arc::clone(&count);
    let addr = agent_that(move |_| {
        let first = seen.fetch_add(1, Ordering::SeqCst) == 0;
        gate.wait();
        status(if first { 500 } else { 200 })
    })
    .await;
    let mut fixture = PipelineFixture::start(&rules(addr, ""));
    let (first, second) = (owned(), owned());
    fixture.publish_in(&first, 0, "one", "run");
    fixture.until("an attempt is under way", |_| count.load(Ordering::SeqCst) == 1).await;
    give_up(&first);
    held.release();
    fixture.until("it ends", |fixture| fixture.dropped() == 1).await;
    assert_eq!(first.attempts(), 0);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(fixture.ledger.get("one").unwrap().unwrap().failed_attempts("all", "audit"), 1);
    fixture.publish_in(&second, 0, "one", "run");
    fixture.until("its next assignment delivers it", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    assert_eq!(fixture.ledger.get("one").unwrap().unwrap().attempts("all", "audit"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_fan_out_is_resumed_by_the_next_assignment() {
    let agent = agent(SampleOptions::default()).await;
    let down = agent_that(|_| status(503)).await;
    let mut fixture = PipelineFixture::start(&format!(
        "agents:
  up: {{http: {{url: 'http://{}/events'}}, timeout: 10m}}
  down: {{http: {{url: 'http://{down}/events'}}, timeout: 10m, retry: {{initial: 5ms, max: 20ms}}}}
rules:
  - {{name: all, when: {{event_type: [WORKFLOW_COMPLETED]}}, to: [up, down]}}
",
        agent.addr()
    ));
    let (first, second) = (owned(), owned());
    fixture.publish_in(&first, 0, "one", "run");
    fixture.until("one half is delivered", |_| agent.received().len() == 1).await;
    fixture.until("it is recorded", |fixture| fixture.pending() == 1).await;
    give_up(&first);
    fixture.until("the other half is abandoned", |fixture| fixture.dropped() == 1).await;
    assert_eq!(fixture.pending(), 0);
    fixture.publish_in(&second, 0, "one", "run");
    fixture.until("the other half goes on", |fixture| fixture.pending() == 1).await;
    assert_eq!(agent.received().len(), 1, "the first half is not repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_and_no_dead_letter_is_written_while_the_lease_is_not_valid() {
    let agent = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ""));
    let (lease, ownership) = leased();
    fixture.publish_in(&ownership, 1, "one", "run");
    fixture.intake.receive(Incoming {
        origin: Origin { topic: "events".into(), partition: 1, offset: 77 },
        key: None,
        value: Some(b"no event"),
        headers: Headers::default(),
        timestamp_ms: Some(1),
        ticket: owned_ticket(&ownership, |_| {}),
    });
    // Another partition shows that everything else has had its time.
    for n in 0..20 {
        fixture.publish(&format!("other-{n}"), &format!("other-{n}"));
        fixture.until("another is delivered", |fixture| fixture.count(Outcome::Delivered) == n + 1).await;
    }
    assert_eq!(agent.received().len(), 20);
    assert_eq!(fixture.count(Outcome::DeadLettered), 0);
    let both = |fixture: &PipelineFixture| (fixture.count(Outcome::Delivered), fixture.count(Outcome::DeadLettered));
    fixture.until_renewing(&lease, "it is delivered, and the dead letter written", |it| both(it) == (21, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_of_a_given_up_partition_is_left_to_the_next_owner() {
    let agent = agent(SampleOptions::default()).await;
    let mut fixture = PipelineFixture::start(&rules(agent.addr(), ""));
    let (_lease, ownership) = leased();
    let ended = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&ended);
    fixture.intake.receive(Incoming {
        origin: Origin { topic: "events".into(), partition: 0, offset: 77 },
        key: None,
        value: Some(b"no event"),
        headers: Headers::default(),
        timestamp_ms: Some(1),
        ticket: owned_ticket(&ownership, move |completed| {
            seen.fetch_add(if completed { 100 } else { 1 }, Ordering::SeqCst);
        }),
    });
    give_up(&ownership);
    fixture.until("its ticket is dropped", |_| ended.load(Ordering::SeqCst) == 1).await;
    fixture.publish("one", "run");
    fixture.until("the pipeline goes on", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    assert_eq!(fixture.count(Outcome::DeadLettered), 0);
}
