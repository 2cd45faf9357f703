use std::collections::HashSet;

use super::*;
use DeliveryStatus::{Dead, Delivered, Parked, Pending, Planned};

/// The window of [`options`], in ms.
const WINDOW: u64 = 60_000;
/// When the records of [`record`] were first seen.
const SEEN: u64 = 1_000;

fn nothing(_: &str) -> bool {
    false
}

#[test]
fn nothing_expires_before_its_time_and_finished_before_unfinished() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let all: [(&str, &[DeliveryStatus]); 4] =
        [("dead", &[Dead]), ("done", &[Delivered]), ("partial", &[Delivered, Pending]), ("pending", &[Planned])];
    for (id, statuses) in all {
        ledger.merge(id, &record(statuses)).unwrap();
    }
    let left = || all.iter().map(|(id, _)| *id).filter(|id| ledger.get(id).unwrap().is_some()).collect::<Vec<_>>();

    let table: [(u64, usize, &[&str]); 6] = [
        (0, 0, &["dead", "done", "partial", "pending"]),
        (SEEN + WINDOW, 0, &["dead", "done", "partial", "pending"]),
        (SEEN + WINDOW + 1, 2, &["partial", "pending"]),
        (SEEN + 4 * WINDOW, 0, &["partial", "pending"]),
        (SEEN + 4 * WINDOW + 1, 2, &[]),
        (u64::MAX, 0, &[]),
    ];
    for (now, expired, remain) in table {
        let step = ledger.expire_step(None, at(now), &rules(&nothing), 512).unwrap();
        assert_eq!((step.expired, step.next), (expired, None), "at {now}");
        assert_eq!(left(), remain, "at {now}");
        assert_eq!(ledger.len(), remain.len() as u64, "at {now}");
    }
}

/// A record as [`record`] makes it, that was read from a partition.
fn read_from(partition: i32, statuses: &[DeliveryStatus]) -> Record {
    let mut record = record(statuses);
    record.record_source(Source { topic: "events".into(), partition, offset: 1 });
    record
}

#[test]
fn a_record_of_a_partition_of_another_process_stays_as_long_as_in_the_ledger_topic() {
    const DAY: u64 = 24 * 3_600 * 1_000;
    let dir = tempfile::tempdir().unwrap();
    // The margin is a day for the short window, and a seventh of the long one.
    for (window, margin) in [(WINDOW, DAY), (14 * DAY, 2 * DAY)] {
        let options = LedgerOptions { window: Duration::from_millis(window), ..options() };
        let ledger = open_with(dir.path(), &options).unwrap().0;
        let all: [(&str, i32, &[DeliveryStatus]); 5] = [
            ("other-done", 1, &[Delivered]),
            ("other-parked", 1, &[Parked]),
            ("own-done", 0, &[Delivered]),
            ("own-parked", 0, &[Parked]),
            ("own-pending", 0, &[Planned]),
        ];
        for (id, partition, statuses) in all {
            ledger.merge(id, &read_from(partition, statuses)).unwrap();
        }
        let rules =
            ExpiryRules { is_needed: &nothing, is_owned: &|topic, partition| topic == "events" && partition == 0 };
        let left = |owned_ms, others_ms| {
            ledger.expire_step(None, ExpiryClock { owned_ms, others_ms, local_ms: 0 }, &rules, 512).unwrap();
            all.iter().map(|(id, ..)| *id).filter(|id| ledger.get(id).unwrap().is_some()).collect::<Vec<_>>()
        };
        let unfinished = (4 * window).max(window + margin);
        assert_eq!(left(SEEN + window, SEEN + window + margin), all.map(|(id, ..)| id));
        assert_eq!(
            left(SEEN + window + 1, SEEN + window + margin),
            ["other-done", "other-parked", "own-parked", "own-pending"]
        );
        assert_eq!(
            left(SEEN, SEEN + window + margin + 1),
            if unfinished > window + margin {
                ["other-parked", "own-parked", "own-pending"].as_slice()
            } else {
                &["own-parked", "own-pending"]
            }
        );
        assert_eq!(left(SEEN, SEEN + unfinished + 1), ["own-parked", "own-pending"]);
        assert_eq!(left(SEEN + 4 * window + 1, SEEN), [""; 0]);
    }
}

#[test]
fn unfinished_records_are_reported_in_time_to_be_written_to_the_ledger_topic_again() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let mut written = read_from(0, &[Planned]);
    written.written_ms = Some(SEEN + 10_000);
    ledger.merge("written", &written).unwrap();
    ledger.merge("never-written", &read_from(0, &[Delivered, Pending])).unwrap();
    ledger.merge("parked", &read_from(0, &[Parked])).unwrap();
    ledger.merge("finished", &read_from(0, &[Delivered])).unwrap();
    // Behind an offset that is not committed: the next owner reads its event again.
    ledger.merge("finished-and-needed", &read_from(0, &[Delivered])).unwrap();
    ledger.merge("of-another", &read_from(1, &[Parked])).unwrap();
    ledger.merge("of-no-partition", &record(&[Parked])).unwrap();
    let rules = ExpiryRules { is_needed: &|id| id == "finished-and-needed", is_owned: &|_, partition| partition == 0 };
    let due = |local_ms| {
        let clock = ExpiryClock { owned_ms: SEEN, others_ms: SEEN, local_ms };
        let step = ledger.expire_step(None, clock, &rules, 512).unwrap();
        step.rewrite_due.into_iter().map(|(id, record)| (id, record.written_ms())).collect::<Vec<_>>()
    };
    assert_eq!(due(SEEN + WINDOW / 2), []);
    let first = ["finished-and-needed", "never-written", "parked"].map(|id| (id.to_owned(), None));
    assert_eq!(due(SEEN + WINDOW / 2 + 1), first);
    let all = [&first[..], &[("written".to_owned(), Some(SEEN + 10_000))]].concat();
    assert_eq!(due(SEEN + 10_000 + WINDOW / 2 + 1), all);
    assert_eq!(
        ledger.expire_step(None, at(SEEN + WINDOW), &rules, 3).unwrap().rewrite_due.len(),
        2,
        "of three examined"
    );
}

