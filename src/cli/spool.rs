//! `spool`: the status of a spool folder, and its drain.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    flags::{OutputFlag, Source},
    logging,
    output::{self, fail},
    variables::Variables,
    watched::watched,
};
use crate::{
    bridge::{Exit, SPOOL_BATCH_TIME, process_environment, spool_publisher},
    config::{Config, environment_help},
    publish::{
        Budget, Drained, Interrupt, Record, drain,
        spool::{FOLDER_VARIABLE, Spool, SpoolError, SpoolSettings, SpoolStats, same_destination},
    },
    words::counted,
};

/// How long the connection to a broker may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for the events that another process is draining.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(15);
const OTHERS_PAUSE: Duration = Duration::from_millis(250);

const HELP: &str = "Example: workflow-bridge spool status\n\
Example: workflow-bridge spool drain --spool /home/airflow/.local/state/workflow-events/spool\n\n\
A spool keeps the events that a publisher could not hand to Kafka in time: one file each, for any brokers and topic. \
`drain` publishes all of them to the configured brokers, each to its own topic, the oldest first. It may run while \
publishers and a bridge use the folder. Run it as the user of the publishers, or as root.\n\n\
Exit codes of drain: 0 everything is published, 69 Kafka is away and events are left, 65 events can never be published \
or read (in the folder's quarantine, with the reason), 78 the settings or the folder are wrong; 130 ended by Ctrl-C, 143 by \
SIGTERM.";

/// Flags of `spool`.
#[derive(Debug, Args)]
#[command(after_help = HELP, after_long_help = format!("{HELP}\n\n{}", environment_help()))]
pub(super) struct SpoolCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Publish what waits in the folder.
    Drain(Flags),
    /// Say what waits in the folder; asks no broker.
    Status(Flags),
}

#[derive(Debug, Args)]
struct Flags {
    /// Folder of the spool [default: WORKFLOW_EVENTS_SPOOL_DIR, else where publishers of this user keep theirs]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// Kafka brokers, comma-separated [default: those that the settings name]
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    #[command(flatten)]
    form: OutputFlag,
    #[command(flatten)]
    source: Source,
}

impl SpoolCommand {
    pub(super) fn main(&self) -> ExitCode {
        let (Action::Drain(flags) | Action::Status(flags)) = &self.action;
        let variables = Variables::default();
        let loaded = flags.source.load(&[("kafka.bootstrap_servers", &flags.brokers)], &variables.environment());
        output::warnings(&variables.warnings(false));
        let config = match loaded {
            Ok(config) => config,
            Err(error) => return fail(Exit::Config, &error),
        };
        logging::install(config.log_format, "error");
        let folder = flags.spool.clone().or_else(|| config.spool_dir.clone());
        let Some(folder) = folder.or_else(default_folder) else {
            return fail(
                Exit::Config,
                &format_args!("{FOLDER_VARIABLE} switches the spool off: name a folder with --spool"),
            );
        };
        let spool = Spool::new(SpoolSettings::new(folder));
        let done = match self.action {
            Action::Drain(_) => drain_all(&spool, &config, flags.form.is_json()),
            Action::Status(_) if flags.form.is_json() => spool.stats().map(|stats| {
                output::result(format_args!("{}", output::json(&waiting(&spool, &stats))));
                ExitCode::SUCCESS
            }),
            Action::Status(_) => status(&spool, &config),
        };
        done.unwrap_or_else(|error| match error {
            SpoolError::Io { .. } => fail(Exit::Unavailable, &error),
            _ => fail(Exit::Config, &error),
        })
    }
}

/// The default spool folder of publishers of this user.
fn default_folder() -> Option<PathBuf> {
    let chosen = Spool::choose_folder(&*process_environment())?;
    output::warnings(chosen.warning.as_slice());
    Some(chosen.folder)
}

