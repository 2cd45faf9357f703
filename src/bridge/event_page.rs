//! `/api/events/ID`: what became of one event.

use serde_json::{Value, json};

use crate::{
    admin::EventPage,
    dedup::{DeliveryRecord, DeliveryStatus, Record, RecordState, Source},
    kafka::ConsumerStatus,
    pipeline::{KnownEvent, KnownEvents},
};

/// The page of an event. Blocks: it reads the ledger.
pub(super) fn page(events: &KnownEvents, consumer: &ConsumerStatus, event_id: &str) -> EventPage {
    match events.find(event_id) {
        Err(error) => EventPage::Failed(json!({"event_id": event_id, "error": error.to_string()})),
        Ok(KnownEvent { record: Some(record), is_uncommitted }) => {
            EventPage::Known(known(events, consumer, event_id, (&record, is_uncommitted)))
        }
        Ok(KnownEvent { record: None, is_uncommitted: true }) => {
            let note = "this replica has read it, and no attempt of it has ended, unless its partition has moved to another \
                        replica since";
            EventPage::Known(without_record(consumer, (event_id, "received"), note))
        }
        Ok(KnownEvent { record: None, is_uncommitted: false }) => {
            let note = "this replica has no record of it: no rule matched it, or it has not been read yet (lag), or it is \
                        no event, or the rules ask for too much of it, and it is a dead letter, or it was delivered longer ago than dedup.window, or its partition belongs \
                        to another replica, or the ledger topic is still being read (/readyz)";
            EventPage::Unknown(without_record(consumer, (event_id, "unknown"), note))
        }
    }
}

fn known(
    events: &KnownEvents,
    consumer: &ConsumerStatus,
    event_id: &str,
    (record, is_uncommitted): (&Record, bool),
) -> Value {
    let note = note(consumer, record, is_uncommitted);
    let mut page = record_page(event_id, record, &|agent, thread, run| events.run_url(agent, thread, run));
    page["conflicts"] = events.conflicts(event_id).into();
    page["note"] = note.into();
    page["partitions"] = note.map(|_| partitions(consumer)).into();
    page["lag"] = note.and_then(|_| lag(consumer)).into();
    page
}

/// What a record of the ledger says of its event. `run_url`: the address of a run, by agent, thread and run.
pub(super) fn record_page(
    event_id: &str,
    record: &Record,
    run_url: &dyn Fn(&str, &str, &str) -> Option<String>,
) -> Value {
    json!({
        "event_id": event_id,
        "state": state(record),
        "first_seen": time(record.first_seen_ms()),
        "source": record.source().map(|source| json!({
            "topic": &*source.topic,
            "partition": source.partition,
            "offset": source.offset,
        })),
        "deliveries": record.deliveries().iter().map(|delivery| self::delivery(delivery, run_url)).collect::<Vec<_>>(),
    })
}

/// Why a record that says that something is still to come may not be the last word.
fn note(consumer: &ConsumerStatus, record: &Record, is_uncommitted: bool) -> Option<&'static str> {
    if record.state().is_final() {
        return None;
    }
    let is_owned = |source: &Source| {
        consumer.assigned.iter().any(|at| at.topic == source.topic && at.partition == source.partition)
    };
    if record.source().is_some_and(|source| !is_owned(source)) {
        return Some("its partition belongs to another replica now, which may know more: ask that one");
    }
    (record.state() == RecordState::Pending && !is_uncommitted)
        .then_some("nothing of it is under way: no rule asks for it any more, or the rules ask for too many deliveries of it and it is a dead letter, or it is yet to be read again")
}

fn without_record(consumer: &ConsumerStatus, (event_id, state): (&str, &str), note: &str) -> Value {
    json!({
        "event_id": event_id,
        "state": state,
        "deliveries": [],
        "note": note,
        "partitions": partitions(consumer),
        "lag": lag(consumer),
    })
}

/// The partitions of this replica, as `TOPIC/PARTITION`.
pub(super) fn partitions(consumer: &ConsumerStatus) -> Vec<String> {
    consumer.assigned.iter().map(|at| format!("{}/{}", at.topic, at.partition)).collect()
}

/// Their lag; `None` while that of one is not known.
fn lag(consumer: &ConsumerStatus) -> Option<i64> {
    consumer.assigned.iter().map(|at| at.lag).sum()
}

fn delivery(delivery: &DeliveryRecord, run_url: &dyn Fn(&str, &str, &str) -> Option<String>) -> Value {
    let run = delivery.run.as_ref();
    let run_url = run.and_then(|run| run_url(&delivery.agent, run.thread(), run.run()?));
    json!({
        "rule": &*delivery.rule,
        "agent": &*delivery.agent,
        "generation": delivery.generation.number,
        "again": delivery.generation.again,
        "status": status(delivery.status),
        "attempts": delivery.attempts,
        "failed_attempts": delivery.failed_attempts,
        "first_failure": delivery.first_attempt_ms.map(time),
        "ended": delivery.ended_ms.map(time),
        "thread_id": run.map(|run| run.thread()),
        "run_id": run.and_then(|run| run.run()),
        "run_url": run_url,
        "last_failure": delivery.last_failure.as_ref().map(|failure| json!({
            "at": time(failure.at_ms()),
            "class": failure.class(),
            "status": failure.status(),
        })),
    })
}

/// As in `events_total` for an event that has its outcome there.
pub(super) fn state(record: &Record) -> &'static str {
    match record.state() {
        RecordState::Pending => "pending",
        RecordState::Partial => "partial",
        RecordState::Parked if record.any_dead() => "dead_lettered",
        RecordState::Parked => "parked",
        RecordState::Done => "delivered",
        RecordState::Dead => "dead_lettered",
    }
}

fn status(status: DeliveryStatus) -> &'static str {
    match status {
        DeliveryStatus::Dead => "dead_lettered",
        status => status.as_str(),
    }
}

/// RFC 3339 in UTC; a time that no calendar has as its number.
pub(super) fn time(ms: u64) -> Value {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| ms.into(), |time| time.to_string().into())
}
