//! Prints what a run showed, and keeps its logs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    CHECKS_KNOWN_TO_FAIL,
    history::{ANALYST, AUDIT, History, Kind},
    oracle::Violation,
    repeats::{by_cause, repeats},
    world::World,
};
use crate::kit::{Flavor, process::Log};

/// How many violations of a check are printed; the report has all.
const PRINTED: usize = 8;

/// Prints the figures and the violations. Panics if there is one that is not known.
#[track_caller]
pub fn report(
    world: &World,
    history: &History,
    violations: &[Violation],
    (seed, server, length): (u64, Flavor, Duration),
) {
    println!("{}", figures(history));
    let folder = keep(world, history, violations, seed);
    println!("kept: {}", folder.display());
    let mut by_check: BTreeMap<&str, Vec<&Violation>> = BTreeMap::new();
    for violation in violations {
        by_check.entry(violation.check).or_default().push(violation);
    }
    if violations.is_empty() {
        println!("no violation");
        return;
    }
    let mut text = String::new();
    for (check, violations) in &by_check {
        let known = if CHECKS_KNOWN_TO_FAIL.contains(check) { " (known)" } else { "" };
        let _ = writeln!(text, "{check}{known}: {}", violations.len());
        for violation in violations.iter().take(PRINTED) {
            let _ = writeln!(text, "  {} {}", violation.id, violation.detail);
        }
        if let Some(first) = violations.iter().find(|violation| !violation.id.is_empty()) {
            text += &story(history, &first.id);
        }
    }
    println!("{text}");
    let unknown: Vec<_> = by_check.keys().filter(|check| !CHECKS_KNOWN_TO_FAIL.contains(*check)).collect();
    let minutes = length.as_secs_f64() / 60.0;
    let server = if server == Flavor::Aegra { " SERVER=aegra" } else { "" };
    assert!(
        unknown.is_empty(),
        "seed {seed} violates {unknown:?}; what happened is in {}; again: make faults SEED={seed} MINUTES={minutes:.2}{server}\n{text}",
        folder.display()
    );
}

/// The figures of a run.
fn figures(history: &History) -> String {
    let mut text = String::new();
    let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
    for record in &history.published {
        *kinds.entry(record.kind).or_default() += 1;
    }
    let mut faults: BTreeMap<&str, usize> = BTreeMap::new();
    for fault in &history.faults {
        *faults.entry(fault.fault.name()).or_default() += 1;
    }
    let accepted = history.requests.iter().filter(|request| request.accepted()).count();
    let _ = writeln!(text, "published: {} records, {kinds:?}", history.published.len());
    let _ = writeln!(text, "faults: {}, {faults:?}", history.faults.len());
    let _ = writeln!(text, "{AUDIT}: {} requests, {accepted} accepted", history.requests.len());
    let executed: usize = history.executions.values().map(Vec::len).sum();
    let different: usize = history.executions.values().map(|runs| runs.iter().collect::<BTreeSet<_>>().len()).sum();
    let _ = writeln!(
        text,
        "{ANALYST}: {} runs, {different} of them executed, {} executions again by the server itself",
        history.runs.len(),
        executed - different
    );
    let _ = writeln!(text, "dead letters: {}", history.dead_letters.len());
    let ledger = history.ledger.as_ref().map_or("none".to_owned(), |entries| format!("{} records", entries.len()));
    let _ = writeln!(text, "ledger topic: {ledger}; what it lost: {}", losses(history));
    let parked: i64 = history.parked.ends.values().sum();
    let _ = writeln!(text, "parked: {parked} records");
    let causes = by_cause(history);
    let _ = write!(text, "HTTP repeats: {}, {causes:?}", causes.values().sum::<usize>());
    text
}

/// How often the ledger topic was deleted, and how often partitions of it were truncated.
fn losses(history: &History) -> String {
    let deleted = history.losses.iter().filter(|loss| loss.truncated.is_none()).count();
    format!("deleted {deleted} times, {} partitions truncated", history.losses.len() - deleted)
}

