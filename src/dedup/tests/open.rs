use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::PathBuf,
};

use super::*;
use crate::dedup::header::Header;

fn refused(dir: &Path, options: &LedgerOptions) -> OpenError {
    open_with(dir, options).map(|(_, opened)| opened).expect_err("it was opened")
}

/// The same for a ledger that is in use.
fn locked(dir: &Path) -> OpenError {
    Ledger::open(dir, &options()).map(|(_, opened)| opened).expect_err("it was opened")
}

/// A ledger with 3,000 records.
fn filled(dir: &Path) {
    let ledger = open(dir);
    for n in 0..3_000 {
        ledger.merge(&format!("event-{n}"), &record(&[DeliveryStatus::Delivered; 4])).unwrap();
    }
    ledger.flush_blocking().unwrap();
}

#[test]
fn a_ledger_in_use_is_refused_in_the_same_process_and_free_after_the_last_handle() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let second = first.clone();
    drop(first);
    let error = locked(dir.path());
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
    drop(second);
    open(dir.path());
}

/// The child of the test below: holds the ledger until its input ends.
#[test]
fn child_that_holds_the_ledger() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let _ledger = open(Path::new(&dir));
    println!("\nopen");
    let _ = io::stdin().read_line(&mut String::new());
}

#[test]
fn a_ledger_in_use_is_refused_in_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child("dedup::tests::open::child_that_holds_the_ledger", dir.path()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(output.any(|line| line == "open"), "the child did not open it");
    assert!(matches!(locked(dir.path()), OpenError::Locked { .. }));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    open(dir.path());
}

#[test]
fn another_groups_ledger_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let error = refused(dir.path(), &LedgerOptions { group: "other".into(), ..options() });
    let expected =
        OpenError::Group { dir: dir.path().into(), expected: "other".into(), found: "workflow-bridge".into() };
    assert_eq!(error, expected);
}

#[test]
fn a_cluster_is_bound_once_and_another_one_refused_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.bind_cluster("first").unwrap();
    ledger.bind_cluster("first").unwrap();
    assert!(matches!(ledger.bind_cluster("second").unwrap_err(), OpenError::Cluster { .. }));
    drop(ledger);
    let ledger = open(dir.path());
    let error = ledger.bind_cluster("second").unwrap_err();
    let expected = OpenError::Cluster { dir: dir.path().into(), expected: "second".into(), found: "first".into() };
    assert_eq!(error, expected);
    ledger.bind_cluster("first").unwrap();
    assert!(ledger.len() == 0, "the header is no record");
}

#[test]
fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.store().attempt("test", |store| store.insert(&[0], b"wbledger\x04whatever it holds")).unwrap();
    ledger.flush_blocking().unwrap();
    drop(ledger);
    let error = refused(dir.path(), &options());
    assert_eq!(error, OpenError::Version { dir: dir.path().into(), expected: "1 to 3".into(), found: "4".into() });
}

#[test]
fn a_damaged_header_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.store().attempt("test", |store| store.insert(&[0], b"wbledger\x02\xff")).unwrap();
    ledger.flush_blocking().unwrap();
    drop(ledger);
    assert!(matches!(refused(dir.path(), &options()), OpenError::Corrupt { .. }));
}

#[test]
fn a_sled_database_of_another_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.merge("event", &record(&[DeliveryStatus::Pending])).unwrap();
    let header = Header { group: "workflow-bridge".into(), cluster: None }.encode();
    assert!(ledger.store().attempt("test", |store| store.remove_if(&[0], &header)).unwrap());
    ledger.flush_blocking().unwrap();
    drop(ledger);
    fs::remove_file(dir.path().join("ledger.txt")).unwrap();
    fs::remove_file(dir.path().join("closed.txt")).unwrap();
    assert!(matches!(refused(dir.path(), &options()), OpenError::NotALedger { .. }));
}

#[test]
fn a_file_in_the_place_of_the_folder_or_above_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "text").unwrap();
    assert!(matches!(refused(&file, &options()), OpenError::NotAFolder { .. }));
    assert!(matches!(refused(&file.join("below"), &options()), OpenError::NotAFolder { .. }));
    assert_eq!(fs::read(&file).unwrap(), b"text");
}

