use std::{
    collections::BTreeSet,
    io,
    os::unix::fs::{PermissionsExt as _, chown},
    process::{Command, Stdio},
    thread,
};

use rustix::process::{Resource, Rlimit, Uid, geteuid, setrlimit};

use super::*;
use crate::publish::{Ack, Budget, drain};

/// A user that is not the one who runs the tests.
const OTHER: u32 = 54_321;

#[test]
fn at_the_limit_an_event_is_refused_and_nothing_older_goes() {
    let size = largest_file("e-0");
    let fixture = Fixture::with(3 * size + 10, lock::try_lock);
    let began = Instant::now();
    for id in ["e-0", "e-1", "e-2"] {
        fixture.put(id);
    }
    let error = refused(&fixture.spool, "e-3", began);
    assert_eq!(variant(&error), "Full");
    let text = error.to_string();
    assert!(
        text.contains("workflow-bridge spool drain") && text.contains(&format!("{} bytes", size * 3 + 10)),
        "{text}"
    );
    assert_eq!(fixture.files().len(), 3, "{:?}", fixture.files());

    // Another process, which has not seen any of these go in, counts what is there.
    let other = Spool::new(SpoolSettings { folder: fixture.spool.folder().into(), max_bytes: 3 * size + 10 });
    assert_eq!(variant(&refused(&other, "e-3", began)), "Full");

    // And room that is made is noticed.
    for claimed in fixture.spool.claim(None, 1).unwrap() {
        claimed.claim.done().unwrap();
    }
    let freed = Instant::now();
    while let Err(error) = fixture.spool.put(&record("e-3"), HERE, "no broker") {
        assert!(freed.elapsed() < Duration::from_secs(60), "{error}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_quarantined_keeps_out_nothing() {
    let fixture = Fixture::with(2_000, lock::try_lock);
    for round in 0..20 {
        let path = fixture.put(&format!("e-{round}"));
        fs::write(&path, vec![b'x'; 1_000]).unwrap();
        assert!(fixture.spool.claim(None, 10).unwrap().is_empty());
    }
    let stats = fixture.spool.stats().unwrap();
    assert_eq!((stats.events, stats.quarantined), (0, 20));
    assert!(stats.quarantined_bytes >= 20_000);
}

#[test]
fn a_path_that_is_a_file_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
    for path in [file.clone(), file.join("below"), dir.path().join("dangling")] {
        let spool = Spool::new(SpoolSettings::new(&path));
        let error = spool.put(&record("e-1"), HERE, "no broker").unwrap_err();
        assert_eq!(variant(&error), "NotAFolder", "{error}");
        assert!(error.to_string().contains("WORKFLOW_EVENTS_SPOOL_DIR"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }
}

#[test]
fn a_folder_that_may_not_be_written_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let folder = dir.path().join("spool");
    fs::create_dir(&folder).unwrap();
    let put = |path: PathBuf| {
        // For this thread alone, and only where the tests run as root, whom no mode keeps out.
        if geteuid().is_root() {
            rustix::thread::set_thread_uid(Uid::from_raw(OTHER)).unwrap();
        }
        Spool::new(SpoolSettings::new(path)).put(&record("e-1"), HERE, "no broker").unwrap_err()
    };
    let inside = |path: &Path| thread::scope(|scope| scope.spawn(|| put(path.to_owned())).join().unwrap());

    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    for path in [folder.clone(), folder.join("below/it")] {
        let error = inside(&path);
        assert_eq!(variant(&error), "NotWritable", "{error}");
        assert!(error.to_string().contains("chown"), "{error}");
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn whose_folder_and_whose_file_may_be_used() {
    let owner = |folder, user| permissions::Owner { folder, group: 0, user };
    // (folder, user): may the folder be used, and which of the files of 0, 7, 8 and 9 are read?
    let cases = [
        ((7, 7), true, vec![0, 7]),
        ((0, 7), true, vec![0, 7]),
        ((8, 7), false, vec![0, 7, 8]),
        ((8, 0), true, vec![0, 7, 8, 9]),
    ];
    for ((folder, user), usable, files) in cases {
        let owner = owner(folder, user);
        assert_eq!(owner.may_use_folder(), usable, "{owner:?}");
        let trusted: Vec<u32> = [0, 7, 8, 9].into_iter().filter(|file| owner.trusts(*file)).collect();
        assert_eq!(trusted, files, "{owner:?}");
    }
}

#[test]
fn another_user_s_folder_is_refused_and_root_works_for_its_owner() {
    // Only root can make files of two users; for all others the table above has to do.
    if !geteuid().is_root() {
        assert!(chown(tempfile::tempdir().unwrap().path(), Some(OTHER), None).is_err());
        return;
    }
    let fixture = Fixture::new();
    fixture.put("e-1");
    let folder = fixture.spool.folder().to_owned();
    chown(&folder, Some(OTHER), Some(OTHER)).unwrap();
    let path = fixture.put("e-2");
    fs::write(fixture.put("e-3"), "damaged").unwrap();
    let owner_of = |path: &Path| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(path).unwrap().uid()
    };
    assert_eq!(owner_of(&path), OTHER, "its owner could not drain it");
    drop(fixture.spool.claim(None, 10).unwrap());
    assert_eq!(owner_of(&folder.join("quarantine")), OTHER);
    for entry in fs::read_dir(folder.join("quarantine")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "reason") {
            assert_eq!(owner_of(&path), OTHER);
        }
    }
    fs::set_permissions(fixture.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let refused = thread::scope(|scope| {
        let spool = fixture.again();
        let third = move || {
            rustix::thread::set_thread_uid(Uid::from_raw(OTHER + 1)).unwrap();
            spool.put(&record("e-4"), HERE, "no broker").unwrap_err()
        };
        scope.spawn(third).join().unwrap()
    });
    assert_eq!(variant(&refused), "NotOurs", "{refused}");
}

#[test]
fn every_error_of_a_disk_has_its_variant() {
    let error = |code: i32| SpoolError::from_io(Path::new("/s"), "writing", &io::Error::from_raw_os_error(code));
    let cases =
        [(28, "DiskFull"), (122, "DiskFull"), (27, "DiskFull"), (13, "NotWritable"), (30, "NotWritable"), (5, "Io")];
    for (code, expected) in cases {
        let error = error(code);
        assert_eq!(variant(&error), expected, "{error}");
        assert!(error.to_string().contains("expected"), "{error}");
    }
}

const CHILD: &str = "WORKFLOW_BRIDGE_TEST_SPOOL";

/// The child of the test below.
#[test]
fn child_whose_files_are_limited() {
    let Some(folder) = env::var_os(CHILD) else { return };
    let spool = Spool::new(SpoolSettings::new(PathBuf::from(folder)));
    let large = json("e-2").replace("\"rows\":1", &format!("\"text\":\"{}\"", "x".repeat(100_000)));
    let large = Record::from_json(large.as_bytes(), &Arc::from("workflow-events"), None).unwrap();
    spool.put(&record("e-1"), HERE, "no broker").unwrap();
    println!("put: {}", spool.put(&large, HERE, "no broker").unwrap_err());
}

#[test]
fn a_disk_that_takes_half_an_event_is_left_without_it() {
    let fixture = Fixture::new();
    // A limit on files, without the signal that goes with it, is the nearest to a full disk without a disk.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "publish::spool::tests::limits::child_whose_files_are_limited", "--nocapture"])
        .env(CHILD, fixture.spool.folder())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("put: ") && text.contains("Free space"), "{text}");
    assert_eq!(fixture.files().len(), 1, "{:?}", fixture.files());
    assert_eq!(ids(&fixture.spool.claim(None, 10).unwrap()), ["e-1"]);
}

#[test]
fn a_file_system_that_sets_no_owner_and_no_mode_costs_no_event() {
    let answer = |code: i32| permissions::ignore_unsupported(Err(io::Error::from_raw_os_error(code)));
    for refused in [1, 13, 22, 38, 95] {
        answer(refused).unwrap();
    }
    assert!(answer(5).is_err() && answer(28).is_err());
    if !geteuid().is_root() {
        return;
    }
    // Where root may not give files away: a thread without that capability.
    let fixture = Fixture::new();
    fixture.put("e-1");
    chown(fixture.spool.folder(), Some(OTHER), Some(OTHER)).unwrap();
    thread::scope(|scope| {
        let put = || {
            let mut sets = rustix::thread::capabilities(None).unwrap();
            sets.effective.remove(rustix::thread::CapabilitySet::CHOWN);
            rustix::thread::set_capabilities(None, sets).unwrap();
            fixture.put("e-2")
        };
        assert!(scope.spawn(put).join().unwrap().exists());
    });
    assert_eq!(fixture.spool.claim(None, 10).unwrap().len(), 2);
}

#[test]
fn a_folder_that_may_not_be_written_ends_the_pass_and_all_that_waits_is_counted() {
    let fixture = Fixture::new();
    for n in 0..20 {
        fixture.put(&format!("e-{n}"));
    }
    let folder = fixture.spool.folder();
    fs::set_permissions(fixture.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).unwrap();
    let pass = || {
        if geteuid().is_root() {
            rustix::thread::set_thread_uid(Uid::from_raw(OTHER)).unwrap();
        }
        drain(&fixture.again(), None, Budget::ALL, &mut |_| panic!("sent")).unwrap()
    };
    let drained = thread::scope(|scope| scope.spawn(pass).join().unwrap());
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!((drained.left, drained.left_alone), (20, 0));
    assert!(drained.error.unwrap().contains("chown"));
}

const FEW_CHILD: &str = "WORKFLOW_BRIDGE_TEST_FEW_FILES";

/// The child of the test below.
#[test]
fn child_that_may_open_few_files() {
    let Some(folder) = env::var_os(FEW_CHILD) else { return };
    limit_open_files(50);
    let spool = Spool::new(SpoolSettings::new(PathBuf::from(folder)));
    let first = spool.claim(None, 100).unwrap().len();
    let acked = |records: &[Record]| records.iter().map(|_| Ok(Ack { partition: 0, offset: 1 })).collect::<Vec<_>>();
    let drained = drain(&spool, None, Budget::ALL, &mut |records| acked(records).into()).unwrap();
    let records: Vec<Record> = (0..100).map(|n| record(&format!("later-{n}"))).collect();
    let records: Vec<(&Record, &str)> = records.iter().map(|record| (record, "no broker")).collect();
    println!("kept: {}", spool.put_many(&records, HERE).iter().flatten().count());
    println!("fewer: {}, published: {}, left: {}", first > 0 && first < 100, drained.published, drained.left);
}

/// From now on this process can open so many more files. It has inherited some: librdkafka's, of the tests that ran
/// beside its parent's.
fn limit_open_files(more: usize) {
    let open: BTreeSet<u64> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap())
        .collect();
    let limit = (0..).filter(|file| !open.contains(file)).nth(more);
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
}

#[test]
fn what_was_taken_before_a_fault_of_the_pass_is_published() {
    let fixture = Fixture::new();
    for n in 0..100 {
        fixture.put(&format!("e-{n}"));
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "publish::spool::tests::limits::child_that_may_open_few_files", "--nocapture"])
        .env(FEW_CHILD, fixture.spool.folder())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("fewer: true, published: 100, left: 0"), "{text}");
    // Nor is an event lost because not all of a call can be written at once.
    assert!(text.contains("kept: 100") && fixture.ends(".event") == 100, "{text}");
}