fn drain_all(spool: &Spool, config: &Config, as_json: bool) -> Result<ExitCode, SpoolError> {
    let folder = spool.folder().display();
    let before = spool.stats()?;
    if before.events == 0 {
        if as_json {
            output::result(format_args!("{}", output::json(&drained(spool, &Drained::default()))));
        } else {
            output::result(format_args!("{}", nothing(spool, &before)));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let publisher = match spool_publisher(&config.kafka) {
        Ok(publisher) => publisher,
        Err(error) => return Ok(fail(Exit::Config, &error)),
    };
    if let Err(error) = publisher.connect(CONNECT_TIMEOUT, Interrupt::never()) {
        let left = counted(before.events, "event");
        return Ok(fail(Exit::Unavailable, &format_args!("{error} ({left} left in {folder}, none published)")));
    }

    let acknowledged = Arc::new(AtomicU64::new(0));
    let watching = watched({
        let (acknowledged, waiting) = (Arc::clone(&acknowledged), before.events);
        move || format!("{} of {} published", acknowledged.load(Relaxed), counted(waiting, "event"))
    });
    let mut send = |records: &[Record]| {
        let sent = publisher.send_unspooled(records, SPOOL_BATCH_TIME);
        acknowledged.fetch_add(sent.acknowledged() as u64, Relaxed);
        sent
    };
    let mut all = Drained::default();
    let mut waited = Duration::ZERO;
    loop {
        let pass = drain(spool, None, Budget::ALL, &mut send)?;
        let (is_over, progress) = (pass.left == pass.left_alone, pass.published > 0);
        let failed = pass.put_back > 0;
        add(&mut all, pass);
        if is_over || (failed && !progress) || waited >= OTHERS_TIMEOUT {
            break;
        }
        if !progress {
            // Other processes are draining the rest.
            thread::sleep(OTHERS_PAUSE);
            waited += OTHERS_PAUSE;
        }
    }
    publisher.close(Duration::ZERO);
    drop(watching);

    if as_json {
        output::result(format_args!("{}", output::json(&drained(spool, &all))));
    } else {
        let here = publisher.bootstrap_servers();
        output::result(format_args!("{} published to {here} from {folder}", counted(all.published, "event")));
        for (servers, events) in all.elsewhere(here) {
            output::result(format_args!("  {} of them had been spooled for {servers}", counted(events, "event")));
        }
    }
    Ok(judged(spool, &all))
}

/// What is left, on stderr, and the exit code.
fn judged(spool: &Spool, all: &Drained) -> ExitCode {
    let folder = spool.folder().display();
    let reason = all.error.as_deref().unwrap_or("another process is draining them at the moment");
    if all.left > all.left_alone {
        let left = counted(all.left, "event");
        return fail(Exit::Unavailable, &format_args!("{left} left in {folder}: {reason}"));
    }
    if all.quarantined + all.left_alone > 0 {
        let bad = counted(all.quarantined, "event");
        let alone = counted(all.left_alone, "event");
        return fail(
            Exit::Data,
            &format_args!(
                "{bad} moved to {folder}/quarantine, where a .reason beside each says why it can never be published; \
                 {alone} left alone: {}",
                all.note.as_deref().unwrap_or_default()
            ),
        );
    }
    ExitCode::SUCCESS
}

fn drained(spool: &Spool, all: &Drained) -> Value {
    json!({
        "folder": spool.folder().to_string_lossy(),
        "published": all.published,
        "quarantined": all.quarantined,
        "left": all.left,
        "left_alone": all.left_alone,
        "published_by_servers": all.destinations,
        "note": all.note,
        "error": all.error,
    })
}

fn waiting(spool: &Spool, stats: &SpoolStats) -> Value {
    let first = stats.first.as_ref();
    let first = first.map(|first| json!({"event_id": first.event_id, "topic": first.topic, "reason": first.reason}));
    json!({
        "folder": spool.folder().to_string_lossy(),
        "exists": spool.folder().exists(),
        "events": stats.events,
        "bytes": stats.bytes,
        "claimed": stats.claimed,
        "oldest_seconds": stats.oldest.map(|oldest| oldest.as_secs()),
        "oldest": first,
        "waiting_by_servers": stats.destinations,
        "quarantined": stats.quarantined,
        "quarantined_bytes": stats.quarantined_bytes,
        "strangers": stats.strangers,
    })
}

/// Adds the result of a pass: what is left is what the last one left.
fn add(all: &mut Drained, pass: Drained) {
    all.published += pass.published;
    all.put_back += pass.put_back;
    all.quarantined += pass.quarantined;
    all.left = pass.left;
    all.left_alone = pass.left_alone;
    all.note = pass.note.or(all.note.take());
    all.error = pass.error.or(all.error.take());
    for (servers, events) in pass.destinations {
        *all.destinations.entry(servers).or_default() += events;
    }
}

fn status(spool: &Spool, config: &Config) -> Result<ExitCode, SpoolError> {
    let stats = spool.stats()?;
    let folder = spool.folder().display();
    if stats.events == 0 {
        output::result(format_args!("{}", nothing(spool, &stats)));
    } else {
        let oldest = stats.oldest.map_or_else(String::new, |oldest| {
            format!(", the oldest for {}", humantime::format_duration(Duration::from_secs(oldest.as_secs())))
        });
        output::result(format_args!("{folder}: {} ({} bytes){oldest}", counted(stats.events, "event"), stats.bytes));
        if let Some(first) = &stats.first {
            output::result(format_args!(
                "  the oldest: event {} for topic {}: {}",
                first.event_id, first.topic, first.reason
            ));
        }
        let here = &config.kafka.bootstrap_servers;
        for (servers, events) in &stats.destinations {
            let is_here = same_destination(servers, here);
            let note = if is_here { String::new() } else { format!(", which is not {here}") };
            output::result(format_args!("  {} for {servers}{note}", counted(*events, "event")));
        }
        if stats.claimed > 0 {
            output::result(format_args!("  {} being drained at the moment", counted(stats.claimed, "event")));
        }
    }
    if stats.quarantined > 0 {
        let (events, bytes) = (counted(stats.quarantined, "event"), stats.quarantined_bytes);
        output::result(format_args!(
            "{folder}/quarantine: {events} ({bytes} bytes) can never be published; a .reason beside each says why"
        ));
    }
    if stats.strangers > 0 {
        output::result(format_args!("{folder}: {} no file of a spool, left alone", counted(stats.strangers, "entry")));
    }
    Ok(ExitCode::SUCCESS)
}

fn nothing(spool: &Spool, stats: &SpoolStats) -> String {
    let folder = spool.folder().display();
    if spool.folder().exists() {
        let quarantined = if stats.quarantined > 0 { "; see its quarantine" } else { "" };
        format!("{folder}: no event waits{quarantined}")
    } else {
        format!("{folder}: no such folder: nothing was ever spooled there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_what_the_text_says() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(SpoolSettings::new(folder.path().join("spool")));
        let found = waiting(&spool, &spool.stats().unwrap());
        assert_eq!((&found["exists"], &found["events"], &found["oldest"]), (&false.into(), &0.into(), &Value::Null));
        let all = Drained { published: 3, left: 1, error: Some("away".into()), ..Drained::default() };
        let found = drained(&spool, &all);
        assert_eq!((&found["published"], &found["left"], &found["error"]), (&3.into(), &1.into(), &"away".into()));
    }
}
