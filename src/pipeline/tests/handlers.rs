//! Handlers: functions of this process that get events.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::{
    agents::{HandlerCall, HandlerError, Handling},
    event::{Event, EventType},
    handlers::{HandlerOptions, Handlers, Registration},
    kafka::testing::give_up,
};

type Calls = Arc<Mutex<Vec<String>>>;

/// No wait of a retry takes long.
fn options() -> HandlerOptions {
    HandlerOptions::default().backoff(Duration::from_millis(2), Duration::from_millis(20))
}

/// A handler that notes the id of each event that it is called for.
fn handler(
    name: &str,
    options: HandlerOptions,
    calls: &Calls,
    answer: impl Fn(Arc<Event>) -> Handling + Send + Sync + 'static,
) -> Registration {
    let calls = Arc::clone(calls);
    let function = Arc::new(move |call: HandlerCall| {
        calls.lock().unwrap().push(call.event.id().to_owned());
        answer(call.event)
    });
    Registration { name: name.to_owned(), event_type: EventType::Completed, function, options }
}

fn done() -> Handling {
    Box::pin(async { Ok(()) })
}

fn error(error: HandlerError) -> Handling {
    Box::pin(async { Err(error) })
}

fn down() -> Handling {
    error(HandlerError::Retry("down".to_owned()))
}

fn start(registrations: Vec<Registration>) -> PipelineFixture {
    start_in(tempfile::tempdir().unwrap(), registrations)
}

fn start_in(folder: tempfile::TempDir, registrations: Vec<Registration>) -> PipelineFixture {
    let plan = Arc::new(Handlers::new(registrations).unwrap()).beside(None).unwrap();
    PipelineFixture::start_plan(folder, plan, (None, "parked"), |_, _| None)
}

fn count(calls: &Calls, id: &str) -> usize {
    calls.lock().unwrap().iter().filter(|called| *called == id).count()
}

