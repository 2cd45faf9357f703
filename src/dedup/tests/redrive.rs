use DeliveryStatus::{Dead, Delivered, Parked, Pending, Planned};

use super::*;
use crate::event::Generation;

fn asked(generation: u32, is_forced: bool) -> Redrive<'static> {
    Redrive { rule: "rule-0", agent: "agent", generation: generation.into(), is_remembered: false, is_forced }
}

fn in_generation(statuses: &[DeliveryStatus], generation: u32) -> Record {
    let mut record = record(statuses);
    record.deliveries[0].generation = generation.into();
    record
}

#[test]
fn only_a_delivery_that_died_in_the_generation_before_is_made_again() {
    let plan = plan(&[("rule-0", "agent"), ("rule-1", "agent")]);
    let decide = |record: &Record, generation| redrive(Some(record), 7, &plan, &asked(generation, false), 9);
    let refused = |found: u32| Err(RedriveRefusal::Generation { found: found.into() });

    let Ok(Decision::Resume(raised)) = decide(&record(&[Dead, Delivered]), 1) else { panic!("it is not made") };
    assert_eq!(raised, {
        let mut expected = in_generation(&[Pending, Delivered], 1);
        expected.deliveries[0] =
            DeliveryRecord { generation: 1.into(), status: Pending, ..raised.deliveries[0].clone() };
        expected
    });
    assert_eq!(raised.remaining(&plan), [("rule-0".into(), "agent".into())], "nothing else runs again");
    assert_eq!((raised.attempts("rule-0", "agent"), raised.first_attempt_ms("rule-0", "agent")), (0, None));

    assert_eq!(decide(&in_generation(&[Delivered, Delivered], 1), 1), Ok(Decision::Duplicate), "redriven before");
    assert_eq!(decide(&in_generation(&[Dead, Delivered], 1), 1), Ok(Decision::Duplicate), "it died again since");
    assert_eq!(decide(&record(&[Delivered, Delivered]), 1), Ok(Decision::Duplicate), "accepted: never again");
    assert_eq!(decide(&in_generation(&[Delivered, Delivered], 1), 7), Ok(Decision::Duplicate), "accepted: never again");
    assert_eq!(
        decide(&in_generation(&[Parked, Delivered], 1), 1),
        Ok(Decision::Duplicate),
        "redriven before, and parked"
    );
    for statuses in [[Parked, Delivered], [Parked, Pending], [Parked, Dead]] {
        let known = record(&statuses);
        assert_eq!(
            decide(&known, 1),
            Err(RedriveRefusal::Parked),
            "it has no end, and is not made from here: {statuses:?}"
        );
    }
    assert_eq!(decide(&record(&[Dead, Delivered]), 2), refused(0));
    assert_eq!(decide(&in_generation(&[Dead, Delivered], 1), u32::MAX), refused(1));
    let open = in_generation(&[Pending, Delivered], 1);
    assert_eq!(decide(&open, 1), Ok(Decision::Resume(open.clone())), "under way when the process ended");
    assert_eq!(decide(&open, 2), Ok(Decision::Resume(open.clone())), "it has not died yet");
    assert!(matches!(decide(&record(&[Planned, Planned]), 1), Ok(Decision::Resume(_))), "it has not died yet");
}

#[test]
fn a_redrive_is_no_way_around_the_rules_or_the_ledger() {
    let rules = plan(&[("rule-0", "agent")]);
    let dead = record(&[Dead]);
    let refused = |refusal: RedriveRefusal| Err(refusal);
    for forced in [false, true] {
        let decide = |record: Option<&Record>, digest, plan: &[PlannedDelivery]| {
            redrive(record, digest, plan, &asked(1, forced), 9)
        };
        assert_eq!(decide(Some(&dead), 7, &[]), refused(RedriveRefusal::NotPlanned), "the rule no longer matches");
        assert_eq!(decide(Some(&dead), 8, &rules), Ok(Decision::Conflict), "another event with its id");
        assert_eq!(decide(Some(&record(&[Planned])), 7, &[]), refused(RedriveRefusal::NotPlanned));
        assert_eq!(
            decide(Some(&record(&[])), 7, &[]),
            refused(if forced { RedriveRefusal::NotPlanned } else { RedriveRefusal::UnknownDelivery })
        );
    }
    assert_eq!(redrive(Some(&record(&[])), 7, &rules, &asked(1, false), 9), refused(RedriveRefusal::UnknownDelivery));
    assert_eq!(redrive(None, 7, &rules, &asked(1, false), 9), refused(RedriveRefusal::UnknownEvent));
    assert_eq!(redrive(None, 7, &[], &asked(1, true), 9), refused(RedriveRefusal::NotPlanned));
}

