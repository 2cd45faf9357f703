//! What the ledger topic has to have, and what must not be sent again because it had it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        fault::{Fault, Lane},
        history::{ANALYST, AUDIT, History, LedgerEntry, Request, was_left},
    },
    KNOWN_FOR, Violation, events, places, violation,
};

/// A request for a delivery that the ledger topic had as delivered, unless that record had been removed from the topic.
pub(super) fn repeats_after_acknowledgement(history: &History) -> Vec<Violation> {
    let places = places(history);
    let mut known: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for entry in history.ledger.iter().flatten().filter(|entry| places.contains_key(&*entry.id)) {
        if entry.delivered_to(AUDIT) {
            known.entry(&entry.id).or_default().push(entry);
        }
    }
    let mut wrong = Vec::new();
    for request in &history.requests {
        let was_known = known.get(&*request.id).and_then(|entries| {
            entries.iter().find(|entry| {
                let removed = history.losses.iter().any(|loss| loss.removed(entry, request.at));
                !removed && (entry.seen + KNOWN_FOR < request.sent || began_anew(history, entry, request))
            })
        });
        if let Some(entry) = was_known {
            let (partition, offset, seen) = (entry.partition, entry.offset, entry.seen);
            let (replica, at) = (request.replica, request.sent);
            wrong.push(violation(
                &request.id,
                format!(
                    "r{replica} sent it at {at} ms, and the ledger topic (partition {partition}, offset {offset}) had it as \
                     delivered at {seen} ms"
                ),
            ));
        }
    }
    wrong
}

/// Whether the replica of a request got its partitions after this record was in the topic, so that it has read it: it was
/// started, or it went on after a stop during which another replica made the delivery.
fn began_anew(history: &History, entry: &LedgerEntry, request: &Request) -> bool {
    let within = |at: u64| (entry.seen..request.sent).contains(&at);
    let mut own = history.faults.iter().filter(|fault| fault.lane == Lane::Replica(request.replica));
    own.any(|fault| match fault.fault {
        Fault::Join => within(fault.from),
        Fault::Freeze => {
            let stopped = fault.from..=fault.to;
            let by_another = history.requests.iter().any(|other| {
                other.id == request.id
                    && other.replica != request.replica
                    && other.acted()
                    && stopped.contains(&other.sent)
            });
            by_another && within(fault.to)
        }
        _ => within(fault.to),
    })
}

/// Deliveries of committed events that the ledger topic never had as delivered: the partition's next owner would repeat them.
pub(super) fn missing_ledger_records(history: &History) -> Vec<Violation> {
    let Some(entries) = &history.ledger else { return Vec::new() };
    let known: BTreeSet<(&str, i32, &str, &str)> = entries
        .iter()
        .flat_map(|entry| entry.delivered.iter().map(|(rule, agent)| (&*entry.id, entry.partition, &**rule, &**agent)))
        .collect();
    let places = places(history);
    let first = first_made(history);
    let mut missing = Vec::new();
    for (id, event) in events(history) {
        let Some((partition, offset)) = places.get(id).copied() else { continue };
        if history.source.committed.get(&partition).is_none_or(|committed| offset >= *committed) {
            continue;
        }
        let unknown = event.kind.deliveries().iter().filter(|(rule, agent)| {
            let may_be_unseen = || {
                let until = [None, Some(partition)].iter().filter_map(|of| history.ledger_gaps.get(of)).max();
                first.get(&(id, *agent)).is_some_and(|made| Some(made) <= until)
            };
            !known.contains(&(id, partition, rule, agent)) && !may_be_unseen()
        });
        missing.extend(unknown.map(|(rule, agent)| {
            let text = format!(
                "partition {partition} is committed past offset {offset}, and its ledger topic never had rule \
                 {rule}, agent {agent} as delivered"
            );
            violation(id, text)
        }));
    }
    missing
}

/// Records of events that no rule matches, and of none at all.
pub(super) fn unexpected_ledger_records(history: &History) -> Vec<Violation> {
    let events = events(history);
    let unexpected = history
        .ledger
        .iter()
        .flatten()
        .filter(|entry| events.get(&*entry.id).is_none_or(|event| event.kind.deliveries().is_empty()));
    unexpected
        .map(|entry| {
            violation(
                &entry.id,
                format!("the ledger topic has it: partition {}, offset {}", entry.partition, entry.offset),
            )
        })
        .collect()
}

/// When each agent had each event first: its record was not written before.
fn first_made(history: &History) -> BTreeMap<(&str, &str), u64> {
    let requests = history.requests.iter().filter(|request| request.acted()).map(|of| (&*of.id, AUDIT, of.at));
    let runs = history.runs.iter().map(|run| (&*run.id, ANALYST, run.at));
    let mut first = BTreeMap::new();
    for (id, agent, at) in requests.chain(runs) {
        let known = first.entry((id, agent)).or_insert(at);
        *known = at.min(*known);
    }
    first
}

/// The replicas create it.
pub(super) fn no_ledger_topic(history: &History) -> Vec<Violation> {
    let text =
        || violation("", "there was no ledger topic in the end: nothing that is about it was checked".to_owned());
    history.ledger.is_none().then(text).into_iter().collect()
}

/// Deliveries that the topic had when it was deleted, while everything was at rest, and that the next one did not get: the
/// owners of the partitions had read all that was in it. An event of several partitions is written into one.
pub(super) fn not_refilled(history: &History) -> Vec<Violation> {
    let (Some(deleted), Some(entries)) = (history.deleted_at_rest, &history.ledger) else { return Vec::new() };
    let places = places(history);
    let of = |is_in: &dyn Fn(&LedgerEntry) -> bool| -> BTreeSet<(&str, i32, &str, &str)> {
        let entries = entries.iter().filter(|entry| places.contains_key(&*entry.id) && is_in(entry));
        let deliveries = entries.flat_map(|entry| entry.delivered.iter().map(move |delivery| (entry, delivery)));
        deliveries.map(|(entry, (rule, agent))| (&*entry.id, entry.partition, &**rule, &**agent)).collect()
    };
    let again = of(&|entry| entry.log > deleted);
    let before = of(&|entry| was_left(&history.losses, entry, deleted));
    let missing = before.into_iter().filter(|delivery| !again.contains(delivery));
    missing
        .map(|(id, partition, rule, agent)| {
            let text = format!("rule {rule}, agent {agent}: the topic that took the deleted one's place never got it (partition {partition})");
            violation(id, text)
        })
        .collect()
}
