use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    time::SystemTime,
};

use super::*;

/// A name as the spool gives them, without its ending.
const STEM: &str = "0000000000001-00000000-0123456789abcdef-1-1";

/// The one file in the quarantine, and the reason beside it.
fn quarantined(fixture: &Fixture) -> (String, String) {
    let folder = fixture.spool.folder().join("quarantine");
    let file = |ending: &str| {
        let files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let mut files = files.into_iter().filter(|path| path.display().to_string().ends_with(ending));
        let found = fs::read_to_string(files.next().unwrap()).unwrap();
        assert!(files.next().is_none());
        found
    };
    (file(".event"), file(".reason"))
}

#[test]
fn a_file_cut_short_at_any_byte_is_quarantined_and_the_others_come_out() {
    let fixture = Fixture::new();
    let path = fixture.put("e-1");
    fixture.put("e-2");
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let claimed = fixture.spool.claim(None, 10).unwrap();
        assert_eq!(ids(&claimed), ["e-2"], "cut to {length} bytes");
        let (kept, reason) = quarantined(&fixture);
        assert_eq!(kept.as_bytes(), &whole[..length]);
        assert!(reason.starts_with("expected "), "{reason}");
        assert_eq!(fixture.spool.stats().unwrap().quarantined, 1);
        drop(claimed);
        assert_eq!(fixture.spool.claim(None, 10).unwrap().len(), 1, "the damaged file came back");
        fs::remove_dir_all(fixture.spool.folder().join("quarantine")).unwrap();
    }
}

#[test]
fn zeroes_where_an_event_was_are_quarantined() {
    let fixture = Fixture::new();
    let path = fixture.put("e-1");
    let size = fs::metadata(&path).unwrap().len();
    fs::write(&path, vec![0; usize::try_from(size).unwrap()]).unwrap();
    assert!(fixture.spool.claim(None, 10).unwrap().is_empty());
    let (_, reason) = quarantined(&fixture);
    assert!(reason.contains("header line"), "{reason}");
}

#[test]
fn a_file_that_holds_no_event_is_quarantined_with_what_is_wrong() {
    let fixture = Fixture::new();
    let entry = entry::NewEntry {
        topic: "t",
        bootstrap_servers: HERE,
        event_id: "e-1",
        traceparent: None,
        chosen: None,
        spooled_at: "",
        reason: "",
        value: b"{\"event_id\":\"e-1\"}",
    };
    fixture.put("e-2");
    fs::write(fixture.put("e-1"), entry.encode().unwrap()).unwrap();
    let claimed = fixture.spool.claim(Some(HERE), 10).unwrap();
    assert_eq!(ids(&claimed), ["e-2"]);
    let (_, reason) = quarantined(&fixture);
    assert!(reason.contains("event_type"), "{reason}");
}

#[test]
fn a_header_whose_key_and_headers_are_not_those_of_its_format_is_quarantined() {
    for (from, to, said) in [
        ("\"format\":2", "\"format\":1", "of format 2 and in no other"),
        ("\"record\":", "\"records\":", "of format 2 and in no other"),
        ("\"event_type\"", "\"event_id\"", "headers: expected names that are not empty"),
        ("\"key\":\"k\"", "\"key\":7", "invalid type"),
    ] {
        let fixture = Fixture::new();
        let path = fixture.spool.put(&chosen("e-1", Some("k")), HERE, "no broker").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        assert!(fixture.spool.claim(None, 10).unwrap().is_empty());
        let (_, reason) = quarantined(&fixture);
        assert!(reason.contains(said), "{from} as {to}: {reason}");
    }
}

#[test]
fn a_file_of_a_newer_version_is_left_alone_and_reported() {
    let fixture = Fixture::new();
    let path = fixture.put("e-1");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"format\":1", "\"format\":3", 1)).unwrap();
    fixture.put("e-2");
    let mut pass = fixture.spool.pass(None, None).unwrap();
    let claimed = pass.take(10, usize::MAX, None).unwrap();
    assert_eq!(ids(&claimed), ["e-2"]);
    assert_eq!((pass.passed().left_alone, pass.passed().quarantined), (1, 0));
    assert!(pass.passed().note.as_ref().unwrap().contains("format 3"), "{:?}", pass.passed());
    assert!(path.exists());
}

