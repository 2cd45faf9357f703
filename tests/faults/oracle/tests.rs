//! Each check finds what was planted for it in a history that is otherwise in order, and nothing in one that is.

use super::{
    super::{
        fault::{Fault, Lane},
        history::{DeadLetter, Interval, LedgerEntry, Loss, Parking, Run},
        repeats::by_cause,
    },
    *,
};
use crate::kit::Link;

const SECOND: u64 = 1_000;

/// Publishes an event into partition 0.
fn publish(history: &mut History, id: &str, kind: Kind, key: &str) {
    let offset = history.source.ends.get(&0).copied().unwrap_or_default();
    history.source.ends.insert(0, offset + 1);
    history.source.committed.insert(0, offset + 1);
    let at = history.published.len() as u64 * SECOND;
    let record = Published { id: id.to_owned(), kind, key: key.to_owned(), partition: 0, offset, at };
    history.published.push(record);
}

fn request(id: &str, at: u64, answered: Option<u16>) -> Request {
    Request { at, sent: at, replica: 0, id: id.to_owned(), key: format!("key of {id}"), answered }
}

fn run(id: &str, rule: &str, run: &str, created_us: i64) -> Run {
    let text = str::to_owned;
    let at = u64::try_from(created_us).unwrap_or_default() * SECOND;
    Run { id: text(id), rule: text(rule), agent: text(ANALYST), run: text(run), at, created_us }
}

fn delivered(id: &str, offset: i64, seen: u64) -> LedgerEntry {
    record(id, Kind::Http, offset, seen)
}

