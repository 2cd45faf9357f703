//! `explain`: which rules match an event and why the others do not; with `--id`, or a workflow and a run, what became of it.

mod fate;
mod found;
mod lookup;
mod search;
mod text;

use std::{
    fmt::Write as _,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;

use self::{found::Wanted, lookup::Asked};
use super::{
    flags::{OutputFlag, Settings},
    output::{self, fail},
    since::{Since, since},
    variables::Variables,
};
use crate::{
    bridge::{Environment, Exit, load_routing},
    config::{Config, environment_help},
    event::{Event, Limits, MAX_EVENT_ID_BYTES, Poison, Raw, RecordSize},
    files,
    routing::{EventExplanation, Routing, RuleExplanation},
    yaml::{excerpt, suggestion},
};

const HELP: &str = "Example: workflow-bridge explain event.json\n\
Example: sed -n 3p events.jsonl | workflow-bridge explain -\n\
Example: workflow-bridge explain --id 6f2c1a9e-0c55-5d0b-9a53-2f6a3d1f7a10\n\
Example: workflow-bridge explain --workflow etl_orders --run scheduled__2026-01-31T06:00:00+00:00\n\n\
The event is read as the bridge reads a record of the topic. Nothing is sent, and neither Kafka nor the ledger is asked. \
Rules that match come first, then the nearest misses.\n\n\
With --id, or --workflow and --run, it says what became of events that were published. For an id, the bridge here (--admin) is \
asked first; what it does not know, and the events of a run, are read from Kafka: the topic, the ledger topic, the dead letters, the committed offsets. It is a \
member of no group, delivers nothing and commits nothing, and answers on any machine.\n\n\
Exit codes: 0 the event was explained, whether a rule matches or not, 64 usage, or there is no rule of that name, 65 it is no \
event, or nothing is known of it, 69 Kafka does not answer, and for an id no bridge either, 78 the settings or the routing files are wrong; 130 \
ended by Ctrl-C, 143 by SIGTERM.";

/// The most bytes of an event.
const MAX_BYTES: u64 = 64 << 20;
/// The most characters that are shown of a name of the event.
const MAX_NAME_CHARS: usize = 100;
/// How many rules are shown that do not match.
const NEAREST: usize = 10;

/// Flags of `explain`.
#[derive(Debug, Args)]
#[command(after_help = HELP, after_long_help = format!("{HELP}\n\n{}", environment_help()))]
pub(super) struct Explain {
    #[command(flatten)]
    settings: Settings,
    /// Only this rule; may be repeated
    #[arg(long, value_name = "NAME")]
    rule: Vec<String>,
    /// Every rule, and not only the ten nearest of those that do not match
    #[arg(long)]
    all: bool,
    /// A header of the record, as `name: value`; may be repeated
    #[arg(long, value_name = "HEADER", value_parser = header)]
    header: Vec<(String, String)>,
    #[command(flatten)]
    form: OutputFlag,
    /// Say what became of the event with this id
    #[arg(long, value_name = "EVENT_ID", conflicts_with_all = ["rule", "all", "header"])]
    id: Option<String>,
    /// Say what became of the events of this workflow, with --run
    #[arg(long, value_name = "WORKFLOW_ID", requires = "run", conflicts_with_all = ["rule", "all", "header", "id"])]
    workflow: Option<String>,
    /// The run of the workflow
    #[arg(long, value_name = "WORKFLOW_RUN_ID", requires = "workflow")]
    run: Option<String>,
    /// How far back to read the topics: 24h, 7d, or a time [default: dedup.window]
    #[arg(long, value_name = "DURATION", value_parser = since, conflicts_with = "file")]
    since: Option<Since>,
    /// Look in every partition, although the one of the key has events of the run
    #[arg(long, requires = "workflow")]
    all_partitions: bool,
    /// A file with one event, or - for stdin
    #[arg(value_name = "FILE", required_unless_present_any = ["id", "workflow"], conflicts_with_all = ["id", "workflow"])]
    file: Option<PathBuf>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected a name, a colon and a value")?;
    if name.trim().is_empty() {
        return Err("expected a name before the colon, found none".to_owned());
    }
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl Explain {
    pub(super) fn main(&self) -> ExitCode {
        let variables = Variables::default();
        let environment = variables.environment();
        let config = match self.settings.load(&environment) {
            Ok(config) => config,
            Err(error) => return fail(Exit::Config, &error),
        };
        let as_json = self.form.is_json();
        let Some(file) = &self.file else { return self.lookup(&config, &environment, &variables) };
        let routing = load_routing(&config.routing_dir, config.dedup_window, &environment);
        output::warnings(&variables.warnings(true));
        let routing = match routing {
            Ok(routing) => routing,
            Err(error) => return fail(Exit::Config, &error),
        };
        for name in &self.rule {
            if routing.rule(name).is_none() {
                let close = suggestion(name, routing.rules().map(|rule| rule.name().as_ref()));
                return fail(
                    Exit::Usage,
                    &format_args!("there is no rule {name:?} in {}{close}", config.routing_dir.display()),
                );
            }
        }
        let (name, value) = match read(file) {
            Ok(read) => read,
            Err((name, error)) => return fail(Exit::Data, &format_args!("{name}: {error}")),
        };
        let limits = Limits::new(config.kafka.budget.max_record_bytes, config.kafka.budget.max_bytes);
        let event = match self.decode(&value, &limits) {
            Ok(event) => event,
            Err(poison) => {
                let hint =
                    if is_jsonl(&value) { ". The file seems to have several events: give it one of them" } else { "" };
                let kind = poison.kind();
                return fail(
                    Exit::Data,
                    &format_args!(
                        "{name}: {poison}{hint}. As a record it would be a dead letter with the reason `{kind}`"
                    ),
                );
            }
        };
        let asked = |name: &str| self.rule.is_empty() || self.rule.iter().any(|rule| rule == name);
        let others = if self.all || !self.rule.is_empty() { usize::MAX } else { NEAREST };
        let explanation = routing.explain(&event, asked, others);
        if as_json {
            print_json(&event, &explanation);
        } else {
            print_text(&event, &explanation);
        }
        ExitCode::SUCCESS
    }

    /// What became of events that were published.
    fn lookup(&self, config: &Config, environment: &Environment, variables: &Variables) -> ExitCode {
        let wanted = match (&self.id, &self.workflow, &self.run) {
            (Some(id), ..) => Wanted::Event(id.clone()),
            (None, workflow, run) => {
                Wanted::Run { workflow: workflow.clone().unwrap_or_default(), run: run.clone().unwrap_or_default() }
            }
        };
        if let Err(why) = usable(&wanted) {
            return fail(Exit::Usage, &why);
        }
        // Without them the answer says less.
        let routing: Result<Routing, String> = load_routing(&config.routing_dir, config.dedup_window, environment)
            .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned());
        output::warnings(&variables.warnings(true));
        let since = self.since.unwrap_or(Since::Ago(config.dedup_window)).before(jiff::Timestamp::now());
        lookup::main(&Asked {
            wanted,
            config,
            since,
            is_everywhere: self.all_partitions,
            as_json: self.form.is_json(),
            routing,
        })
    }

    fn decode(&self, value: &[u8], limits: &Limits) -> Result<Event, Poison> {
        let headers: Vec<_> = self.header.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes()))).collect();
        limits.check(&RecordSize {
            key: 0,
            value: value.len(),
            headers: headers.len(),
            header_bytes: self.header.iter().map(|(name, value)| name.len() + value.len()).sum(),
        })?;
        // A record always has a time: an event may have no other one.
        let now = Some(jiff::Timestamp::now().as_millisecond());
        limits.decode(Raw { key: None, value: Some(value), headers: &headers, timestamp_ms: now })
    }
}

