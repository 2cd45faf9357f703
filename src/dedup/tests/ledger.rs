use super::*;
use crate::dedup::store::StoreError;
use DeliveryStatus::{Delivered, Pending};

#[tokio::test]
async fn what_is_durable_is_found_again_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let record = record(&[Delivered, Pending]);
    {
        let (ledger, opened) = open_with(dir.path(), &options()).unwrap();
        assert_eq!(opened, Opened { recovered: false, records: 0, replaced: None });
        assert_eq!(ledger.get("event").unwrap(), None);
        ledger.merge("event", &record).unwrap();
        ledger.durable().await.unwrap();
        assert_eq!(ledger.get("event").unwrap().as_ref(), Some(&record));
    }
    let (ledger, opened) = open_with(dir.path(), &options()).unwrap();
    assert_eq!(opened, Opened { recovered: true, records: 1, replaced: None });
    assert_eq!(ledger.get("event").unwrap(), Some(record));
}

#[test]
fn a_record_that_is_written_again_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    assert!(ledger.len() == 0);
    for _ in 0..3 {
        ledger.merge("event", &record(&[Pending])).unwrap();
    }
    ledger.merge(&"x".repeat(255), &record(&[Pending])).unwrap();
    assert_eq!(ledger.len(), 2);
}

#[test]
fn a_corrupt_record_names_its_event_and_harms_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.spoil("bad");
    let error = ledger.get("bad").unwrap_err();
    assert!(matches!(error, LedgerError::CorruptRecord { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("\"bad\"") && text.contains("found 9") && text.contains(".bad`"), "{text}");
    ledger.merge("good", &record(&[Pending])).unwrap();
    assert!(ledger.get("good").unwrap().is_some());
    assert_eq!(ledger.store().check(), Ok(()));
}

#[tokio::test]
async fn the_first_failure_is_for_good_and_for_every_call() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.merge("event", &record(&[Pending])).unwrap();
    let full = StoreError::Io(std::io::ErrorKind::StorageFull.into());
    let first = ledger.store().fail("flush", full);
    assert!(matches!(first, LedgerError::DiskFull { .. }), "{first:?}");
    // A later failure of another kind does not take its place.
    assert_eq!(ledger.store().fail("flush", StoreError::Corrupt("late".into())), first);

    assert_eq!(ledger.get("event").unwrap_err(), first);
    assert_eq!(ledger.get("absent").unwrap_err(), first);
    assert_eq!(ledger.merge("event", &record(&[Pending])).unwrap_err(), first);
    assert_eq!(ledger.durable().await.unwrap_err(), first);
    assert_eq!(ledger.flush_blocking().unwrap_err(), first);
    assert_eq!(ledger.expire_step(None, at(0), &rules(&|_| false), 1).unwrap_err(), first);
    assert_eq!(ledger.bind_cluster("cluster").unwrap_err(), OpenError::Failed(first.clone()));
    assert_eq!(ledger.store().check(), Err(first));
}

/// The child of the test below: writes until it fails, and says how.
#[test]
fn child_that_fills_its_disk() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let ledger = open(Path::new(&dir));
        let mut acknowledged = 0;
        let failure = loop {
            let id = format!("event-{acknowledged}");
            match ledger.merge(&id, &record(&[Pending; 40])) {
                Ok(_) => match ledger.durable().await {
                    Ok(()) => acknowledged += 1,
                    Err(error) => break error,
                },
                Err(error) => break error,
            }
        };
        let after = [
            ledger.get("event-0").map(|_| ()).unwrap_err(),
            ledger.merge("event", &record(&[Pending])).map(|_| ()).unwrap_err(),
            ledger.durable().await.unwrap_err(),
            ledger.flush_blocking().unwrap_err(),
        ];
        assert!(after.iter().all(|error| *error == failure), "{failure:?}, then {after:?}");
        let reason = if matches!(failure, LedgerError::DiskFull { .. }) { "disk_full" } else { "other" };
        println!("acknowledged {acknowledged} {reason}");
        drop(ledger);
        println!("dropped");
    });
}

/// A file size limit stands for a full disk: the kernel refuses the write just the same.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_fails_every_call_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let child = child("dedup::tests::ledger::child_that_fills_its_disk", dir.path());
    // The signal that comes with the limit would end the process: ignored, the write fails instead.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\""]).arg(child.get_program());
    limited.args(child.get_args()).env(CHILD_DIR, dir.path());
    let output = limited.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let history = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("dropped"), "{history}");
    let line = text.lines().find_map(|line| line.split("acknowledged ").nth(1)).expect(&history);
    let (acknowledged, reason) = line.split_once(' ').unwrap();
    let acknowledged: u64 = acknowledged.parse().unwrap();
    assert_eq!(reason, "disk_full", "{history}");
    assert!(acknowledged > 10, "{history}");

    let ledger = open(dir.path());
    for n in 0..acknowledged {
        assert!(ledger.get(&format!("event-{n}")).unwrap().is_some(), "event-{n} is missing\n{history}");
    }
}
