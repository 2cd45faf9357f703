//! `make bench-matching`: reading and matching an event on one thread, beside event-ruler and quamina.
//!
//! All get the same rules and the same events, and have to find the same matches. The first round of each warms up. The
//! figures are for comparison within one run; there is no pass or fail. `BENCH_ROUNDS` says how many rounds (5).

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports what it found")]

use std::{
    env,
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use workflow_bridge::testing::work::Matcher;

const TYPE: &str = "WORKFLOW_COMPLETED";
const EVENTS: usize = 2_000;
const RULES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
const ROUND: Duration = Duration::from_secs(1);
/// How long another may take to load the rules and to match.
const PATIENCE: Duration = Duration::from_secs(180);
const EVENT_RULER: &str = "event-ruler";
const QUAMINA: &str = "quamina";

// That of the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A kind of rules: what the `when` of the nth is.
type Kind = (&'static str, fn(usize) -> Value);

const KINDS: [Kind; 3] =
    [("exact values", exact), ("prefixes, wildcards, ranges", open), ("exists, anything-but", wide)];

/// Each names a workflow of its own.
fn exact(n: usize) -> Value {
    json!({"event_type": [TYPE], "workflow_id": [format!("wf-{n}-eu")], "payload": {"data": {"status": ["success"]}}})
}

/// None has an exact value but the type, which our rules must have.
fn open(n: usize) -> Value {
    match n % 3 {
        0 => json!({"event_type": [TYPE], "workflow_id": [{"prefix": format!("wf-{n}-")}]}),
        1 => json!({"event_type": [TYPE], "workflow_id": [{"wildcard": format!("wf-{n}-*u")}]}),
        _ => {
            json!({"event_type": [TYPE], "payload": {"data": {"rows": [{"numeric": [">=", n * 10, "<", n * 10 + 10]}]}}})
        }
    }
}

/// A field that few events have; a value that all have, and that is excluded; a field that all have, and that must be absent.
fn wide(n: usize) -> Value {
    let data = match n % 3 {
        0 => json!({format!("flag_{n}"): [{"exists": true}]}),
        1 => json!({"status": [{"anything-but": ["success", format!("status-{n}")]}]}),
        _ => json!({"note": [{"exists": false}], format!("flag_{n}"): [{"exists": false}]}),
    };
    json!({"event_type": [TYPE], "payload": {"data": data}})
}

/// An event of about 700 bytes: every other one is of a workflow that the rules name.
fn event(n: usize, rules: usize) -> String {
    let workflow = if n.is_multiple_of(2) { n % rules } else { 1_000_000 + n };
    json!({
        "event_id": format!("0192-{n:012}"), "event_type": TYPE, "timestamp": "2026-01-31T12:00:00Z",
        "source": "AIRFLOW", "workflow_id": format!("wf-{workflow}-eu"), "workflow_run_id": format!("scheduled-{n:06}"),
        "payload": {"data": {"status": "success", "rows": workflow * 10 + 5, "note": "x".repeat(330),
            format!("flag_{workflow}"): true}},
        "metadata": {"environment": "prod", "version": "1.0"},
    })
    .to_string()
}

/// What one of them did: how long it took to load the rules and how much memory at most, how many matches it found, the events
/// a second of each round.
struct Figures {
    loaded: Duration,
    /// In MiB; ours alone.
    memory: Option<u64>,
    matches: usize,
    /// How many events it takes without their last byte, which are no JSON.
    unfinished: usize,
    rates: Vec<f64>,
}

impl Figures {
    fn median(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or_default()
    }

    fn spread(&self) -> String {
        let least = self.rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.rates.iter().copied().fold(0.0, f64::max);
        format!("{least:.0} to {most:.0}")
    }
}

fn ours(
    folder: &Path,
    rules: impl Iterator<Item = Value>,
    events: &[String],
    rounds: usize,
) -> Result<Figures, String> {
    let mut yaml = "agents:\n  audit: {http: {url: 'http://127.0.0.1:9/events'}}\nrules:\n".to_owned();
    for rule in rules {
        let _ = writeln!(yaml, "  - {{name: {}, when: {}, to: [audit]}}", rule["name"], rule["when"]);
    }
    let routing = folder.join("routing");
    let written = fs::create_dir_all(&routing).and_then(|()| fs::write(routing.join("rules.yaml"), yaml));
    written.map_err(|error| format!("{}: {error}", routing.display()))?;

    // Forgets the largest memory so far.
    fs::write("/proc/self/clear_refs", "5").map_err(|error| format!("/proc/self/clear_refs: {error}"))?;
    let before = memory("VmRSS:")?;
    let began = Instant::now();
    let matcher = Matcher::load(&routing)?;
    let loaded = began.elapsed();
    let memory = memory("VmHWM:")?.saturating_sub(before);
    let mut found = 0;
    for event in events {
        found += matcher.deliveries(event.as_bytes())?;
    }
    let unfinished = events.iter().filter_map(|event| event.as_bytes().split_last());
    let unfinished = unfinished.filter(|(_, event)| matcher.deliveries(event).is_ok()).count();
    let mut rates = Vec::new();
    for round in 0..=rounds {
        let (mut read, began) = (0, Instant::now());
        while began.elapsed() < ROUND {
            for event in events {
                matcher.deliveries(event.as_bytes())?;
            }
            read += events.len();
        }
        if round > 0 {
            rates.push(read as f64 / began.elapsed().as_secs_f64());
        }
    }
    Ok(Figures { loaded, memory: Some(memory), matches: found, unfinished, rates })
}

/// A line of what the system says of this process, in MiB.
fn memory(name: &str) -> Result<u64, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| format!("/proc/self/status: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib / 1024).ok_or_else(|| format!("/proc/self/status has no {name}"))
}

/// How another is started. It reads the files of rules and of events that follow its own arguments.
fn other(name: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if name == QUAMINA {
        // With 100,000 fields it takes more than 24 GiB.
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -v 12582912 && exec \"$0\" \"$@\""]);
        limited.arg(root.join("target/quamina/release/quamina-rules"));
        return limited;
    }
    let mut java = Command::new("java");
    java.args(["-Xmx6g", "-XX:+UseSerialGC", "-cp"])
        .arg(root.join("target/it/event-ruler/*"))
        .arg(root.join("benches/matching/Ruler.java"));
    java
}

