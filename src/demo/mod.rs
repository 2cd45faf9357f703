//! The main job in one process: an embedded broker, a sample agent, the rules of examples/routing and sample
//! events. Owns what is expected of them, and the table that shows what became of each.

pub mod agent;
mod samples;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use crate::{
    bridge::{self, BridgeError, Environment, Hooks, Outcome},
    config::{Config, ConfigError, Sources},
    dedup::Delivery,
    kafka::{EmbeddedBroker, KafkaError},
};
use agent::{SampleAgent, SampleOptions};
use samples::Sample;

const TOPIC: &str = "workflow-events";
/// How long the outcomes may take altogether.
const DEADLINE: Duration = Duration::from_secs(60);
/// The agent refuses this often before it works.
const FAILURES: u32 = 2;

/// The sample routing folder, so that the binary needs no files beside it.
const SAMPLES: &[(&str, &str)] = &[
    ("agents.yaml", include_str!("../../examples/routing/agents.yaml")),
    ("rules.yaml", include_str!("../../examples/routing/rules.yaml")),
];

/// The demo could not be run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The embedded broker or its client failed.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The temporary folder or a listener could not be had.
    #[error("the demo could not make its temporary folder or listen on 127.0.0.1: {0}")]
    Io(#[from] io::Error),
    /// The demo's own settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The bridge ended by itself.
    #[error(transparent)]
    Bridge(#[from] BridgeError),
}

/// What the demo is run with.
pub struct Options {
    /// The admin address; port 0 is any free one.
    pub admin_addr: String,
    /// Stays up after the table, until a signal.
    pub keep: bool,
}

/// What became of the samples.
pub struct Report {
    /// A line for each sample.
    pub table: String,
    /// The sums.
    pub totals: String,
    /// Whether everything came as expected.
    pub as_expected: bool,
}

/// A folder that is gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("workflow-bridge-demo-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(folder.join("routing"))?;
        fs::write(folder.join("bridge.yaml"), "")?;
        for (name, text) in SAMPLES {
            fs::write(folder.join("routing").join(name), text)?;
        }
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover folder in the temporary place harms nobody.
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}

/// Runs the demo; `show` is called with the report, and with where to look when it stays up.
pub async fn run(options: Options, show: impl FnOnce(&Report, SocketAddr)) -> Result<bool, DemoError> {
    let scratch = Scratch::new()?;
    let broker = EmbeddedBroker::start(&[(TOPIC, 4), ("workflow-events.dlq", 1)])?;
    let agent = SampleAgent::start(
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SampleOptions { refuse_first: FAILURES, ..Default::default() },
    )
    .await?;

    let agent_url = format!("http://{}", agent.addr());
    let servers = broker.bootstrap_servers();
    let environment: BTreeMap<&str, String> = BTreeMap::from([
        ("KAFKA_BOOTSTRAP_SERVERS", servers),
        ("BRIDGE_ROUTING_DIR", scratch.path("routing")),
        ("BRIDGE_DATA_DIR", scratch.path("data")),
        ("BRIDGE_ADMIN_ADDR", options.admin_addr),
        ("LANGGRAPH_URL", agent_url.clone()),
        ("AUDIT_URL", format!("{agent_url}/events")),
    ]);
    let environment: Environment = Arc::new(move |name| environment.get(name).cloned());
    // Named, so that a bridge.yaml of the folder the demo is started in is left alone.
    let file = Some(scratch.0.join("bridge.yaml"));
    let mut config = Config::load(&Sources { flags: BTreeMap::new(), env: &*environment, file })?;
    // The embedded broker speaks the newer group protocol best.
    config.kafka.properties.insert("group.protocol".to_owned(), "consumer".to_owned());

    let mut samples: Vec<(Sample, (i32, i64))> = Vec::new();
    for sample in samples::samples() {
        let place = broker.publish(TOPIC, &sample.key, &sample.value).await?;
        samples.push((sample, place));
    }

    let outcomes: Arc<Mutex<BTreeMap<(i32, i64), Outcome>>> = Arc::default();
    let news = Arc::new(Notify::new());
    let observer = {
        let (outcomes, news) = (Arc::clone(&outcomes), Arc::clone(&news));
        Arc::new(move |outcome: Outcome| {
            let place = (outcome.origin.partition, outcome.origin.offset);
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(place, outcome);
            news.notify_one();
        })
    };
    let (listening, bound) = oneshot::channel();
    let hooks = Hooks { observer: Some(observer), listening: Some(listening), ..Hooks::default() };
    let mut as_expected = false;
    let story = async {
        let all = async {
            while outcomes.lock().unwrap_or_else(PoisonError::into_inner).len() < samples.len() {
                news.notified().await;
            }
        };
        // Past the deadline the table says what is missing.
        let _ = timeout(DEADLINE, all).await;
        let report = report(&samples, &outcomes.lock().unwrap_or_else(PoisonError::into_inner), &agent);
        as_expected = report.as_expected;
        if let Ok(addr) = bound.await {
            show(&report, addr);
        }
        if options.keep
            && let Ok(until) = bridge::signals()
        {
            until.await;
        }
    };
    bridge::run(config, &environment, hooks, story).await?;
    Ok(as_expected)
}

fn report(samples: &[(Sample, (i32, i64))], outcomes: &BTreeMap<(i32, i64), Outcome>, agent: &SampleAgent) -> Report {
    let mut table = format!("{:<28} {:<15} {:<14} deliveries\n", "sample", "event_id", "outcome");
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    let mut as_expected = true;
    for (sample, place) in samples {
        let outcome = outcomes.get(place);
        let became = outcome.map_or("no outcome yet", |outcome| outcome.outcome);
        *totals.entry(became).or_default() += 1;
        let mark = if became == sample.expected { "" } else { "  <- expected: " };
        let wanted = if mark.is_empty() { "" } else { sample.expected };
        as_expected &= mark.is_empty();
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "{:<28} {:<15} {:<14} {}{mark}{wanted}",
            sample.what,
            outcome.and_then(|outcome| outcome.event_id.as_deref()).unwrap_or("-"),
            became,
            outcome.map(deliveries).unwrap_or_default(),
        );
    }
    let mut runs: BTreeMap<String, u32> = BTreeMap::new();
    for run in agent.runs() {
        *runs.entry(run["metadata"]["event_id"].to_string()).or_default() += 1;
    }
    let doubled = runs.values().filter(|count| **count > 1).count();
    as_expected &= doubled == 0 && !runs.is_empty();
    let sums: Vec<String> = totals.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let totals = format!(
        "{}; {} agent runs, {doubled} of them doubled, although the agent failed {FAILURES} times",
        sums.join(", "),
        runs.values().sum::<u32>(),
    );
    Report { table, totals, as_expected }
}

fn deliveries(outcome: &Outcome) -> String {
    if let Some(reason) = outcome.reason {
        return format!("reason: {reason}");
    }
    let one = |delivery: &Delivery| {
        let tries = if delivery.attempts == 0 { String::new() } else { format!(" after {} failed", delivery.attempts) };
        format!("{} -> {}: {}{tries}", delivery.rule, delivery.agent, delivery.status.as_str())
    };
    outcome.deliveries.iter().map(one).collect::<Vec<_>>().join(", ")
}