/// Whether an event can be named so.
fn usable(wanted: &Wanted) -> Result<(), &'static str> {
    let is_name = |text: &str, most: usize| !text.is_empty() && text.len() <= most && !text.contains(char::is_control);
    match wanted {
        Wanted::Event(id) if !is_name(id, MAX_EVENT_ID_BYTES) => {
            Err("no event has such an id: expected 1 to 255 bytes without control characters")
        }
        Wanted::Run { workflow, run } if [workflow, run].iter().any(|name| name.is_empty()) => {
            Err("no event has such a workflow and run: expected names that are not empty")
        }
        _ => Ok(()),
    }
}

/// The event's bytes and the name of its file for messages.
fn read(file: &Path) -> Result<(String, Vec<u8>), (String, io::Error)> {
    if file.as_os_str() != "-" {
        let name = file.display().to_string();
        return match files::read(file) {
            Ok(bytes) => Ok((name, bytes)),
            Err(error) => Err((name, error)),
        };
    }
    let name = "stdin".to_owned();
    let mut bytes = Vec::new();
    match io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes) {
        Ok(read) if read as u64 > MAX_BYTES => {
            let message = format!("expected one event of at most {} MiB, found more", MAX_BYTES >> 20);
            Err((name, io::Error::new(io::ErrorKind::InvalidData, message)))
        }
        Ok(_) => Ok((name, bytes)),
        Err(error) => Err((name, error)),
    }
}