#[test]
fn what_there_is_no_time_to_measure_counts_for_less_and_not_for_more() {
    let fixture = Fixture::new();
    for n in 0..3 {
        fixture.put(&format!("e-{n}"));
    }
    let measure = |within| listing::measure(fixture.spool.folder(), within).unwrap();
    let whole = measure(None);
    assert_eq!((whole.0, measure(Some(Duration::from_secs(3600)))), (3, whole));
    let hurried = measure(Some(Duration::ZERO));
    assert!(hurried.0 < whole.0 && hurried.1 < whole.1, "{hurried:?} {whole:?}");
}

#[test]
fn a_listing_ends_with_its_time() {
    let fixture = Fixture::new();
    fixture.put("e-1");
    let list = |until| listing::list(fixture.spool.folder(), None, until).unwrap();
    let cut = list(Some(Instant::now()));
    assert!(cut.is_incomplete && cut.events.is_empty());
    let whole = list(Some(Instant::now() + Duration::from_secs(3600)));
    assert!(!whole.is_incomplete && whole.events.len() == 1);
}

const TEMPORARY_CHILD: &str = "WORKFLOW_BRIDGE_TEST_TEMPORARY";

/// The child of the test below.
#[test]
fn child_whose_spool_is_temporary() {
    if env::var_os(TEMPORARY_CHILD).is_none() {
        return;
    }
    let folder = match env::var(TEMPORARY_CHILD).as_deref() {
        Ok("1") => Spool::choose_folder(&|_| None).unwrap().folder,
        // Another spelling of it.
        _ => fs::canonicalize(env::temp_dir()).unwrap().join(format!("workflow-events-{}/spool", geteuid().as_raw())),
    };
    let spool = Spool::new(SpoolSettings::new(folder));
    let kind = |error: SpoolError| format!("{}, {error}", variant(&error));
    println!("put: {}", spool.put(&record("e-1"), HERE, "no broker").map_or_else(kind, |_| "done".into()));
    println!("claim: {}", spool.claim(None, 10).map_or_else(kind, |claimed| claimed.len().to_string()));
}

