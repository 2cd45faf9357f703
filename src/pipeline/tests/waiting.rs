//! Many deliveries that wait for one agent.

use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::{
    answers::{agent_that, status},
    given_up::Switched,
    *,
};
use crate::{
    agents::EndpointId,
    dedup::{PlannedDelivery, Record},
    kafka::testing::{Held, give_up},
};

/// More than may wait for an endpoint at once.
const MANY: usize = 1_000;

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Deliveries that wait or are in flight.
fn waiting(fixture: &PipelineFixture) -> usize {
    usize::try_from(fixture.pending()).unwrap()
}

/// An agent that answers when it is let, and the events that it was asked about.
#[derive(Clone, Default)]
struct Busy {
    held: Held,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Busy {
    async fn start(&self) -> SocketAddr {
        let agent = self.clone();
        agent_that(move |asked| {
            agent.asked.lock().unwrap().push(asked.event_id());
            agent.held.wait();
            status(200)
        })
        .await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn most_of_them_are_no_tasks_and_all_are_delivered() {
    let agent = Busy::default();
    let mut fixture = PipelineFixture::start(&rules(agent.start().await, ""));
    let before = tasks();
    for n in 0..MANY {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    fixture.until("the agent has what it takes at once", |_| agent.asked().len() == 8).await;
    fixture.until("all wait", |fixture| waiting(fixture) == MANY).await;
    let more = tasks() - before;
    assert!(more < MANY / 4, "{more} tasks for {MANY} deliveries");
    agent.held.release();
    fixture.until("all are delivered", |fixture| fixture.count(Outcome::Delivered) == MANY).await;
    assert_eq!((waiting(&fixture), agent.asked().len()), (0, MANY), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_of_a_given_up_partition_end_although_none_before_them_does() {
    let agent = Busy::default();
    let mut fixture = PipelineFixture::start(&rules(agent.start().await, ""));
    let (kept, first) = (owned(), owned());
    for n in 0..MANY {
        fixture.publish_in(&kept, 0, &format!("kept-{n}"), &n.to_string());
    }
    fixture.until("the agent has what it takes at once", |_| agent.asked().len() == 8).await;
    for n in 0..MANY {
        // In one lane: the second one is looked at when the first has ended.
        fixture.publish_in(&first, 1, &format!("lost-{n}"), "one");
    }
    fixture.until("all wait", |fixture| waiting(fixture) == 2 * MANY).await;
    give_up(&first);
    fixture.until("its tickets are dropped", |fixture| fixture.dropped() == MANY).await;
    assert_eq!((waiting(&fixture), agent.asked().len()), (MANY, 8));
    agent.held.release();
    fixture.until("the others are delivered", |fixture| fixture.count(Outcome::Delivered) == MANY).await;
    assert!(agent.asked().iter().all(|id| id.starts_with("kept")), "nothing of it was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_wait_for_a_retry_let_others_begin() {
    let agent = agent_that(|asked| status(if asked.event_id().starts_with("busy") { 409 } else { 200 })).await;
    let rules = rules(agent, "").replace("{initial: 5ms, max: 20ms", "{initial: 1h, max: 1h");
    let mut fixture = PipelineFixture::start(&rules);
    for n in 0..MANY {
        fixture.publish(&format!("busy-{n}"), &format!("busy-{n}"));
    }
    for n in 0..MANY {
        fixture.publish(&format!("{n}"), &format!("{n}"));
    }
    fixture.until("the others are delivered", |fixture| fixture.count(Outcome::Delivered) == MANY).await;
    assert_eq!(waiting(&fixture), MANY);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_whose_endpoint_is_missing_let_others_begin() {
    let agent = Switched::default();
    agent.up.store(true, Ordering::SeqCst);
    let mut fixture = PipelineFixture::start(&rules(agent.start().await, ""));
    for n in 0..MANY {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    fixture.until("all are delivered", |fixture| fixture.count(Outcome::Delivered) == MANY).await;
    // The ledger of another process: each may have a run on a server that the rules do not have.
    let elsewhere = NonZeroU64::MAX;
    assert!(EndpointId::has_runs(elsewhere));
    let second = PipelineFixture::start(&rules(agent.start().await, ""));
    for n in 0..MANY {
        let digest = fixture.ledger.get(&n.to_string()).unwrap().unwrap().digest();
        let plan = [PlannedDelivery { rule: "all".into(), agent: "audit".into() }];
        let mut record = Record::new(digest, 1, &plan);
        record.record_sent_to("all", "audit", elsewhere);
        second.ledger.merge(&n.to_string(), &record).unwrap();
    }
    let mut fixture = second;
    for n in 0..2 * MANY {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    fixture.until("the others are delivered", |fixture| fixture.count(Outcome::Delivered) == MANY).await;
    assert_eq!(waiting(&fixture), MANY);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_them_are_parked() {
    let agent = Switched::default();
    let rules = rules(agent.start().await, "");
    let mut fixture = PipelineFixture::parking(&rules, Some(Duration::from_millis(300)));
    for n in 0..MANY {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    fixture.until("every event has its outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!((fixture.count(Outcome::Parked), agent.accepted().len()), (MANY, 0));
    agent.up.store(true, Ordering::SeqCst);
    fixture.until("all are accepted", |_| agent.accepted().len() >= MANY).await;
    fixture.until("nothing is pending", |fixture| fixture.pending() == 0).await;
    let mut accepted = agent.accepted();
    accepted.sort();
    accepted.dedup();
    assert_eq!((accepted.len(), agent.accepted().len()), (MANY, MANY), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_are_read_back_are_no_tasks_either() {
    let (agent, accepted) = (Busy::default(), Arc::new(AtomicUsize::new(0)));
    let (up, answers, seen) = (Arc::new(AtomicBool::new(false)), agent.clone(), Arc::clone(&accepted));
    let is_up = Arc::clone(&up);
    let addr = agent_that(move |_| {
        if !is_up.load(Ordering::SeqCst) {
            return status(503);
        }
        // Enough to be taken for one that works.
        if seen.fetch_add(1, Ordering::SeqCst) >= 100 {
            answers.held.wait();
        }
        status(200)
    })
    .await;
    let mut fixture = PipelineFixture::parking(&rules(addr, ""), Some(Duration::from_millis(300)));
    let before = tasks();
    for n in 0..MANY {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    fixture.until("every event has its outcome", |fixture| fixture.open_offsets() == 0).await;
    up.store(true, Ordering::SeqCst);
    let read_back = |fixture: &PipelineFixture| fixture.pipeline.agents()[0].parked_in_flight;
    fixture.until("all others were read back", |fixture| read_back(fixture) == MANY - 100).await;
    let more = tasks().saturating_sub(before);
    assert!(more < MANY / 3, "{more} tasks for {} deliveries", MANY - 100);
    agent.held.release();
    fixture.until("nothing is pending", |fixture| waiting(fixture) == 0).await;
    assert_eq!(accepted.load(Ordering::SeqCst), MANY, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_them_for_the_next_start() {
    let agent = Busy::default();
    let mut fixture = PipelineFixture::start(&rules(agent.start().await, ""));
    for n in 0..MANY {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    fixture.until("all wait", |fixture| waiting(fixture) == MANY).await;
    fixture.until("the agent has what it takes at once", |_| agent.asked().len() == 8).await;
    fixture.shutdown.cancel();
    agent.held.release();
    fixture.until("the tickets of the others are dropped", |fixture| fixture.dropped() == MANY - 8).await;
    assert_eq!((fixture.count(Outcome::Delivered), agent.asked().len()), (8, 8));
}
