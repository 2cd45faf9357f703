//! `make bench-parts`: the time of single steps, for work on one of them. `make counts` holds the most important ones in CI.

#![expect(clippy::expect_used, reason = "a benchmark says why it cannot go on")]

#[path = "counts/samples.rs"]
mod samples;

use std::{cell::Cell, sync::Arc};

use divan::{Bencher, black_box};
use samples::{events, folder_with, rules};
use workflow_bridge::{
    event,
    testing::work::{Ledger, Matcher, pass_frontier},
};

// That of the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    divan::main();
}

/// A whole event of 700 bytes.
#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    let events = events(20);
    let next = turns(&events);
    bencher.bench_local(|| event::decode(black_box(next())).expect("it is an event"));
}

/// Reads an event as far as so many rules need, and matches it.
#[divan::bench(args = [10, 100, 1_000, 10_000])]
fn read_and_match(bencher: Bencher<'_, '_>, rule_count: usize) {
    let folder = folder_with(&rules(rule_count)).expect("a temporary folder");
    let matcher = Matcher::load(&folder.path().join("routing")).expect("the rules are right");
    let events = events(20);
    let next = turns(&events);
    bencher.bench_local(|| matcher.deliveries(black_box(next())).expect("it is an event"));
}

/// The record of an event with one delivery, not flushed.
#[divan::bench]
fn ledger_write(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = Ledger::open(&folder.path().join("data")).expect("a new ledger");
    let written = Cell::new(0_u64);
    bencher
        .with_inputs(|| {
            written.set(written.get() + 1);
            format!("0192-{:012}", written.get())
        })
        .bench_local_values(|id| ledger.write(&id).expect("the ledger is sound"));
}

/// Of a ledger with 10,000 records: one that is there, and one that is not.
#[divan::bench(args = [true, false])]
fn ledger_read(bencher: Bencher<'_, '_>, is_known: bool) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = Ledger::open(&folder.path().join("data")).expect("a new ledger");
    for n in 0..10_000 {
        ledger.write(&format!("0192-{n:012}")).expect("the ledger is sound");
    }
    let id = if is_known { "0192-000000005000" } else { "0193-000000005000" };
    assert_eq!(ledger.has(id), Ok(is_known));
    bencher.bench_local(|| ledger.has(black_box(id)));
}

/// So many records are received, and completed from the last to the first.
#[divan::bench(args = [1, 1_000])]
fn frontier(bencher: Bencher<'_, '_>, records: usize) {
    assert_eq!(pass_frontier(records), 0);
    bencher.bench_local(|| pass_frontier(black_box(records)));
}

/// The body of an HTTP agent, of four fields of the event.
#[divan::bench]
fn render(bencher: Bencher<'_, '_>) {
    let folder = folder_with(
        "agents:
  audit: {http: {url: 'http://127.0.0.1:9/events'}}
rules:
  - name: all
    when: {event_type: [WORKFLOW_COMPLETED]}
    to: [audit]
    body:
      workflow: '{{ workflow_id }}'
      run: 'run {{ workflow_run_id }} of {{ source }}'
      rows: '{{ payload.data.rows }}'
",
    )
    .expect("a temporary folder");
    let matcher = Matcher::load(&folder.path().join("routing")).expect("the rules are right");
    let event = Arc::new(event::decode(events(1)[0].as_slice()).expect("it is an event"));
    assert_eq!(matcher.render("all", "audit", &event), Ok(true));
    bencher.bench_local(|| matcher.render("all", "audit", black_box(&event)));
}

/// One event after the other, for ever.
fn turns<'a>(events: &'a [Vec<u8>]) -> impl Fn() -> &'a [u8] {
    let next = Cell::new(0);
    move || {
        next.set((next.get() + 1) % events.len());
        &events[next.get()]
    }
}
