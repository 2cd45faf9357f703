//! A damaged ledger is refused, or moved aside and replaced where the ledger topic can fill it again.

use std::fs;

use super::*;

fn replacing() -> LedgerOptions {
    LedgerOptions { replace_damaged: true, ..options() }
}

/// A ledger with 3,000 records.
fn filled(dir: &Path) {
    let ledger = open(dir);
    for n in 0..3_000 {
        ledger.merge(&format!("event-{n}"), &record(&[DeliveryStatus::Delivered; 4])).unwrap();
    }
    ledger.flush_blocking().unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// How many stores were moved aside.
fn moved(dir: &Path) -> usize {
    names(dir).iter().filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "bad")).count()
}

/// Damages a sound ledger.
type Damage = fn(&Path);

const DAMAGES: [(&str, Damage); 7] = [
    ("db missing", |dir| fs::remove_file(dir.join("db")).unwrap()),
    ("db empty", |dir| fs::write(dir.join("db"), "").unwrap()),
    ("db cut short", |dir| cut(dir, 100_000)),
    ("db cut to its beginning", |dir| cut(dir, 1_000)),
    ("db with flipped bits", |dir| {
        let mut bytes = fs::read(dir.join("db")).unwrap();
        bytes.iter_mut().step_by(61).for_each(|byte| *byte ^= 0x10);
        fs::write(dir.join("db"), bytes).unwrap();
    }),
    ("conf garbage", |dir| fs::write(dir.join("conf"), [0xff; 64]).unwrap()),
    ("a count that differs", |dir| fs::write(dir.join("closed.txt"), "records 7\n").unwrap()),
];

fn cut(dir: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(dir.join("db")).unwrap().set_len(length).unwrap();
}

#[test]
fn a_damaged_ledger_is_replaced_only_where_that_is_asked_for() {
    for (name, damage) in DAMAGES {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        damage(dir.path());
        let before = names(dir.path());
        let refused = open_with(dir.path(), &options()).map(|(_, opened)| opened).unwrap_err();
        assert!(matches!(refused, OpenError::Corrupt { .. }), "{name}: {refused}");
        assert_eq!(moved(dir.path()), 0, "{name}");

        let (ledger, opened) = open_with(dir.path(), &replacing()).unwrap();
        let moved = opened.replaced.unwrap();
        assert_eq!((opened.recovered, opened.records, ledger.len()), (false, 0, 0), "{name}");
        assert_eq!((moved.kept, moved.to.parent()), (1, Some(dir.path())), "{name}");
        assert!(moved.kept_bytes > 200, "{name}: {}", moved.kept_bytes);
        for file in before {
            assert!(moved.to.join(&file).exists(), "{name}: {file} was not kept");
        }
        assert_eq!(ledger.get("event-1").unwrap(), None);
        ledger.merge("event-1", &record(&[DeliveryStatus::Delivered])).unwrap();
        drop(ledger);
        let (_, opened) = open_with(dir.path(), &replacing()).unwrap();
        assert_eq!(opened, Opened { recovered: true, records: 1, replaced: None }, "{name}");
    }
}

#[test]
fn a_ledger_that_is_damaged_again_is_moved_beside_the_first_and_nothing_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    for kept in 1..=3 {
        filled(dir.path());
        fs::write(dir.path().join("conf"), [0xff; 64]).unwrap();
        let (_, opened) = open_with(dir.path(), &replacing()).unwrap();
        assert_eq!(opened.replaced.unwrap().kept, kept);
    }
    assert_eq!(moved(dir.path()), 3);
}

#[test]
fn a_move_that_stopped_half_way_is_finished_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let half = dir.path().join("1.bad");
    fs::create_dir(&half).unwrap();
    for file in ["db", "blobs"] {
        fs::rename(dir.path().join(file), half.join(file)).unwrap();
    }
    let (_, opened) = open_with(dir.path(), &replacing()).unwrap();
    let moved = opened.replaced.unwrap();
    assert_eq!((opened.records, moved.kept), (0, 2));
    assert!(moved.to.join("ledger.txt").exists() && half.join("db").exists());
}

/// The files of a bridge that runs are not taken from it, whatever they look like.
#[test]
fn a_damaged_ledger_that_another_one_uses_is_not_moved() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.merge("event", &record(&[DeliveryStatus::Delivered])).unwrap();
    fs::write(dir.path().join("conf"), [0xff; 64]).unwrap();
    let before = names(dir.path());
    let error = Ledger::open(dir.path(), &replacing()).map(|(_, opened)| opened).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert_eq!(names(dir.path()), before);
    assert!(ledger.get("event").unwrap().is_some());
}

#[test]
fn what_is_not_damaged_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let error = |options: &LedgerOptions| open_with(dir.path(), options).map(|(_, opened)| opened).unwrap_err();
    let group = LedgerOptions { group: "other".into(), ..replacing() };
    assert!(matches!(error(&group), OpenError::Group { .. }));

    let ledger = open(dir.path());
    assert!(matches!(Ledger::open(dir.path(), &replacing()), Err(OpenError::Locked { .. })));
    ledger.store().attempt("test", |store| store.insert(&[0], b"wbledger\x04later")).unwrap();
    drop(ledger);
    assert!(matches!(error(&replacing()), OpenError::Version { .. }));

    // Not marked: it may be another program's.
    fs::remove_file(dir.path().join("ledger.txt")).unwrap();
    fs::write(dir.path().join("conf"), [0xff; 64]).unwrap();
    assert!(matches!(error(&replacing()), OpenError::Corrupt { .. }));
    assert_eq!(moved(dir.path()), 0);
}
