use super::*;
use DeliveryStatus::{Dead, Delivered, Parked, Pending, Planned};

#[test]
fn the_state_follows_from_the_deliveries() {
    let table: &[(&[DeliveryStatus], RecordState)] = &[
        (&[], RecordState::Done),
        (&[Planned], RecordState::Pending),
        (&[Planned, Planned], RecordState::Pending),
        (&[Pending, Pending], RecordState::Partial),
        (&[Delivered, Pending], RecordState::Partial),
        (&[Dead, Pending], RecordState::Partial),
        (&[Parked, Pending], RecordState::Partial),
        (&[Delivered, Dead, Pending], RecordState::Partial),
        (&[Parked], RecordState::Parked),
        (&[Parked, Dead, Delivered], RecordState::Parked),
        (&[Delivered], RecordState::Done),
        (&[Delivered, Delivered], RecordState::Done),
        (&[Dead], RecordState::Dead),
        (&[Delivered, Dead], RecordState::Dead),
        (&[Dead, Delivered], RecordState::Dead),
        // What is only planned in a frozen record belongs to a plan that was not the one that was frozen.
        (&[Planned, Delivered], RecordState::Done),
        (&[Planned, Pending], RecordState::Partial),
        (&[Planned, Parked], RecordState::Parked),
    ];
    for (statuses, state) in table {
        let record = record(statuses);
        assert_eq!(record.state(), *state, "{statuses:?}");
        assert_eq!(record.any_dead(), statuses.contains(&Dead), "{statuses:?}");
        let open = if *state == RecordState::Pending { Planned } else { Pending };
        let expected = statuses.iter().filter(|one| **one == open).count();
        assert_eq!(record.remaining(&[]).len(), expected, "{statuses:?}");
        assert!(!record.state().is_final() || expected == 0, "{statuses:?}");
    }
}

#[test]
fn what_is_decided_follows_from_the_record_the_digest_and_the_plan() {
    let some = plan(&[("rule-0", "agent")]);
    let fresh = Record::new(7, 5_000, &some);
    let planned = record(&[Planned]);
    let partial = record(&[Delivered, Pending]);
    let (done, dead) = (record(&[Delivered]), record(&[Delivered, Dead]));
    let (parked, parking) = (record(&[Parked, Delivered]), record(&[Parked, Pending]));
    let stray = record(&[Planned, Delivered]);

    let table: &[(Option<&Record>, u64, &[PlannedDelivery], Decision)] = &[
        (None, 7, &[], Decision::Unmatched),
        (None, 7, &some, Decision::Fresh(fresh)),
        (Some(&planned), 7, &[], Decision::Unmatched),
        (Some(&planned), 7, &some, Decision::Resume(planned.clone())),
        (Some(&partial), 7, &[], Decision::Resume(partial.clone())),
        (Some(&partial), 7, &some, Decision::Resume(partial.clone())),
        (Some(&parking), 7, &some, Decision::Resume(parking.clone())),
        (Some(&parked), 7, &some, Decision::Duplicate),
        (Some(&done), 7, &some, Decision::Duplicate),
        (Some(&done), 7, &[], Decision::Duplicate),
        (Some(&dead), 7, &some, Decision::Duplicate),
        (Some(&stray), 7, &some, Decision::Duplicate),
    ];
    for (record, digest, plan, decision) in table {
        assert_eq!(&decide(*record, *digest, plan, 5_000), decision, "{record:?} with {plan:?}");
    }
    for known in [&planned, &partial, &done, &dead, &parked] {
        for plan in [&some[..], &[]] {
            assert_eq!(decide(Some(known), 8, plan, 5_000), Decision::Conflict, "{known:?} with {plan:?}");
        }
    }
}

#[test]
fn a_delivery_that_was_only_planned_when_the_plan_was_frozen_is_not_made() {
    let known = record(&[Planned, Delivered, Pending]);
    let plan = plan(&[("rule-0", "agent"), ("rule-1", "agent"), ("rule-2", "agent")]);
    let Decision::Resume(mut resumed) = decide(Some(&known), 7, &plan, 9_000) else { panic!("not resumed") };
    assert_eq!(resumed.remaining(&plan), [("rule-2".into(), "agent".into())]);
    resumed.finish("rule-2", "agent", Delivered, 9_000);
    assert_eq!(resumed.state(), RecordState::Done, "and its end does not freeze it");
}

#[test]
fn the_first_end_or_parking_freezes_the_plan() {
    for status in [Parked, Dead, Delivered] {
        let mut record = record(&[Planned, Planned]);
        record.finish("rule-0", "agent", status, 9_000);
        let found: Vec<_> = record.deliveries().iter().map(|one| (one.status, one.ended_ms)).collect();
        assert_eq!(found, [(status, Some(9_000)), (Pending, None)]);
    }
}

