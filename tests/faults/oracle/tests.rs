//! Each check finds what was planted for it in a history that is otherwise in order, and nothing in one that is.

use super::{
    super::{
        history::{DeadLetter, Interval, LedgerEntry, Run, Truncation},
        repeats::by_cause,
        schedule::{Fault, Lane},
    },
    *,
};
use crate::kit::Link;

const SECOND: u64 = 1_000;

/// Publishes an event into partition 0.
fn publish(history: &mut History, id: &str, kind: Kind, key: &str) {
    let offset = history.ends.get(&0).copied().unwrap_or_default();
    history.ends.insert(0, offset + 1);
    history.committed.insert(0, offset + 1);
    let at = history.published.len() as u64 * SECOND;
    let record = Published { id: id.to_owned(), kind, key: key.to_owned(), partition: 0, offset, at };
    history.published.push(record);
}

fn request(id: &str, at: u64, answered: Option<u16>) -> Request {
    Request { at, sent: at, replica: 0, id: id.to_owned(), key: format!("key of {id}"), answered }
}

fn run(id: &str, rule: &str, run: &str, created_us: i64) -> Run {
    let text = str::to_owned;
    Run { id: text(id), rule: text(rule), agent: text(ANALYST), run: text(run), created_us }
}

fn delivered(id: &str, offset: i64, seen: u64) -> LedgerEntry {
    record(id, Kind::Http, offset, seen)
}

/// A record of the ledger topic that has every delivery of this kind.
fn record(id: &str, kind: Kind, offset: i64, seen: u64) -> LedgerEntry {
    let delivered = kind.deliveries().iter().map(|(rule, agent)| ((*rule).to_owned(), (*agent).to_owned())).collect();
    LedgerEntry { id: id.to_owned(), partition: 0, offset, seen, delivered }
}

/// Two events of each kind of delivery, one that nothing matches, and one poison, all as they should be.
fn in_order() -> History {
    let mut history = History::default();
    for (id, kind) in [
        ("http-1", Kind::Http),
        ("http-2", Kind::Http),
        ("run-1", Kind::LangGraph),
        ("run-2", Kind::LangGraph),
        ("both", Kind::Both),
        ("nothing", Kind::Unmatched),
        ("poison", Kind::Poison),
    ] {
        publish(&mut history, id, kind, "a");
    }
    for (id, at) in [("http-1", 10), ("http-2", 20), ("both", 50)] {
        history.requests.push(request(id, at * SECOND, Some(200)));
    }
    history.runs =
        vec![run("run-1", "analyse", "A", 30), run("run-2", "analyse", "B", 40), run("both", "both", "C", 50)];
    for (id, run) in [("run-1", "A"), ("run-2", "B"), ("both", "C")] {
        history.executions.insert(id.to_owned(), vec![run.to_owned()]);
    }
    history.dead_letters.push(DeadLetter {
        reason: "not_json".to_owned(),
        error: String::new(),
        partition: 0,
        offset: 6,
    });
    history.ledger = Some(vec![
        delivered("http-1", 0, 11 * SECOND),
        delivered("http-2", 1, 21 * SECOND),
        record("run-1", Kind::LangGraph, 2, 31 * SECOND),
        record("run-2", Kind::LangGraph, 3, 41 * SECOND),
        record("both", Kind::Both, 4, 51 * SECOND),
    ]);
    history
}

fn fault(lane: Lane, fault: Fault, from: u64, to: u64) -> Interval {
    Interval { lane, fault, from, to }
}

/// What is found when this is done to a history that is in order: the checks, each with the event that it names.
fn found(plant: impl FnOnce(&mut History)) -> Vec<(&'static str, String)> {
    let mut history = in_order();
    plant(&mut history);
    judge(&history).into_iter().map(|violation| (violation.check, violation.id)).collect()
}

#[track_caller]
fn assert_finds(check: &'static str, id: &str, plant: impl FnOnce(&mut History)) {
    assert_eq!(found(plant), [(check, id.to_owned())]);
}

#[test]
fn a_history_in_order_has_no_violation() {
    assert_eq!(found(|_| {}), []);
}

