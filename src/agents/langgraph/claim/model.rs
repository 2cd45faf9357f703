//! A model of processes and a server that lose and delay requests and answers.
//!
//! Each seed is one history: two processes deliver the same event while requests and answers are
//! lost, requests are held for up to `max_request_lifetime`, processes crash (a new session, a new nonce) and are
//! stopped for longer than `max_request_lifetime`, between any two steps and before any write. The runs are so
//! short that `reject` hardly ever helps. The server now and then fails to find a thread that it has.
//! It may lack what others have: see [`Missing`].

mod setup;
mod world;

use setup::{Missing, REAL, Setup};
use world::{END, Process, World};

use crate::cases::cases;

fn histories() -> u64 {
    cases(4_000)
}

/// How many of the histories end with more than one run.
fn doubles(setup: Setup) -> u64 {
    let doubles = (0..histories()).filter(|seed| World::new(setup, *seed).run().runs.len() > 1).count() as u64;
    println!("{doubles} of {} histories end with more than one run: {setup:?}", histories());
    doubles
}

/// No history ends with two runs of ours, and each process ends: accepted, or with a run that nothing
/// identifies.
fn at_most_one(setup: Setup) {
    for seed in 0..histories() {
        let end = World::new(setup, seed).run();
        let (runs, history) = (end.runs.len(), || end.history.join("\n"));
        assert!(runs < 2, "{setup:?}, seed {seed}: {runs} runs\n{}", history());
        assert!(
            runs == 1 || (setup.missing.marks && setup.missing.privacy),
            "{setup:?}, seed {seed}: no run\n{}",
            history()
        );
        let ended = |process: &Process| process.accepted || (process.gave_up && setup.missing.marks);
        assert!(end.processes.iter().all(ended), "{setup:?}, seed {seed}\n{}", history());
    }
}

#[test]
fn no_history_ever_has_two_runs_and_every_history_comes_to_one() {
    for processes in [1, 2, 3] {
        at_most_one(Setup { processes, ..REAL });
    }
}

#[test]
fn a_server_that_does_not_refuse_a_busy_thread_has_no_doubles() {
    at_most_one(Setup { missing: Missing { reject: true, ..Missing::default() }, ..REAL });
}

#[test]
fn a_server_that_shows_no_metadata_of_threads_has_no_doubles() {
    at_most_one(Setup { missing: Missing { nonces: true, ..Missing::default() }, ..REAL });
}

#[test]
fn runs_of_which_nobody_can_tell_whose_they_are_are_never_doubled() {
    at_most_one(Setup { missing: Missing { marks: true, ..Missing::default() }, ..REAL });
    at_most_one(Setup {
        missing: Missing { marks: true, reject: true, nonces: true, privacy: true, runs: false },
        ..REAL
    });
}

#[test]
fn runs_of_somebody_else_on_the_claim_thread_neither_count_nor_double() {
    at_most_one(Setup { missing: Missing { privacy: true, ..Missing::default() }, ..REAL });
    at_most_one(Setup { missing: Missing { privacy: true, reject: true, ..Missing::default() }, ..REAL });
}

#[test]
fn a_lease_that_is_renewed_when_a_thread_was_once_not_found_doubles() {
    // It takes a stopped process, two others that follow each other, and a thread that is not found at
    // the wrong moment: the search goes on until there is one.
    let setup = Setup { unseen: 3, pauses: 6, processes: 3, ..REAL };
    at_most_one(setup);
    let renewed = Setup { lease_renewed: true, ..setup };
    let double = (0..200_000).find(|seed| World::new(renewed, *seed).run().runs.len() > 1);
    println!("with renewed leases, history {double:?} ends with more than one run");
    assert!(double.is_some());
}

#[test]
fn where_no_run_is_ever_listed_the_same_histories_have_doubles() {
    let setup = Setup { missing: Missing { runs: true, ..REAL.missing }, processes: 1, ..REAL };
    assert!(doubles(setup) > histories() / 4);
}

#[test]
fn without_a_request_lifetime_the_same_histories_have_doubles() {
    let setup = Setup { max_request_lifetime: Some(0), processes: 1, ..REAL };
    assert!(doubles(setup) > histories() / 400);
}

#[test]
fn without_an_end_of_the_lease_a_stopped_process_doubles() {
    assert!(doubles(Setup { lease: Some(END), ..REAL }) > 0);
}

#[test]
fn without_a_claim_for_the_second_run_request_two_processes_double() {
    assert!(doubles(Setup { later_rounds_claimed: false, ..REAL }) > 0);
}