/// Why there are no figures when it took too long or gave up.
fn theirs(
    name: &str,
    folder: &Path,
    rules: impl Iterator<Item = Value>,
    events: &[String],
    rounds: usize,
) -> Result<Result<Figures, String>, String> {
    let (rule_file, event_file) = (folder.join("rules.jsonl"), folder.join("events.jsonl"));
    let rules: Vec<String> = rules.map(|rule| rule.to_string()).collect();
    let written = fs::write(&rule_file, rules.join("\n")).and_then(|()| fs::write(&event_file, events.join("\n")));
    written.map_err(|error| format!("{}: {error}", folder.display()))?;
    let output = folder.join("output.txt");
    let file = fs::File::create(&output).map_err(|error| format!("{}: {error}", output.display()))?;
    let mut process = other(name)
        .args([&rule_file, &event_file])
        .args([rounds.to_string(), ROUND.as_millis().to_string()])
        .stdout(file)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("{name} cannot be run: {error}"))?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match process.try_wait().map_err(|error| format!("{name}: {error}"))? {
            Some(status) => break status,
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
            None => {
                let ended = process.kill().and_then(|()| process.wait());
                ended.map_err(|error| format!("{name} cannot be ended: {error}"))?;
                return Ok(Err(format!("not done after {PATIENCE:?}")));
            }
        }
    };
    if !status.success() {
        return Ok(Err(format!("failed: {status}")));
    }
    let printed = fs::read_to_string(&output).map_err(|error| format!("{}: {error}", output.display()))?;
    let numbers = |word: &str| -> Vec<u64> {
        printed.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).collect()
    };
    let (counts, rates) = (["built ", "matches ", "unfinished "].map(numbers), numbers("rate "));
    match (&counts[0][..], &counts[1][..], &counts[2][..]) {
        ([loaded], [matches], [unfinished]) if rates.len() == rounds => {
            let [matches, unfinished] =
                [*matches, *unfinished].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
            let rates = rates.iter().map(|rate| *rate as f64).collect();
            Ok(Ok(Figures { loaded: Duration::from_millis(*loaded), memory: None, matches, unfinished, rates }))
        }
        _ => Err(format!("{name} printed:\n{printed}")),
    }
}

/// `ours` is for the ratio of us to another.
fn line(kind: &str, rules: usize, name: &str, figures: &Figures, ours: Option<f64>) {
    let ratio = ours.map_or(String::new(), |ours| format!("{:.1}", ours / figures.median()));
    let loaded = figures.loaded.as_secs_f64();
    let memory = figures.memory.map_or(String::new(), |memory| memory.to_string());
    println!(
        "{kind:<28} {rules:>6} {name:<16} {:>10.0} {ratio:>7} {:>22} {loaded:>9.2} s {memory:>8} {:>10}",
        figures.median(),
        figures.spread(),
        figures.unfinished
    );
}

fn compare() -> Result<(), String> {
    let rounds = env::var("BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let folder = tempfile::tempdir().map_err(|error| format!("a folder for the rules: {error}"))?;
    println!("{rounds} rounds of {ROUND:?} after one to warm up, one thread, {EVENTS} events of about 700 bytes");
    println!("unfinished: how many of the events it takes that lack their last byte");
    println!(
        "{:<28} {:>6} {:<16} {:>10} {:>7} {:>22} {:>11} {:>8} {:>10}",
        "", "rules", "", "events/s", "ours to", "spread", "to load", "MiB", "unfinished"
    );
    for (kind, when) in KINDS {
        for count in RULES {
            let rule = move |n: usize| json!({"name": format!("r{n}"), "when": when(n)});
            let events: Vec<String> = (0..EVENTS).map(|n| event(n, count)).collect();
            let ours = ours(folder.path(), (0..count).map(rule), &events, rounds)?;
            line(kind, count, "workflow-bridge", &ours, None);
            for name in [EVENT_RULER, QUAMINA] {
                match theirs(name, folder.path(), (0..count).map(rule), &events, rounds)? {
                    Ok(theirs) if theirs.matches != ours.matches => {
                        return Err(format!("we found {} matches, and {name} {}", ours.matches, theirs.matches));
                    }
                    Ok(theirs) => line(kind, count, name, &theirs, Some(ours.median())),
                    Err(reason) => println!("{kind:<28} {count:>6} {name:<16} {reason}"),
                }
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match compare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
