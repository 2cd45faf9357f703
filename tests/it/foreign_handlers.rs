//! A consumer whose handlers are functions of another language, on a real Kafka: calls are taken and settled here as Python does.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use workflow_bridge::consumer::{
    Call, Consumer, Handler, HandlerError, HandlerOptions, Notice, Settings, Severity, Verdict,
};

use crate::kit::{PATIENCE, Record, kafka, poll, process::Scratch, unique, when};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn handler(name: &str, event_type: &str) -> Handler {
    let options = HandlerOptions::default().backoff(Duration::from_millis(10), Duration::from_millis(100));
    Handler { name: name.to_owned(), event_type: event_type.to_owned(), options }
}

fn settings(topics: &[&str], data: &Path) -> Settings {
    Settings {
        bootstrap_servers: kafka().bootstrap().to_owned(),
        group_id: unique("foreign"),
        topics: topics.iter().map(ToString::to_string).collect(),
        data_dir: Some(data.to_owned()),
        ..Settings::default()
    }
}

fn envelope(id: &str, event_type: &str) -> Value {
    json!({
        "event_id": id, "event_type": event_type, "event_version": "1.0", "occurred_at": "2026-01-31T12:00:00Z",
        "correlation_id": null, "causation_id": null, "source_service": "shop", "payload": {"order_id": 7},
    })
}

fn record(id: &str, event_type: &str) -> Record {
    // As published: with blanks that no reader of JSON would write.
    Record::new(envelope(id, event_type).to_string().replace(',', " , ")).key(id).header("traceparent", TRACE)
}

/// What was taken by all tests: a warning goes to whichever consumer of the process takes first.
static NOTICES: Mutex<Vec<Notice>> = Mutex::new(Vec::new());

fn note(notices: Vec<Notice>) {
    NOTICES.lock().unwrap_or_else(PoisonError::into_inner).extend(notices);
}

/// The notices so far that have this text.
fn noted(text: &str) -> Vec<Notice> {
    let notices = NOTICES.lock().unwrap_or_else(PoisonError::into_inner);
    notices.iter().filter(|notice| notice.text.contains(text)).cloned().collect()
}

/// A consumer that runs.
struct Running(Consumer);

impl Running {
    #[track_caller]
    fn start(handlers: Vec<Handler>, settings: &Settings) -> Self {
        let consumer = Consumer::new(handlers, settings).expect("nothing is wrong with it");
        consumer.start().expect("it starts");
        Self(consumer)
    }

    #[track_caller]
    fn wait_assigned(&self) {
        poll(PATIENCE, "partitions are assigned", || {
            when(self.0.is_assigned().expect("ours"), self.0.error().expect("ours"))
        });
    }

    /// Settles every call until so many are settled.
    #[track_caller]
    fn settle(&self, count: usize, verdict: impl Fn(&Call) -> Verdict) -> Vec<Call> {
        let mut settled = Vec::new();
        poll(PATIENCE, "the handlers were called so often", || {
            let taken = self.0.take(64).expect("ours");
            note(taken.notices);
            for call in taken.calls {
                assert!(self.0.settle(call.token(), verdict(&call)).expect("ours"), "{call:?}");
                settled.push(call);
            }
            when(settled.len() >= count, (settled.len(), self.0.error()))
        });
        assert_eq!(settled.len(), count, "{settled:?}");
        settled
    }

    #[track_caller]
    fn stop(self) {
        self.0.stop(Duration::from_secs(8)).expect("ours");
        poll(PATIENCE, "it has ended", || {
            note(self.0.take(64).expect("ours").notices);
            when(self.0.has_ended().expect("ours"), ())
        });
        assert_eq!(self.0.error().expect("ours"), None);
    }
}

fn ids(calls: &[Call]) -> BTreeMap<(&str, usize), usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        *counts.entry((call.event_id(), call.handler())).or_default() += 1;
    }
    counts
}

