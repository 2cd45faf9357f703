use std::{
    os::unix::fs::symlink,
    time::{Duration, SystemTime},
};

use super::*;

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
        spooled_at: "",
        reason: "",
        value: b"{\"event_id\":\"e-1\"}",
    };
    fixture.put("e-2");
    fs::write(fixture.spool.folder().join("by-hand.event"), entry.encode().unwrap()).unwrap();
    let claimed = fixture.spool.claim(Some(HERE), 10).unwrap();
    assert_eq!(ids(&claimed), ["e-2"]);
    let (_, reason) = quarantined(&fixture);
    assert!(reason.contains("event_type"), "{reason}");
}

#[test]
fn a_file_of_a_newer_version_is_left_alone_and_told_of() {
    let fixture = Fixture::new();
    let path = fixture.put("e-1");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"format\":1", "\"format\":2", 1)).unwrap();
    fixture.put("e-2");
    let mut queue = fixture.spool.queue(None).unwrap();
    let claimed = queue.take(10, usize::MAX, None).unwrap();
    assert_eq!(ids(&claimed), ["e-2"]);
    assert_eq!((queue.passed().left_alone, queue.passed().quarantined), (1, 0));
    assert!(queue.passed().note.as_ref().unwrap().contains("format 2"), "{:?}", queue.passed());
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
    let path = fixture.spool.folder().join(".1-00000000-x-1-1.tmp");
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
    let damaged = fixture.put("e-1").with_file_name("1-00000000-x-1-1.event");
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
    for (name, is_link) in [("1-00000000-x-1-1.reason", true), ("1-00000000-x-1-1-1.event", false)] {
        let path = quarantine.join(name);
        if is_link { symlink(&victim, path) } else { fs::write(path, "kept before") }.unwrap();
    }
    fs::write(&damaged, "damaged").unwrap();
    assert_eq!(fixture.spool.claim(None, 10).unwrap().len(), 1);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(owner(&victim), before);
    let read = |name: &str| fs::read_to_string(quarantine.join(name)).unwrap();
    assert_eq!(read("1-00000000-x-1-1-1.event"), "kept before");
    assert_eq!(read("1-00000000-x-1-1-2.event"), "damaged");
    assert!(read("1-00000000-x-1-1-2.reason").contains("header line"));

    // Nor is a quarantine that is a link itself.
    fs::remove_dir_all(&quarantine).unwrap();
    let elsewhere = fixture.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &quarantine).unwrap();
    fs::write(&damaged, "damaged").unwrap();
    assert_eq!(fixture.spool.claim(None, 10).unwrap_err().kind(), "not_a_folder");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert_eq!(owner(&elsewhere), before);
    assert!(damaged.exists());
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
    assert_eq!(error.kind(), "io");
    assert_eq!(fixture.files().len(), 1, "{:?}", fixture.files());
}