#[test]
fn an_event_gets_no_more_deliveries_by_redrives_than_rules_may_ask_for() {
    let rules = plan(&[("rule-0", "agent")]);
    // The last number: how many the rules had only asked for, before they were others.
    for (others, is_made, planned) in
        [(MAX_DELIVERIES - 1, true, 0), (MAX_DELIVERIES, false, 0), (MAX_DELIVERIES - 1, true, 600)]
    {
        let of = |n: usize| PlannedDelivery { rule: format!("other-{n}").into(), agent: "agent".into() };
        let known: Vec<_> = (0..others + planned).map(of).collect();
        let mut record = Record::new(7, 1, &known);
        for delivery in &mut record.deliveries[..others] {
            delivery.status = Delivered;
        }
        let decision = redrive(Some(&record), 7, &rules, &asked(3, true), 9);
        assert_eq!(matches!(decision, Ok(Decision::Resume(_))), is_made, "{others}");
        assert_eq!(decision == Err(RedriveRefusal::TooMany), !is_made, "{others}");
    }
}

#[test]
fn a_forced_redrive_of_a_forgotten_event_makes_that_delivery_alone_and_once() {
    let plan = plan(&[("other", "agent"), ("rule-0", "agent")]);
    let Ok(Decision::Fresh(mut record)) = redrive(None, 7, &plan, &asked(3, true), 9) else { panic!("it is not made") };
    assert_eq!(record.remaining(&plan), [("rule-0".into(), "agent".into())]);
    assert_eq!(record.generation("rule-0", "agent"), 3.into());
    record.finish("rule-0", "agent", Delivered, 10);
    assert_eq!(redrive(Some(&record), 7, &plan, &asked(3, true), 11), Ok(Decision::Duplicate));
}

#[test]
fn every_letter_of_a_forgotten_event_can_be_redriven_by_force() {
    let plan = plan(&[("other", "agent"), ("rule-0", "agent")]);
    let other = Redrive { rule: "other", ..asked(1, true) };
    let Ok(Decision::Fresh(mut known)) = redrive(None, 7, &plan, &other, 9) else { panic!("it is not made") };
    known.finish("other", "agent", Dead, 10);
    let unforced = redrive(Some(&known), 7, &plan, &asked(3, false), 11);
    assert_eq!(unforced, Err(RedriveRefusal::UnknownDelivery));
    let not_planned = redrive(Some(&known), 7, &plan[..1], &asked(3, true), 11);
    assert_eq!(not_planned, Err(RedriveRefusal::NotPlanned));

    let Ok(Decision::Resume(mut both)) = redrive(Some(&known), 7, &plan, &asked(3, true), 11) else {
        panic!("the second letter is refused")
    };
    assert_eq!(both.remaining(&plan), [("rule-0".into(), "agent".into())], "the first one is left alone");
    assert_eq!((both.generation("other", "agent"), both.generation("rule-0", "agent")), (1.into(), 3.into()));
    let mut merged = known.clone();
    assert!(merged.merge(&both));
    assert_eq!(merged, both, "sorted, as every record");
    both.finish("rule-0", "agent", Delivered, 12);
    assert_eq!(redrive(Some(&both), 7, &plan, &asked(3, true), 13), Ok(Decision::Duplicate));

    // Nothing of the event has ended: the rules decide what is made.
    let open = Record::new(7, 9, &plan[..1]);
    assert_eq!(redrive(Some(&open), 7, &plan, &asked(3, true), 11), Ok(decide(Some(&open), 7, &plan, 11)));
    // Only planned when another process froze the plan: the ledger does not know it.
    let Ok(Decision::Resume(frozen)) = redrive(Some(&record(&[Planned, Delivered])), 7, &plan, &asked(3, true), 11)
    else {
        panic!("it is refused")
    };
    assert_eq!(frozen.remaining(&plan), [("rule-0".into(), "agent".into())]);
}

