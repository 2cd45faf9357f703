use super::*;
use Status::{Dead, Delivered, Pending};

#[test]
fn the_state_follows_from_the_deliveries() {
    let table: &[(&[Status], State)] = &[
        (&[], State::Done),
        (&[Pending], State::Pending),
        (&[Pending, Pending], State::Pending),
        (&[Delivered, Pending], State::Partial),
        (&[Dead, Pending], State::Partial),
        (&[Delivered, Dead, Pending], State::Partial),
        (&[Delivered], State::Done),
        (&[Delivered, Delivered], State::Done),
        (&[Dead], State::Dead),
        (&[Delivered, Dead], State::Dead),
        (&[Dead, Delivered], State::Dead),
    ];
    for (statuses, state) in table {
        let record = record(statuses);
        assert_eq!(record.state(), *state, "{statuses:?}");
        assert_eq!(record.any_dead(), statuses.contains(&Dead), "{statuses:?}");
        assert_eq!(record.remaining().len(), statuses.iter().filter(|one| **one == Pending).count(), "{statuses:?}");
        assert_eq!(record.state().is_final(), record.remaining().is_empty(), "{statuses:?}");
    }
}

#[test]
fn what_is_decided_follows_from_the_record_the_digest_and_the_plan() {
    let some = plan(&[("rule-0", "agent")]);
    let fresh = Record::new(7, 5_000, &some);
    let pending = record(&[Pending]);
    let partial = record(&[Delivered, Pending]);
    let (done, dead) = (record(&[Delivered]), record(&[Delivered, Dead]));

    let table: &[(Option<&Record>, u64, &[Planned], Decision)] = &[
        (None, 7, &[], Decision::Unmatched),
        (None, 7, &some, Decision::Fresh(fresh)),
        (Some(&pending), 7, &[], Decision::Unmatched),
        (Some(&pending), 7, &some, Decision::Resume(pending.clone())),
        (Some(&partial), 7, &[], Decision::Resume(partial.clone())),
        (Some(&partial), 7, &some, Decision::Resume(partial.clone())),
        (Some(&done), 7, &some, Decision::Duplicate),
        (Some(&done), 7, &[], Decision::Duplicate),
        (Some(&dead), 7, &some, Decision::Duplicate),
    ];
    for (record, digest, plan, decision) in table {
        assert_eq!(&decide(*record, *digest, plan, 5_000), decision, "{record:?} with {plan:?}");
    }
    for known in [&pending, &partial, &done, &dead] {
        for plan in [&some[..], &[]] {
            assert_eq!(decide(Some(known), 8, plan, 5_000), Decision::Conflict, "{known:?} with {plan:?}");
        }
    }
}

#[test]
fn a_pending_plan_follows_the_rules_and_keeps_what_was_tried() {
    let mut known = Record::new(7, 1_000, &plan(&[("old", "agent"), ("kept", "agent"), ("kept", "gone")]));
    known.note_failure("old", "agent", 2_000);
    known.note_failure("kept", "agent", 3_000);
    known.note_failure("kept", "agent", 4_000);

    let now = plan(&[("new", "agent"), ("kept", "agent")]);
    let Decision::Resume(resumed) = decide(Some(&known), 7, &now, 9_000) else { panic!("not resumed") };
    assert_eq!(resumed.first_seen_ms(), 1_000);
    let remaining: Vec<_> = now.iter().map(|one| (one.rule.clone(), one.agent.clone())).collect();
    assert_eq!(resumed.remaining(), remaining);
    assert_eq!((resumed.attempts("kept", "agent"), resumed.first_attempt_ms("kept", "agent")), (2, Some(3_000)));
    assert_eq!((resumed.attempts("new", "agent"), resumed.first_attempt_ms("new", "agent")), (0, None));
}

#[test]
fn a_frozen_plan_is_resumed_by_its_names_whatever_the_rules_say() {
    let known = record(&[Delivered, Pending, Dead, Pending]);
    let Decision::Resume(resumed) = decide(Some(&known), 7, &plan(&[("other", "agent")]), 9_000) else {
        panic!("not resumed")
    };
    let names: Vec<_> = resumed.remaining().iter().map(|(rule, _)| rule.to_string()).collect();
    assert_eq!(names, ["rule-1", "rule-3"]);
}

#[test]
fn failures_are_counted_from_the_first_and_the_first_end_stands() {
    let mut record = Record::new(7, 1_000, &plan(&[("rule", "agent"), ("rule", "other")]));
    record.note_failure("rule", "agent", 2_000);
    record.note_failure("rule", "agent", 1_500);
    record.note_failure("rule", "stranger", 3_000);
    assert_eq!((record.attempts("rule", "agent"), record.first_attempt_ms("rule", "agent")), (2, Some(2_000)));
    assert_eq!((record.attempts("rule", "other"), record.first_attempt_ms("rule", "other")), (0, None));
    assert_eq!(record.attempts("rule", "stranger"), 0);
    assert_eq!(record.state(), State::Pending);

    record.finish("rule", "agent", Delivered);
    record.finish("rule", "agent", Dead);
    record.finish("rule", "stranger", Dead);
    record.note_failure("rule", "agent", 4_000);
    assert_eq!(record.attempts("rule", "agent"), 2);
    assert_eq!(record.state(), State::Partial);
    record.finish("rule", "other", Delivered);
    assert_eq!(record.state(), State::Done);
}

#[test]
fn a_delivery_planned_twice_is_one() {
    let twice = plan(&[("rule", "agent"), ("rule", "agent"), ("rule", "other")]);
    let mut record = Record::new(7, 1_000, &twice);
    record.finish("rule", "agent", Delivered);
    record.finish("rule", "other", Delivered);
    assert_eq!(record.state(), State::Done);
}
