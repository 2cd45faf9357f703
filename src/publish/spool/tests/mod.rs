//! The spool on a real disk. What a name, a header and a claim mean is tested beside each other here,
//! because on the disk they are one thing.

mod claim;
mod damage;
mod limits;
mod put;

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    claim::STALE,
    clock::now_ms,
    dir::Dir,
    lock::{Locked, TryLock},
    usage::MEASURE_TIME,
    *,
};
use crate::publish::Record;

const HERE: &str = "broker:9092";

/// The name of an error's variant.
fn variant(error: &SpoolError) -> String {
    format!("{error:?}").split([' ', '{']).next().unwrap_or_default().to_owned()
}

struct Fixture {
    dir: TempDir,
    spool: Spool,
}

impl Fixture {
    fn new() -> Self {
        Self::with(DEFAULT_MAX_BYTES, lock::try_lock)
    }

    fn with(max_bytes: u64, try_lock: TryLock) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::with_lock(SpoolSettings { folder: dir.path().join("spool"), max_bytes }, try_lock);
        Self { dir, spool }
    }

    fn put(&self, id: &str) -> PathBuf {
        self.spool.put(&record(id), HERE, "no broker").unwrap()
    }

    /// As another process would see the folder.
    fn again(&self) -> Spool {
        Spool::new(SpoolSettings::new(self.spool.folder()))
    }

    /// Every file of the folder, the quarantine's with their folder.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut add = |folder: &Path, prefix: &str| {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if !entry.file_type().unwrap().is_dir() {
                    files.push(format!("{prefix}{}", entry.file_name().to_string_lossy()));
                }
            }
        };
        add(self.spool.folder(), "");
        add(&self.spool.folder().join("quarantine"), "quarantine/");
        files.sort();
        files
    }

    fn ends(&self, ending: &str) -> usize {
        self.files().iter().filter(|file| file.ends_with(ending)).count()
    }
}

fn json(id: &str) -> String {
    format!(
        r#"{{"event_id":"{id}","event_type":"WORKFLOW_COMPLETED","timestamp":"2026-01-31T12:00:00Z","source":"AIRFLOW","workflow_id":"etl","workflow_run_id":"run-1","payload":{{"data":{{"rows":1}}}},"metadata":{{}}}}"#
    )
}

fn record(id: &str) -> Record {
    record_for(id, "workflow-events")
}

fn record_for(id: &str, topic: &str) -> Record {
    Record::from_json(json(id).as_bytes(), &Arc::from(topic), Some("00-trace")).unwrap()
}

/// A record with a key and headers of its own.
fn chosen(id: &str, key: Option<&str>) -> Record {
    let headers = [("event_type", "UserCreated"), ("traceparent", "00-trace"), ("odd \" name", "ü\n")];
    let value = format!("{{\"event_id\":\"{id}\",\n\"payload\":{{}}}}").into_bytes();
    Record::chosen(&Arc::from("users.created"), id, key, &headers, value).unwrap()
}

fn ids(claimed: &[Claimed]) -> Vec<&str> {
    claimed.iter().map(|claimed| &*claimed.record.event_id).collect()
}

/// How many bytes the file of an event has at most: the time in it has fewer digits where the last ones are zero.
fn largest_file(id: &str) -> u64 {
    let fixture = Fixture::new();
    (0..10).map(|_| fs::metadata(fixture.put(id)).unwrap().len()).max().unwrap()
}

/// Whether a folder may not have been measured to its end since then, because the machine stood still. What is left out
/// counts for less, so that an event above the limit may be kept.
fn may_be_unmeasured(since: Instant) -> bool {
    // After half of the time each file counts as a small one.
    since.elapsed() >= MEASURE_TIME / 2
}

/// Puts an event into a full folder until it is refused, and returns the error. One that is kept because the folder was
/// not measured to its end, since the first event was put, is taken out again.
fn refused(spool: &Spool, id: &str, since: Instant) -> SpoolError {
    let began = Instant::now();
    loop {
        match spool.put(&record(id), HERE, "no broker") {
            Err(error) => return error,
            Ok(path) => {
                assert!(may_be_unmeasured(since), "{id} was kept above the limit");
                assert!(began.elapsed() < Duration::from_secs(300), "{id} was never refused");
                fs::remove_file(path).unwrap();
            }
        }
    }
}

/// The claims of a process that was killed: files with a claim's name and no lock.
fn kill(claimed: Vec<Claimed>) {
    for claimed in claimed {
        let mut claim = claimed.claim;
        claim.abandon();
    }
}

fn no_locks(_: &fs::File) -> Locked {
    Locked::Unsupported
}