/// Whether each of the first lines is an object by itself.
fn is_jsonl(value: &[u8]) -> bool {
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let objects = lines.take(2).filter(|line| line.starts_with(b"{") && line.ends_with(b"}"));
    objects.count() == 2
}

fn print_text(event: &Event, explanation: &EventExplanation) {
    let shown = |text: &str| excerpt(text, MAX_NAME_CHARS);
    let (id, kind) = (shown(event.id()), shown(event.event_type().as_str()));
    let (workflow, run) = (shown(event.workflow_id()), shown(event.workflow_run_id()));
    output::result(format_args!("event {id}: {kind} of {workflow}, run {run} ({})", event.dialect()));
    let (matching, all) = (explanation.matching, explanation.all);
    let (noun, verb) = (if all == 1 { "rule" } else { "rules" }, if matching == 1 { "matches" } else { "match" });
    output::result(format_args!("{matching} of {all} {noun} {verb}"));
    for rule in &explanation.rules {
        output::result(format_args!("\n{}", text(rule)));
    }
    let left = all - explanation.rules.len();
    if left > 0 {
        let more = if left == 1 { "rule does" } else { "rules do" };
        output::result(format_args!("\n{left} more {more} not match: --all shows them"));
    }
}

fn text(rule: &RuleExplanation) -> String {
    let explanation = &rule.explanation;
    let (missed, all) = (explanation.missed(), explanation.conditions.len());
    let agents = rule.agents.join(", ");
    let mut text = match (explanation.matches, missed) {
        (true, _) => format!("{}: matches, for {agents}", rule.rule),
        (false, 0) => format!(
            "{}: does not match: each condition holds for some element of a list, and all of them for none",
            rule.rule
        ),
        (false, _) => format!("{}: does not match: {missed} of {all} conditions do not hold", rule.rule),
    };
    if explanation.alternatives > 1 {
        let nearest = if explanation.matches { "" } else { "the nearest: " };
        let _ = write!(text, " ({nearest}alternative {} of {})", explanation.alternative, explanation.alternatives);
    }
    for condition in &explanation.conditions {
        let verdict = if condition.holds { "yes" } else { "no " };
        let (path, expected, found) = (&condition.path, &condition.expected, &condition.found);
        let _ = write!(text, "\n  {verdict}  {path}: expected {expected}, found {found}");
    }
    text
}

fn print_json(event: &Event, explanation: &EventExplanation) {
    let result = json!({
        "event_id": event.id(),
        "event_type": event.event_type().as_str(),
        "workflow_id": event.workflow_id(),
        "workflow_run_id": event.workflow_run_id(),
        "dialect": event.dialect().to_string(),
        "matching": explanation.matching,
        "rules": &explanation.rules,
        "not_shown": explanation.all - explanation.rules.len(),
    });
    output::result(format_args!("{}", output::json(&result)));
}