#[test]
fn what_is_no_plain_file_is_not_followed_and_not_touched() {
    let fixture = Fixture::new();
    fixture.put("e-1");
    let folder = fixture.spool.folder();
    let secret = fixture.dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    symlink(&secret, folder.join("0-link.event")).unwrap();
    fs::create_dir(folder.join("0-folder.event")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("0-pipe.event"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    fs::write(folder.join("README"), "hello").unwrap();
    let claimed = fixture.spool.claim(None, 10).unwrap();
    assert_eq!(ids(&claimed), ["e-1"]);
    assert_eq!(fixture.spool.stats().unwrap().strangers, 4);
    assert_eq!(fs::read_to_string(secret).unwrap(), "secret");
    assert_eq!(fixture.spool.stats().unwrap().quarantined, 0);
}

/// A file as a writer left it that was killed: its temporary name, so long ago.
fn left_behind(fixture: &Fixture, content: &[u8], ago: Duration) -> PathBuf {
    let path = fixture.spool.folder().join(format!(".{STEM}.tmp"));
    fs::write(&path, content).unwrap();
    fs::File::open(&path).unwrap().set_modified(SystemTime::now() - ago).unwrap();
    path
}

#[test]
fn half_a_file_goes_an_hour_after_its_writer() {
    let fixture = Fixture::new();
    let whole = fs::read(fixture.put("e-1")).unwrap();
    let path = left_behind(&fixture, &whole[..40], Duration::from_secs(3_000));
    fixture.spool.claim(None, 10).unwrap();
    assert!(path.exists(), "its writer may live");
    left_behind(&fixture, &whole[..40], Duration::from_secs(4_000));
    fixture.spool.claim(None, 10).unwrap();
    assert!(!path.exists());
    assert_eq!(fixture.files().len(), 1, "{:?}", fixture.files());
}

#[test]
fn a_whole_event_whose_writer_was_killed_before_it_had_its_name_is_kept() {
    let fixture = Fixture::new();
    let path = fixture.put("e-1");
    let whole = fs::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    left_behind(&fixture, &whole, Duration::from_secs(4_000));
    fixture.spool.claim(None, 10).unwrap();
    let claimed = fixture.spool.claim(None, 10).unwrap();
    assert_eq!(ids(&claimed), ["e-1"]);
}

#[test]
fn an_old_file_whose_writer_lives_is_not_swept() {
    let fixture = Fixture::new();
    fixture.put("e-1");
    let path = left_behind(&fixture, b"half", Duration::from_secs(4_000));
    let writer = fs::File::open(&path).unwrap();
    assert_eq!(lock::try_lock(&writer), Locked::Ours);
    fixture.spool.claim(None, 10).unwrap();
    assert!(path.exists());
    lock::unlock(&writer);
    fixture.spool.claim(None, 10).unwrap();
    assert!(!path.exists());
}

#[test]
fn links_in_the_quarantine_are_not_followed_and_nothing_there_is_overwritten() {
    let fixture = Fixture::new();
    let damaged = fixture.put("e-1").with_file_name(format!("{STEM}.event"));
    let victim = fixture.dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let owner = |path: &Path| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(path).unwrap().uid()
    };
    let before = owner(&victim);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(fixture.spool.folder(), Some(54_321), Some(54_321)).unwrap();
    }
    let quarantine = fixture.spool.folder().join("quarantine");
    fs::create_dir(&quarantine).unwrap();
    for (name, is_link) in [(format!("{STEM}.reason"), true), (format!("{STEM}-1.event"), false)] {
        let path = quarantine.join(name);
        if is_link { symlink(&victim, path) } else { fs::write(path, "kept before") }.unwrap();
    }
    fs::write(&damaged, "damaged").unwrap();
    assert_eq!(fixture.spool.claim(None, 10).unwrap().len(), 1);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(owner(&victim), before);
    let read = |ending: &str| fs::read_to_string(quarantine.join(format!("{STEM}{ending}"))).unwrap();
    assert_eq!(read("-1.event"), "kept before");
    assert_eq!(read("-2.event"), "damaged");
    assert!(read("-2.reason").contains("header line"));

    // Nor is a quarantine that is a link itself.
    fs::remove_dir_all(&quarantine).unwrap();
    let elsewhere = fixture.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &quarantine).unwrap();
    fs::write(&damaged, "damaged").unwrap();
    assert_eq!(left_alone(&fixture).0, ["e-1"]);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert_eq!(owner(&elsewhere), before);
    assert!(damaged.exists());
}