#[test]
fn a_folder_that_holds_something_else_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("holiday.jpg"), "jpg").unwrap();
    let error = refused(dir.path(), &options());
    assert!(matches!(error, OpenError::NotALedger { .. }));
    assert!(error.to_string().contains("`holiday.jpg`"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_fresh_volume_and_one_with_a_ledger_moved_aside_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["lost+found", ".snapshot", "ledger.bad"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let nested = dir.path().join(".snapshot/a/b");
    assert!(!open_with(&nested, &options()).unwrap().1.recovered, "absent folders are made");
    assert!(!open_with(dir.path(), &options()).unwrap().1.recovered);
}

#[test]
fn a_ledger_whose_data_was_deleted_emptied_or_cut_short_is_refused_again_and_again() {
    for length in [None, Some(0), Some(1_000), Some(300_000)] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        let data = dir.path().join("db");
        match length {
            None => fs::remove_file(&data).unwrap(),
            Some(length) => fs::OpenOptions::new().write(true).open(&data).unwrap().set_len(length).unwrap(),
        }
        for time in 0..2 {
            let error = refused(dir.path(), &options());
            assert!(matches!(error, OpenError::Corrupt { .. }), "length {length:?}, time {time}");
            let moved = format!("`mv {0} {0}.bad`", dir.path().display());
            assert!(error.to_string().contains(&moved), "{error}");
        }
    }
}

/// Wherever a block of the data is lost, the ledger opens whole or says that it is damaged.
#[test]
fn a_damaged_block_is_refused_unless_nothing_is_lost_by_it() {
    let base = tempfile::tempdir().unwrap();
    let sound = base.path().join("sound");
    filled(&sound);
    let data = fs::read(sound.join("db")).unwrap();
    let mut results = Vec::new();
    for part in 0..12 {
        let at = data.len() * part / 12;
        let dir = base.path().join(format!("damaged-{part}"));
        fs::create_dir_all(dir.join("blobs")).unwrap();
        for file in ["conf", "ledger.txt", "closed.txt"] {
            fs::copy(sound.join(file), dir.join(file)).unwrap();
        }
        let mut damaged = data.clone();
        let end = damaged.len().min(at + 4_096);
        damaged[at..end].fill(0);
        fs::write(dir.join("db"), damaged).unwrap();
        results.push(match open_with(&dir, &options()) {
            Ok((ledger, opened)) => {
                assert_eq!(opened.records, 3_000, "part {part}");
                for n in 0..3_000 {
                    let read = ledger.get(&format!("event-{n}"));
                    assert!(matches!(read, Ok(Some(_))), "part {part}: {read:?}");
                }
                "opened"
            }
            Err(OpenError::Corrupt { .. }) => "corrupt",
            Err(error) => panic!("part {part}: {error}"),
        });
    }
    assert!(results.contains(&"corrupt"), "{results:?}");
}

#[test]
fn an_end_that_was_not_orderly_leaves_no_count_to_compare() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let note = dir.path().join("closed.txt");
    assert_eq!(fs::read_to_string(&note).unwrap(), "records 3000\n");
    let ledger = open(dir.path());
    assert!(!note.exists(), "it would be compared after a crash");
    drop(ledger);
    // Half a note, as a crash in the very writing of it leaves one.
    fs::write(&note, "records 30").unwrap();
    open(dir.path());
    fs::write(&note, "records 2999\n").unwrap();
    let error = refused(dir.path(), &options());
    assert!(error.to_string().contains("closed with 2999 records and opens with 3000"), "{error}");
}

#[test]
fn a_damaged_configuration_of_the_store_is_refused_and_can_be_moved_aside_alone() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let conf = dir.path().join("conf");
    fs::write(&conf, vec![0xff; 64]).unwrap();
    let error = refused(dir.path(), &options());
    assert!(matches!(error, OpenError::Corrupt { .. }));
    assert!(error.to_string().contains("`conf`"), "{error}");
    // What docs/ledger.md says to do in this case.
    fs::rename(&conf, dir.path().join("conf.bad")).unwrap();
    assert_eq!(
        open_with(dir.path(), &options()).unwrap().1,
        Opened { recovered: true, records: 3_000, replaced: None }
    );
}

#[test]
fn an_error_of_the_file_system_is_classified_by_its_kind() {
    type Expected = fn(&OpenError) -> bool;

    let not_writable: Expected = |error: &OpenError| matches!(error, OpenError::NotWritable { .. });
    let disk_full: Expected = |error: &OpenError| matches!(error, OpenError::DiskFull { .. });
    let not_a_folder: Expected = |error: &OpenError| matches!(error, OpenError::NotAFolder { .. });
    let io_error: Expected = |error: &OpenError| matches!(error, OpenError::Io { .. });
    let table = [
        (io::ErrorKind::PermissionDenied, not_writable),
        (io::ErrorKind::ReadOnlyFilesystem, not_writable),
        (io::ErrorKind::StorageFull, disk_full),
        (io::ErrorKind::QuotaExceeded, disk_full),
        (io::ErrorKind::FileTooLarge, disk_full),
        (io::ErrorKind::NotADirectory, not_a_folder),
        (io::ErrorKind::TimedOut, io_error),
    ];
    for (kind, is_expected) in table {
        let error = OpenError::from_io(&PathBuf::from("/data"), &kind.into());
        assert!(is_expected(&error), "{kind:?}: {error:?}");
        assert!(error.to_string().starts_with("ledger /data: expected "), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Root may write anywhere; the table above covers the other users.
        return;
    }
    assert!(matches!(refused(&closed, &options()), OpenError::NotWritable { .. }));
}