fn attempts(fixture: &PipelineFixture, id: &str, handler: &str) -> (u32, u32) {
    let record = fixture.ledger.get(id).unwrap().unwrap();
    (record.attempts("WORKFLOW_COMPLETED", handler), record.failed_attempts("WORKFLOW_COMPLETED", handler))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_handler_gets_each_event_once_and_one_that_fails_stops_no_other() {
    let (first, second) = (Calls::default(), Calls::default());
    let mut fixture = start(vec![
        handler("first", options(), &first, |_| done()),
        handler("second", options().max_retries(0), &second, |event| if event.id() == "3" { down() } else { done() }),
    ]);
    for n in 0..20 {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    for n in 0..20 {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    fixture.until("all have their outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!((fixture.count(Outcome::Delivered), fixture.count(Outcome::DeadLettered)), (19, 1));
    assert_eq!(fixture.count(Outcome::Duplicate), 20);
    for n in 0..20 {
        assert_eq!((count(&first, &n.to_string()), count(&second, &n.to_string())), (1, 1), "event {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_called_for_once_and_as_often_again_as_max_retries_says() {
    for (retries, panics) in [(3_u32, false), (3, true), (0, false)] {
        let calls = Calls::default();
        let fail = move |event: Arc<Event>| match event.id() {
            "bad" if panics => panic!("a defect of the handler"),
            "bad" => down(),
            _ => done(),
        };
        let mut fixture = start(vec![handler("store", options().max_retries(retries), &calls, fail)]);
        fixture.publish("bad", "run");
        fixture.publish("behind", "run");
        fixture.until("both have their outcome", |fixture| fixture.open_offsets() == 0).await;
        assert_eq!((fixture.count(Outcome::DeadLettered), fixture.count(Outcome::Delivered)), (1, 1));
        assert_eq!(attempts(&fixture, "bad", "store"), (retries + 1, retries + 1));
        assert_eq!(count(&calls, "bad"), retries as usize + 1);
        assert_eq!(calls.lock().unwrap().last().map(String::as_str), Some("behind"), "one key is handled in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_event_is_a_dead_letter_at_once_however_many_are_rejected() {
    let calls = Calls::default();
    let reject = |_| error(HandlerError::Reject("no order".to_owned()));
    let mut fixture = start(vec![handler("store", options(), &calls, reject)]);
    for n in 0..40 {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    fixture.until("all have their outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!((fixture.count(Outcome::DeadLettered), calls.lock().unwrap().len()), (40, 40));
    assert_eq!(fixture.pipeline.agents()[0].breaker, BreakerState::Closed, "it works");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_call_is_no_retry() {
    let calls = Calls::default();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let later = move |_| {
        if count.fetch_add(1, Ordering::SeqCst) < 10 { error(HandlerError::Later(Duration::ZERO)) } else { done() }
    };
    let mut fixture = start(vec![handler("store", options().max_retries(1), &calls, later)]);
    fixture.publish("e", "run");
    fixture.until("it is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    assert_eq!(attempts(&fixture, "e", "store"), (11, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_whose_dependency_is_down_dead_letters_nothing_of_a_backlog() {
    let calls = Calls::default();
    let is_down = Arc::new(AtomicBool::new(true));
    let of_handler = Arc::clone(&is_down);
    let answer = move |_| if of_handler.load(Ordering::SeqCst) { down() } else { done() };
    let mut fixture = start(vec![handler("store", options(), &calls, answer)]);
    for n in 0..100 {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    // Far more calls than would have ended the first events.
    fixture.until("probes were sent", |_| calls.lock().unwrap().len() > 60).await;
    assert_ne!(fixture.pipeline.agents()[0].breaker, BreakerState::Closed);
    assert_eq!(fixture.outcomes.lock().unwrap().len(), 0);
    is_down.store(false, Ordering::SeqCst);
    fixture.until("all are delivered", |fixture| fixture.count(Outcome::Delivered) == 100).await;
    assert_eq!(fixture.count(Outcome::DeadLettered), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_dead_letter_topic_a_function_has_the_event_before_its_delivery_ends() {
    let (calls, letters) = (Calls::default(), Arc::new(Mutex::new(Vec::new())));
    let (logged, until_logged) = tokio::sync::watch::channel(false);
    let seen = Arc::clone(&letters);
    let function: Arc<DeadLetterFunction> = Arc::new(move |letter| {
        seen.lock().unwrap().push((letter.reason, letter.error, letter.value));
        let mut until_logged = until_logged.clone();
        Box::pin(async move { drop(until_logged.wait_for(|logged| *logged).await) })
    });
    let lacks = |event: Arc<Event>| match event.id() {
        "good" => done(),
        "bad" => error(HandlerError::MissingField("payload.order_id".to_owned())),
        _ => error(HandlerError::InvalidValue("payload.total".to_owned())),
    };
    let plan = Arc::new(Handlers::new(vec![handler("store", options(), &calls, lacks)]).unwrap()).beside(None).unwrap();
    let sink = Some(DeadLetterSink::Function(function));
    let folder = tempfile::tempdir().unwrap();
    let mut fixture = PipelineFixture::start_sending(folder, plan, (None, "parked"), |_, _| None, sink);
    for id in ["bad", "worse", "good"] {
        fixture.publish(id, id);
    }
    fixture.until("the function has two", |_| letters.lock().unwrap().len() == 2).await;
    fixture.until("the other is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    assert_eq!(fixture.open_offsets(), 2, "nobody has logged them yet");
    logged.send_replace(true);
    fixture.until("all have their outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!(fixture.count(Outcome::DeadLettered), 2);
    assert_eq!(fixture.ledger.get("bad").unwrap().unwrap().state(), crate::dedup::RecordState::Dead);
    let letters = letters.lock().unwrap();
    let mut reasons: Vec<_> = letters.iter().map(|(reason, error, _)| (*reason, error.as_str())).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, [("invalid_value", "payload.total"), ("missing_field", "payload.order_id")]);
    assert!(letters.iter().all(|(.., value)| value.as_ref().is_some_and(|value| value.starts_with(b"{"))));
    assert!(reasons.iter().all(|(reason, _)| crate::event::Poison::KINDS.contains(reason)));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_a_handler_rejects_do_not_hide_that_its_dependency_is_down() {
    let calls = Calls::default();
    let is_down = Arc::new(AtomicBool::new(true));
    let of_handler = Arc::clone(&is_down);
    let answer = move |event: Arc<Event>| match event.id().parse::<usize>() {
        Ok(n) if n % 2 == 1 => error(HandlerError::Reject("no order".to_owned())),
        _ if of_handler.load(Ordering::SeqCst) => down(),
        _ => done(),
    };
    let mut fixture = start(vec![handler("store", options(), &calls, answer)]);
    for n in 0..60 {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    fixture.until("the others are rejected", |fixture| fixture.count(Outcome::DeadLettered) >= 30).await;
    is_down.store(false, Ordering::SeqCst);
    fixture.until("all have their outcome", |fixture| fixture.open_offsets() == 0).await;
    assert_eq!((fixture.count(Outcome::Delivered), fixture.count(Outcome::DeadLettered)), (30, 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_to_come_later_does_not_keep_the_probe_from_the_others() {
    let calls = Calls::default();
    let later = |event: Arc<Event>| {
        if event.id() == "later" { error(HandlerError::Later(Duration::ZERO)) } else { down() }
    };
    let mut fixture = start(vec![handler("store", options(), &calls, later)]);
    for n in 0..5 {
        fixture.publish(&n.to_string(), &n.to_string());
    }
    let is_open = |fixture: &PipelineFixture| fixture.pipeline.agents()[0].breaker != BreakerState::Closed;
    fixture.until("the breaker is open", is_open).await;
    fixture.publish("later", "later");
    fixture.until("it is called", |_| count(&calls, "later") > 2).await;
    let others = || calls.lock().unwrap().iter().filter(|id| *id != "later").count();
    let before = others();
    fixture.until("the others are probed", |_| others() > before + 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_key_are_handled_in_order_over_retries() {
    let calls = Calls::default();
    let handled = Calls::default();
    let (seen, done_ids) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&handled));
    let answer = move |event: Arc<Event>| {
        if seen.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) {
            return down();
        }
        done_ids.lock().unwrap().push(event.id().to_owned());
        done()
    };
    let mut fixture = start(vec![handler("store", options().max_retries(50), &calls, answer)]);
    for n in 0..100 {
        fixture.publish(&format!("{n:03}"), &format!("run-{}", n % 3));
    }
    fixture.until("all are delivered", |fixture| fixture.count(Outcome::Delivered) == 100).await;
    let handled = handled.lock().unwrap();
    for run in 0..3 {
        let of_run = handled.iter().filter(|id| id.parse::<usize>().unwrap() % 3 == run);
        assert!(of_run.clone().is_sorted(), "run {run}: {:?}", of_run.collect::<Vec<_>>());
    }
}

/// A handler that never returns, and says when its call is dropped.
fn endless(dropped: &Arc<AtomicBool>) -> impl Fn(Arc<Event>) -> Handling + Send + Sync + 'static {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let dropped = Arc::clone(dropped);
    move |_| {
        let guard = Dropped(Arc::clone(&dropped));
        Box::pin(async move {
            let _guard = guard;
            std::future::pending().await
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_for_a_partition_that_moves_away_is_dropped_when_its_next_owner_may_make_it() {
    let (calls, dropped) = (Calls::default(), Arc::new(AtomicBool::new(false)));
    let mut fixture = start(vec![handler("store", options(), &calls, endless(&dropped))]);
    let (moved, kept) = (owned(), owned());
    fixture.publish_in(&moved, 0, "moved", "run");
    fixture.until("it is called", |_| count(&calls, "moved") == 1).await;
    give_up(&moved);
    fixture.publish_in(&kept, 1, "kept", "run");
    fixture.until("its ticket is dropped", |fixture| fixture.settled.lock().unwrap().len() == 1).await;
    assert!(dropped.load(Ordering::SeqCst));
    assert_eq!(moved.attempts(), 0);
    assert_eq!(*fixture.settled.lock().unwrap(), [(0, false)], "it stays uncommitted");
    fixture.until("the other partition goes on", |_| count(&calls, "kept") == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_outlives_the_drain_is_dropped_and_its_event_comes_again() {
    let (calls, dropped) = (Calls::default(), Arc::new(AtomicBool::new(false)));
    let mut fixture = start(vec![handler("store", options(), &calls, endless(&dropped))]);
    fixture.publish("e", "run");
    fixture.until("it is called", |_| count(&calls, "e") == 1).await;
    fixture.shutdown.cancel();
    // Before the group is left.
    timeout(DEADLINE, fixture.pipeline.stop_calls()).await.expect("it is dropped");
    assert!(dropped.load(Ordering::SeqCst));
    let PipelineFixture { pipeline, intake, ledger, settled, outcomes, folder, .. } = fixture;
    drop(intake);
    pipeline.abort().await;
    // Its ticket is dropped last.
    let settled = timeout(DEADLINE, async {
        while settled.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        settled.lock().unwrap().clone()
    });
    assert_eq!(settled.await.expect("its ticket is dropped"), [(0, false)], "it stays uncommitted");
    assert_eq!(outcomes.lock().unwrap().len(), 0);
    drop(ledger);
    // The folder is free, and the event is called for again.
    let mut fixture = start_in(folder, vec![handler("store", options(), &calls, |_| done())]);
    fixture.publish("e", "run");
    fixture.until("it is delivered", |fixture| fixture.count(Outcome::Delivered) == 1).await;
    assert_eq!(count(&calls, "e"), 2);
}