#[test]
fn a_parked_delivery_can_still_end_and_not_be_parked_again() {
    let mut record = record(&[Planned]);
    record.finish("rule-0", "agent", Parked, 2_000);
    record.finish("rule-0", "agent", Parked, 3_000);
    assert_eq!(record.deliveries()[0].ended_ms, Some(2_000));
    record.record_attempt("rule-0", "agent");
    record.finish("rule-0", "agent", Delivered, 4_000);
    let one = &record.deliveries()[0];
    assert_eq!((one.status, one.ended_ms, one.attempts), (Delivered, Some(4_000), 1));
}

#[test]
fn what_the_ledger_knows_is_adopted_but_for_another_plan_and_another_event() {
    let mut own = Record::new(7, 1_000, &plan(&[("rule-1", "agent"), ("rule-2", "agent")]));
    let mut merged = record(&[Planned, Planned, Planned, Delivered]);
    merged.record_failed_attempt("rule-1", "agent", 2_000);
    own.adopt(merged.clone());
    let names: Vec<_> = own.deliveries().iter().map(|one| (&*one.rule, one.status)).collect();
    assert_eq!(names, [("rule-1", Planned), ("rule-2", Planned), ("rule-3", Delivered)]);
    assert_eq!(own.failed_attempts("rule-1", "agent"), 1);

    let mut other = Record::new(8, 1_000, &plan(&[("rule-1", "agent")]));
    let before = other.clone();
    other.adopt(merged);
    assert_eq!(other, before);
}

#[test]
fn a_pending_plan_follows_the_rules_and_keeps_what_was_tried() {
    let mut known = Record::new(7, 1_000, &plan(&[("old", "agent"), ("kept", "agent"), ("kept", "gone")]));
    known.record_failed_attempt("old", "agent", 2_000);
    known.record_failed_attempt("kept", "agent", 3_000);
    known.record_failed_attempt("kept", "agent", 4_000);

    let now = plan(&[("new", "agent"), ("kept", "agent")]);
    let Decision::Resume(resumed) = decide(Some(&known), 7, &now, 9_000) else { panic!("not resumed") };
    assert_eq!(resumed.first_seen_ms(), 1_000);
    let remaining: Vec<_> = now.iter().map(|one| (one.rule.clone(), one.agent.clone())).collect();
    assert_eq!(resumed.remaining(&now), remaining, "in the order of the plan");
    assert_eq!((resumed.failed_attempts("kept", "agent"), resumed.first_attempt_ms("kept", "agent")), (2, Some(3_000)));
    assert_eq!((resumed.failed_attempts("new", "agent"), resumed.first_attempt_ms("new", "agent")), (0, None));
}

#[test]
fn a_frozen_plan_is_resumed_by_its_names_whatever_the_rules_say() {
    let known = record(&[Delivered, Pending, Dead, Pending]);
    let Decision::Resume(resumed) = decide(Some(&known), 7, &plan(&[("other", "agent")]), 9_000) else {
        panic!("not resumed")
    };
    let names: Vec<_> = resumed.remaining(&[]).iter().map(|(rule, _)| rule.to_string()).collect();
    assert_eq!(names, ["rule-1", "rule-3"]);
}

#[test]
fn failures_are_counted_from_the_first_and_the_first_end_stands() {
    let mut record = Record::new(7, 1_000, &plan(&[("rule", "agent"), ("rule", "other")]));
    record.record_failed_attempt("rule", "agent", 2_000);
    record.record_failed_attempt("rule", "agent", 1_500);
    record.record_failed_attempt("rule", "stranger", 3_000);
    assert_eq!((record.failed_attempts("rule", "agent"), record.first_attempt_ms("rule", "agent")), (2, Some(2_000)));
    assert_eq!((record.failed_attempts("rule", "other"), record.first_attempt_ms("rule", "other")), (0, None));
    assert_eq!(record.failed_attempts("rule", "stranger"), 0);
    assert_eq!(record.state(), RecordState::Pending);

    record.finish("rule", "agent", Delivered, 9_000);
    record.finish("rule", "agent", Dead, 9_000);
    record.finish("rule", "stranger", Dead, 9_000);
    record.record_failed_attempt("rule", "agent", 4_000);
    assert_eq!(record.failed_attempts("rule", "agent"), 2);
    assert_eq!(record.state(), RecordState::Partial);
    record.finish("rule", "other", Delivered, 9_000);
    assert_eq!(record.state(), RecordState::Done);
}

#[test]
fn a_delivery_planned_twice_is_one() {
    let twice = plan(&[("rule", "agent"), ("rule", "agent"), ("rule", "other")]);
    let mut record = Record::new(7, 1_000, &twice);
    record.finish("rule", "agent", Delivered, 9_000);
    record.finish("rule", "other", Delivered, 9_000);
    assert_eq!(record.state(), RecordState::Done);
}