#[test]
fn a_redrive_is_not_undone_by_a_late_write_of_the_generation_before() {
    let mut raised = record(&[Dead, Delivered]);
    raised.raise("rule-0", "agent", 1.into());
    for late in [Dead, Pending, Parked] {
        let mut known = raised.clone();
        assert!(!known.merge(&record(&[late, Delivered])), "{late:?}");
        let mut stale = record(&[late, Delivered]);
        assert!(stale.merge(&raised));
        assert_eq!((&known, &stale), (&raised, &raised));
    }
}

#[test]
fn a_delivery_that_turns_out_to_be_accepted_before_its_redrive_is_not_made_again() {
    let plan = plan(&[("rule-0", "agent"), ("rule-1", "agent")]);
    let late = record(&[Delivered, Delivered]);
    for status in [Pending, Parked, Dead] {
        let redriven = in_generation(&[status, Delivered], 1);
        let mut known = redriven.clone();
        assert!(known.merge(&late), "{status:?}");
        assert_eq!(known, late);
        let mut reversed = late.clone();
        assert!(!reversed.merge(&redriven));
        assert!(!known.is_open_in("rule-0", "agent", 1.into()) && known.has_ended_in("rule-0", "agent", 1.into()));
        assert_eq!(redrive(Some(&known), 7, &plan, &asked(2, true), 9), Ok(Decision::Duplicate));
    }
    let twice = in_generation(&[Delivered, Delivered], 1);
    let mut known = twice.clone();
    assert!(!known.merge(&late));
    assert_eq!(known, twice, "accepted in both: the later one stands");
}

#[test]
fn a_generation_has_ended_when_it_did_or_a_later_one_began_or_one_was_accepted() {
    for (status, generation, ended) in [
        (Pending, 1, [true, false, false]),
        (Parked, 1, [true, false, false]),
        (Dead, 1, [true, true, false]),
        (Delivered, 1, [true, true, true]),
    ] {
        let known = in_generation(&[status], generation);
        assert_eq!([0, 1, 2].map(|asked| known.has_ended_in("rule-0", "agent", asked.into())), ended, "{status:?}");
    }
    assert!(!record(&[Delivered]).has_ended_in("rule-1", "agent", Generation::FIRST), "the ledger does not know it");
}

/// Asks for a delivery that was never planned.
fn first(record: Option<&Record>, plan: &[PlannedDelivery], is_remembered: bool) -> Result<Decision, RedriveRefusal> {
    redrive(record, 7, plan, &Redrive { is_remembered, ..asked(0, false) }, 9)
}

#[test]
fn a_delivery_that_was_never_planned_is_made_alone_and_once() {
    let plan = plan(&[("other", "agent"), ("rule-0", "agent")]);
    let wanted = [("rule-0".into(), "agent".into())];
    let Ok(Decision::Fresh(unknown)) = first(None, &plan, true) else { panic!("it is not made") };
    let mut done = record(&[Pending, Delivered]);
    done.deliveries.remove(0);
    let Ok(Decision::Resume(added)) = first(Some(&done), &plan, true) else { panic!("it is not made") };
    for mut made in [unknown, added] {
        assert_eq!(made.remaining(&plan), wanted);
        // The process ends, and the request is read again: still nothing but this delivery.
        assert_eq!(first(Some(&made), &plan, true), Ok(Decision::Resume(made.clone())));
        assert_eq!(decide(Some(&made), 7, &plan, 9), Decision::Resume(made.clone()), "the event itself is read again");
        assert_eq!(made.generation("rule-0", "agent"), Generation::FIRST, "it has the identity that it would have had");
        made.finish("rule-0", "agent", Dead, 10);
        for remembered in [true, false] {
            assert_eq!(first(Some(&made), &plan, remembered), Ok(Decision::Duplicate), "it has its end");
        }
        assert_eq!(decide(Some(&made), 7, &plan, 9), Decision::Duplicate);
    }
}