/// Everything that is known of an event, in the order of time, and the faults that overlapped it.
fn story(history: &History, id: &str) -> String {
    let mut lines: Vec<(u64, String)> = Vec::new();
    for record in history.published.iter().filter(|record| record.id == id) {
        let (kind, partition, offset, key) = (record.kind, record.partition, record.offset, &record.key);
        lines.push((record.at, format!("published: {kind:?}, partition {partition}, offset {offset}, key {key}")));
    }
    for request in history.requests.iter().filter(|request| request.id == id) {
        lines.push((request.at, format!("request of r{}, answered {:?}", request.replica, request.answered)));
    }
    for entry in history.ledger.iter().flatten().filter(|entry| entry.id == id) {
        let (log, partition, offset) = (entry.log, entry.partition, entry.offset);
        let text = format!("ledger topic {log}: partition {partition}, offset {offset}: {:?}", entry.delivered);
        lines.push((entry.seen, text));
    }
    let from = lines.iter().map(|(at, _)| *at).min().unwrap_or_default();
    let to = lines.iter().map(|(at, _)| *at).max().unwrap_or_default();
    for fault in history.faults.iter().filter(|fault| fault.overlaps(from.saturating_sub(2_000), to)) {
        lines.push((fault.from, format!("until {} ms: {:?} {:?}", fault.to, fault.lane, fault.fault)));
    }
    lines.sort();
    let mut text = format!("  what is known of {id}:\n");
    for (at, line) in lines {
        let _ = writeln!(text, "    {at:>8} ms  {line}");
    }
    for run in history.runs.iter().filter(|run| run.id == id) {
        let _ = writeln!(text, "    run {} of rule {}, created at {} us", run.run, run.rule, run.created_us);
    }
    text
}

/// Writes the logs and the history into a folder that stays.
fn keep(world: &World, history: &History, violations: &[Violation], seed: u64) -> PathBuf {
    let folder = keep_logs(world, seed);
    let mut all = figures(history);
    for Violation { check, id, detail } in violations {
        let _ = write!(all, "\n\n{check} {id} {detail}\n{}", story(history, id));
    }
    fs::write(folder.join("repeats.txt"), repeats_text(history)).expect("target can be written");
    fs::write(folder.join("violations.txt"), all).expect("target can be written");
    fs::write(folder.join("history.txt"), format!("{history:#?}")).expect("target can be written");
    folder
}

/// Each HTTP repeat in a line: both requests, why, and when the ledger topic had the delivery first.
fn repeats_text(history: &History) -> String {
    let mut text = String::new();
    for repeat in repeats(history) {
        let (before, again) = (repeat.before, repeat.again);
        let entries = history.ledger.iter().flatten().filter(|entry| entry.id == again.id);
        let known = entries.filter(|entry| entry.delivered_to(AUDIT)).map(|entry| entry.seen).min();
        let _ = writeln!(
            text,
            "{:>8} r{} {:?}, {:>8} r{}, ledger topic {known:?}: {:?} {}",
            before.at, before.replica, before.answered, again.at, again.replica, repeat.cause, again.id
        );
    }
    text
}

/// Writes the logs into a folder that stays.
fn keep_logs(world: &World, seed: u64) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/faults/seed-{seed}"));
    fs::create_dir_all(&folder).expect("target can be written");
    let write = |name: String, log: &Log| {
        fs::write(folder.join(name), log.since(0).join("\n")).expect("target can be written");
    };
    for (number, replica) in world.replicas.iter().enumerate() {
        write(format!("replica-{number}.log"), replica.bridge().log());
    }
    for (number, log) in world.cluster.logs().enumerate() {
        write(format!("broker-{}.log", number + 1), log);
    }
    folder
}

/// Keeps the logs of a run that panics before it is judged.
pub struct KeepOnPanic<'a>(pub &'a World, pub u64);

impl Drop for KeepOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the logs are in {}", keep_logs(self.0, self.1).display());
        }
    }
}
