//! Judges a history. Each check has a name, is a pure function, and reports every violation with what shows it.
//!
//! It knows nothing of how the bridge works, but for one thing: a record of the ledger topic that a consumer was given had
//! been acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    history::{ANALYST, AUDIT, Exit, History, Kind, Published, Request},
    repeats::{Cause, repeats},
    replica::BAD_LEDGER,
};

/// How long a record of the ledger topic may be known before the delivery that it confirms must not be sent again: as long as
/// it may take on a busy machine to hear of it. Shorter than a session, so that the next owner of a partition after a crash
/// is caught if it repeats what the topic has.
pub const KNOWN_FOR: u64 = 4_000;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The check that found it.
    pub check: &'static str,
    /// The event that it is about; empty if about none.
    pub id: String,
    /// What was found, and when.
    pub detail: String,
}

type Check = fn(&History) -> Vec<Violation>;

/// Every check, by name.
pub const CHECKS: &[(&str, Check)] = &[
    ("unacknowledged_record", unacknowledged_records),
    ("lost_event", lost_events),
    ("unexpected_delivery", unexpected_deliveries),
    ("double_run", double_runs),
    ("missing_dead_letter", missing_dead_letters),
    ("unexpected_dead_letter", unexpected_dead_letters),
    ("changed_idempotency_key", changed_keys),
    ("repeat_without_cause", repeats_without_cause),
    ("repeat_after_acknowledgement", repeats_after_acknowledgement),
    ("missing_ledger_record", missing_ledger_records),
    ("unexpected_ledger_record", unexpected_ledger_records),
    ("order_of_requests", order_of_requests),
    ("order_of_runs", order_of_runs),
    ("uncommitted_offset", uncommitted_offsets),
    ("unasked_exit", unasked_exits),
    ("refused_ledger", refused_ledgers),
    ("unwell_in_the_end", unwell_in_the_end),
];

/// What every check finds.
pub fn judge(history: &History) -> Vec<Violation> {
    CHECKS
        .iter()
        .flat_map(|(name, check)| check(history).into_iter().map(|violation| Violation { check: name, ..violation }))
        .collect()
}

fn violation(id: &str, detail: String) -> Violation {
    Violation { check: "", id: id.to_owned(), detail }
}

/// The events, each by its first record.
fn events(history: &History) -> BTreeMap<&str, &Published> {
    let mut events: BTreeMap<&str, &Published> = BTreeMap::new();
    for record in &history.published {
        let first = events.entry(&record.id).or_insert(record);
        if record.at < first.at {
            *first = record;
        }
    }
    events
}

/// The requests of each event, in the order in which they came.
fn requests(history: &History) -> BTreeMap<&str, Vec<&Request>> {
    let mut requests: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    for request in &history.requests {
        requests.entry(&request.id).or_default().push(request);
    }
    requests
}

fn unacknowledged_records(history: &History) -> Vec<Violation> {
    let count = history.unacknowledged;
    if count == 0 {
        return Vec::new();
    }
    vec![violation(
        "",
        format!("{count} records were never acknowledged, though every broker runs: nothing is known of them"),
    )]
}

fn lost_events(history: &History) -> Vec<Violation> {
    let requests = requests(history);
    let runs: BTreeSet<(&str, &str, &str)> =
        history.runs.iter().map(|run| (&*run.id, &*run.rule, &*run.agent)).collect();
    let mut lost = Vec::new();
    for (id, event) in events(history) {
        for (rule, agent) in event.kind.deliveries() {
            let sent = requests.get(id).map_or(0, Vec::len);
            let accepted = match *agent {
                AUDIT => requests.get(id).is_some_and(|all| all.iter().any(|request| request.accepted())),
                _ => runs.contains(&(id, rule, agent)),
            };
            if !accepted {
                lost.push(violation(id, format!("{agent} never accepted it (rule {rule}; {sent} requests)")));
            }
        }
    }
    lost
}

fn unexpected_deliveries(history: &History) -> Vec<Violation> {
    let events = events(history);
    let kind = |id: &str| events.get(id).map(|event| event.kind);
    let requested = history.requests.iter().filter(|request| !kind(&request.id).is_some_and(|kind| kind.is_for(AUDIT)));
    let requested = requested.map(|request| {
        violation(&request.id, format!("{AUDIT} was sent it at {} ms, and is in no rule that matches it", request.at))
    });
    let expected =
        |id: &str, rule: &str, agent: &str| kind(id).is_some_and(|kind| kind.deliveries().contains(&(rule, agent)));
    let run = history.runs.iter().filter(|run| !expected(&run.id, &run.rule, &run.agent));
    let run =
        run.map(|run| violation(&run.id, format!("a run for {} of {}, which it does not match", run.rule, run.agent)));
    requested.chain(run).collect()
}

