//! `/api/events`: the newest outcomes that this process remembers.

use serde_json::{Value, json};

use super::event_page::{partitions, state, time};
use crate::{
    admin::EventsQuery,
    kafka::ConsumerStatus,
    pipeline::{KnownEvent, KnownEvents, MAX_RECENT_EVENTS, Outcome, RecentEvent, RecentNames, RecentQuery},
};

/// The page. Blocks: it reads the ledger.
///
/// # Errors
/// There is no such outcome.
pub(super) fn page(events: &KnownEvents, consumer: &ConsumerStatus, query: &EventsQuery) -> Result<Value, String> {
    let outcome = query.outcome.as_deref().map(outcome).transpose()?;
    let (workflow, run) = (query.workflow.as_deref(), query.run.as_deref());
    let answer = events.recent(&RecentQuery { workflow, run, outcome, limit: query.limit });
    Ok(json!({
        "events": answer.listed.iter().map(|event| line(events, event)).collect::<Vec<_>>(),
        "not_listed": answer.matching - answer.listed.len(),
        "remembered": answer.remembered,
        "complete_since": time(answer.complete_since_ms),
        "partitions": partitions(consumer),
        "note": note(),
    }))
}

fn note() -> String {
    format!(
        "outcomes that this process remembers in memory since its start, the newest {MAX_RECENT_EVENTS} at most, of the partitions that it \
         has or had: ask the other replicas too, or explain --workflow WORKFLOW_ID --run WORKFLOW_RUN_ID, which reads Kafka"
    )
}

fn outcome(label: &str) -> Result<Outcome, String> {
    let known = || Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect::<Vec<_>>().join(", ");
    let found = Outcome::ALL.iter().find(|outcome| outcome.as_str() == label).copied();
    found.ok_or_else(|| format!("expected one of the outcomes {}, found another one", known()))
}

/// An outcome, with the state of its event in the ledger of now.
fn line(events: &KnownEvents, event: &RecentEvent) -> Value {
    let names = event.names.as_ref();
    let now = names.and_then(|names| match events.find(names.event_id()) {
        Ok(KnownEvent { record: Some(record), .. }) => Some(state(&record)),
        _ => None,
    });
    json!({
        "at": time(event.at_ms),
        "outcome": event.outcome.as_str(),
        "event_id": names.map(RecentNames::event_id),
        "event_type": names.map(RecentNames::event_type),
        "workflow_id": names.map(RecentNames::workflow_id),
        "workflow_run_id": names.map(RecentNames::workflow_run_id),
        "record": {"topic": &*event.origin.topic, "partition": event.origin.partition, "offset": event.origin.offset},
        "reason": event.reason,
        "state": now,
    })
}
