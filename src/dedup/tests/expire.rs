use std::collections::HashSet;

use super::*;
use Status::{Dead, Delivered, Pending};

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
    let all: [(&str, &[Status]); 4] =
        [("dead", &[Dead]), ("done", &[Delivered]), ("partial", &[Delivered, Pending]), ("pending", &[Pending])];
    for (id, statuses) in all {
        ledger.put(id, &record(statuses)).unwrap();
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
        let chunk = ledger.expire_chunk(None, now, &nothing, 512).unwrap();
        assert_eq!((chunk.expired, chunk.next), (expired, None), "at {now}");
        assert_eq!(left(), remain, "at {now}");
        assert_eq!(ledger.len(), remain.len() as u64, "at {now}");
    }
}

#[test]
fn an_event_in_flight_is_never_removed() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.put("flying", &record(&[Delivered])).unwrap();
    ledger.put("landed", &record(&[Delivered])).unwrap();
    let chunk = ledger.expire_chunk(None, u64::MAX, &|id| id == "flying", 512).unwrap();
    assert_eq!((chunk.expired, chunk.scanned), (1, 2));
    assert!(ledger.get("flying").unwrap().is_some());
    assert!(ledger.get("landed").unwrap().is_none());
}

#[test]
fn a_scan_in_chunks_looks_at_every_record_once_and_not_at_the_header() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    for n in 0..100 {
        ledger.put(&format!("event-{n}"), &record(&[if n % 2 == 0 { Delivered } else { Pending }])).unwrap();
    }
    let (mut cursor, mut scanned, mut expired, mut seen) = (None, 0, 0, HashSet::new());
    loop {
        let looked = std::cell::RefCell::new(Vec::new());
        let note = |id: &str| {
            looked.borrow_mut().push(id.to_owned());
            false
        };
        let chunk = ledger.expire_chunk(cursor, SEEN + WINDOW + 1, &note, 7).unwrap();
        assert!(chunk.scanned <= 7);
        assert_eq!(chunk.unreadable, 0);
        scanned += chunk.scanned;
        expired += chunk.expired;
        for id in looked.into_inner() {
            assert!(seen.insert(id.clone()), "{id} twice");
        }
        cursor = chunk.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((scanned, expired, seen.len(), ledger.len()), (100, 50, 50, 50));
    drop(ledger);
    assert_eq!(Ledger::open(dir.path(), &options()).unwrap().1, Opened { recovered: true, records: 50 });
}

#[test]
fn a_record_that_is_written_between_the_look_and_the_removal_stays() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.put("event", &record(&[Delivered])).unwrap();
    let newer = Record::new(8, WINDOW, &plan(&[("rule", "agent")]));
    // The look asks whether the event is in flight: right then it is written.
    let meddle = |id: &str| {
        ledger.put(id, &newer).unwrap();
        false
    };
    let chunk = ledger.expire_chunk(None, SEEN + WINDOW + 1, &meddle, 512).unwrap();
    assert_eq!((chunk.expired, chunk.scanned), (0, 1));
    assert_eq!(ledger.get("event").unwrap(), Some(newer));
    assert_eq!(ledger.len(), 1);
}

#[test]
fn an_unreadable_record_is_left_alone_and_the_scan_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.put("a", &record(&[Delivered])).unwrap();
    ledger.disk().attempt("test", |store| store.insert(b"\x01b", b"\x01rubbish")).unwrap();
    ledger.put("c", &record(&[Delivered])).unwrap();
    let chunk = ledger.expire_chunk(None, u64::MAX, &nothing, 512).unwrap();
    assert_eq!((chunk.scanned, chunk.expired, chunk.unreadable), (3, 2, 1));
    assert_eq!(ledger.get("b").unwrap_err().kind(), "corrupt_record");
}

#[test]
fn a_local_clock_that_jumps_ahead_expires_nothing() {
    assert_eq!(ledger_now(5_000, None), None);
    assert_eq!(ledger_now(5_000, Some(3_000)), Some(3_000));
    assert_eq!(ledger_now(5_000, Some(9_000)), Some(5_000));
}

/// The dispatcher gives expiry half of its time while records leave: see `pipeline/expiry.rs`.
#[test]
fn records_leave_faster_than_the_ledger_takes_them_in() {
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
                    ledger.put(&id.to_string(), &record(&[Delivered, Delivered])).unwrap();
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
    loop {
        let step = std::time::Instant::now();
        cursor = ledger.expire_chunk(cursor, u64::MAX, &nothing, 64).unwrap().next;
        longest = longest.max(step.elapsed());
        if cursor.is_none() {
            break;
        }
    }
    let left = began.elapsed();
    let rate = |time: Duration| RECORDS as f64 / time.as_secs_f64();
    println!(
        "durable, {AT_A_TIME} at a time: {:.0} records/s; expiry in chunks of 64: {:.0} records/s, longest chunk {longest:?}",
        rate(taken_in),
        rate(left)
    );
    assert!(ledger.is_empty());
    assert!(left * 2 < taken_in, "half of the time is not enough: {left:?} against {taken_in:?}");
}