#[test]
fn every_check_has_a_plant_here() {
    let this = include_str!("tests.rs");
    for (name, _) in CHECKS {
        assert!(this.contains(&format!("assert_finds(\"{name}\"")), "no test plants what {name} finds");
    }
}

#[test]
fn an_event_that_no_agent_accepted_is_lost() {
    assert_finds("lost_event", "http-2", |history| history.requests.retain(|request| request.id != "http-2"));
    assert_finds("lost_event", "http-2", |history| history.requests[1].answered = Some(503));
    assert_finds("lost_event", "run-2", |history| history.runs.retain(|run| run.id != "run-2"));
    assert_finds("lost_event", "both", |history| history.runs.retain(|run| run.id != "both"));
}

#[test]
fn a_delivery_that_no_rule_asks_for_is_unexpected() {
    assert_finds("unexpected_delivery", "nothing", |history| {
        history.requests.push(request("nothing", 60 * SECOND, Some(200)));
    });
    assert_finds("unexpected_delivery", "never published", |history| {
        history.requests.push(request("never published", 60 * SECOND, Some(200)));
    });
    assert_finds("unexpected_delivery", "both", |history| history.runs.push(run("both", "analyse", "D", 60)));
}

#[test]
fn a_second_run_is_found_on_the_server_and_by_the_graph() {
    assert_finds("double_run", "run-1", |history| history.runs.push(run("run-1", "analyse", "D", 60)));
    assert_finds("double_run", "run-1", |history| {
        history.executions.get_mut("run-1").into_iter().for_each(|runs| runs.push("D".to_owned()));
    });
}

#[test]
fn the_server_may_execute_one_run_twice() {
    let found = found(|history| {
        history.executions.get_mut("run-1").into_iter().for_each(|runs| runs.push("A".to_owned()));
    });
    assert_eq!(found, []);
}

#[test]
fn poison_has_a_dead_letter_and_nothing_else_has() {
    assert_finds("missing_dead_letter", "poison", |history| history.dead_letters.clear());
    assert_finds("unexpected_dead_letter", "http-1", |history| {
        history.dead_letters.push(DeadLetter { offset: 0, ..history.dead_letters[0].clone() });
    });
    assert_eq!(found(|history| history.dead_letters.push(history.dead_letters[0].clone())), [], "at least once");
}

#[test]
fn a_repeat_carries_the_same_key_and_no_other_event_does() {
    let killed = |history: &mut History| {
        history.faults.push(fault(Lane::Replica(0), Fault::Kill, 10 * SECOND, 11 * SECOND));
    };
    assert_finds("changed_idempotency_key", "http-1", |history| {
        killed(history);
        let again = Request { key: "another".to_owned(), ..request("http-1", 12 * SECOND, Some(200)) };
        history.requests.insert(1, again);
    });
    assert_finds("changed_idempotency_key", "http-2", |history| {
        killed(history);
        history.requests[1].key = "key of http-1".to_owned();
    });
}

#[test]
fn a_repeat_that_no_fault_overlaps_has_no_cause() {
    let again = |history: &mut History| history.requests.insert(1, request("http-1", 12 * SECOND, Some(200)));
    assert_finds("repeat_without_cause", "http-1", again);
    assert_finds("repeat_without_cause", "http-1", |history| {
        again(history);
        history.faults.push(fault(Lane::Replica(0), Fault::Kill, 20 * SECOND, 21 * SECOND));
        history.faults.push(fault(Lane::Http, Fault::RotateKey, 10 * SECOND, 11 * SECOND));
    });
}

