//! `make counts`: how many instructions single steps of the bridge take, beside the budgets in `budgets.txt`.
//!
//! Counts do not depend on what else the machine does, so CI can hold them. The program runs itself under callgrind, once
//! for each step. Counted is what the thread of the step executes, in libraries and for the C library too; other threads
//! are not, because what they do depends on the time: the flush of the ledger, librdkafka, the agent.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it reports what it found")]

mod budgets;
mod samples;
mod steps;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use budgets::Budgets;
use steps::{STEPS, Step};

// That of the program: it is the same on every machine, and the C library's is not.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The C library chooses its `memcpy` and the like by the processor. These are features whose variants it is to leave alone,
/// by their names in several versions; an unknown name means nothing to it.
const SAME_ON_EVERY_PROCESSOR: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX2_Usable,-AVX,-AVX_Usable,\
     -AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-SSE4_2,-SSE4_1,-SSSE3,-BMI2,-BMI1,-MOVBE,-LZCNT,-RTM";

/// Whether the budgets are of this kind of machine.
const IS_COUNTED: bool = cfg!(all(target_arch = "x86_64", target_os = "linux"));
const NOT_COUNTED: &str = "the budgets are those of x86_64 Linux: nothing is counted elsewhere";

/// What callgrind counts: this function, and what it calls. Its name must be part of no other one's.
#[inline(never)]
pub(crate) fn counted_by_callgrind(step: &mut dyn FnMut() -> Result<(), String>) -> Result<(), String> {
    // A jump instead of a call would leave the function before the step begins.
    std::hint::black_box(step())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => check(),
        ["--update"] => update(),
        ["--step", name] => run(name).map(|()| true),
        _ => Err("expected no argument, or --update".to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str) -> Result<(), String> {
    let step = STEPS.iter().find(|step| step.name == name).ok_or_else(|| format!("there is no step `{name}`"))?;
    (step.run)(step.times)
}

/// Compares every count with its budget; false if one is over it, as the compiler that the budgets are of makes it.
fn check() -> Result<bool, String> {
    if !IS_COUNTED {
        println!("{NOT_COUNTED}");
        return Ok(true);
    }
    let budgets = Budgets::read()?;
    let mut over = Vec::new();
    println!("{:<12} {:>14} {:>14} {:>9}", "one", "instructions", "budget", "change");
    for step in STEPS {
        let found = count(step)?;
        let budget = budgets.of(step.name)?;
        println!("{:<12} {found:>14} {:>14} {:>+8.1} %", step.name, budget.instructions, budget.change(found));
        over.extend(budget.exceeded_by(found));
    }
    if over.is_empty() {
        return Ok(true);
    }
    eprintln!("\n{}", over.join("\n"));
    eprintln!(
        "The functions that take most: callgrind_annotate {}/NAME.out | head -40. When the change is worth it, `make counts-update` \
         writes the new counts to {}: say in the commit why.",
        folder().display(),
        budgets::FILE
    );
    if budgets.compiler != compiler() {
        eprintln!(
            "The budgets were counted with {}, and this is {}: they do not bind it.",
            budgets.compiler,
            compiler()
        );
        return Ok(true);
    }
    Ok(false)
}

fn update() -> Result<bool, String> {
    let mut budgets = Budgets::read()?;
    budgets.compiler = compiler();
    for step in STEPS {
        let found = count(step)?;
        println!("{:<12} {found:>14}", step.name);
        budgets.set(step.name, found);
    }
    budgets.write()?;
    println!("written to {}", budgets::FILE);
    Ok(true)
}

/// Where callgrind writes what it found.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("counts")
}

fn compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&version).trim().to_owned()
}

/// The instructions of one execution of the step.
fn count(step: &Step) -> Result<u64, String> {
    if !IS_COUNTED {
        return Err(NOT_COUNTED.to_owned());
    }
    if !cfg!(debug_assertions) {
        return Err("the budgets are those of the profile of the tests: run `make counts`".to_owned());
    }
    let program = env::current_exe().map_err(|error| format!("the path of this program: {error}"))?;
    let file = folder().join(format!("{}.out", step.name));
    fs::create_dir_all(folder()).map_err(|error| format!("{}: {error}", folder().display()))?;
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_by_callgrind*", "--error-exitcode=0"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(["--step", step.name])
        .env("GLIBC_TUNABLES", SAME_ON_EVERY_PROCESSOR)
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}; apt install valgrind"))?;
    if !run.status.success() {
        return Err(format!("step `{}`, {}:\n{}", step.name, run.status, String::from_utf8_lossy(&run.stderr)));
    }
    let found = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let total = found.lines().filter_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok()).sum::<u64>();
    if total == 0 {
        return Err(format!(
            "{}: callgrind counted nothing: is the function still called counted_by_callgrind?",
            file.display()
        ));
    }
    Ok(total / step.times as u64)
}