/// What comes out, and why the one file that is left alone does not.
fn left_alone(fixture: &Fixture) -> (Vec<String>, String) {
    let mut pass = fixture.spool.pass(None, None).unwrap();
    let taken = pass.take(10, usize::MAX, None).unwrap();
    let passed = pass.passed();
    assert_eq!((passed.left_alone, passed.quarantined), (1, 0), "{passed:?}");
    (ids(&taken).into_iter().map(str::to_owned).collect(), passed.note.clone().unwrap())
}

#[test]
fn a_file_whose_name_is_too_long_to_be_claimed_is_left_alone_and_stops_no_other() {
    let fixture = Fixture::new();
    let path = fixture.put("e-1");
    fixture.put("e-2");
    let long = path.with_file_name(format!("{}.event", "1".repeat(248)));
    fs::rename(path, &long).unwrap();
    let (taken, note) = left_alone(&fixture);
    assert_eq!(taken, ["e-2"]);
    assert!(note.starts_with(&format!("{}: ", long.display())) && note.contains("a shorter name"), "{note}");
    assert!(long.exists());
}

#[test]
fn a_quarantine_that_cannot_be_used_is_named_and_stops_no_event() {
    for is_link in [true, false] {
        let fixture = Fixture::new();
        let torn = fixture.put("e-1");
        fixture.put("e-2");
        fs::write(&torn, "torn").unwrap();
        let quarantine = fixture.spool.folder().join("quarantine");
        if is_link { symlink("/", &quarantine) } else { fs::write(&quarantine, "a file") }.unwrap();
        let (taken, note) = left_alone(&fixture);
        assert_eq!(taken, ["e-2"]);
        assert!(note.contains(&format!("quarantine {}: ", quarantine.display())), "{note}");
        assert!(note.contains("header line") && !note.contains(FOLDER_VARIABLE), "{note}");
        assert!(torn.exists());
        assert_eq!((fixture.spool.stats().unwrap().events, fixture.spool.stats().unwrap().quarantined), (2, 0));
        let error = fixture.spool.keep_refused(&record("e-3"), HERE, "too large").unwrap_err();
        assert_eq!(variant(&error), "Quarantine", "{error}");
    }
}

#[test]
fn what_a_person_put_there_is_neither_swept_nor_set_aside() {
    let fixture = Fixture::new();
    fixture.put("e-1");
    let folder = fixture.spool.folder();
    let (draft, birthday) = (folder.join(".draft.tmp"), folder.join("birthday.event"));
    for path in [&draft, &birthday] {
        fs::write(path, "cake").unwrap();
        fs::File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(7_200)).unwrap();
    }
    let (taken, note) = left_alone(&fixture);
    assert_eq!(taken, ["e-1"]);
    assert!(note.starts_with(&format!("{}: ", birthday.display())), "{note}");
    assert!(draft.exists() && birthday.exists());
    assert_eq!(fixture.spool.stats().unwrap().strangers, 1, "the draft");
    // An event is one under any name.
    fs::rename(fixture.put("e-2"), &birthday).unwrap();
    assert_eq!(ids(&fixture.spool.claim(None, 10).unwrap()), ["e-2", "e-1"]);
}

