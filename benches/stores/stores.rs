//! `make bench-stores`: what the ledger asks of its store, of sled, redb and fjall.
//!
//! The load is that of events that are delivered at their first attempt, from one thread as fast as the store takes it: 64 records
//! that must not be there yet, then all of them survive the end of the process. Then as many known ones are read and replaced, as
//! when an attempt failed or the ledger topic knows more. Before that the store is filled; ids are in no order. Each store runs in a
//! process of its own, which is killed in the end; the next process opens what it left, and looks for every record.
//!
//! What a store promises after a power loss is not the same: see the names below. The figures are for comparison within one run.
//! `BENCH_ROUNDS` says how many rounds (3), `STORE_RECORDS` how many records are in it before (1,000,000), `STORE_CACHE` the bytes of
//! its cache (32 MiB, the default of `dedup.cache_bytes`).

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports what it found")]

mod implementations;

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    hint::black_box,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::Instant,
};

use implementations::{Entry, open};

// That of the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// So many deliveries of the bridge wait for one flush, with 64 requests in flight.
const GROUP: u64 = 64;
const MEASURED: u64 = 5_000 * GROUP;
/// The size of a record of one delivery by LangGraph.
const VALUE_BYTES: usize = 93;

const STORES: [(&str, &str); 4] = [
    ("sled", "sled 0.34, each group handed to the disk, forced every 100 ms"),
    ("fjall", "fjall 3, each group handed to the kernel, forced to the disk every 100 ms"),
    ("redb", "redb 4, each group forced to the disk"),
    ("redb-unforced", "redb 4, each group handed to the kernel, never forced: damaged after a power loss"),
];

/// A number that the user may give.
fn asked(name: &str, default: u64) -> Result<u64> {
    env::var(name).map_or(Ok(default), |text| text.parse().map_err(|_| format!("{name}={text} is no number").into()))
}

/// A record's key, in no order.
fn key(n: u64) -> Vec<u8> {
    // splitmix64, twice: the digits of an id.
    let mix = |seed: u64| {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    format!("r{:016x}{:020x}", mix(n), mix(n ^ u64::MAX)).into_bytes()
}

fn value(n: u64, version: u8) -> Vec<u8> {
    let mut value = key(n).into_iter().cycle().take(VALUE_BYTES).collect::<Vec<_>>();
    value[0] = version;
    value
}

/// The processor time of this process until now.
fn processor_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no name in stat")?.1.split_whitespace().collect();
    let ticks = |n: usize| -> Result<f64> { Ok(fields.get(n).ok_or("a short stat")?.parse()?) };
    // USER_HZ is 100 on every Linux.
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

fn peak_mib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    Ok(peak.ok_or("no VmHWM")?.trim().parse::<f64>()? / 1024.0)
}

fn disk_mib(folder: &Path) -> Result<f64> {
    let mut mib = 0.0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        mib += if entry.file_type()?.is_dir() {
            disk_mib(&entry.path())?
        } else {
            // Of 512 bytes, whatever the file system's are.
            f64::from(u32::try_from(entry.metadata()?.blocks())?) / 2_048.0
        };
    }
    Ok(mib)
}

fn records(numbers: impl Iterator<Item = u64>, version: u8) -> Vec<Entry> {
    numbers.map(|n| (key(n), value(n, version))).collect()
}

fn groups(first: u64, version: u8) -> impl Iterator<Item = Vec<Entry>> {
    (0..MEASURED / GROUP).map(move |n| records(first + n * GROUP..first + (n + 1) * GROUP, version))
}

/// The processor time that it takes to make the records of a step. To be asked before there is a store, which has threads.
fn making_them() -> Result<f64> {
    let began = processor_seconds()?;
    groups(0, 1).for_each(|group| drop(black_box(group)));
    Ok(processor_seconds()? - began)
}