#[test]
fn a_repeat_is_counted_under_the_fault_that_it_overlaps() {
    let cause = |answered: Option<u16>, of: Option<(Lane, Fault)>| {
        let mut history = in_order();
        history.requests[0].answered = answered;
        history.requests.insert(1, request("http-1", 12 * SECOND, Some(200)));
        history.faults.extend(of.map(|(lane, kind)| fault(lane, kind, 11 * SECOND, 11 * SECOND)));
        by_cause(&history).into_keys().next()
    };
    let replica = Lane::Replica(0);
    let mut timed_out = in_order();
    timed_out.requests.insert(1, request("http-1", 12 * SECOND, Some(200)));
    timed_out.failed_attempts.insert((0, "http-1".to_owned()));
    assert_eq!(by_cause(&timed_out).into_keys().next(), Some(Cause::AttemptFailed));
    assert_eq!(cause(Some(503), None), Some(Cause::Failed));
    assert_eq!(cause(None, Some((Lane::Http, Fault::LoseAnswers(50)))), Some(Cause::AnswerLost));
    assert_eq!(cause(Some(200), Some((Lane::Http, Fault::RotateKey))), Some(Cause::Nothing));
    assert_eq!(cause(Some(200), Some((replica, Fault::Kill))), Some(Cause::Process(Fault::Kill)));
    assert_eq!(cause(Some(200), Some((replica, Fault::LoseData))), Some(Cause::Process(Fault::LoseData)));
    assert_eq!(cause(Some(200), Some((replica, Fault::Freeze))), Some(Cause::Frozen));
    assert_eq!(cause(Some(200), Some((Lane::Replica(1), Fault::Join))), Some(Cause::Rebalance));
    assert_eq!(cause(Some(200), Some((Lane::Cluster, Fault::KillBroker(1)))), Some(Cause::Brokers));
    let link = |fault| Some((Lane::Network(0), fault));
    assert_eq!(cause(Some(200), link(Fault::Brokers(Link::Held))), Some(Cause::BrokerNetwork));
    assert_eq!(cause(Some(200), link(Fault::Agents(Link::Lossy))), Some(Cause::AgentNetwork));
    let slow = Link::Slow(std::time::Duration::from_millis(200));
    assert_eq!(cause(Some(200), link(Fault::Agents(slow))), Some(Cause::Nothing), "a delay within the time-out");
}

/// A repeat 12 s after the first, for which the kill of the replica is a cause.
fn repeated_after(seen: u64) -> impl FnOnce(&mut History) {
    move |history| {
        history.faults.push(fault(Lane::Replica(0), Fault::Kill, 10 * SECOND, 11 * SECOND));
        history.requests.insert(1, request("http-1", 12 * SECOND, Some(200)));
        history.ledger.iter_mut().flatten().take(1).for_each(|entry| entry.seen = seen);
    }
}

#[test]
fn a_repeat_of_what_the_ledger_topic_had_is_found_whatever_its_cause() {
    assert_finds("repeat_after_acknowledgement", "http-1", repeated_after(12 * SECOND - KNOWN_FOR - 1));
    assert_eq!(found(repeated_after(12 * SECOND - KNOWN_FOR)), [], "it may not have been heard of");
    let late = found(|history| {
        repeated_after(12 * SECOND - KNOWN_FOR - 1)(history);
        history.requests[1].sent = 11 * SECOND;
    });
    assert_eq!(late, [], "it was under way");
}

#[test]
fn a_record_that_the_ledger_topic_had_lost_before_the_repeat_is_no_evidence() {
    let truncated = |at: u64, before: i64| {
        found(move |history| {
            repeated_after(7 * SECOND)(history);
            history.truncations.push(Truncation { at, partition: 0, before });
        })
    };
    assert_eq!(truncated(11 * SECOND, 1), []);
    assert_eq!(truncated(11 * SECOND, 0).len(), 1, "the record was left");
    assert_eq!(truncated(13 * SECOND, 1).len(), 1, "it was still there");
}