type Make<'a> = &'a dyn Fn(&Path);

#[test]
fn a_temporary_spool_that_others_may_have_made_is_refused() {
    let user = geteuid().as_raw();
    let run = |temporary: &Path, spelling: &str| {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "publish::spool::tests::limits::child_whose_spool_is_temporary", "--nocapture"])
            .env(TEMPORARY_CHILD, spelling)
            .env("TMPDIR", temporary)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&child.stdout).into_owned()
    };
    let above = format!("workflow-events-{user}");
    let made = |path: &Path, mode: u32| {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let open_above: Make<'_> = &|path| made(path, 0o777);
    let open_below: Make<'_> = &|path| {
        made(path, 0o700);
        made(&path.join("spool"), 0o770);
    };
    let link: Make<'_> = &|path| {
        made(&path.with_file_name("elsewhere"), 0o700);
        std::os::unix::fs::symlink(path.with_file_name("elsewhere"), path).unwrap();
    };
    let anothers: Make<'_> = &|path| {
        made(path, 0o700);
        chown(path, Some(OTHER), Some(OTHER)).unwrap();
    };
    let mut cases = vec![(open_above, "mode 777"), (open_below, "mode 770"), (link, "a file or a link")];
    if geteuid().is_root() {
        cases.push((anothers, "a folder of user 54321"));
    }
    for (make, fault) in cases {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join(&above));
        fs::create_dir(dir.path().join("below")).unwrap();
        for (temporary, spelling) in [(dir.path().to_owned(), "1"), (dir.path().join("below/.."), "2")] {
            let text = run(&temporary, spelling);
            assert!(text.contains("put: NotPrivate") && text.contains("claim: NotPrivate"), "{text}");
            assert!(text.contains(fault) && text.contains("WORKFLOW_EVENTS_SPOOL_DIR"), "{text}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let text = run(dir.path(), "1");
    assert!(text.contains("put: done") && text.contains("claim: 1"), "{text}");
}