/// Runs a step on the groups, and reports its rate, its processor time and how long a group takes.
fn measure(
    name: &str,
    groups: impl Iterator<Item = Vec<Entry>>,
    making_them: f64,
    step: impl Fn(&[Entry]) -> Result<usize>,
) -> Result<()> {
    let (mut took, began) = (Vec::new(), processor_seconds()?);
    for group in groups {
        let began = Instant::now();
        if step(&group)? != 0 {
            return Err("a record was there before its time, or was not there".into());
        }
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    let processor = processor_seconds()? - began - making_them;
    let seconds = took.iter().sum::<f64>() / 1_000.0;
    took.sort_by(f64::total_cmp);
    let hundreds_of_thousands = MEASURED as f64 / 100_000.0;
    println!("{name} per second={}", hundreds_of_thousands * 100_000.0 / seconds);
    println!("{name} processor={}", processor / hundreds_of_thousands);
    println!("{name} p99={}", took[took.len() * 99 / 100]);
    println!("{name} longest={}", took[took.len() - 1]);
    Ok(())
}

/// A process that works with one store until it is killed.
fn load(name: &str, folder: &Path, before: u64) -> Result<()> {
    let making_them = making_them()?;
    let store = open(name, folder)?;
    for first in (0..before).step_by(1_000) {
        store.add(&records(first..before.min(first + 1_000), 1))?;
    }
    measure("written", groups(before, 1), making_them, |group| store.add(group))?;
    measure("replaced", groups(before.saturating_sub(MEASURED), 2), making_them, |group| store.replace(group))?;
    println!("peak={}", peak_mib()?);
    println!("disk={}", disk_mib(folder)?);
    println!("done=1");
    io::stdout().flush()?;
    // Until it is killed: this thread neither closes the store nor returns.
    loop {
        thread::park();
    }
}

/// A process that opens what the one before has left.
fn check(name: &str, folder: &Path, before: u64) -> Result<()> {
    let began = Instant::now();
    let store = open(name, folder)?;
    println!("opened={}", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let count = store.count()?;
    println!("counted={}", began.elapsed().as_secs_f64());
    let all = before + MEASURED;
    if count != all {
        return Err(format!("{count} records of {all} are left").into());
    }
    let replaced = before.saturating_sub(MEASURED)..before.saturating_sub(MEASURED) + MEASURED;
    for n in 0..all {
        let version = if replaced.contains(&n) { 2 } else { 1 };
        if store.get(&key(n))? != Some(value(n, version)) {
            return Err(format!("record {n} is not what was written").into());
        }
    }
    println!("done=1");
    Ok(())
}

/// Reads what a process reports until it is done.
fn report(child: &mut Child, figures: &mut BTreeMap<String, Vec<f64>>) -> Result<()> {
    for line in BufReader::new(child.stdout.take().ok_or("no output")?).lines() {
        let line = line?;
        let (name, figure) = line.split_once('=').ok_or_else(|| format!("not a figure: {line}"))?;
        if name == "done" {
            return Ok(());
        }
        figures.entry(name.to_owned()).or_default().push(figure.parse()?);
    }
    Err("the process ended before it was done".into())
}

fn run(step: &str, name: &str, folder: &Path, before: u64, figures: &mut BTreeMap<String, Vec<f64>>) -> Result<()> {
    let mut command = Command::new(env::current_exe()?);
    let mut child = command.arg(step).arg(name).arg(folder).arg(before.to_string()).stdout(Stdio::piped()).spawn()?;
    let reported = report(&mut child, figures);
    child.kill()?;
    child.wait()?;
    reported.map_err(|error| format!("{name}: {error}").into())
}

fn compare() -> Result<()> {
    let (rounds, before) = (asked("BENCH_ROUNDS", 3)?, asked("STORE_RECORDS", 1_000_000)?);
    let mut figures: [BTreeMap<String, Vec<f64>>; STORES.len()] = Default::default();
    for round in 0..rounds {
        // Each in every round, and each round begins with another, so that what the machine does meanwhile is shared.
        for turn in 0..STORES.len() {
            let at = (usize::try_from(round)? + turn) % STORES.len();
            let (name, figures) = (STORES[at].0, &mut figures[at]);
            let folder = tempfile::tempdir()?;
            run("load", name, folder.path(), before, figures)?;
            run("check", name, folder.path(), before, figures)?;
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!(
        "{rounds} rounds, medians: {MEASURED} records of {VALUE_BYTES} bytes, {before} before them, {GROUP} in a group, one thread"
    );
    for ((_, name), figures) in STORES.iter().zip(&mut figures) {
        println!("{name}");
        for (figure, values) in figures {
            values.sort_by(f64::total_cmp);
            let (least, median, most) = (values[0], values[values.len() / 2], values[values.len() - 1]);
            println!("  {figure:<24} {median:>10.2}  {least:.2} to {most:.2}");
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["load", name, folder, before] => {
            before.parse().map_err(Into::into).and_then(|n| load(name, folder.as_ref(), n))
        }
        ["check", name, folder, before] => {
            before.parse().map_err(Into::into).and_then(|n| check(name, folder.as_ref(), n))
        }
        _ => compare(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
