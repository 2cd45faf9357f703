use super::*;
use DeliveryStatus::{Delivered, Parked};

fn written(partition: i32, written_ms: Option<u64>) -> Record {
    let mut record = record(&[Delivered]);
    record.record_source(Source { topic: "events".into(), partition, offset: 1 });
    record.written_ms = written_ms;
    record
}

/// What is written so soon after a loss is written once more.
const SKEW: u64 = 60_000;

/// The records that are to be written again, by a process that owns no partition any more.
pub(super) fn due(ledger: &Ledger) -> Vec<String> {
    due_at(ledger, 0)
}

fn due_at(ledger: &Ledger, local_ms: u64) -> Vec<String> {
    let rules = ExpiryRules { is_needed: &|_| false, is_owned: &|_, _| false };
    let clock = ExpiryClock { owned_ms: 0, others_ms: 0, local_ms };
    let step = ledger.expire_step(None, clock, &rules, 512).unwrap();
    assert_eq!(step.expired, 0);
    step.rewrite_due.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn what_the_ledger_topic_lost_is_due_until_it_was_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    for (id, partition, time) in [("old", 0, Some(1_500)), ("late", 0, Some(2_000 + SKEW)), ("never", 0, None)] {
        ledger.merge(id, &written(partition, time)).unwrap();
    }
    ledger.merge("elsewhere", &written(1, Some(1_500))).unwrap();
    ledger.merge("of-no-partition", &record(&[Parked])).unwrap();
    assert_eq!((due(&ledger), ledger.topic_losses()), (vec![], 0));

    ledger.note_topic_loss(Some(0), 2_000).unwrap();
    assert_eq!(due(&ledger), ["never", "old"]);
    assert_eq!(ledger.topic_losses(), 1);
    assert!(ledger.is_lost(&written(0, Some(1_500))) && !ledger.is_lost(&written(1, Some(1_500))));
    ledger.merge("old", &written(0, Some(ledger.written_now(2_001)))).unwrap();
    assert_eq!(due(&ledger), ["never"]);

    // After a restart, what was not written again is still due.
    ledger.flush_blocking().unwrap();
    drop(ledger);
    let (ledger, opened) = open_with(dir.path(), &options()).unwrap();
    assert_eq!(opened.records, 5, "a loss is no record");
    assert_eq!(due(&ledger), ["never"]);
    assert_ne!(ledger.topic_losses(), 0);

    // A clock that was set back makes nothing due for ever, and hides no later loss.
    assert_eq!((ledger.written_now(1_000), ledger.written_now(90_000)), (2_000 + SKEW, 90_000));
    ledger.note_topic_loss(Some(0), 1_000).unwrap();
    assert_eq!(due(&ledger), ["late", "never", "old"]);
    ledger.merge("old", &written(0, Some(ledger.written_now(1_001)))).unwrap();
    assert_eq!(due(&ledger), ["late", "never"]);

    ledger.note_topic_loss(None, 2_001).unwrap();
    assert_eq!(due(&ledger), ["elsewhere", "late", "never", "old"]);
    assert_eq!(ledger.position(0), None);
}

#[test]
fn what_the_ledger_topic_would_have_forgotten_by_itself_is_not_written_again() {
    const DAY: u64 = 24 * 3_600 * 1_000;
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.merge("final", &written(0, None)).unwrap();
    let mut unfinished = written(0, None);
    unfinished.deliveries[0].status = Parked;
    ledger.merge("parked", &unfinished).unwrap();
    ledger.note_topic_loss(None, 2 * DAY).unwrap();
    // The window and the margin of the topic, from when it was first seen.
    let kept = 1_000 + 60_000 + DAY;
    assert_eq!(due_at(&ledger, kept), ["final", "parked"]);
    assert_eq!(due_at(&ledger, kept + 1), ["parked"]);
}

#[test]
fn a_ledger_topic_that_the_ledger_was_not_bound_to_gets_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.bind_ledger_topic(Some("first"), 1_000).unwrap();
    assert_eq!(ledger.topic_losses(), 0, "there is nothing to write");
    ledger.merge("event", &written(0, Some(1_500))).unwrap();
    ledger.bind_ledger_topic(Some("first"), 2_000).unwrap();
    assert_eq!(due(&ledger), [""; 0]);

    ledger.bind_ledger_topic(Some("second"), 2_000).unwrap();
    assert_eq!(due(&ledger), ["event"]);
    ledger.merge("event", &written(0, Some(2_000 + SKEW))).unwrap();
    assert_eq!(due(&ledger), [""; 0]);

    // Off, and on again: what was written meanwhile is unknown to the topic.
    ledger.bind_ledger_topic(None, 3_000).unwrap();
    ledger.merge("meanwhile", &written(0, None)).unwrap();
    ledger.bind_ledger_topic(Some("second"), 4_000).unwrap();
    assert_eq!(due(&ledger), ["event", "meanwhile"]);
}

