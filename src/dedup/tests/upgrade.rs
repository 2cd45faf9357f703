//! A ledger of format 1, written by version 0.1.0 before there was a format 2: 100 events of five kinds.

use std::fs;

use super::*;
use crate::dedup::{codec, header::FORMAT, keys::HEADER_KEY};
use DeliveryStatus::{Dead, Delivered, Pending, Planned};

const FILES: [(&str, &[u8]); 4] = [
    ("db", include_bytes!("format1/db")),
    ("conf", include_bytes!("format1/conf")),
    ("ledger.txt", include_bytes!("format1/ledger.txt")),
    ("closed.txt", include_bytes!("format1/closed.txt")),
];
const RECORDS: u64 = 100;
const SEEN: u64 = 1_700_000_000_000;

fn folder_of_format_1() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("blobs")).unwrap();
    for (name, bytes) in FILES {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// The record of event `n`, as this format has what format 1 knew.
fn expected(n: u64) -> Record {
    let mut record = Record::new(n, SEEN + n, &plan(&[("analyse", "analyst"), ("analyse", "audit")]));
    let [analyst, audit] = &mut record.deliveries[..] else { unreachable!("two deliveries") };
    match n % 5 {
        0 => {}
        1 => {
            (analyst.attempts, analyst.failed_attempts) = (1, 1);
            analyst.first_attempt_ms = Some(1_700_000_100_000 + n);
            (audit.attempts, audit.first_attempt_ms) = (1, Some(1_700_000_200_000 + n));
        }
        2 => (analyst.status, audit.status, audit.attempts) = (Pending, Delivered, 1),
        3 => (analyst.status, audit.status) = (Dead, Delivered),
        _ => (analyst.status, audit.status) = (Delivered, Delivered),
    }
    record
}

/// The formats of the header and of the records, as they are in the store.
fn formats(ledger: &Ledger) -> (u8, Vec<u8>) {
    let read = |key: &[u8]| ledger.store().attempt("test", |store| store.get(key)).unwrap().unwrap();
    let records = (0..RECORDS).map(|n| read(&[b"\x01event-", n.to_string().as_bytes()].concat())[0]).collect();
    (read(HEADER_KEY)[8], records)
}

#[test]
fn a_folder_of_format_1_opens_with_all_that_it_knew() {
    let dir = folder_of_format_1();
    for time in 0..2 {
        let (ledger, opened) = open_with(dir.path(), &options()).unwrap();
        assert_eq!(opened, Opened { recovered: true, records: RECORDS, replaced: None }, "time {time}");
        ledger.bind_cluster("cluster-1").unwrap();
        assert!(matches!(ledger.bind_cluster("cluster-2"), Err(OpenError::Cluster { .. })));
        for n in 0..RECORDS {
            assert_eq!(ledger.get(&format!("event-{n}")).unwrap(), Some(expected(n)), "time {time}: event-{n}");
        }
        let (header, records) = formats(&ledger);
        assert_eq!(header, FORMAT);
        assert!(records.iter().all(|format| *format == 1), "they are read as they are");
    }
}

#[test]
fn a_record_of_format_1_is_written_in_this_format_with_its_next_change() {
    let dir = folder_of_format_1();
    let ledger = open(dir.path());
    let mut record = ledger.get("event-1").unwrap().unwrap();
    assert_eq!(record.deliveries()[0].status, Planned);
    record.finish("analyse", "audit", Delivered, SEEN + 5_000);
    assert_eq!(ledger.merge("event-1", &record).unwrap(), record);
    let (_, records) = formats(&ledger);
    assert_eq!((records[1], records[2]), (FORMAT, 1));
    drop(ledger);
    assert_eq!(open(dir.path()).get("event-1").unwrap(), Some(record));
}

/// A copy of a folder, as a crash leaves it: what was written so far, and no note of an orderly stop.
fn as_after_a_crash(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("blobs")).unwrap();
    for name in ["db", "conf", "ledger.txt"] {
        fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

#[test]
fn an_upgrade_that_stops_half_way_goes_on_at_the_next_start() {
    let dir = folder_of_format_1();
    // Before the header was written.
    let before = as_after_a_crash(dir.path());
    assert_eq!(formats(&open(before.path())).0, FORMAT);

    // After the header, and after half of the records.
    let ledger = open(dir.path());
    for changed in 0..=RECORDS / 2 {
        if changed % 25 == 0 {
            ledger.flush_blocking().unwrap();
            let copy = open(as_after_a_crash(dir.path()).path());
            let (header, records) = formats(&copy);
            let upgraded: u64 = records.iter().map(|format| u64::from(*format == FORMAT)).sum();
            assert_eq!((header, upgraded, copy.len()), (FORMAT, changed, RECORDS));
        }
        let id = format!("event-{changed}");
        let mut record = ledger.get(&id).unwrap().unwrap();
        record.record_source(Source { topic: "events".into(), partition: 0, offset: 1 });
        ledger.merge(&id, &record).unwrap();
    }
}

/// What an older bridge must be able to rely on: it refuses the ledger before it reads a record that it cannot.
#[test]
fn the_header_is_of_this_format_before_any_record_is() {
    let dir = folder_of_format_1();
    let ledger = open(dir.path());
    let copy = as_after_a_crash(dir.path());
    drop(ledger);
    let bytes = fs::read(copy.path().join("db")).unwrap();
    assert!(bytes.windows(9).any(|window| window == b"wbledger\x03"), "the header was not flushed by the open");
    let record = codec::encode(&expected(0));
    assert_eq!(record[0], FORMAT);
}
