//! The fault harness: three real brokers, three replicas and a fourth that comes and goes, an HTTP agent and a real LangGraph
//! server, and a schedule of faults that is drawn from a seed. Then an oracle judges what happened.
//!
//! `make faults SEED= MINUTES=` runs it for as long as asked (main.rs). Times are compressed by settings alone.

mod collect;
pub mod fault;
pub mod follower;
pub mod history;
mod lanes;
mod oracle;
pub mod publisher;
mod repeats;
mod replica;
mod report;
pub mod schedule;
mod world;

use std::time::{Duration, Instant};

use crate::kit::Flavor;
use world::World;

/// Checks that the bridge of today does not pass; they are reported, and fail no run. To be empty.
const CHECKS_KNOWN_TO_FAIL: &[&str] = &[];

/// Events that are published each second.
const RATE: u32 = 40;

/// Runs of this length delete the ledger topic once more in the end, which takes about half a minute.
const DELETES_AT_REST: Duration = Duration::from_secs(60);

/// Milliseconds since the run began.
pub fn since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// One run: start, faults, healing, judgement.
#[track_caller]
pub fn run(seed: u64, server: Flavor, length: Duration) {
    let steps = schedule::schedule(seed, server, length);
    println!("seed {seed}, {server:?}, {:.2} minutes of faults:", length.as_secs_f64() / 60.0);
    for step in &steps {
        println!("  {step}");
    }
    let world = World::start(seed, server);
    let _kept = report::KeepOnPanic(&world, seed);
    let published = lanes::run_all(&world, &steps, (seed, RATE));
    let history = collect::collect(&world, published, length >= DELETES_AT_REST);
    let violations = oracle::judge(&history);
    report::report(&world, &history, &violations, (seed, server, length));
}

#[test]
fn half_a_minute_of_faults_loses_doubles_and_reorders_nothing() {
    // A seed with a dozen kinds of fault in its first half minute.
    run(171_897, Flavor::Dev, Duration::from_secs(28));
}