#[test]
fn a_name_that_is_not_utf8_is_left_alone_and_reported() {
    let fixture = Fixture::new();
    let path = fixture.put("e-1");
    fixture.put("e-2");
    let garbled = path.with_file_name(OsStr::from_bytes(b"\xff\xfe.event"));
    fs::rename(path, &garbled).unwrap();
    let (taken, note) = left_alone(&fixture);
    assert_eq!(taken, ["e-2"]);
    assert!(note.contains("not UTF-8"), "{note}");
    assert_eq!(fixture.spool.stats().unwrap().events, 2);
    assert!(garbled.exists());
}

#[test]
fn only_a_name_that_a_spool_gives_is_its_own() {
    let stem = name::stem(now_ms(), HERE, "e-1", 7, 0);
    for ours in [STEM, &stem, &format!("{stem}-3")] {
        assert!(name::is_ours(ours), "{ours}");
    }
    let hex = "0123456789abcdef";
    for other in ["", "draft", "1-00000000-x-1-1", &format!("0000000000001-00000000-{hex}-1"), &format!("{stem}-")] {
        assert!(!name::is_ours(other), "{other}");
    }
}

#[test]
fn files_of_one_name_are_quarantined_beside_each_other() {
    let fixture = Fixture::new();
    let path = fixture.put("e-1");
    for content in ["first", "second"] {
        fs::write(&path, content).unwrap();
        assert!(fixture.spool.claim(None, 10).unwrap().is_empty());
    }
    assert_eq!((fixture.ends(".event"), fixture.ends(".reason")), (2, 2), "{:?}", fixture.files());
}

#[test]
fn an_event_whose_name_may_not_have_reached_the_disk_is_not_half_kept() {
    let fixture = Fixture::new();
    fixture.put("e-1");
    let (folder, bytes) = (fixture.spool.folder(), b"an event");
    let dir = Dir::open(folder).unwrap();
    let broken = |_: &Dir| Err(std::io::Error::from_raw_os_error(5));
    let error = write::write(&dir, folder, "1-x", bytes, lock::try_lock, broken).unwrap_err();
    assert_eq!(variant(&error), "Io");
    assert_eq!(fixture.files().len(), 1, "{:?}", fixture.files());
}

#[test]
fn a_topic_that_no_kafka_can_have_is_quarantined() {
    let fixture = Fixture::new();
    fixture.spool.put(&record_for("e-1", "no such topic"), HERE, "").unwrap();
    fixture.put("e-2");
    assert_eq!(ids(&fixture.spool.claim(None, 10).unwrap()), ["e-2"]);
    assert!(quarantined(&fixture).1.contains("found `no such topic`"));
}

#[test]
fn what_is_refused_for_good_is_kept_in_the_quarantine_and_can_be_moved_back() {
    let fixture = Fixture::with(2_000, lock::try_lock);
    let path = fixture.spool.keep_refused(&record("e-1"), HERE, "too large").unwrap();
    assert_eq!(path.parent().unwrap(), fixture.spool.folder().join("quarantine"));
    assert_eq!(quarantined(&fixture).1, "too large\n");
    assert!(fixture.spool.claim(None, 10).unwrap().is_empty());
    fs::rename(&path, fixture.spool.folder().join(path.file_name().unwrap())).unwrap();
    let claimed = fixture.spool.claim(None, 10).unwrap();
    assert_eq!(claimed[0].record, record("e-1"));
    // It does not grow without end.
    let error = (0..10).find_map(|_| {
        let began = Instant::now();
        let kept = fixture.spool.keep_refused(&record("e-1"), HERE, "too large");
        let is_unmeasured = may_be_unmeasured(began);
        let bytes = fixture.spool.stats().unwrap().quarantined_bytes;
        assert!(kept.is_err() || is_unmeasured || bytes <= 2_100, "{bytes} bytes were kept");
        kept.err()
    });
    assert_eq!(variant(&error.unwrap()), "QuarantineFull");
}