#[test]
fn an_event_in_flight_is_never_removed() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.merge("in-flight", &record(&[Delivered])).unwrap();
    ledger.merge("finished", &record(&[Delivered])).unwrap();
    let step = ledger.expire_step(None, at(u64::MAX), &rules(&|id| id == "in-flight"), 512).unwrap();
    assert_eq!((step.expired, step.scanned), (1, 2));
    assert!(ledger.get("in-flight").unwrap().is_some());
    assert!(ledger.get("finished").unwrap().is_none());
}

#[test]
fn a_scan_in_steps_examines_every_record_once_and_not_the_header() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    for n in 0..100 {
        ledger.merge(&format!("event-{n}"), &record(&[if n % 2 == 0 { Delivered } else { Pending }])).unwrap();
    }
    let (mut cursor, mut scanned, mut expired, mut seen) = (None, 0, 0, HashSet::new());
    loop {
        let examined = std::cell::RefCell::new(Vec::new());
        let keep = |id: &str| {
            examined.borrow_mut().push(id.to_owned());
            false
        };
        let step = ledger.expire_step(cursor, at(SEEN + WINDOW + 1), &rules(&keep), 7).unwrap();
        assert!(step.scanned <= 7);
        assert_eq!(step.unreadable, 0);
        scanned += step.scanned;
        expired += step.expired;
        for id in examined.into_inner() {
            assert!(seen.insert(id.clone()), "{id} twice");
        }
        cursor = step.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((scanned, expired, seen.len(), ledger.len()), (100, 50, 50, 50));
    drop(ledger);
    assert_eq!(open_with(dir.path(), &options()).unwrap().1, Opened { recovered: true, records: 50, replaced: None });
}

#[test]
fn a_record_that_is_written_between_the_scan_and_the_removal_stays() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.merge("event", &record(&[Delivered])).unwrap();
    let newer = Record::new(6, WINDOW, &plan(&[("rule", "agent")]));
    // The scan asks whether to keep the record: it is written at that moment.
    let meddle = |id: &str| {
        ledger.merge(id, &newer).unwrap();
        false
    };
    let step = ledger.expire_step(None, at(SEEN + WINDOW + 1), &rules(&meddle), 512).unwrap();
    assert_eq!((step.expired, step.scanned), (0, 1));
    assert_eq!(ledger.get("event").unwrap(), Some(newer));
    assert_eq!(ledger.len(), 1);
}

#[test]
fn an_unreadable_record_is_left_alone_and_the_scan_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.merge("a", &record(&[Delivered])).unwrap();
    ledger.spoil("b");
    ledger.merge("c", &record(&[Delivered])).unwrap();
    let step = ledger.expire_step(None, at(u64::MAX), &rules(&nothing), 512).unwrap();
    assert_eq!((step.scanned, step.expired, step.unreadable), (3, 2, 1));
    let error = ledger.get("b").unwrap_err();
    assert!(matches!(error, LedgerError::CorruptRecord { .. }), "{error:?}");
}

#[test]
fn a_local_clock_that_jumps_ahead_expires_nothing() {
    assert_eq!(ledger_now(5_000, None), None);
    assert_eq!(ledger_now(5_000, Some(3_000)), Some(3_000));
    assert_eq!(ledger_now(5_000, Some(9_000)), Some(5_000));
}

/// The dispatcher gives expiry half of its time while records leave (see `pipeline/expiry.rs`): with `--nocapture`, both
/// rates. The second should be more than twice the first.
#[test]
fn what_was_taken_in_leaves_in_steps_until_nothing_is_left() {
    const RECORDS: usize = 20_000;
    const AT_A_TIME: usize = 64;
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let began = std::time::Instant::now();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..AT_A_TIME {
            let ledger = ledger.clone();
            tasks.spawn(async move {
                for n in (task..RECORDS).step_by(AT_A_TIME) {
                    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &n.to_be_bytes());
                    ledger.merge(&id.to_string(), &record(&[Delivered, Delivered])).unwrap();
                    ledger.durable().await.unwrap();
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
    let taken_in = began.elapsed();
    let began = std::time::Instant::now();
    let (mut cursor, mut longest) = (None, Duration::ZERO);
    assert_eq!(ledger.len(), RECORDS as u64);
    loop {
        let started = std::time::Instant::now();
        let step = ledger.expire_step(cursor, at(u64::MAX), &rules(&nothing), 64).unwrap();
        assert!(step.scanned <= 64, "{}", step.scanned);
        cursor = step.next;
        longest = longest.max(started.elapsed());
        if cursor.is_none() {
            break;
        }
    }
    let left = began.elapsed();
    let rate = |time: Duration| RECORDS as f64 / time.as_secs_f64();
    println!(
        "durable, {AT_A_TIME} at a time: {:.0} records/s; expiry in steps of 64: {:.0} records/s, longest step {longest:?}",
        rate(taken_in),
        rate(left)
    );
    assert_eq!(ledger.len(), 0);
}
