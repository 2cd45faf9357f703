//! Whether each agent had the events of a key in the order of publishing.

use std::collections::BTreeMap;

use super::{
    super::history::{ANALYST, AUDIT, History},
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

pub(super) fn order_of_requests(history: &History) -> Vec<Violation> {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (order, request) in history.requests.iter().enumerate().filter(|(_, request)| request.acted()) {
        first.entry(&request.id).or_insert(order);
    }
    out_of_order(history, AUDIT, &first)
}

pub(super) fn order_of_runs(history: &History) -> Vec<Violation> {
    let mut first: BTreeMap<&str, i64> = BTreeMap::new();
    for run in history.runs.iter().filter(|run| run.agent == ANALYST) {
        let at = first.entry(&run.id).or_insert(run.created_us);
        *at = run.created_us.min(*at);
    }
    out_of_order(history, ANALYST, &first)
}