#[test]
fn a_repeat_that_the_kill_alone_does_not_explain_has_a_cause_of_its_own() {
    let cause = |plant: &dyn Fn(&mut History)| {
        let mut history = in_order();
        repeated_after(7 * SECOND)(&mut history);
        plant(&mut history);
        by_cause(&history).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(cause(&|_| {}), [Cause::Process(Fault::Kill)]);
    let lost =
        |history: &mut History| history.truncations.push(Truncation { at: 11 * SECOND, partition: 0, before: 1 });
    assert_eq!(cause(&lost), [Cause::LedgerTruncated]);
    let elsewhere = |history: &mut History| {
        publish(history, "http-1", Kind::Http, "a");
        history.published.iter_mut().next_back().into_iter().for_each(|record| record.partition = 1);
    };
    assert_eq!(cause(&elsewhere), [Cause::OtherPartition]);
}

#[test]
fn a_record_that_has_another_delivery_as_delivered_is_no_evidence() {
    let other = found(|history| {
        repeated_after(7 * SECOND)(history);
        let later = delivered("http-1", 9, 13 * SECOND);
        history.ledger.iter_mut().for_each(|entries| {
            entries[0].delivered = vec![("both".to_owned(), ANALYST.to_owned())];
            entries.push(later.clone());
        });
    });
    assert_eq!(other, []);
}

#[test]
fn what_is_committed_is_in_the_ledger_topic_and_nothing_else_is() {
    let forget = |id: &'static str| {
        move |history: &mut History| {
            history.ledger.iter_mut().for_each(|entries| entries.retain(|entry| entry.id != id));
        }
    };
    assert_finds("missing_ledger_record", "http-2", forget("http-2"));
    assert_finds("missing_ledger_record", "both", |history| {
        let half = history.ledger.iter_mut().flatten().filter(|entry| entry.id == "both");
        half.for_each(|entry| entry.delivered.truncate(1));
    });
    let elsewhere = found(|history| history.ledger.iter_mut().flatten().take(1).for_each(|entry| entry.partition = 1));
    assert_eq!(elsewhere, [("missing_ledger_record", "http-1".to_owned())], "the next owner reads one partition");
    let unseen = found(|history| {
        forget("http-2")(history);
        history.ledger_gaps.insert(0);
    });
    assert_eq!(unseen, [], "it may be among the records that were removed before they were seen");
    assert_finds("unexpected_ledger_record", "nothing", |history| {
        history.ledger.iter_mut().for_each(|entries| entries.push(record("nothing", Kind::Unmatched, 5, 61 * SECOND)));
    });
}

#[test]
fn an_event_before_an_earlier_one_of_its_key_is_out_of_order() {
    assert_finds("order_of_requests", "http-2", |history| history.requests.swap(0, 1));
    assert_finds("order_of_runs", "run-2", |history| history.runs[1].created_us = 29);
    assert_eq!(found(|history| history.published[1].key = "b".to_owned()), []);
    let other_key = found(|history| {
        history.published[1].key = "b".to_owned();
        history.requests.swap(0, 1);
    });
    assert_eq!(other_key, [], "keys have no order among each other");
    let other_partition = found(|history| {
        history.published[1].partition = 1;
        history.requests.swap(0, 1);
    });
    assert_eq!(other_partition, [], "nor have partitions");
}

#[test]
fn the_first_request_that_the_agent_acted_on_decides_the_order() {
    let refused = found(|history| history.requests.insert(0, request("http-2", 5 * SECOND, Some(401))));
    assert_eq!(refused, [], "a request that was answered 401 was not acted on");
    assert_finds("order_of_requests", "http-2", |history| {
        history.requests.insert(0, request("http-2", 5 * SECOND, Some(503)));
        history.ledger = None;
    });
}

#[test]
fn offsets_exits_and_what_is_unwell_in_the_end_are_violations() {
    assert_finds("uncommitted_offset", "", |history| {
        history.committed.insert(0, 6);
    });
    assert_finds("uncommitted_offset", "", |history| {
        history.committed.remove(&0);
    });
    assert_finds("unasked_exit", "", |history| {
        history.exits.push(Exit { replica: 1, at: 3, code: Some(70), how: "exit status: 70".to_owned() });
    });
    assert_finds("refused_ledger", "", |history| {
        history.exits.push(Exit { replica: 1, at: 3, code: Some(74), how: "exit status: 74".to_owned() });
    });
    assert_finds("unwell_in_the_end", "", |history| history.unwell.push("r1: /readyz says 503".to_owned()));
    assert_finds("unacknowledged_record", "", |history| history.unacknowledged = 1);
}