fn double_runs(history: &History) -> Vec<Violation> {
    let mut accepted: BTreeMap<(&str, &str, &str), BTreeSet<&str>> = BTreeMap::new();
    for run in &history.runs {
        accepted.entry((&run.id, &run.rule, &run.agent)).or_default().insert(&run.run);
    }
    let twice = accepted.into_iter().filter(|(_, runs)| runs.len() > 1);
    let twice =
        twice.map(|((id, rule, agent), runs)| violation(id, format!("rule {rule}, agent {agent}: the runs {runs:?}")));
    // The graph counts too: what the server does not list any more was executed all the same.
    let executed = history.executions.iter().filter_map(|(id, runs)| {
        let runs: BTreeSet<&String> = runs.iter().collect();
        (runs.len() > 1).then(|| violation(id, format!("the graph was executed by the runs {runs:?}")))
    });
    twice.chain(executed).collect()
}

fn missing_dead_letters(history: &History) -> Vec<Violation> {
    let letters: BTreeSet<(i32, i64)> =
        history.dead_letters.iter().map(|letter| (letter.partition, letter.offset)).collect();
    let poison = history.published.iter().filter(|record| record.kind == Kind::Poison);
    let missing = poison.filter(|record| !letters.contains(&(record.partition, record.offset)));
    missing
        .map(|record| {
            let (partition, offset) = (record.partition, record.offset);
            violation(&record.id, format!("no dead letter of partition {partition}, offset {offset}"))
        })
        .collect()
}

fn unexpected_dead_letters(history: &History) -> Vec<Violation> {
    let records: BTreeMap<(i32, i64), &Published> =
        history.published.iter().map(|record| ((record.partition, record.offset), record)).collect();
    let wrong = history.dead_letters.iter().filter_map(|letter| {
        let record = records.get(&(letter.partition, letter.offset));
        if record.is_some_and(|record| record.kind == Kind::Poison) {
            return None;
        }
        let id = record.map_or("", |record| &record.id);
        let (partition, offset, reason) = (letter.partition, letter.offset, &letter.reason);
        Some(violation(
            id,
            format!("partition {partition}, offset {offset} was dead-lettered: {reason}: {}", letter.error),
        ))
    });
    wrong.collect()
}

fn changed_keys(history: &History) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (id, requests) in requests(history) {
        let keys: BTreeSet<&str> = requests.iter().map(|request| &*request.key).collect();
        if keys.len() > 1 || keys.contains("") {
            wrong.push(violation(id, format!("its requests carry the keys {keys:?}")));
        }
        for key in keys {
            if let Some(other) = owners.insert(key, id) {
                wrong.push(violation(id, format!("its key {key} is that of {other} too")));
            }
        }
    }
    wrong
}

fn repeats_without_cause(history: &History) -> Vec<Violation> {
    let none = repeats(history).into_iter().filter(|repeat| repeat.cause == Cause::Nothing);
    none.map(|repeat| {
        let (before, again) = (repeat.before, repeat.again);
        let detail = format!(
            "r{} sent it at {} ms (answered {:?}), r{} at {} ms, and no fault explains the second",
            before.replica, before.at, before.answered, again.replica, again.at
        );
        violation(&again.id, detail)
    })
    .collect()
}

