//! `replay --diff`: which events of the topic would go elsewhere under new rules.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::compare::{Changed, Comparison, Count, Target};
use crate::{
    bridge::{Environment, Exit, load_routing},
    cli::{
        interrupt::Interrupt,
        output::fail,
        scan::{self, Visit},
    },
    config::Config,
    event::{Limits, Raw},
    kafka::{ScanProgress, Scanned},
    routing::Routing,
};

/// How many events are listed unless `--limit` says otherwise.
const LISTED: usize = 20;

/// The flags of the mode.
#[derive(Debug, Args)]
pub(super) struct Diff {
    /// Folder of the new rules
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Folder of the rules to compare with [default: those in use, of --routing]
    #[arg(long, value_name = "DIR")]
    pub(super) against: Option<PathBuf>,
    /// The most events that are listed, 20 by default, and all are counted; with --deliver the most deliveries, all by default
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(super) limit: Option<u32>,
}

/// What was compared.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    /// Whether everything was read that was to be.
    pub(super) complete: bool,
    pub(super) topics: Vec<String>,
    pub(super) since: String,
    /// The folder of the rules in use.
    pub(super) against: String,
    /// The folder of the new rules.
    pub(super) rules: String,
    pub(super) events: u64,
    /// How many of them go elsewhere.
    pub(super) changed: u64,
    /// How many of them no rule matches under either.
    pub(super) unmatched: u64,
    /// Records that are no events.
    pub(super) poison: u64,
    /// Offsets below the end for which Kafka gave nothing.
    pub(super) withheld: u64,
    /// By rule and agent.
    pub(super) deliveries: Vec<Counted>,
    /// The first of the events that go elsewhere.
    pub(super) listed: Vec<Changed>,
    pub(super) seconds: f64,
}

/// How many events go to an agent by a rule.
#[derive(Debug, Serialize)]
pub(super) struct Counted {
    #[serde(flatten)]
    pub(super) target: Target,
    #[serde(flatten)]
    pub(super) count: Count,
}

impl Diff {
    /// Compares, and says with which exit code the command ends.
    pub(super) fn run(
        &self,
        config: &Config,
        environment: &Environment,
        since: Timestamp,
    ) -> Result<(Compared, ExitCode), ExitCode> {
        let load = |folder: &Path| -> Result<Routing, ExitCode> {
            load_routing(folder, config.dedup_window, environment).map_err(|error| fail(Exit::Config, &error))
        };
        let rules = self.rules.as_deref().unwrap_or(&config.routing_dir);
        let against = self.against.as_deref().unwrap_or(&config.routing_dir);
        let (old, new) = (load(against)?, load(rules)?);
        let interrupt = Interrupt::listen()?;
        let began = std::time::Instant::now();
        let budget = &config.kafka.budget;
        let limits = Limits::new(budget.max_record_bytes, budget.max_bytes);
        let mut comparison = Comparison::new(&old, &new, limits, self.limit.map_or(LISTED, |limit| limit as usize));
        let ended = scan::sources(config, since, &interrupt, &mut comparison)?;
        let exit = if ended.is_complete { None } else { interrupt.exit() };
        let compared = Compared {
            complete: ended.is_complete,
            topics: config.kafka.topics.clone(),
            since: since.to_string(),
            against: against.display().to_string(),
            rules: rules.display().to_string(),
            events: comparison.events,
            changed: comparison.changed,
            unmatched: comparison.unmatched,
            poison: comparison.poison,
            withheld: ended.withheld,
            deliveries: comparison.counts().map(|(target, count)| Counted { target, count }).collect(),
            listed: comparison.into_listed(),
            seconds: began.elapsed().as_secs_f64(),
        };
        Ok((compared, exit.unwrap_or(ExitCode::SUCCESS)))
    }
}

impl Visit for Comparison<'_> {
    fn record(&mut self, record: &Scanned<'_>) -> ControlFlow<()> {
        let headers: Vec<_> = record.headers.iter().collect();
        let raw = Raw { key: record.key, value: record.value, headers: &headers, timestamp_ms: record.timestamp_ms };
        self.compare((record.topic, record.partition, record.offset), &record.size(), &raw);
        ControlFlow::Continue(())
    }

    fn progress(&self, at: ScanProgress) -> String {
        format!("{} of {} records read, {} go elsewhere", at.done, at.all, self.changed)
    }
}
