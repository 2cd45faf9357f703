//! Whether each agent had the events of a key in the order of publishing.
//!
//! One case has no order, and docs/ledger.md says so: the ledger topic lost that an event is parked, and so did the replica that
//! had parked it, with its folder. If its offset was not committed yet, it is read again, behind later ones that are known as parked.

use std::collections::BTreeMap;

use super::{
    super::{
        fault::Fault,
        history::{ANALYST, AUDIT, History},
    },
    Violation, events, places, violation,
};

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

/// Whether nobody could know any more at this time that an event was parked.
fn was_forgotten(history: &History, id: &str, agent: &str, until: u64) -> bool {
    let parkings = || history.parkings.iter().filter(|parking| parking.id == id && parking.agent == agent);
    parkings().any(|parking| {
        // Once the event is read again, its other deliveries are made, and this one may be parked again. What is recorded then
        // does not know of the first parking.
        let requests = history.requests.iter().filter(|request| request.id == id).map(|request| request.sent);
        let again = requests.chain(parkings().map(|parking| parking.at)).filter(|at| *at > parking.at).min();
        is_lost(history, id, parking.at, again.map_or(until, |again| again.min(until)))
    })
}

/// Whether the ledger topic and the folder of a replica lost between these times that an event was parked, and nothing written
/// before the second of them was left.
fn is_lost(history: &History, id: &str, parked: u64, until: u64) -> bool {
    let mut entries = history.ledger.iter().flatten().filter(|entry| entry.id == id && entry.seen < until);
    let is_removed = |entry| history.losses.iter().any(|loss| loss.removed(entry, until));
    // A deletion takes a while, and what is written meanwhile goes with the topic.
    let deletes = |fault: Fault| matches!(fault, Fault::DeleteLedger);
    let has_lost = history.losses.iter().any(|loss| (parked..until).contains(&loss.at))
        || history.faults.iter().any(|fault| deletes(fault.fault) && fault.overlaps(parked, until));
    let mut after = history.faults.iter().filter(|fault| fault.overlaps(parked, until));
    let has_lost_folder = after.any(|fault| match fault.fault {
        Fault::LoseData | Fault::LoseUnacknowledged(_) | Fault::FlipBits => true,
        Fault::Join => fault.to <= until,
        _ => false,
    });
    entries.all(is_removed) && has_lost && has_lost_folder
}

/// In each lane, each event that was accepted came after the ones before it. `ms` is the time in a history of what is compared.
fn out_of_order<T: Ord + Copy + std::fmt::Display>(
    history: &History,
    agent: &str,
    accepted: &BTreeMap<&str, T>,
    ms: impl Fn(T) -> u64,
) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for ((partition, key), lane) in lanes(history, agent) {
        let mut latest: Option<(T, &str)> = None;
        for (offset, id) in lane {
            let Some(at) = accepted.get(id).copied() else { continue };
            match latest {
                Some((before, other)) if at < before && was_forgotten(history, other, agent, ms(at)) => {}
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

pub(super) fn order_of_requests(history: &History) -> Vec<Violation> {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (order, request) in history.requests.iter().enumerate().filter(|(_, request)| request.acted()) {
        first.entry(&request.id).or_insert(order);
    }
    out_of_order(history, AUDIT, &first, |order| history.requests.get(order).map_or(0, |request| request.sent))
}

pub(super) fn order_of_runs(history: &History) -> Vec<Violation> {
    let mut first: BTreeMap<&str, i64> = BTreeMap::new();
    let mut ms: BTreeMap<i64, u64> = BTreeMap::new();
    for run in history.runs.iter().filter(|run| run.agent == ANALYST) {
        let at = first.entry(&run.id).or_insert(run.created_us);
        *at = run.created_us.min(*at);
        ms.insert(run.created_us, run.at);
    }
    out_of_order(history, ANALYST, &first, |created_us| ms.get(&created_us).copied().unwrap_or_default())
}