/// A request for a delivery that the ledger topic had as delivered, unless that record had been removed from the topic.
fn repeats_after_acknowledgement(history: &History) -> Vec<Violation> {
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
                let removed = history.truncations.iter().any(|truncation| truncation.removed(entry, request.at));
                entry.seen + KNOWN_FOR < request.sent && !removed
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

/// Deliveries of committed events that the ledger topic never had as delivered: the partition's next owner would repeat them.
fn missing_ledger_records(history: &History) -> Vec<Violation> {
    let Some(entries) = &history.ledger else { return Vec::new() };
    let known: BTreeSet<(&str, i32, &str, &str)> = entries
        .iter()
        .flat_map(|entry| entry.delivered.iter().map(|(rule, agent)| (&*entry.id, entry.partition, &**rule, &**agent)))
        .collect();
    let places = places(history);
    let mut missing = Vec::new();
    for (id, event) in events(history) {
        let Some((partition, offset)) = places.get(id).copied() else { continue };
        let committed = history.committed.get(&partition).is_some_and(|committed| offset < *committed);
        if !committed || history.ledger_gaps.contains(&partition) {
            continue;
        }
        let unknown =
            event.kind.deliveries().iter().filter(|(rule, agent)| !known.contains(&(id, partition, rule, agent)));
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
fn unexpected_ledger_records(history: &History) -> Vec<Violation> {
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

/// The partition and the first offset of each event whose records all stand in one partition. An event in several is
/// known to be one only to a process that owns them all, and has no place in an order.
fn places(history: &History) -> BTreeMap<&str, (i32, i64)> {
    let mut places: BTreeMap<&str, (BTreeSet<i32>, i64)> = BTreeMap::new();
    for record in &history.published {
        let (partitions, first) = places.entry(&record.id).or_insert((BTreeSet::new(), record.offset));
        partitions.insert(record.partition);
        *first = record.offset.min(*first);
    }
    let single = places.into_iter().filter(|(_, (partitions, _))| partitions.len() == 1);
    single.filter_map(|(id, (partitions, first))| Some((id, (partitions.into_iter().next()?, first)))).collect()
}

/// The events for an agent, by partition and key, in the order of publishing.
fn lanes<'a>(history: &'a History, agent: &str) -> BTreeMap<(i32, &'a str), Vec<(i64, &'a str)>> {
    let places = places(history);
    let mut lanes: BTreeMap<(i32, &str), Vec<(i64, &str)>> = BTreeMap::new();
    for (id, event) in events(history) {
        if let Some((partition, offset)) = places.get(id).filter(|_| event.kind.is_for(agent)) {
            lanes.entry((*partition, &event.key)).or_default().push((*offset, id));
        }
    }
    for lane in lanes.values_mut() {
        lane.sort_unstable();
    }
    lanes
}

/// In each lane, each event that was accepted came after the ones before it.
fn out_of_order<T: Ord + Copy + std::fmt::Display>(
    history: &History,
    agent: &str,
    accepted: &BTreeMap<&str, T>,
) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for ((partition, key), lane) in lanes(history, agent) {
        let mut latest: Option<(T, &str)> = None;
        for (offset, id) in lane {
            let Some(at) = accepted.get(id).copied() else { continue };
            match latest {
                Some((before, other)) if at < before => wrong.push(violation(
                    id,
                    format!(
                        "{agent} had it at {at}, and {other} at {before}, which was published before it (partition \
                         {partition}, key {key}, offset {offset})"
                    ),
                )),
                _ => latest = Some((at, id)),
            }
        }
    }
    wrong
}

fn order_of_requests(history: &History) -> Vec<Violation> {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (order, request) in history.requests.iter().enumerate().filter(|(_, request)| request.acted()) {
        first.entry(&request.id).or_insert(order);
    }
    out_of_order(history, AUDIT, &first)
}

fn order_of_runs(history: &History) -> Vec<Violation> {
    let mut first: BTreeMap<&str, i64> = BTreeMap::new();
    for run in history.runs.iter().filter(|run| run.agent == ANALYST) {
        let at = first.entry(&run.id).or_insert(run.created_us);
        *at = run.created_us.min(*at);
    }
    out_of_order(history, ANALYST, &first)
}

fn uncommitted_offsets(history: &History) -> Vec<Violation> {
    let behind =
        history.ends.iter().filter(|(partition, end)| **end > 0 && history.committed.get(partition) != Some(end));
    behind
        .map(|(partition, end)| {
            let committed = history.committed.get(partition);
            violation("", format!("partition {partition} ends at {end} and is committed to {committed:?}"))
        })
        .collect()
}

fn unasked_exits(history: &History) -> Vec<Violation> {
    exits(history, |exit| exit.code != Some(BAD_LEDGER))
}

/// Exits because of a data folder that was damaged.
fn refused_ledgers(history: &History) -> Vec<Violation> {
    exits(history, |exit| exit.code == Some(BAD_LEDGER))
}

fn exits(history: &History, of: impl Fn(&Exit) -> bool) -> Vec<Violation> {
    let exits = history.exits.iter().filter(|exit| of(exit));
    exits.map(|exit| violation("", format!("r{} at {} ms: {}", exit.replica, exit.at, exit.how))).collect()
}

fn unwell_in_the_end(history: &History) -> Vec<Violation> {
    history.unwell.iter().map(|what| violation("", what.clone())).collect()
}

#[cfg(test)]
mod tests;
