//! The whole bridge in one process: an embedded broker, an agent, the rules of examples/routing and sample events.
//!
//! Owns the expected outcome of each sample, and the table that shows the outcomes.

mod agent;
mod samples;
#[cfg(test)]
pub(crate) mod testing;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use crate::{
    bridge::{self, BridgeError, CompletedEvent, Environment, Hooks},
    config::{Config, ConfigError, Sources},
    dedup::DeliveryRecord,
    kafka::{EmbeddedBroker, KafkaError},
    sync::Mutex,
};
use agent::{AgentOptions, DemoAgent};
use samples::Sample;

const TOPIC: &str = "workflow-events";
/// How long all outcomes may take together.
const DEADLINE: Duration = Duration::from_secs(180);
/// The agent refuses this often before it works.
const FAILURES: u32 = 2;

/// The sample routing folder, so that the binary needs no files beside it.
const SAMPLES: &[(&str, &str)] = &[
    ("agents.yaml", include_str!("../../examples/routing/agents.yaml")),
    ("rules.yaml", include_str!("../../examples/routing/rules.yaml")),
];

/// The demo could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
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
pub(crate) struct Options {
    /// The admin address; port 0 is any free one.
    pub admin_addr: String,
    /// Stays up after the table, until a signal.
    pub keep: bool,
}

/// The outcomes of the samples.
pub(crate) struct Report {
    /// A line for each sample.
    pub table: String,
    /// The sums.
    pub totals: String,
    /// The same for programs.
    pub page: Value,
    /// Whether everything came as expected.
    pub as_expected: bool,
}

/// A folder that is removed when dropped.
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
        // A leftover temporary folder does no harm.
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}

/// Runs the demo; `show` gets the report and the admin address.
pub(crate) async fn run(options: Options, show: impl FnOnce(&Report, SocketAddr)) -> Result<bool, DemoError> {
    let scratch = Scratch::new()?;
    let broker = EmbeddedBroker::start(&[(TOPIC, 4), ("workflow-events.dlq", 1)])?;
    let agent = DemoAgent::start(AgentOptions { refuse_first: FAILURES, ..AgentOptions::default() }).await?;

    let (config, environment) = configure(&scratch, &broker, &agent, options.admin_addr)?;
    let mut samples: Vec<(Sample, (i32, i64))> = Vec::new();
    for sample in samples::samples() {
        let position = broker.publish(TOPIC, &sample.key, &sample.value).await?;
        samples.push((sample, position));
    }

    let outcomes: Arc<Mutex<BTreeMap<(i32, i64), CompletedEvent>>> = Arc::default();
    let changed = Arc::new(Notify::new());
    let observer = {
        let (outcomes, changed) = (Arc::clone(&outcomes), Arc::clone(&changed));
        Arc::new(move |event: CompletedEvent| {
            let position = (event.origin.partition, event.origin.offset);
            outcomes.lock().insert(position, event);
            changed.notify_one();
        })
    };
    let (listening, bound) = oneshot::channel();
    let hooks = Hooks { observer: Some(observer), listening: Some(listening), ..Hooks::default() };
    let mut as_expected = false;
    let samples_and_report = async {
        let all = async {
            while outcomes.lock().len() < samples.len() {
                changed.notified().await;
            }
        };
        // Past the deadline the table says what is missing.
        let _ = timeout(DEADLINE, all).await;
        let report = report(&samples, &outcomes.lock(), &agent);
        as_expected = report.as_expected;
        if let Ok(addr) = bound.await {
            show(&report, addr);
        }
        if options.keep
            && let Ok(until) = bridge::signals(None)
        {
            until.await;
        }
    };
    bridge::run(config, &environment, hooks, samples_and_report).await?;
    Ok(as_expected)
}