/// One replica parked the event, the next one delivered it; the topic lost both records, and the first writes again what it
/// knows before the second has come to it.
#[test]
fn what_a_former_owner_writes_again_keeps_nothing_from_the_topic() {
    let (former_dir, owner_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (former, owner) = (open(former_dir.path()), open(owner_dir.path()));
    let mut parked = written(0, Some(1_500));
    parked.deliveries[0].status = Parked;
    former.merge("event", &parked).unwrap();
    owner.merge("event", &written(0, Some(1_600))).unwrap();
    for ledger in [&former, &owner] {
        ledger.note_topic_loss(Some(0), 2_000).unwrap();
    }

    let mut topic = Vec::new();
    let mut refill = |ledger: &Ledger| {
        for id in due(ledger) {
            let mut record = ledger.get(&id).unwrap().unwrap();
            record.record_written(ledger.written_now(2_001));
            ledger.merge(&id, &record).unwrap();
            topic.push((id, record));
        }
        topic.clone()
    };
    for (id, record) in refill(&former) {
        owner.merge(&id, &record).unwrap();
    }
    let topic = refill(&owner);
    assert_eq!(topic.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["event", "event"]);
    assert_eq!(due(&owner), [""; 0], "once is enough");

    let (later_dir, mut states) = (tempfile::tempdir().unwrap(), Vec::new());
    let later = open(later_dir.path());
    for (id, record) in &topic {
        later.merge(id, record).unwrap();
        former.merge(id, record).unwrap();
        states.push(later.get(id).unwrap().unwrap().state());
    }
    assert_eq!(states, [RecordState::Parked, RecordState::Done]);
    assert_eq!((due(&former), due(&later)), (vec![], vec![]));
}

/// Each side knows the end of one delivery: what a process has in hand of an event, and what its ledger got meanwhile.
#[test]
fn a_change_is_written_unless_the_topic_lost_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.note_topic_loss(Some(0), 2_000).unwrap();
    let with = |statuses: [DeliveryStatus; 2], written_ms| {
        let mut record = record(&statuses);
        record.record_source(Source { topic: "events".into(), partition: 0, offset: 1 });
        record.written_ms = written_ms;
        record
    };
    let in_hand = with([Delivered, Parked], Some(1_500));
    let rewritten = Some(ledger.written_now(2_001));
    // The loss counts until a minute after it was noted.
    for now in [2_500, 90_000] {
        let id = |name: &str| format!("{name} at {now}");
        let merged = |id: &str, known: Option<Record>| {
            if let Some(known) = known {
                ledger.merge(id, &known).unwrap();
            }
            let merged = ledger.merge_appended(id, &in_hand, now).unwrap();
            assert_eq!(ledger.get(id).unwrap(), Some(merged.clone()), "{id}");
            merged
        };
        let lost = merged(&id("lost"), Some(with([Parked, Delivered], Some(1_500))));
        assert_eq!(lost, with([Delivered, Delivered], None), "at {now}");
        assert!(ledger.is_lost(&lost));

        let kept = merged(&id("rewritten"), Some(with([Parked, Delivered], rewritten)));
        assert_eq!(kept, with([Delivered, Delivered], rewritten.max(Some(now))));
        assert!(!ledger.is_lost(&kept), "at {now}");

        // What is in hand was written before it was changed.
        let id = id("changed");
        ledger.merge(&id, &with([Parked, Parked], Some(1_500))).unwrap();
        let changed = ledger.merge_appended(&id, &with([Delivered, Delivered], rewritten), now).unwrap();
        assert!(ledger.is_lost(&changed), "at {now}");

        let only = merged(&format!("in hand at {now}"), None);
        assert_eq!(only, in_hand, "at {now}");
        assert!(ledger.is_lost(&only));
    }
}

/// Which of the two stands is decided by their digests. What is appended is the one that stands.
#[test]
fn a_change_does_not_stamp_another_event_with_the_same_id() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let of = |digest| Record::new(digest, 1_000, &plan(&[("rule", "agent")]));
    ledger.merge("event", &of(5)).unwrap();
    assert_eq!(ledger.merge_appended("event", &of(6), 9_000).unwrap(), of(5));
    assert_eq!(ledger.merge_appended("event", &of(4), 9_000).unwrap().written_ms(), Some(9_000));
    assert_eq!(ledger.get("event").unwrap().map(|record| record.digest()), Some(4));
}