#[test]
fn a_delivery_is_not_made_for_the_first_time_when_there_may_have_been_one() {
    let both = plan(&[("other", "agent"), ("rule-0", "agent")]);
    let mut other = record(&[Pending, Delivered]);
    other.deliveries.remove(0);
    for known in [None, Some(&other)] {
        assert_eq!(first(known, &both, false), Err(RedriveRefusal::TooOld));
        assert_eq!(first(known, &both[..1], true), Err(RedriveRefusal::NotPlanned));
        assert!(redrive(known, 7, &both, &asked(0, true), 9).is_ok(), "whoever says force answers for it");
    }
    for status in [Pending, Parked, Dead, Delivered] {
        for generation in [0, 3] {
            let known = in_generation(&[status, Delivered], generation);
            let decision = first(Some(&known), &both, true);
            let expected = if status == Pending { Decision::Resume(known) } else { Decision::Duplicate };
            assert_eq!(decision, Ok(expected), "{status:?} in generation {generation}");
        }
    }
    assert_eq!(redrive(Some(&other), 8, &both, &asked(0, true), 9), Ok(Decision::Conflict));
    // What was not finished follows the rules of today anyway.
    let mut open = record(&[Planned, Planned]);
    open.deliveries.remove(0);
    let Ok(Decision::Resume(all)) = first(Some(&open), &both, true) else { panic!("it is not resumed") };
    assert_eq!(all.remaining(&both).len(), 2);
}

#[test]
fn the_ledger_is_trusted_for_less_than_its_window() {
    let window = Duration::from_secs(100);
    for (now_ms, expected) in [(0, true), (1_000, true), (90_999, true), (91_000, false), (200_000, false)] {
        assert_eq!(is_remembered(1_000, now_ms, window), expected, "{now_ms}");
    }
    assert!(is_remembered(u64::MAX, u64::MAX - 1, Duration::MAX) && !is_remembered(0, 1, Duration::ZERO));
}

fn sent_again(again: u16, number: u32) -> Redrive<'static> {
    Redrive { generation: Generation { again, number }, is_remembered: true, ..asked(0, false) }
}

#[test]
fn a_delivery_is_sent_again_once_for_each_number_whatever_its_end_was() {
    let plan = plan(&[("rule-0", "agent"), ("rule-1", "agent")]);
    let ask = |record: &Record, again| redrive(Some(record), 7, &plan, &sent_again(again, 0), 9);
    for status in [Delivered, Dead, Pending] {
        for redriven in [0, 3] {
            let known = in_generation(&[status, Delivered], redriven);
            let Ok(Decision::Resume(mut made)) = ask(&known, 2) else { panic!("{status:?} is not made") };
            assert_eq!(made.remaining(&plan), [("rule-0".into(), "agent".into())], "nothing else runs again");
            assert_eq!(made.generation("rule-0", "agent"), Generation { again: 2, number: 0 });
            assert_eq!((made.attempts("rule-0", "agent"), made.first_attempt_ms("rule-0", "agent")), (0, None));
            // The process ends, and the request is read again.
            assert_eq!(ask(&made, 2), Ok(Decision::Resume(made.clone())));
            made.finish("rule-0", "agent", Delivered, 10);
            for before in [0, 1, 2] {
                assert_eq!(ask(&made, before), Ok(Decision::Duplicate), "again {before} of {status:?}");
            }
            assert_eq!(
                redrive(Some(&made), 7, &plan, &asked(4, true), 9),
                Ok(Decision::Duplicate),
                "a letter of before"
            );
            assert_eq!(decide(Some(&made), 7, &plan, 9), Decision::Duplicate, "the event itself");
            let Ok(Decision::Resume(more)) = ask(&made, 3) else { panic!("it is not made once more") };
            assert_eq!(more.generation("rule-0", "agent"), Generation { again: 3, number: 0 });
        }
    }
    assert_eq!(ask(&record(&[Parked, Delivered]), 1), Err(RedriveRefusal::Parked), "it has not ended");
}

