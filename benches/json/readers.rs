//! `make bench-json`: reading an event with sonic-rs and simd-json, beside serde_json and the bridge.
//!
//! The others read the six names of an event and skip the rest, or read the whole document. The bridge checks the limits, reads
//! the names and the fields of its rule, and matches. Then each gets texts that are hardly JSON, or none: what one of them takes
//! and serde_json does not would be another verdict on a record. The figures are for comparison within one run.
//! `BENCH_ROUNDS` says how many rounds (5).

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports what it found")]

use std::{
    borrow::Cow,
    env, fs,
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use workflow_bridge::testing::work::Matcher;

// That of the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const EVENTS: usize = 1_000;
const ROUND: Duration = Duration::from_millis(500);

const RULES: &str = "agents: {audit: {http: {url: 'http://127.0.0.1:9/events'}}}
rules:
  - {name: one, when: {event_type: [WORKFLOW_FAILED], workflow_id: [wf-1], payload: {data: {status: [failed]}}}, to: [audit]}
";

/// What every event has. The last field of a name counts, as in JSON; derived code refuses a second one, which no event here has.
#[derive(Deserialize)]
struct Names<'a> {
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    workflow_id: Cow<'a, str>,
    #[serde(borrow)]
    workflow_run_id: Cow<'a, str>,
    payload: IgnoredAny,
    metadata: IgnoredAny,
}

impl Names<'_> {
    fn length(&self) -> usize {
        let texts =
            [&self.event_id, &self.event_type, &self.timestamp, &self.source, &self.workflow_id, &self.workflow_run_id];
        black_box((&self.payload, &self.metadata));
        texts.into_iter().map(|text| text.len()).sum()
    }
}

/// A reader: how it reads an event, and whether it takes a text.
struct Reader {
    name: &'static str,
    read: Box<dyn Fn(&[u8]) -> Option<usize>>,
}

fn reader(name: &'static str, read: impl Fn(&[u8]) -> Option<usize> + 'static) -> Reader {
    Reader { name, read: Box::new(read) }
}

fn readers(matcher: Matcher) -> Vec<Reader> {
    vec![
        reader("the bridge, with a rule", move |text| matcher.deliveries(text).ok()),
        reader("serde_json, the names", |text| Some(serde_json::from_slice::<Names<'_>>(text).ok()?.length())),
        reader("sonic-rs, the names", |text| Some(sonic_rs::from_slice::<Names<'_>>(text).ok()?.length())),
        // It writes into its input, and a record of Kafka is not ours to write into.
        reader("simd-json, the names", |text| {
            Some(simd_json::from_slice::<Names<'_>>(&mut text.to_vec()).ok()?.length())
        }),
        reader("serde_json, all", |text| {
            Some(serde_json::from_slice::<serde_json::Value>(text).ok()?.as_object()?.len())
        }),
        reader("sonic-rs, all", |text| {
            use sonic_rs::JsonContainerTrait as _;
            Some(sonic_rs::from_slice::<sonic_rs::Value>(text).ok()?.as_object()?.len())
        }),
        reader("simd-json, all", |text| {
            use simd_json::prelude::ValueAsObject as _;
            Some(simd_json::to_borrowed_value(&mut text.to_vec()).ok()?.as_object()?.len())
        }),
    ]
}

/// An event with a note of so many bytes.
fn event(n: usize, note: usize) -> Vec<u8> {
    let note: String = "The load of the table \"orders\" has ended, after nine attempts, and everything that stood in it before was replaced.\n".chars().cycle().take(note).collect();
    json!({
        "event_id": format!("0192-{n:012}"), "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T12:00:00Z",
        "source": "AIRFLOW", "workflow_id": format!("wf-{n}-eu"), "workflow_run_id": format!("scheduled-{n:06}"),
        "payload": {"data": {"status": "success", "rows": n * 10 + 5, "share": 0.25, "note": note}},
        "metadata": {"environment": "prod", "version": "1.0"},
    })
    .to_string()
    .into_bytes()
}

fn speed(readers: &[Reader], note: usize, rounds: usize) -> Result<(), String> {
    let events: Vec<Vec<u8>> = (0..EVENTS).map(|n| event(n, note)).collect();
    let mut rates = vec![Vec::new(); readers.len()];
    // Each in every round, so that what the machine does meanwhile is shared. The first round warms up.
    for round in 0..=rounds {
        for (reader, rates) in readers.iter().zip(&mut rates) {
            let (mut read, began) = (0_u32, Instant::now());
            while began.elapsed() < ROUND {
                for event in &events {
                    let length =
                        (reader.read)(black_box(event)).ok_or_else(|| format!("{} refused an event", reader.name))?;
                    black_box(length);
                    read += 1;
                }
            }
            if round > 0 {
                rates.push(f64::from(read) / began.elapsed().as_secs_f64());
            }
        }
    }
    println!("{rounds} rounds of {ROUND:?}, events of {} bytes, one thread", events[0].len());
    for (reader, rates) in readers.iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        let (least, median, most) = (rates[0], rates[rates.len() / 2], rates[rates.len() - 1]);
        println!("{:<26} {median:>10.0}/s  {least:.0} to {most:.0}", reader.name);
    }
    Ok(())
}

/// Texts, each as the value of one more field in an event, or in the place of the event.
fn texts() -> Vec<(&'static str, Vec<u8>)> {
    let whole = |note: &[u8]| [&event(1, 1)[..event(1, 1).len() - 1], b",\"more\":", note, b"}"].concat();
    let text = |bytes: &[u8]| whole(&[b"\"", bytes, b"\""].concat());
    let nested = |levels: usize| {
        whole(
            "[".repeat(levels)
                .into_bytes()
                .into_iter()
                .chain("]".repeat(levels).into_bytes())
                .collect::<Vec<_>>()
                .as_slice(),
        )
    };
    vec![
        ("half of a surrogate pair", text(br"\ud83d")),
        ("a byte that is not UTF-8", text(b"\xff")),
        ("a control character", text(b"\x01")),
        ("an unknown escape", text(br"\x")),
        ("a number beyond f64", whole(b"1e999")),
        ("an integer of 40 digits", whole(&[b'9'; 40])),
        ("a leading zero", whole(b"01")),
        ("a number without digits after the point", whole(b"1.")),
        ("NaN", whole(b"NaN")),
        ("a comma too many", whole(b"[1,]")),
        ("100 levels", nested(100)),
        ("1,000 levels", nested(1_000)),
        ("a second document", [event(1, 1), b" {}".to_vec()].concat()),
        ("a zero byte at the end", [event(1, 1), b"\0".to_vec()].concat()),
        ("nothing", Vec::new()),
    ]
}

fn verdicts(readers: &[Reader]) {
    println!("{:<42} {}", "", readers[1..].iter().map(|reader| format!("{:>22}", reader.name)).collect::<String>());
    for (name, text) in texts() {
        let verdict = |reader: &Reader| if (reader.read)(&text).is_some() { "taken" } else { "refused" };
        println!(
            "{name:<42} {}",
            readers[1..].iter().map(|reader| format!("{:>22}", verdict(reader))).collect::<String>()
        );
    }
}

fn compare() -> Result<(), String> {
    let rounds = env::var("BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let folder = tempfile::tempdir().map_err(|error| format!("a folder for the rules: {error}"))?;
    fs::write(folder.path().join("rules.yaml"), RULES).map_err(|error| format!("the rules: {error}"))?;
    let readers = readers(Matcher::load(folder.path())?);
    for note in [330, 30_000] {
        speed(&readers, note, rounds)?;
    }
    verdicts(&readers);
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
