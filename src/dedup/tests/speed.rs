//! What the ledger costs: printed, and checked only for what does not depend on the machine. `LEDGER_RECORDS=1000000`
//! makes the batches those of a full window.

use std::{fs, time::Instant};

use super::*;
use crate::cases::cases;

/// A field of this process's status, in MiB.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.trim().strip_suffix(" kB"));
    line.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// The record of an event that one LangGraph agent accepted at its first attempt.
fn typical(n: u64) -> Record {
    const SEEN: u64 = 1_700_000_000_000;
    let id = |n: u64| uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, &n.to_be_bytes()).to_string();
    let mut record = Record::new(n, SEEN + n, &plan(&[("analyse", "analyst")]));
    let offset = i64::try_from(n).unwrap();
    record.record_source(Source { topic: "workflow-events".into(), partition: 0, offset });
    record.written_ms = Some(SEEN + n + 800);
    record.record_attempt("analyse", "analyst");
    record.record_run("analyse", "analyst", RunRecord::new(&id(n), Some(&id(n + 1))));
    record.finish("analyse", "analyst", DeliveryStatus::Delivered, SEEN + n + 700);
    record
}

fn event_id(n: u64) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &n.to_be_bytes()).to_string()
}

#[test]
fn many_records_are_merged_from_the_ledger_topic() {
    const BATCH: u64 = 20_000;
    let asked_for = std::env::var("LEDGER_RECORDS").ok().map(|records| records.parse().unwrap());
    let records = asked_for.unwrap_or_else(|| cases(50_000_u64));
    let dir = tempfile::tempdir().unwrap();
    let ledger = open_with(dir.path(), &LedgerOptions { cache_bytes: 32 << 20, ..options() }).unwrap().0;
    println!(
        "{} bytes a record, {} MiB resident before",
        crate::dedup::codec::encode(&typical(1)).len(),
        memory("VmRSS")
    );
    for (time, from_nothing) in [("from nothing", true), ("again", false)] {
        let (mut took, mut summary) = (Duration::ZERO, MergeSummary::default());
        for first in (0..records).step_by(usize::try_from(BATCH).unwrap()) {
            let batch: Vec<_> = (first..records.min(first + BATCH)).map(|n| (event_id(n), typical(n))).collect();
            let began = Instant::now();
            let position = LedgerPosition { offset: i64::try_from(first).unwrap(), anchor: 0 };
            let one = ledger.merge_batch(0, batch, position).unwrap();
            took += began.elapsed();
            summary.added += one.added;
            summary.unchanged += one.unchanged;
        }
        let began = Instant::now();
        ledger.flush_blocking().unwrap();
        println!(
            "{records} records {time}: {took:?}, flush {:?}, {} MiB resident, at most {}",
            began.elapsed(),
            memory("VmRSS"),
            memory("VmHWM")
        );
        let expected = usize::try_from(records).unwrap();
        assert_eq!(if from_nothing { summary.added } else { summary.unchanged }, expected, "{time}: {summary:?}");
    }
    assert_eq!(ledger.len(), records);
}

#[test]
fn a_call_of_merge_costs_little_more_than_a_write() {
    let records = cases(20_000_u64);
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    for round in ["first", "unchanged", "changed"] {
        let began = Instant::now();
        for n in 0..records {
            let mut record = typical(n);
            record.written_ms = record.written_ms.map(|ms| ms + u64::from(round == "changed"));
            ledger.merge(&event_id(n), &record).unwrap();
        }
        println!("{round}: {:?} a call of merge", began.elapsed() / u32::try_from(records).unwrap());
    }
    assert_eq!(ledger.len(), records);
}
