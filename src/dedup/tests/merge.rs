use proptest::prelude::*;

use super::{codec::record_of, *};
use crate::event::Generation;

/// Records of few events and few deliveries, so that most of them meet.
fn related() -> impl Strategy<Value = Record> {
    let names = (0..2_u8, 0..2_u8, 0..2_u16, 0..2_u32).prop_map(|(rule, agent, again, number): (u8, u8, u16, u32)| {
        (rule.to_string(), agent.to_string(), Generation { again, number })
    });
    record_of(prop_oneof![9 => Just(7_u64), 1 => 6..9_u64], names)
}

fn merged(mut a: Record, b: &Record) -> Record {
    a.merge(b);
    a
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::cases::cases(2_000)))]

    #[test]
    fn merging_does_not_depend_on_the_order(a in related(), b in related()) {
        prop_assert_eq!(merged(a.clone(), &b), merged(b, &a));
    }

    #[test]
    fn merging_does_not_depend_on_the_grouping(a in related(), b in related(), c in related(), knows_more in any::<bool>()) {
        let c = if knows_more { Record { written_ms: c.written_ms, ..merged(merged(a.clone(), &b), &c) } } else { c };
        prop_assert_eq!(merged(merged(a.clone(), &b), &c), merged(a, &merged(b, &c)));
    }

    #[test]
    fn whatever_remains_of_a_record_can_be_made_and_finished(record in related()) {
        let mut record = if let RecordState::Partial = record.state() { record.frozen() } else { record };
        let mut rounds = 0;
        loop {
            let remaining = record.remaining(&[]);
            let Some((rule, agent)) = remaining.first() else { break };
            prop_assert!(remaining.iter().all(|(rule, agent)| record.is_open(rule, agent)), "{:?}", record);
            record.finish(rule, agent, DeliveryStatus::Delivered, 1);
            rounds += 1;
            prop_assert!(rounds <= record.deliveries().len(), "{:?}", record);
        }
    }

    #[test]
    fn merging_again_changes_nothing_and_says_so(a in related(), b in related()) {
        let mut both = a.clone();
        let changed = both.merge(&b);
        prop_assert_eq!(changed, both != a);
        let before = both.clone();
        prop_assert!(!both.merge(&a) && !both.merge(&b) && !both.merge(&before));
        prop_assert_eq!(both, before);
    }

    #[test]
    fn merging_loses_no_knowledge(a in related(), b in related()) {
        let both = merged(a.clone(), &b);
        let sources: Vec<&Record> = [&a, &b].into_iter().filter(|one| one.digest() == both.digest()).collect();
        prop_assert!(!sources.is_empty());
        for known in sources {
            prop_assert!(both.first_seen_ms() <= known.first_seen_ms());
            prop_assert!(both.deliveries != known.deliveries || both.written_ms >= known.written_ms);
            prop_assert!(both.source.is_some() || known.source.is_none());
            for before in known.deliveries() {
                let after = both.deliveries().iter().find(|after| after.key() == before.key());
                let after = after.ok_or_else(|| TestCaseError::fail("a delivery is gone"))?;
                let accepted = DeliveryStatus::Delivered;
                let (is_again, was_again) = (after.generation.again, before.generation.again);
                prop_assert!(is_again >= was_again);
                if is_again > was_again {
                    continue;
                }
                prop_assert!(before.status != accepted || after.status == accepted);
                prop_assert!(after.generation >= before.generation || after.status == accepted);
                let stands_alone = after.generation != before.generation || after.status != before.status;
                if stands_alone && after.status == accepted || after.generation > before.generation {
                    continue;
                }
                prop_assert!(after.status >= before.status);
                prop_assert!(after.attempts >= before.attempts && after.failed_attempts >= before.failed_attempts);
                let first = before.first_attempt_ms;
                prop_assert!(first.is_none() || after.first_attempt_ms.is_some_and(|after| Some(after) <= first));
                prop_assert!(after.sent_to >= before.sent_to);
                prop_assert!(after.run.is_some() || before.run.is_none());
                prop_assert!(after.last_failure >= before.last_failure);
            }
        }
        prop_assert!(both.deliveries().is_sorted_by(|a, b| a.key() < b.key()));
    }

    #[test]
    fn what_was_written_knew_everything(a in related(), b in related(), knows_more in any::<bool>()) {
        let b = if knows_more { Record { written_ms: b.written_ms, ..merged(a.clone(), &b) } } else { b };
        let both = merged(a.clone(), &b);
        let all = [&a, &b].into_iter().filter(|one| one.digest() == both.digest() && one.deliveries == both.deliveries);
        prop_assert_eq!(both.written_ms, all.map(|one| one.written_ms).max().flatten());
    }
}

#[test]
fn a_late_write_of_a_former_owner_undoes_nothing() {
    use DeliveryStatus::{Delivered, Pending, Planned};
    let late = record(&[Delivered, Pending]);
    let mut known = record(&[Delivered, Delivered]);
    assert!(!known.merge(&late));
    assert!(!known.merge(&record(&[Planned, Planned])));
    assert_eq!(known, record(&[Delivered, Delivered]));
}

/// Both of one partition, in the topic that took a lost one's place: only the owner knows how the delivery ended.
#[test]
fn what_a_former_owner_writes_again_is_not_what_the_owner_knows() {
    let at = |status, written| {
        let mut record = record(&[status]);
        record.written_ms = written;
        record
    };
    let mut owners = at(DeliveryStatus::Delivered, Some(1_000));
    assert!(!owners.merge(&at(DeliveryStatus::Parked, Some(9_000))));
    assert_eq!(owners, at(DeliveryStatus::Delivered, Some(1_000)));
    let mut formers = at(DeliveryStatus::Parked, Some(9_000));
    assert!(formers.merge(&owners));
    assert_eq!(formers, owners);

    // Each has one end that the other one lacks: nobody has written both.
    let mut one = record(&[DeliveryStatus::Delivered, DeliveryStatus::Parked]);
    let mut two = record(&[DeliveryStatus::Parked, DeliveryStatus::Delivered]);
    (one.written_ms, two.written_ms) = (Some(1_000), Some(9_000));
    assert!(one.merge(&two));
    assert_eq!(one, record(&[DeliveryStatus::Delivered, DeliveryStatus::Delivered]));
}

#[test]
fn a_parked_delivery_that_was_accepted_ended_when_it_was_accepted() {
    let mut parked = record(&[DeliveryStatus::Planned]);
    parked.finish("rule-0", "agent", DeliveryStatus::Parked, 2_000);
    let mut accepted = parked.clone();
    accepted.finish("rule-0", "agent", DeliveryStatus::Delivered, 5_000);
    assert!(parked.merge(&accepted));
    assert_eq!(parked.deliveries()[0].ended_ms, Some(5_000));
}

#[test]
fn two_events_with_the_same_id_are_not_mixed() {
    let mut one = Record::new(7, 1_000, &plan(&[("rule", "agent")]));
    let other = Record::new(6, 9_000, &plan(&[("other", "agent")]));
    let mut reversed = other.clone();
    assert!(!reversed.merge(&one));
    assert!(one.merge(&other));
    assert_eq!((&one, &reversed), (&other, &other));
}
