//! quamina on the rules and the events of `make bench-matching`, which starts it. Arguments: a file with a rule in each line
//! (`{"name": ..., "when": ...}`), a file with an event in each line, how many rounds, and the milliseconds of each. Prints a line
//! when the rules are loaded (milliseconds), one with the matches of all events, one with how many it takes without their last
//! byte, and one for each round (events a second).

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports what it found")]

use std::{
    env,
    error::Error,
    fs,
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

use quamina::QuaminaBuilder;
use serde_json::Value;

// That of the bridge.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The default of 10 MB ends with some thousand rules.
const BUDGET: usize = 6 << 30;

fn measure() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [rules, events, rounds, milliseconds] = arguments.as_slice() else {
        return Err("expected a file of rules, a file of events, rounds, and milliseconds".into());
    };
    let (rules, events) = (fs::read_to_string(rules)?, fs::read_to_string(events)?);
    let events: Vec<&[u8]> = events.lines().map(str::as_bytes).collect();
    let (rounds, round): (u32, u64) = (rounds.parse()?, milliseconds.parse()?);

    let mut quamina = QuaminaBuilder::<String>::new().with_arena_byte_budget(BUDGET).build()?;
    let began = Instant::now();
    for line in rules.lines() {
        let rule: Value = serde_json::from_str(line)?;
        let name = rule["name"].as_str().ok_or("a rule without a name")?;
        quamina.add_pattern(name.to_owned(), &rule["when"].to_string())?;
    }
    // What is left to be compiled, it compiles with the first event.
    quamina.matches_for_event(events.first().ok_or("no events")?)?;
    println!("built {}", began.elapsed().as_millis());

    let mut matches = 0;
    for event in &events {
        matches += quamina.matches_for_event(event)?.len();
    }
    println!("matches {matches}");
    let unfinished = events.iter().filter_map(|event| event.split_last());
    println!("unfinished {}", unfinished.filter(|(_, event)| quamina.matches_for_event(event).is_ok()).count());

    // The first round warms up.
    for number in 0..=rounds {
        let (mut read, began) = (0_u32, Instant::now());
        while began.elapsed() < Duration::from_millis(round) {
            for event in &events {
                black_box(quamina.matches_for_event(black_box(event))?);
                read += 1;
            }
        }
        if number > 0 {
            println!("rate {}", (f64::from(read) / began.elapsed().as_secs_f64()) as u64);
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
