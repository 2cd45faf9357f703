//! One target of `workflow_bridge::testing::fuzz` under libFuzzer, which owns `main` and the command line: the environment
//! variable `FUZZ_TARGET` says which.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use workflow_bridge::testing::fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let Some((_, target)) = TARGETS.iter().find(|(target, _)| *target == name) else {
        let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        eprintln!("expected FUZZ_TARGET to be one of {}, found {name:?}", names.join(", "));
        std::process::exit(64);
    };
    *target
});

fuzz_target!(|input: &[u8]| TARGET(input));
