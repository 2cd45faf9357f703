use super::*;
use DeliveryStatus::{Delivered, Pending, Planned};

const POSITION: LedgerPosition = LedgerPosition { offset: 42, anchor: 7 };

fn entries(ids: &[(&str, &[DeliveryStatus])]) -> Vec<(String, Record)> {
    ids.iter().map(|(id, statuses)| ((*id).to_owned(), record(statuses))).collect()
}

#[test]
fn a_batch_adds_and_merges_and_keeps_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.bind_ledger_topic(Some("ledger"), 9).unwrap();
    ledger.merge("known", &record(&[Delivered, Pending])).unwrap();
    ledger.merge("same", &record(&[Delivered])).unwrap();
    ledger.spoil("spoiled");
    let batch = entries(&[
        ("new", &[Planned, Planned]),
        ("known", &[Pending, Delivered]),
        ("spoiled", &[Delivered]),
        ("new", &[Delivered, Pending]),
        ("same", &[Delivered]),
    ]);
    let summary = ledger.merge_batch(3, batch.clone(), POSITION).unwrap();
    assert_eq!(summary, MergeSummary { added: 1, changed: 1, unchanged: 1, unreadable: 1 });
    assert_eq!(
        ledger.merge_batch(3, batch, POSITION).unwrap(),
        MergeSummary { unchanged: 3, unreadable: 1, ..MergeSummary::default() }
    );
    ledger.flush_blocking().unwrap();
    drop(ledger);

    let (ledger, opened) = open_with(dir.path(), &options()).unwrap();
    assert_eq!(opened.records, 4, "neither the position nor the topic is a record");
    assert_eq!(ledger.get("new").unwrap(), Some(record(&[Delivered, Pending])));
    assert_eq!(ledger.get("known").unwrap(), Some(record(&[Delivered, Delivered])));
    assert_eq!((ledger.position(3), ledger.position(4)), (Some(POSITION), None));
}

#[test]
fn a_batch_of_any_size_is_merged_whole() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let mut known = 0;
    for count in [0, 1, 63, 64, 65, 200] {
        let ids: Vec<String> = (0..count).map(|n| format!("{n:03}")).collect();
        let batch = ids.iter().map(|id| (id.clone(), record(&[Delivered]))).collect();
        let summary = ledger.merge_batch(0, batch, POSITION).unwrap();
        let added = count - known;
        assert_eq!(summary, MergeSummary { added, unchanged: known, ..MergeSummary::default() }, "{count} records");
        assert!(ids.iter().all(|id| ledger.get(id).unwrap().is_some()), "{count} records");
        known = count;
    }
    assert_eq!(ledger.len(), 200);
}

/// Each is small enough to be read from the topic; their sum would not be.
#[test]
fn records_that_add_up_to_a_large_one_are_not_merged() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let large = |from: u32| {
        let names: Vec<String> = (from..from + 200).map(|n| format!("{n:01000}")).collect();
        let plan: Vec<_> = names.iter().map(|name| (name.as_str(), "agent")).collect();
        ("event".to_owned(), Record::new(7, 1, &super::plan(&plan)))
    };
    ledger.merge_batch(0, vec![large(0)], POSITION).unwrap();
    let before = ledger.get("event").unwrap();
    let summary = ledger.merge_batch(0, vec![large(200)], POSITION).unwrap();
    assert_eq!(summary, MergeSummary { unreadable: 1, ..MergeSummary::default() });
    assert_eq!(ledger.get("event").unwrap(), before);
}

#[test]
fn positions_belong_to_a_topic_and_another_name_forgets_them() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    assert!(!ledger.bind_ledger_topic(Some("first"), 9).unwrap());
    for partition in [0, 1, i32::MAX] {
        ledger.merge_batch(partition, Vec::new(), POSITION).unwrap();
    }
    assert!(!ledger.bind_ledger_topic(Some("first"), 9).unwrap());
    assert_eq!(ledger.position(i32::MAX), Some(POSITION));
    drop(ledger);
    let ledger = open(dir.path());
    assert!(ledger.bind_ledger_topic(Some("second"), 9).unwrap());
    for partition in [0, 1, i32::MAX] {
        assert_eq!(ledger.position(partition), None);
    }
    assert!(!ledger.bind_ledger_topic(Some("second"), 9).unwrap());
}

#[test]
fn positions_and_the_topic_are_no_records_to_expire() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.bind_ledger_topic(Some("topic"), 9).unwrap();
    ledger.merge_batch(0, entries(&[("event", &[Delivered])]), POSITION).unwrap();
    let step = ledger.expire_step(None, at(u64::MAX), &rules(&|_| false), 512).unwrap();
    assert_eq!((step.scanned, step.expired, step.unreadable), (1, 1, 0));
    assert_eq!(ledger.position(0), Some(POSITION));
}

/// What the pipeline writes while a batch is merged is not overwritten by it.
#[test]
fn a_batch_and_single_writes_at_the_same_time_lose_nothing() {
    const EVENTS: usize = 500;
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let id = |n: usize| format!("event-{n}");
    std::thread::scope(|scope| {
        for writer in 0..4_usize {
            let ledger = ledger.clone();
            scope.spawn(move || {
                let mut statuses = [Pending; 4];
                statuses[writer] = Delivered;
                let record = record(&statuses);
                if writer % 2 == 0 {
                    let batch = (0..EVENTS).map(|n| (id(n), record.clone())).collect();
                    ledger.merge_batch(0, batch, POSITION).unwrap();
                } else {
                    (0..EVENTS).for_each(|n| drop(ledger.merge(&id(n), &record).unwrap()));
                }
            });
        }
    });
    assert_eq!(ledger.len(), EVENTS as u64);
    for n in 0..EVENTS {
        assert_eq!(ledger.get(&id(n)).unwrap(), Some(record(&[Delivered; 4])), "event-{n}");
    }
}