#[test]
fn each_handler_gets_what_was_published_and_a_dead_letter_stands_beside_its_topic() {
    let (orders, others) = (kafka().topic("orders", 2), kafka().topic("others", 1));
    let data = Scratch::new("foreign");
    let settings = Settings { dlq_topic_suffix: Some("-dead.letters".into()), ..settings(&[&orders, &others], &data) };
    let handlers = vec![
        handler("store", "OrderPlacedIntegrationEvent"),
        handler("notify", "OrderPlacedIntegrationEvent"),
        handler("workflow", "workflow.completed"),
    ];
    kafka().produce(&orders, record("good", "OrderPlacedIntegrationEvent"));
    kafka().produce(&orders, record("bad", "OrderPlacedIntegrationEvent"));
    kafka().produce(&orders, record("unknown", "OrderShippedIntegrationEvent"));
    let native = json!({
        "event_id": "run", "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T12:00:00Z", "source": "AIRFLOW",
        "workflow_id": "etl", "workflow_run_id": "r", "payload": {"data": {}},
    });
    kafka().produce(&others, Record::new(native.to_string()));
    kafka().produce(&others, record("odd", "OrderPlacedIntegrationEvent"));

    let running = Running::start(handlers.clone(), &settings);
    let calls = running.settle(7, |call| match (call.event_id(), call.handler()) {
        ("bad", 0) => Err(HandlerError::MissingField("payload.total".into())),
        ("odd", 1) => Err(HandlerError::InvalidValue("payload.order_id".into())),
        _ => Ok(()),
    });
    let expected = [("bad", 0), ("bad", 1), ("good", 0), ("good", 1), ("odd", 0), ("odd", 1), ("run", 2)];
    assert_eq!(ids(&calls).into_keys().collect::<Vec<_>>(), expected);
    let good = calls.iter().find(|call| call.event_id() == "good").expect("it was called for");
    let published = record("good", "OrderPlacedIntegrationEvent");
    assert_eq!((Some(good.value().to_vec()), good.key()), (published.value, Some(&b"good"[..])));
    assert_eq!((&*good.origin().topic, good.traceparent(), good.tracestate()), (&*orders, Some(TRACE), None));

    for topic in [&orders, &others] {
        kafka().wait_committed(&settings.group_id, topic, PATIENCE);
    }
    let letters = |topic: &str| {
        let found = kafka().read_all(&format!("{topic}-dead.letters"));
        let shown = |name| move |letter: &kafka::Stored| letter.header(name).unwrap_or_default();
        let names = ["dlq-reason", "dlq-error", "dlq-agent", "dlq-attempts", "dlq-event-id"];
        found.iter().map(|letter| (names.map(|name| shown(name)(letter)), letter.value.clone())).collect::<Vec<_>>()
    };
    let words = |words: [&str; 5]| words.map(ToOwned::to_owned);
    let bad = record("bad", "OrderPlacedIntegrationEvent").value;
    let odd = record("odd", "OrderPlacedIntegrationEvent").value;
    assert_eq!(letters(&orders), [(words(["missing_field", "payload.total", "store", "1", "bad"]), bad)]);
    assert_eq!(letters(&others), [(words(["invalid_value", "payload.order_id", "notify", "1", "odd"]), odd)]);
    running.stop();
    poll(PATIENCE, "both dead letters are warned of", || {
        let of_topics = [&orders, &others].map(|topic| noted(&format!("topic={topic} ")));
        when(
            of_topics.iter().all(|found| found.iter().any(|notice| notice.text.starts_with("dead letter "))),
            of_topics,
        )
    });
    assert_eq!(noted("OrderShippedIntegrationEvent"), [], "types without a handler are passed over");

    // Nothing is called for again.
    kafka().produce(&orders, record("good", "OrderPlacedIntegrationEvent"));
    kafka().produce(&orders, record("last", "OrderPlacedIntegrationEvent"));
    let again = Running::start(handlers, &settings);
    let calls = again.settle(2, |_| Ok(()));
    assert_eq!(ids(&calls).into_keys().collect::<Vec<_>>(), [("last", 0), ("last", 1)]);
    again.stop();
}

#[test]
fn the_latest_consumer_misses_nothing_after_its_assignment_in_a_topic_that_was_there_or_not() {
    let (there, absent) = (kafka().topic("there", 3), unique("absent"));
    let data = Scratch::new("foreign");
    let settings = Settings { auto_offset_reset: "latest".into(), ..settings(&[&there, &absent], &data) };
    for n in 0..6 {
        kafka().produce(&there, record(&format!("old {n}"), "Happened").partition(n % 3));
    }
    let running = Running::start(vec![handler("note", "Happened")], &settings);
    running.wait_assigned();
    for n in 0..6 {
        kafka().produce(&there, record(&format!("new {n}"), "Happened").partition(n % 3));
    }
    let calls = running.settle(6, |_| Ok(()));
    assert!(calls.iter().all(|call| call.event_id().starts_with("new ")), "{calls:?}");
    // Before anybody can have heard of the topic.
    kafka().create_topic(&absent, 2, &[]);
    kafka().produce(&absent, record("first", "Happened"));
    let calls = running.settle(1, |_| Ok(()));
    assert_eq!((calls[0].event_id(), &*calls[0].origin().topic), ("first", &*absent));
    running.stop();
}

