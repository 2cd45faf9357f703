//! `explain`: which rules match an event and why the others do not; with `--id`, what became of it.

use std::{
    fmt::Write as _,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;

use super::{
    explain_id,
    flags::{OutputFlag, Settings},
    output::{self, fail},
    variables::Variables,
};
use crate::{
    bridge::{Exit, load_routing},
    config::environment_help,
    event::{Event, Limits, Poison, Raw, RecordSize},
    files,
    routing::{EventExplanation, RuleExplanation},
    yaml::{excerpt, suggestion},
};

const HELP: &str = "Example: workflow-bridge explain event.json\n\
Example: sed -n 3p events.jsonl | workflow-bridge explain -\n\
Example: workflow-bridge explain --id 6f2c1a9e-0c55-5d0b-9a53-2f6a3d1f7a10\n\n\
The event is read as the bridge reads a record of the topic. Nothing is sent, and neither Kafka nor the ledger is asked. \
Rules that match come first, then the nearest misses. With --id the running bridge is asked what became of an event.\n\n\
Exit codes: 0 the event was explained, whether a rule matches or not, 64 there is no rule of that name, 65 it is no \
event, or the bridge knows nothing of it, 69 no bridge answers, 78 the settings or the routing \
files are wrong.";

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
    /// Ask the running bridge (--admin) what became of the event with this id
    #[arg(long, value_name = "EVENT_ID", conflicts_with_all = ["rule", "all", "header"])]
    id: Option<String>,
    /// A file with one event, or - for stdin
    #[arg(value_name = "FILE", required_unless_present = "id", conflicts_with = "id")]
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
        let Some(file) = &self.file else {
            return explain_id::main(&config.admin_addr, self.id.as_deref().unwrap_or_default(), as_json);
        };
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
