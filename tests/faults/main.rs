//! Faults for as long as asked (`make faults SEED= MINUTES= SERVER=`), the figures of several replicas (`make replicas`), of
//! parking (`make parking MINUTES=`), of memory (`make soak MINUTES=`) and of a lost disk (`make lost-disk RECORDS=`). They stand
//! apart because they take longer than `make test` may.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on says why and ends; figures are printed"
)]

#[path = "../it/kit/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the kit serves tests that come and go")]
mod kit;
mod lost_disk;
mod parked;
mod replicas;
#[path = "mod.rs"]
mod seeded_faults;
mod soak;

use std::time::Duration;

use kit::Flavor;
use rand::RngExt;

#[test]
fn faults_for_as_long_as_asked() {
    let asked = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let seed = asked("FAULTS_SEED")
        .map_or_else(|| rand::rng().random_range(0..1_000_000), |seed| seed.parse().expect("SEED is a number"));
    let minutes: f64 = asked("FAULTS_MINUTES").map_or(2.0, |minutes| minutes.parse().expect("MINUTES is a number"));
    let server = match asked("FAULTS_SERVER").as_deref() {
        None | Some("langgraph") => Flavor::Dev,
        Some("aegra") => Flavor::Aegra,
        Some(other) => panic!("SERVER is langgraph or aegra, not {other}"),
    };
    seeded_faults::run(seed, server, Duration::from_secs_f64(minutes * 60.0));
}