#[test]
fn without_dead_letters_an_event_is_passed_over_when_its_notice_was_taken() {
    let topic = kafka().topic("passed", 1);
    let data = Scratch::new("foreign");
    let settings = Settings { dlq_topic_suffix: None, ..settings(&[&topic], &data) };
    kafka().produce(&topic, record("bad", "Happened"));
    kafka().produce(&topic, Record::new("no\njson\\").header("x y", "a=b"));
    kafka().produce(&topic, record("good", "Happened"));
    let running = Running::start(vec![handler("note", "Happened")], &settings);
    let calls = running.settle(2, |call| match call.event_id() {
        "bad" => Err(HandlerError::Reject("no order".into())),
        _ => Ok(()),
    });
    assert_eq!(calls.len(), 2);
    let critical = || {
        let of_topic = noted(&format!("topic={topic} ")).into_iter();
        of_topic.filter(|notice| notice.severity == Severity::Critical).map(|notice| notice.text).collect::<Vec<_>>()
    };
    poll(PATIENCE, "both are passed over", || {
        note(running.0.take(64).expect("ours").notices);
        when(critical().len() >= 2, critical())
    });
    // It says that what was taken is in the log.
    note(running.0.take(64).expect("ours").notices);
    kafka().wait_committed(&settings.group_id, &topic, PATIENCE);
    let told = critical();
    let published = record("bad", "Happened").value.expect("it has one");
    let whole = format!("value={}", String::from_utf8_lossy(&published));
    let bad = told.iter().find(|text| text.contains("event_id=bad")).expect("it is told");
    assert!(bad.contains("handler=note calls=1 reason=refused error=no order") && bad.ends_with(&whole), "{bad}");
    let whole = " header:x\\x20y=a\\x3db value=no\\njson\\\\";
    assert!(told.iter().any(|text| text.contains("reason=not_json") && text.ends_with(whole)), "{told:?}");
    running.stop();
    assert!(!kafka().topic_exists(&format!("{topic}.dlq")));
}

#[test]
fn a_call_that_a_stop_drops_is_reported_and_comes_again() {
    let topic = kafka().topic("dropped", 1);
    let data = Scratch::new("foreign");
    let settings = settings(&[&topic], &data);
    kafka().produce(&topic, record("slow", "Happened"));
    let running = Running::start(vec![handler("note", "Happened")], &settings);
    let called = poll(PATIENCE, "it is called", || {
        let taken = running.0.take(64).expect("ours");
        note(taken.notices);
        taken.calls.first().map(Call::token).ok_or(())
    });
    running.0.stop(Duration::from_secs(1)).expect("ours");
    let mut dropped = Vec::new();
    poll(PATIENCE, "the call was dropped", || {
        let taken = running.0.take(64).expect("ours");
        note(taken.notices);
        dropped.extend(taken.dropped);
        when(!dropped.is_empty() && running.0.has_ended().expect("ours"), dropped.clone())
    });
    assert_eq!(dropped, [called]);
    assert!(!running.0.settle(called, Ok(())).expect("ours"), "too late");
    let again = Running::start(vec![handler("note", "Happened")], &settings);
    let calls = again.settle(1, |_| Ok(()));
    assert_eq!(calls[0].event_id(), "slow");
    kafka().wait_committed(&settings.group_id, &topic, PATIENCE);
    again.stop();
}

#[test]
fn a_stop_that_is_shortened_does_not_wait_for_a_call_and_the_next_start_need_not_either() {
    let topic = kafka().topic("shortened", 1);
    let state = Scratch::new("foreign");
    let settings = settings(&[&topic], &state);
    // A folder that is found: the one before may have its ledger open for a moment.
    let path = state.to_str().expect("a text").to_owned();
    let settings = Settings { data_dir: None, state_home: Some(path), ..settings };
    kafka().produce(&topic, record("slow", "Happened"));
    for _ in 0..2 {
        let running = Running::start(vec![handler("note", "Happened")], &settings);
        poll(PATIENCE, "it is called", || {
            let taken = running.0.take(64).expect("ours");
            note(taken.notices);
            taken.calls.first().map(Call::token).ok_or(())
        });
        running.0.stop(Duration::from_secs(3_600)).expect("ours");
        running.0.stop(Duration::ZERO).expect("ours");
        poll(PATIENCE, "it has ended", || when(running.0.has_ended().expect("ours"), ()));
        assert_eq!(running.0.error().expect("ours"), None);
    }
}
