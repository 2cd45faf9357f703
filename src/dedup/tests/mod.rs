//! The ledger's tests, a file for each of its promises.

mod batch;
mod codec;
mod commit;
mod crash;
mod decide;
mod entry;
mod expire;
mod inflight;
mod ledger;
mod merge;
mod open;
mod redrive;
mod refill;
mod replace;
mod speed;
mod topic;
mod upgrade;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::{batch::MergeSummary, bytes::DecodeError, open::Opened, *};

fn options() -> LedgerOptions {
    LedgerOptions {
        group: "workflow-bridge".into(),
        window: Duration::from_secs(60),
        cache_bytes: 8 << 20,
        flush_delay: Duration::from_millis(3),
        replace_damaged: false,
    }
}

fn open(dir: &Path) -> Ledger {
    open_with(dir, &options()).unwrap().0
}

/// Opens a ledger, and waits for its lock for longer than the bridge does: a thread of the store may still hold it when
/// the ledger was dropped, and so may a child that another test has forked and that is not the other program yet.
fn open_with(dir: &Path, options: &LedgerOptions) -> Result<(Ledger, Opened), OpenError> {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        match Ledger::open(dir, options) {
            Err(OpenError::Locked { .. }) if std::time::Instant::now() < deadline => {}
            opened => return opened,
        }
    }
}

/// Both clocks at the same time.
fn at(now_ms: u64) -> ExpiryClock {
    ExpiryClock { owned_ms: now_ms, others_ms: now_ms, local_ms: now_ms }
}

/// What a process that owns every partition keeps.
fn rules(is_needed: &dyn Fn(&str) -> bool) -> ExpiryRules<'_> {
    ExpiryRules { is_needed, is_owned: &|_, _| true }
}

fn plan(names: &[(&str, &str)]) -> Vec<PlannedDelivery> {
    names.iter().map(|&(rule, agent)| PlannedDelivery { rule: rule.into(), agent: agent.into() }).collect()
}

/// A record with one delivery for each status.
fn record(statuses: &[DeliveryStatus]) -> Record {
    let names: Vec<_> = (0..statuses.len()).map(|n| (format!("rule-{n}"), "agent")).collect();
    let names: Vec<_> = names.iter().map(|(rule, agent)| (rule.as_str(), *agent)).collect();
    let mut record = Record::new(7, 1_000, &plan(&names));
    for (status, delivery) in statuses.iter().zip(&mut record.deliveries) {
        delivery.status = *status;
    }
    record
}

/// This test binary again, as a process of its own that runs one test with `dir` as its folder.
fn child(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "--nocapture", "--test-threads=1", test])
        .env(CHILD_DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Set only in a process that [`child`] started.
const CHILD_DIR: &str = "WORKFLOW_BRIDGE_TEST_LEDGER";