/// The settings of the bridge in the demo, and the environment that its routing folder reads.
fn configure(
    scratch: &Scratch,
    broker: &EmbeddedBroker,
    agent: &DemoAgent,
    admin_addr: String,
) -> Result<(Config, Environment), DemoError> {
    let agent_url = format!("http://{}", agent.addr());
    let servers = broker.bootstrap_servers();
    let environment: BTreeMap<&str, String> = BTreeMap::from([
        ("KAFKA_BOOTSTRAP_SERVERS", servers),
        ("BRIDGE_ROUTING_DIR", scratch.path("routing")),
        ("BRIDGE_DATA_DIR", scratch.path("data")),
        ("BRIDGE_ADMIN_ADDR", admin_addr),
        // One process, and a broker in memory that knows no topic settings.
        ("BRIDGE_LEDGER_TOPIC", "off".to_owned()),
        ("BRIDGE_PARK_AFTER", "off".to_owned()),
        ("LANGGRAPH_URL", agent_url.clone()),
        ("AUDIT_URL", format!("{agent_url}/events")),
    ]);
    let environment: Environment = Arc::new(move |name| environment.get(name).cloned());
    // Named, so that a bridge.yaml of the folder the demo is started in is left alone.
    let file = Some(scratch.0.join("bridge.yaml"));
    let mut config = Config::load(&Sources { flags: BTreeMap::new(), env: &*environment, file })?;
    // The embedded broker speaks the newer group protocol best.
    config.kafka.properties.insert("group.protocol".to_owned(), "consumer".to_owned());
    Ok((config, environment))
}

fn report(
    samples: &[(Sample, (i32, i64))],
    outcomes: &BTreeMap<(i32, i64), CompletedEvent>,
    agent: &DemoAgent,
) -> Report {
    let mut table = format!("{:<28} {:<15} {:<14} deliveries\n", "sample", "event_id", "outcome");
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    let mut as_expected = true;
    let mut lines = Vec::new();
    for (sample, position) in samples {
        let outcome = outcomes.get(position);
        let found = outcome.map_or("no outcome yet", |event| event.outcome.as_str());
        *totals.entry(found).or_default() += 1;
        let mark = if found == sample.expected { "" } else { "  <- expected: " };
        let wanted = if mark.is_empty() { "" } else { sample.expected };
        as_expected &= mark.is_empty();
        lines.push(line(sample, outcome));
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "{:<28} {:<15} {:<14} {}{mark}{wanted}",
            sample.what,
            outcome.and_then(|outcome| outcome.event_id.as_deref()).unwrap_or("-"),
            found,
            outcome.map(deliveries).unwrap_or_default(),
        );
    }
    let runs = agent.runs();
    let doubled = runs.values().filter(|count| **count > 1).count();
    as_expected &= doubled == 0 && !runs.is_empty();
    let sums: Vec<String> = totals.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let all = runs.values().sum::<u32>();
    let page = json!({
        "samples": lines, "outcomes": totals, "agent_runs": all, "doubled_runs": doubled, "agent_failures": FAILURES,
        "as_expected": as_expected,
    });
    let totals = format!(
        "{}; {} agent runs, {doubled} of them doubled, although the agent failed {FAILURES} times",
        sums.join(", "),
        all,
    );
    Report { table, totals, page, as_expected }
}

/// A sample for programs.
fn line(sample: &Sample, outcome: Option<&CompletedEvent>) -> Value {
    let delivery = |delivery: &DeliveryRecord| {
        json!({
            "rule": &*delivery.rule, "agent": &*delivery.agent, "status": delivery.status.as_str(),
            "failed_attempts": delivery.failed_attempts,
        })
    };
    json!({
        "sample": sample.what,
        "event_id": outcome.and_then(|outcome| outcome.event_id.as_deref()),
        "outcome": outcome.map(|outcome| outcome.outcome.as_str()),
        "expected": sample.expected,
        "reason": outcome.and_then(|outcome| outcome.reason),
        "deliveries": outcome.map(|outcome| outcome.deliveries.iter().map(delivery).collect::<Vec<_>>()),
    })
}

fn deliveries(outcome: &CompletedEvent) -> String {
    if let Some(reason) = outcome.reason {
        return format!("reason: {reason}");
    }
    let one = |delivery: &DeliveryRecord| {
        let tries = if delivery.failed_attempts == 0 {
            String::new()
        } else {
            format!(" after {} failed", delivery.failed_attempts)
        };
        format!("{} -> {}: {}{tries}", delivery.rule, delivery.agent, delivery.status.as_str())
    };
    outcome.deliveries.iter().map(one).collect::<Vec<_>>().join(", ")
}
