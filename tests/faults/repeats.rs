//! Requests that were sent again although the agent had acted on an earlier one, and what explains each.

use std::collections::BTreeMap;

use super::{
    fault::{Fault, Lane},
    history::{AUDIT, History, Interval, Loss, Request},
};
use crate::kit::Link;

/// How long before a request a fault may have been that keeps its outcome from being known: its end takes effect later.
const BEFORE: u64 = 2_000;
/// How long after a request its answer may still be lost: its time-out, and a second.
const ANSWERED: u64 = 4_000;
/// How long after a fault that moves partitions they may still be moving.
const AFTER: u64 = 15_000;

/// What explains a repeat: the first of these that is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The agent answered 5xx.
    Failed,
    /// The event was published into several partitions, and is known to be one only to a process that owns them all.
    OtherPartition,
    /// The ledger topic had the delivery, and was truncated.
    LedgerTruncated,
    /// The ledger topic had the delivery, and was deleted.
    LedgerDeleted,
    /// The agent closed the connection without an answer.
    AnswerLost,
    /// The network between the replica and the agent lost or delayed the answer.
    AgentNetwork,
    /// The replica was killed, terminated or lost its data.
    Process(Fault),
    /// The replica was stopped for longer than its session.
    Frozen,
    /// The replica could not reach the brokers, so it lost its partitions or could not commit.
    BrokerNetwork,
    /// A broker was away or leaders moved.
    Brokers,
    /// Another replica joined, left or was away, so partitions moved.
    Rebalance,
    /// The replica logged a failed attempt in between, such as a time-out, and no fault explains it.
    AttemptFailed,
    /// Partitions moved, and no fault explains why they did.
    Moved,
    /// None of these.
    Nothing,
}

/// A request for a delivery on which the agent had acted before.
#[derive(Debug, Clone, Copy)]
pub struct Repeat<'a> {
    /// The request before it.
    pub before: &'a Request,
    /// The repeat.
    pub again: &'a Request,
    /// Why.
    pub cause: Cause,
}

/// Every repeat, by delivery and then time.
pub fn repeats(history: &History) -> Vec<Repeat<'_>> {
    let mut deliveries: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    for request in history.requests.iter().filter(|request| request.acted()) {
        deliveries.entry(&request.key).or_default().push(request);
    }
    let pairs = deliveries.values().flat_map(|requests| requests.windows(2));
    pairs.map(|pair| Repeat { before: pair[0], again: pair[1], cause: cause(history, pair[0], pair[1]) }).collect()
}

/// How many repeats have each cause.
pub fn by_cause(history: &History) -> BTreeMap<Cause, usize> {
    let mut counts = BTreeMap::new();
    for repeat in repeats(history) {
        *counts.entry(repeat.cause).or_default() += 1;
    }
    counts
}

fn cause(history: &History, before: &Request, again: &Request) -> Cause {
    let own = |fault: &Interval| fault.lane == Lane::Replica(before.replica);
    let network = |fault: &Interval| fault.lane == Lane::Network(before.replica);
    let found = |(from, to): (u64, u64), matches: &dyn Fn(&Interval) -> bool| {
        history.faults.iter().find(|fault| matches(fault) && fault.overlaps(from, to))
    };
    // Of what is between the two requests, and of what is close enough to the first to have lost its answer. The one that
    // came last may have been sent first.
    let between = (before.sent.min(again.sent).saturating_sub(BEFORE), again.at);
    let moving = (between.0.saturating_sub(AFTER), again.at);
    let answering = (before.at.saturating_sub(500), again.at.min(before.at + ANSWERED));
    if before.answered.is_some_and(|status| status >= 500) {
        Cause::Failed
    } else if in_several_partitions(history, &again.id) {
        Cause::OtherPartition
    } else if let Some(loss) = removed_by(history, again) {
        if loss.truncated.is_some() { Cause::LedgerTruncated } else { Cause::LedgerDeleted }
    } else if before.answered.is_none() && found(answering, &|f| f.lane == Lane::Http && loses(f.fault)).is_some() {
        Cause::AnswerLost
    } else if found(answering, &|f| network(f) && loses(f.fault)).is_some() {
        Cause::AgentNetwork
    } else if let Some(fault) = found(between, &|f| own(f) && f.fault != Fault::Freeze) {
        Cause::Process(fault.fault)
    } else if found(between, &|f| own(f) && f.fault == Fault::Freeze).is_some() {
        Cause::Frozen
    } else if found(moving, &|f| network(f) && moves(f.fault)).is_some() {
        Cause::BrokerNetwork
    } else if found(moving, &|f| f.lane == Lane::Cluster && moves(f.fault)).is_some() {
        Cause::Brokers
    } else if found(moving, &|f| matches!(f.lane, Lane::Replica(_) | Lane::Network(_)) && moves(f.fault)).is_some() {
        Cause::Rebalance
    } else if has_failed(history, before, between) {
        Cause::AttemptFailed
    } else if have_moved(history, (before, again), between) {
        Cause::Moved
    } else {
        Cause::Nothing
    }
}

fn in_several_partitions(history: &History, id: &str) -> bool {
    let mut partitions = history.published.iter().filter(|record| record.id == id).map(|record| record.partition);
    partitions.next().is_some_and(|first| partitions.any(|partition| partition != first))
}

/// What had removed a record of this delivery from the ledger topic before the request.
fn removed_by<'a>(history: &'a History, request: &Request) -> Option<&'a Loss> {
    let mut entries =
        history.ledger.iter().flatten().filter(|entry| entry.id == request.id && entry.delivered_to(AUDIT));
    entries.find_map(|entry| history.losses.iter().find(|loss| loss.removed(entry, request.at)))
}

/// Whether the first request's replica logged that it failed.
fn has_failed(history: &History, request: &Request, (from, to): (u64, u64)) -> bool {
    let logged = history.failed_attempts.get(&(request.replica, request.id.clone()));
    logged.is_some_and(|logged| logged.iter().any(|at| (from..=to).contains(at)))
}

/// Whether one of the two replicas logged that it got or gave up partitions: since the first request, or, if there are two,
/// not long before it.
fn have_moved(history: &History, (before, again): (&Request, &Request), (from, to): (u64, u64)) -> bool {
    let from = if before.replica == again.replica { from } else { from.saturating_sub(AFTER) };
    let mut moves = history.moves.iter();
    moves.any(|(replica, at)| [before.replica, again.replica].contains(replica) && (from..=to).contains(at))
}

/// Whether the answer to a request that the agent acted on may be lost because of it.
fn loses(fault: Fault) -> bool {
    match fault {
        Fault::LoseAnswers(_) | Fault::AgentDown | Fault::Outage => true,
        Fault::Agents(link) => !matches!(link, Link::Slow(_)),
        _ => false,
    }
}

/// Whether partitions or leaders may move because of it.
fn moves(fault: Fault) -> bool {
    match fault {
        Fault::Agents(_) | Fault::TruncateLedger(_) | Fault::DeleteLedger => false,
        Fault::Brokers(link) | Fault::OneBroker(_, link) => !matches!(link, Link::Slow(_)),
        _ => true,
    }
}