#[test]
fn sending_again_is_no_way_around_the_rules_or_the_ledger() {
    let both = plan(&[("rule-0", "agent"), ("rule-1", "agent")]);
    let done = record(&[Delivered, Delivered]);
    let ask = |known: Option<&Record>, digest, plan: &[PlannedDelivery], is_remembered, is_forced| {
        redrive(known, digest, plan, &Redrive { is_remembered, is_forced, ..sent_again(1, 0) }, 9)
    };
    for forced in [false, true] {
        assert_eq!(ask(Some(&done), 8, &both, true, forced), Ok(Decision::Conflict));
        assert_eq!(ask(Some(&done), 7, &both[1..], true, forced), Err(RedriveRefusal::NotPlanned));
    }
    // What the ledger may have forgotten may have been sent again too.
    let mut other = record(&[Pending, Delivered]);
    other.deliveries.remove(0);
    for known in [None, Some(&other)] {
        assert_eq!(ask(known, 7, &both, false, false), Err(RedriveRefusal::TooOld));
        for (is_remembered, is_forced) in [(true, false), (false, true)] {
            let made = ask(known, 7, &both, is_remembered, is_forced);
            let Ok(Decision::Fresh(made) | Decision::Resume(made)) = made else { panic!("{made:?}") };
            assert_eq!(made.remaining(&both), [("rule-0".into(), "agent".into())]);
            assert_eq!(made.generation("rule-0", "agent").again, 1);
        }
    }
    // A ledger that has the delivery may have forgotten a greater number.
    for number in [0, 1] {
        let ask = |is_remembered, is_forced| {
            redrive(Some(&done), 7, &both, &Redrive { is_remembered, is_forced, ..sent_again(2, number) }, 9)
        };
        assert_eq!(ask(false, false), Err(RedriveRefusal::TooOld), "{number}");
        assert!(ask(true, false).is_ok() && ask(false, true).is_ok(), "{number}");
    }
    // Nobody redrives what the ledger has not under this number.
    let redriven = redrive(Some(&done), 7, &both, &sent_again(2, 2), 9);
    assert_eq!(redriven, Err(RedriveRefusal::UnknownDelivery));
    let forced = redrive(Some(&done), 7, &both, &Redrive { is_forced: true, ..sent_again(2, 2) }, 9);
    assert!(matches!(forced, Ok(Decision::Resume(_))), "{forced:?}");
    // Nothing of the event has ended: the rest of it is made as the rules say.
    for known in [record(&[Planned, Planned]), Record::new(7, 9, &both[1..])] {
        let Ok(Decision::Resume(made)) = ask(Some(&known), 7, &both, true, false) else { panic!("it is not made") };
        let again = ["rule-0", "rule-1"].map(|rule| made.generation(rule, "agent").again);
        assert_eq!((made.remaining(&both).len(), again), (2, [1, 0]));
    }
}

#[test]
fn what_was_sent_again_is_redriven_in_its_own_number() {
    let plan = plan(&[("rule-0", "agent"), ("rule-1", "agent")]);
    let mut dead = record(&[Delivered, Delivered]);
    dead.raise("rule-0", "agent", Generation { again: 1, number: 0 });
    dead.finish("rule-0", "agent", Dead, 10);
    let Ok(Decision::Resume(mut made)) = redrive(Some(&dead), 7, &plan, &sent_again(1, 1), 11) else {
        panic!("it is not redriven")
    };
    assert_eq!(made.generation("rule-0", "agent"), Generation { again: 1, number: 1 });
    assert_eq!(redrive(Some(&dead), 7, &plan, &asked(1, true), 11), Ok(Decision::Duplicate), "of the one before");
    made.finish("rule-0", "agent", Delivered, 12);
    for (again, number) in [(1, 0), (1, 1), (1, 2), (0, 9)] {
        let decision = redrive(Some(&made), 7, &plan, &sent_again(again, number), 13);
        assert_eq!(decision, Ok(Decision::Duplicate), "{again} {number}");
    }
}

#[test]
fn nothing_undoes_that_a_delivery_was_sent_again() {
    let mut raised = record(&[Delivered, Delivered]);
    raised.raise("rule-0", "agent", Generation { again: 1, number: 0 });
    for late in [Delivered, Dead, Pending, Parked] {
        for number in [0, 5] {
            let late = in_generation(&[late, Delivered], number);
            let (mut known, mut stale) = (raised.clone(), late.clone());
            assert!(!known.merge(&late) && stale.merge(&raised));
            assert_eq!((&known, &stale), (&raised, &raised));
        }
    }
    let of = |again, number| raised.has_ended_in("rule-0", "agent", Generation { again, number });
    assert_eq!((of(0, 0), of(0, 9), of(1, 0)), (true, true, false));
    assert!(!record(&[Delivered]).has_ended_in("rule-0", "agent", Generation { again: 1, number: 0 }));
}
