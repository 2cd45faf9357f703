//! Judges a history. Each check has a name, is a pure function, and reports every violation with what shows it.
//!
//! It knows nothing of how the bridge works, but for one thing: a record of the ledger topic that a consumer was given had
//! been acknowledged.

mod folder;
mod ledger;
mod order;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    fault::{Fault, Lane},
    history::{ANALYST, AUDIT, Exit, History, Kind, Offsets, Parking, Published, Request},
    repeats::{Cause, repeats},
    replica::BAD_LEDGER,
};

/// How long a record of the ledger topic may be known before the delivery that it confirms must not be sent again: as long as
/// it may take on a busy machine to hear of it. Shorter than a session, so that the next owner of a partition after a crash
/// is caught if it repeats what the topic has.
pub const KNOWN_FOR: u64 = 4_000;

/// Of so many runs one is executed again, if a fifth are to be.
const ENOUGH_RUNS: usize = 60;

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
    ("repeat_after_acknowledgement", ledger::repeats_after_acknowledgement),
    ("repeat_despite_folder", folder::repeats_despite_folder),
    ("no_ledger_topic", ledger::no_ledger_topic),
    ("missing_ledger_record", ledger::missing_ledger_records),
    ("unexpected_ledger_record", ledger::unexpected_ledger_records),
    ("not_refilled", ledger::not_refilled),
    ("order_of_requests", order::order_of_requests),
    ("order_of_runs", order::order_of_runs),
    ("uncommitted_offset", uncommitted_offsets),
    ("parked_in_the_end", parked_in_the_end),
    ("outage_without_parking", outages_without_parking),
    ("nothing_executed_again", nothing_executed_again),
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
    let mut of_event: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for run in &history.runs {
        accepted.entry((&run.id, &run.rule, &run.agent)).or_default().insert(&run.run);
        of_event.entry(&run.id).or_default().insert(&run.run);
    }
    let twice = accepted.into_iter().filter(|(_, runs)| runs.len() > 1);
    let twice =
        twice.map(|((id, rule, agent), runs)| violation(id, format!("rule {rule}, agent {agent}: the runs {runs:?}")));
    // The graph counts too: what the server does not list any more was executed all the same. A run that is executed
    // twice is one: that is the server's doing.
    let executed = history.executions.iter().filter_map(|(id, runs)| {
        let executed: BTreeSet<&str> = runs.iter().map(String::as_str).collect();
        let listed = of_event.get(&**id).cloned().unwrap_or_default();
        let is_double = executed.len() > 1 || (listed.len() == 1 && !executed.is_subset(&listed));
        is_double
            .then(|| violation(id, format!("the graph was executed by the runs {executed:?}, listed are {listed:?}")))
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

fn uncommitted_offsets(history: &History) -> Vec<Violation> {
    let Offsets { committed, ends } = &history.source;
    let behind = ends.iter().filter(|(partition, end)| **end > 0 && committed.get(partition) != Some(end));
    behind
        .map(|(partition, end)| {
            let committed = committed.get(partition);
            violation("", format!("partition {partition} ends at {end} and is committed to {committed:?}"))
        })
        .collect()
}

/// Parked deliveries that the group has not committed as ended. What the topic has beyond those is copies of what was not
/// parked after all, because the replica died or lost its partition: the next owner skips them.
pub fn parked_in_the_end(history: &History) -> Vec<Violation> {
    let places = places(history);
    let left = history.parkings.iter().filter_map(|parking| {
        let (partition, _) = places.get(&*parking.id)?;
        let committed = history.parked.committed.get(partition);
        let Parking { agent, offset, .. } = parking;
        let text =
            format!("for {agent}, offset {offset} of partition {partition}, which is committed to {committed:?}");
        committed.is_none_or(|committed| *committed <= *offset).then(|| violation(&parking.id, text))
    });
    left.collect()
}

/// Long outages of an agent that parked none of its deliveries: the run shows nothing of parking.
fn outages_without_parking(history: &History) -> Vec<Violation> {
    let outages = history.faults.iter().filter(|fault| fault.fault == Fault::Outage);
    let without = outages.filter_map(|outage| {
        let agent = if outage.lane == Lane::Http { AUDIT } else { ANALYST };
        let parked = history.parkings.iter().any(|of| of.agent == agent && outage.overlaps(of.at, of.at));
        let text =
            format!("{agent} was down from {} ms to {} ms, and nothing for it was parked", outage.from, outage.to);
        (!parked).then(|| violation("", text))
    });
    without.collect()
}

/// Runs that the server was to execute twice, in shares of 20 % and more, and executed once: the run shows nothing of that.
fn nothing_executed_again(history: &History) -> Vec<Violation> {
    let asked = history.faults.iter().filter(|fault| matches!(fault.fault, Fault::ExecuteAgain(_)));
    let runs: usize = asked.map(|fault| history.runs.iter().filter(|run| fault.overlaps(run.at, run.at)).count()).sum();
    let is_again = |runs: &Vec<String>| runs.iter().collect::<BTreeSet<_>>().len() < runs.len();
    let is_idle = runs >= ENOUGH_RUNS && !history.executions.values().any(is_again);
    let text = || violation("", format!("{runs} runs, and none of them was executed again"));
    is_idle.then(text).into_iter().collect()
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