/// A record of the ledger topic that has every delivery of this kind.
fn record(id: &str, kind: Kind, offset: i64, seen: u64) -> LedgerEntry {
    let delivered = kind.deliveries().iter().map(|(rule, agent)| ((*rule).to_owned(), (*agent).to_owned())).collect();
    LedgerEntry { id: id.to_owned(), log: 0, partition: 0, offset, seen, delivered }
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
    assert_finds("double_run", "run-1", |history| {
        history.executions.insert("run-1".to_owned(), vec!["D".to_owned()]);
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
fn a_server_that_was_to_execute_runs_twice_did() {
    let again = |runs: usize, executed: usize| {
        move |history: &mut History| {
            history.faults.push(fault(Lane::LangGraph, Fault::ExecuteAgain(20), 60 * SECOND, 70 * SECOND));
            for number in 0..runs {
                let id = format!("again-{number}");
                publish(history, &id, Kind::LangGraph, "b");
                history.runs.push(run(&id, "analyse", &id, 65));
                history.executions.insert(id.clone(), vec![id.clone(); executed]);
                let entry = record(&id, Kind::LangGraph, 9, 66 * SECOND);
                history.ledger.iter_mut().for_each(|entries| entries.push(entry.clone()));
            }
        }
    };
    assert_finds("nothing_executed_again", "", again(ENOUGH_RUNS, 1));
    assert_eq!(found(again(ENOUGH_RUNS, 2)), []);
    assert_eq!(found(again(ENOUGH_RUNS - 1, 1)), [], "it may be chance");
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
        history.faults.push(fault(Lane::Replica(0), Fault::Kill, 10 * SECOND, 10 * SECOND + 500));
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
    timed_out.failed_attempts.insert((0, "http-1".to_owned()), vec![11 * SECOND]);
    assert_eq!(by_cause(&timed_out).into_keys().next(), Some(Cause::AttemptFailed));
    timed_out.failed_attempts.insert((0, "http-1".to_owned()), vec![SECOND, 13 * SECOND]);
    assert_eq!(by_cause(&timed_out).into_keys().next(), Some(Cause::Nothing), "not of this attempt");
    let mut moved = in_order();
    moved.requests.insert(1, Request { replica: 1, ..request("http-1", 12 * SECOND, Some(200)) });
    assert_eq!(by_cause(&moved).into_keys().next(), Some(Cause::Nothing), "nothing moved");
    moved.moves.push((1, 11 * SECOND));
    assert_eq!(by_cause(&moved).into_keys().next(), Some(Cause::Moved));
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

/// A repeat by another replica 12 s after the begin, for which the kill of the first is a cause.
fn repeated_after(seen: u64) -> impl FnOnce(&mut History) {
    move |history| {
        history.faults.push(fault(Lane::Replica(0), Fault::Kill, 10 * SECOND, 11 * SECOND));
        history.requests.insert(1, Request { replica: 1, ..request("http-1", 12 * SECOND, Some(200)) });
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
    let lost = |at: u64, log: usize, truncated: Option<(i32, i64)>| {
        found(move |history| {
            repeated_after(7 * SECOND)(history);
            history.losses.push(Loss { at, log, truncated });
        })
    };
    assert_eq!(lost(11 * SECOND, 0, Some((0, 1))), []);
    assert_eq!(lost(11 * SECOND, 0, Some((0, 0))).len(), 1, "the record was left");
    assert_eq!(lost(13 * SECOND, 0, Some((0, 1))).len(), 1, "it was still there");
    assert_eq!(lost(11 * SECOND, 0, None), [], "the topic was deleted");
    assert_eq!(lost(13 * SECOND, 0, None).len(), 1, "it was still there");
    assert_eq!(lost(11 * SECOND, 1, None).len(), 1, "that was another one of its name");
}

#[test]
fn a_replica_that_begins_anew_has_read_the_ledger_topic() {
    // Its record was seen a second before the repeat.
    let anew = |kind: Fault, from: u64, to: u64| {
        found(|history| {
            repeated_after(11 * SECOND)(history);
            history.faults.push(fault(Lane::Replica(1), kind, from, to));
        })
    };
    let is_found = [("repeat_after_acknowledgement", "http-1".to_owned())];
    let (before, after) = (10 * SECOND, 11 * SECOND + 500);
    assert_eq!(anew(Fault::Kill, before, after), is_found);
    assert_eq!(anew(Fault::Join, after, 30 * SECOND), is_found);
    assert_eq!(anew(Fault::Join, before, after), [], "it ran already");
    assert_eq!(anew(Fault::Kill, 5 * SECOND, before), [], "it was started before");
    assert_eq!(anew(Fault::Kill, 13 * SECOND, 14 * SECOND), [], "it was started later");
    assert_eq!(anew(Fault::Freeze, 4 * SECOND, after), is_found, "another made the delivery meanwhile");
    assert_eq!(anew(Fault::Freeze, before + 1, after), [], "it may still have been the owner");
}

#[test]
fn a_record_that_was_written_again_after_a_deletion_is_evidence_again() {
    let refilled = |seen: u64| {
        found(move |history| {
            repeated_after(5 * SECOND)(history);
            history.losses.push(Loss { at: 6 * SECOND, log: 0, truncated: None });
            let again = LedgerEntry { log: 1, ..delivered("http-1", 0, seen) };
            history.ledger.iter_mut().for_each(|entries| entries.push(again.clone()));
        })
    };
    assert_eq!(refilled(7 * SECOND), [("repeat_after_acknowledgement", "http-1".to_owned())]);
    assert_eq!(refilled(9 * SECOND), [], "the next owner may not have heard of it");
}

#[test]
fn a_replica_repeats_nothing_that_its_folder_has_though_the_ledger_topic_lost_it() {
    let lost = |plant: &dyn Fn(&mut History)| {
        found(|history| {
            // r0 makes the delivery at 10 s, and again at 40 s, after the topic was deleted.
            let again = |replica| Request { replica, ..request("http-1", 40 * SECOND, Some(200)) };
            history.requests.push(again(0));
            history.losses.push(Loss { at: 30 * SECOND, log: 0, truncated: None });
            history.faults.push(fault(Lane::Replica(0), Fault::Leave, 35 * SECOND, 39 * SECOND));
            plant(history);
        })
    };
    let is_found = [("repeat_despite_folder", "http-1".to_owned())];
    assert_finds("repeat_despite_folder", "http-1", |history| {
        history.requests.push(request("http-1", 40 * SECOND, Some(200)));
        history.losses.push(Loss { at: 30 * SECOND, log: 0, truncated: None });
        history.faults.push(fault(Lane::Replica(0), Fault::Leave, 35 * SECOND, 39 * SECOND));
    });
    assert_eq!(lost(&|_| {}), is_found);
    let faulted =
        |lane, kind, from| move |history: &mut History| history.faults.push(fault(lane, kind, from, from + 1));
    let own = Lane::Replica(0);
    assert_eq!(lost(&faulted(own, Fault::LoseData, 36 * SECOND)), [], "its folder was deleted");
    assert_eq!(lost(&faulted(own, Fault::LoseData, 2 * SECOND)), is_found, "that was before");
    assert_eq!(lost(&faulted(own, Fault::Kill, 12 * SECOND)), [], "before its folder was flushed");
    assert_eq!(lost(&faulted(own, Fault::Kill, 25 * SECOND)), is_found, "what was flushed stays");
    assert_eq!(lost(&faulted(Lane::Replica(1), Fault::LoseData, 36 * SECOND)), is_found, "another's folder");
    let rewritten = |history: &mut History| {
        faulted(own, Fault::LoseData, 20 * SECOND)(history);
        history.ledger.iter_mut().for_each(|entries| entries.push(delivered("http-1", 9, 25 * SECOND)));
    };
    assert_eq!(lost(&rewritten), [], "another has written it again");
    let other = |history: &mut History| {
        history.requests.last_mut().into_iter().for_each(|request| request.replica = 1);
    };
    assert_eq!(lost(&other), [], "a replica that knew nothing of it");
    // It delivered something of the partition while the topic had the record, so it had read it.
    let owned = |at: u64| {
        move |history: &mut History| {
            other(history);
            publish(history, "http-3", Kind::Http, "b");
            let request = Request { replica: 1, ..request("http-3", at, Some(200)) };
            history.requests.insert(history.requests.len() - 1, request);
            history.ledger.iter_mut().for_each(|entries| entries.push(delivered("http-3", 7, at + SECOND)));
        }
    };
    assert_eq!(lost(&owned(20 * SECOND)), is_found);
    assert_eq!(lost(&owned(12 * SECOND)), [], "it may not have heard of it by then");
    assert_eq!(lost(&owned(31 * SECOND)), [], "the topic did not have it any more");
    let cut = |history: &mut History| {
        owned(20 * SECOND)(history);
        history.faults.push(fault(Lane::Network(1), Fault::OneBroker(0, Link::Refused), 14 * SECOND, 15 * SECOND));
    };
    assert_eq!(lost(&cut), [], "it may have been cut off from it");
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
        |truncated| move |history: &mut History| history.losses.push(Loss { at: 11 * SECOND, log: 0, truncated });
    assert_eq!(cause(&lost(Some((0, 1)))), [Cause::LedgerTruncated]);
    assert_eq!(cause(&lost(None)), [Cause::LedgerDeleted]);
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
    let unseen = |partition: Option<i32>, until: u64| {
        found(move |history| {
            forget("http-2")(history);
            forget("run-2")(history);
            history.ledger_gaps.insert(partition, until);
        })
    };
    assert_eq!(
        unseen(Some(0), 41 * SECOND),
        [],
        "they may be among the records that were removed before they were seen"
    );
    assert_eq!(unseen(None, 41 * SECOND), [], "the same of a topic that was deleted");
    assert_eq!(unseen(None, 39 * SECOND), [("missing_ledger_record", "run-2".to_owned())], "it came later");
    assert_eq!(unseen(Some(1), 41 * SECOND).len(), 2, "nothing of their partition was removed");
    assert_finds("no_ledger_topic", "", |history| history.ledger = None);
    assert_finds("unexpected_ledger_record", "nothing", |history| {
        history.ledger.iter_mut().for_each(|entries| entries.push(record("nothing", Kind::Unmatched, 5, 61 * SECOND)));
    });
}

#[test]
fn what_a_topic_had_that_was_deleted_at_rest_is_in_the_next_one() {
    let refilled = |but: &'static str, plant: &dyn Fn(&mut History)| {
        found(|history| {
            history.deleted_at_rest = Some(0);
            history.losses.push(Loss { at: 90 * SECOND, log: 0, truncated: None });
            history.ledger.iter_mut().for_each(|entries| {
                let again: Vec<_> = entries.iter().filter(|entry| entry.id != but).cloned().collect();
                entries.extend(again.into_iter().map(|entry| LedgerEntry { log: 1, ..entry }));
            });
            plant(history);
        })
    };
    assert_eq!(refilled("", &|_| {}), []);
    assert_eq!(refilled("http-2", &|_| {}), [("not_refilled", "http-2".to_owned())]);
    let truncated = |history: &mut History| {
        history.losses.push(Loss { at: 60 * SECOND, log: 0, truncated: Some((0, 2)) });
    };
    assert_eq!(refilled("http-2", &truncated), [], "the topic had lost it before");
    let elsewhere = |history: &mut History| {
        publish(history, "http-2", Kind::Http, "a");
        history.published.iter_mut().next_back().into_iter().for_each(|record| record.partition = 1);
    };
    assert_eq!(refilled("http-2", &elsewhere), [], "it is in the log of one of its partitions");
    assert_eq!(refilled("run-2", &truncated).len(), 1);
    assert_finds("not_refilled", "http-1", |history| {
        history.deleted_at_rest = Some(0);
        let again = history.ledger.iter().flatten().skip(1).cloned();
        let again: Vec<_> = again.map(|entry| LedgerEntry { log: 1, ..entry }).collect();
        history.ledger.iter_mut().for_each(|entries| entries.extend(again.clone()));
    });
}

fn parking(id: &str, agent: &str, at: u64, offset: i64) -> Parking {
    Parking { at, id: id.to_owned(), agent: agent.to_owned(), offset }
}

#[test]
fn what_was_parked_is_committed_in_the_end() {
    let parked = |committed: Option<i64>| {
        move |history: &mut History| {
            history.parkings.push(parking("http-1", AUDIT, 9 * SECOND, 3));
            history.parked.ends.insert(0, 7);
            history.parked.committed.extend(committed.map(|committed| (0, committed)));
        }
    };
    assert_finds("parked_in_the_end", "http-1", parked(Some(3)));
    assert_finds("parked_in_the_end", "http-1", parked(None));
    assert_eq!(found(parked(Some(4))), [], "what comes after it was never parked");
}

#[test]
fn a_long_outage_parks_deliveries_of_its_agent() {
    let outage = |agent: &'static str, at: u64| {
        move |history: &mut History| {
            history.faults.push(fault(Lane::Http, Fault::Outage, 60 * SECOND, 120 * SECOND));
            history.parkings.push(parking("http-1", agent, at, 3));
            history.parked.committed.insert(0, 4);
        }
    };
    assert_eq!(found(outage(AUDIT, 70 * SECOND)), []);
    assert_finds("outage_without_parking", "", outage(AUDIT, 59 * SECOND));
    assert_finds("outage_without_parking", "", outage(ANALYST, 70 * SECOND));
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

/// Whether it violates the order that `http-2` came first, while `http-1` was parked, and what else is planted.
fn overtakes(plant: impl FnOnce(&mut History)) -> bool {
    let violations = found(|history| {
        history.requests.swap(0, 1);
        history.requests[0].sent = 20 * SECOND;
        history.parkings.push(parking("http-1", AUDIT, 11 * SECOND, 0));
        for entry in history.ledger.iter_mut().flatten().filter(|entry| entry.id == "http-1") {
            (entry.log, entry.seen) = (1, 25 * SECOND);
        }
        plant(history);
    });
    violations.iter().any(|(check, _)| *check == "order_of_requests")
}

#[test]
fn what_nobody_knows_as_parked_any_more_has_no_order() {
    let lost = |from: u64| Some(fault(Lane::Replica(1), Fault::LoseData, from * SECOND, (from + 1) * SECOND));
    let left = Some(fault(Lane::Replica(1), Fault::Join, 5 * SECOND, 16 * SECOND));
    // When the topic with the parking's record was deleted, which replica lost its folder, and when it was written again.
    let seen = |deleted: Option<u64>, folder: Option<Interval>, again: Option<u64>| {
        overtakes(move |history| {
            let parked = LedgerEntry { delivered: Vec::new(), ..delivered("http-1", 90, 12 * SECOND) };
            let again = again.map(|seen| LedgerEntry { log: 1, seen: seen * SECOND, ..parked.clone() });
            history
                .ledger
                .iter_mut()
                .for_each(|ledger| ledger.extend([parked.clone()].into_iter().chain(again.clone())));
            history.losses.extend(deleted.map(|at| Loss { at: at * SECOND, log: 0, truncated: None }));
            history.faults.extend(folder);
        })
    };
    assert!(!seen(Some(13), lost(14), None));
    assert!(!seen(Some(13), left, None), "the replica left, with its folder");
    assert!(seen(Some(13), None, None), "the replica still has it");
    assert!(seen(Some(13), lost(9), None), "that was before");
    assert!(seen(Some(13), lost(21), None), "that was later");
    assert!(seen(None, lost(14), None), "the topic still has it");
    assert!(seen(Some(21), lost(14), None), "the topic still had it");
    assert!(seen(Some(13), lost(14), Some(15)), "it was written again");

    // Parked while the topic was being deleted: no reader saw its record.
    let unseen = |from: u64, to: u64| {
        overtakes(move |history| {
            history.faults.extend(lost(14));
            history.faults.push(fault(Lane::Cluster, Fault::DeleteLedger, from * SECOND, to * SECOND));
        })
    };
    assert!(!unseen(10, 12));
    assert!(unseen(8, 10), "it was deleted before");
    assert!(unseen(21, 22), "it was deleted later");

    // Read again: the request for another of its agents comes first, and is recorded.
    let read_again = |sent: u64| {
        let violations = found(|history| {
            // It was published before `run-2`, which ran first.
            (history.published[3].offset, history.published[4].offset) = (4, 3);
            (history.runs[1].at, history.runs[2].at) = (60 * SECOND, 70 * SECOND);
            history.parkings.push(parking("both", ANALYST, 11 * SECOND, 0));
            history.requests[2].sent = sent * SECOND;
            for entry in history.ledger.iter_mut().flatten().filter(|entry| entry.id == "both") {
                (entry.log, entry.seen) = (1, 51 * SECOND);
            }
            history.losses.push(Loss { at: 13 * SECOND, log: 0, truncated: None });
            history.faults.extend(lost(14));
        });
        violations.iter().any(|(check, _)| *check == "order_of_runs")
    };
    assert!(!read_again(50));
    assert!(read_again(52), "the topic had it before it was read again");

    // Read again and parked again: that is recorded, and knows nothing of the first time.
    let parked_again = |at: u64, deleted: u64| {
        overtakes(move |history| {
            let parked = LedgerEntry { delivered: Vec::new(), ..delivered("http-1", 90, 12 * SECOND) };
            let again = LedgerEntry { log: 1, seen: (at + 1) * SECOND, ..parked.clone() };
            history.ledger.iter_mut().for_each(|ledger| ledger.extend([parked.clone(), again.clone()]));
            history.parkings.push(parking("http-1", AUDIT, at * SECOND, 1));
            history.losses.push(Loss { at: deleted * SECOND, log: 0, truncated: None });
            history.faults.extend(lost(14));
        })
    };
    assert!(!parked_again(16, 13));
    assert!(parked_again(12, 13), "it was parked again by a process that knew of the first time");
    assert!(parked_again(16, 17), "the topic still had it when it was parked again");
}

#[test]
fn the_first_request_that_the_agent_acted_on_decides_the_order() {
    let refused = found(|history| history.requests.insert(0, request("http-2", 5 * SECOND, Some(401))));
    assert_eq!(refused, [], "a request that was answered 401 was not acted on");
    assert_finds("order_of_requests", "http-2", |history| {
        history.requests.insert(0, request("http-2", 5 * SECOND, Some(503)));
    });
}

#[test]
fn offsets_exits_and_what_is_unwell_in_the_end_are_violations() {
    assert_finds("uncommitted_offset", "", |history| {
        history.source.committed.insert(0, 6);
    });
    assert_finds("uncommitted_offset", "", |history| {
        history.source.committed.remove(&0);
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
