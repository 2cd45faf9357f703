//! runner.yaml: which job runs when, and how.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use super::{
    ConfigError, cron,
    fields::{Fields, Unknown, scalar_text, shown},
    yaml_file::YamlFile,
};
use crate::yaml::{Data, Node, Position, one_line, suggestion};

/// More schedules than an orchestrator of one machine bears.
const MAX_SCHEDULES: usize = 10_000;
const MAX_TAGS: usize = 50;
/// Airflow's limit for a tag.
const MAX_TAG_CHARS: usize = 100;
/// A century.
const MAX_SECONDS: u64 = 3_153_600_000;
const MAX_RUNS: u64 = 1_000;

const TOP: [&str; 4] = ["mode", "command", "working_directory", "orchestrator"];
const ORCHESTRATOR: [&str; 3] = ["type", "concurrency_per_tenant", "schedules"];
const SCHEDULE: [&str; 9] = [
    "name",
    "config",
    "cron",
    "interval_seconds",
    "enabled",
    "timezone",
    "max_concurrent_runs",
    "tags",
    "timeout_seconds",
];

/// What a word of `command` may stand for.
const PLACEHOLDERS: [&str; 4] = ["python", "config", "name", "tenant"];

const COMMAND: [&str; 8] =
    ["{python}", "-m", "dativo_ingest.cli", "run", "--config", "{config}", "--mode", "self_hosted"];

/// How the file is meant to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunnerMode {
    /// By an orchestrator that stays.
    Orchestrated,
    /// By whoever runs one job.
    Oneshot,
}

/// Which orchestrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrchestratorType {
    /// Dagster.
    Dagster,
    /// Apache Airflow.
    Airflow,
}

/// The content of runner.yaml.
#[derive(Debug, Clone, PartialEq)]
pub struct RunnerConfig {
    /// How it is meant to be used.
    pub mode: RunnerMode,
    /// The program and its arguments, with placeholders: `{python}`, `{config}`, `{name}`, `{tenant}`.
    pub command: Vec<String>,
    /// Where jobs run; `None`: where the runner does.
    pub working_directory: Option<PathBuf>,
    /// Who starts the jobs.
    pub orchestrator: Orchestrator,
}

/// Who starts the jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct Orchestrator {
    /// Which one.
    pub kind: OrchestratorType,
    /// How many jobs of a tenant run at once.
    pub concurrency_per_tenant: u64,
    /// The schedules, in the order of the file.
    pub schedules: Vec<Schedule>,
}

/// When a job runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Unique in the file.
    pub name: String,
    /// The job file, relative to the folder of runner.yaml when it was.
    pub config: PathBuf,
    /// When it runs.
    pub timing: Timing,
    /// Whether it runs at all.
    pub enabled: bool,
    /// The name of the time zone of `cron`.
    pub timezone: String,
    /// How many runs there may be at once.
    pub max_concurrent_runs: u64,
    /// Further tags.
    pub tags: BTreeMap<String, String>,
    /// The longest time of one attempt.
    pub timeout_seconds: Option<u64>,
}

/// When a job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timing {
    /// At the times of a cron expression.
    Cron {
        /// As it is written in the file.
        text: String,
        /// In five fields.
        fields: String,
    },
    /// Every so many seconds.
    Interval(u64),
}

impl RunnerConfig {
    /// Reads runner.yaml. It reads no job file. `time_zones` are the names of all time zones that are known here.
    ///
    /// # Errors
    /// Every mistake of the file.
    pub fn from_yaml(path: &Path, time_zones: &[String]) -> Result<Self, ConfigError> {
        let (mut file, root) = YamlFile::read(path);
        let folder = path.parent().unwrap_or(Path::new(""));
        let config = root.and_then(|root| Reader { file: &mut file, folder, time_zones }.root(&root));
        file.finish(config)
    }

    #[cfg(test)]
    pub(super) fn parse(text: &str, time_zones: &[String]) -> Result<Self, ConfigError> {
        let (mut file, root) = YamlFile::parse("runner.yaml", text);
        let config =
            root.and_then(|root| Reader { file: &mut file, folder: Path::new("/etc/app"), time_zones }.root(&root));
        file.finish(config)
    }
}

struct Reader<'f, 'z> {
    file: &'f mut YamlFile,
    folder: &'z Path,
    time_zones: &'z [String],
}

impl Reader<'_, '_> {
    fn root(&mut self, root: &Node) -> Option<RunnerConfig> {
        let mut top = Fields::of(self.file, root, "", "", &["runner"], &Unknown::Refused)?;
        let Some(runner) = top.get("runner") else {
            return top.missing("runner", "a map with `orchestrator`");
        };
        let mut fields = Fields::of(self.file, runner, "", "runner.", &TOP, &Unknown::Refused)?;
        let modes = [("orchestrated", RunnerMode::Orchestrated), ("oneshot", RunnerMode::Oneshot)];
        let mode = fields.word("mode", &modes).unwrap_or(RunnerMode::Orchestrated);
        let command = command(&mut fields);
        let working_directory = fields.text("working_directory").map(|path| self.folder.join(path));
        let orchestrator = fields.get("orchestrator");
        if orchestrator.is_none() {
            fields.missing::<()>("orchestrator", "a map with `schedules`");
        }
        let orchestrator = self.orchestrator(orchestrator?)?;
        Some(RunnerConfig { mode, command, working_directory, orchestrator })
    }

    fn orchestrator(&mut self, node: &Node) -> Option<Orchestrator> {
        let path = "runner.orchestrator.";
        let mut fields = Fields::of(self.file, node, "", path, &ORCHESTRATOR, &Unknown::Refused)?;
        let kinds = [("dagster", OrchestratorType::Dagster), ("airflow", OrchestratorType::Airflow)];
        let kind = fields.word("type", &kinds).unwrap_or(OrchestratorType::Dagster);
        let concurrency_per_tenant = fields.whole("concurrency_per_tenant", 1..=MAX_RUNS).unwrap_or(1);
        if fields.get("schedules").is_none() {
            fields.missing::<()>("schedules", "a list of schedules, which may be empty: `[]`");
        }
        let nodes = fields.list("schedules", MAX_SCHEDULES)?;
        let mut first: HashMap<String, Option<Position>> = HashMap::new();
        let mut schedules = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let Some(schedule) = self.schedule(index, node) else { continue };
            let at = node.get("name").and_then(|name| name.at);
            if let Some(before) = first.get(&schedule.name) {
                let line = before.map_or_else(String::new, |at| format!(", as in line {}", at.line));
                let message = format!("schedule {}: this name is taken{line}", schedule.name);
                self.file.problem(at, message);
            } else {
                first.insert(schedule.name.clone(), at);
            }
            schedules.push(schedule);
        }
        Some(Orchestrator { kind, concurrency_per_tenant, schedules })
    }

    /// One schedule. A wrong value has a stand-in, so that everything else is looked at too.
    fn schedule(&mut self, index: usize, node: &Node) -> Option<Schedule> {
        let named = node.get("name").and_then(scalar_text).filter(|name| !name.trim().is_empty());
        let shown_name = named.map_or_else(|| format!("number {}", index + 1), |name| one_line(&name));
        let subject = format!("schedule {shown_name}: ");
        let mut fields = Fields::of(self.file, node, &subject, "", &SCHEDULE, &Unknown::Refused)?;
        if fields.get("name").is_none() {
            fields.missing::<()>("name", "1 to 200 letters, digits, `_`, `.` or `-`");
        }
        let name = fields.name("name").unwrap_or(shown_name);
        if fields.get("config").is_none() {
            fields.missing::<()>("config", "the path of the job's file");
        }
        let config = self.folder.join(fields.text("config").unwrap_or_default());
        let timing = timing(&mut fields);
        let enabled = fields.boolean("enabled", true);
        let timezone = timezone(&mut fields, self.time_zones);
        let max_concurrent_runs = fields.whole("max_concurrent_runs", 1..=MAX_RUNS).unwrap_or(1);
        let tags = tags(&mut fields);
        let timeout_seconds = fields.whole("timeout_seconds", 1..=MAX_SECONDS);
        let timing = timing.unwrap_or(Timing::Interval(1));
        Some(Schedule { name, config, timing, enabled, timezone, max_concurrent_runs, tags, timeout_seconds })
    }
}

fn command(fields: &mut Fields) -> Vec<String> {
    let default = || COMMAND.map(str::to_owned).to_vec();
    let Some(node) = fields.get("command") else { return default() };
    if node.text().is_some() {
        // It is not shown: an argument may be a password.
        let message = "`runner.command`: expected a list of the program and its arguments, `[program, argument]`, found a \
                       text, which no shell would split";
        fields.problem(node.at, message);
        return default();
    }
    let Some(words) = fields.texts("command", 1_000) else { return default() };
    if words.first().is_none_or(|(program, _)| program.trim().is_empty()) {
        return fields.wrong("command", node, "a list that begins with a program").unwrap_or_else(default);
    }
    for (word, at) in &words {
        for name in placeholders(word).filter(|name| !PLACEHOLDERS.contains(name)) {
            let hint = suggestion(name, PLACEHOLDERS);
            let hint =
                if hint.is_empty() { "; expected `{python}`, `{config}`, `{name}` or `{tenant}`".into() } else { hint };
            fields.problem(*at, &format!("`runner.command`: `{{{}}}` is no placeholder{hint}", one_line(name)));
        }
    }
    words.into_iter().map(|(word, _)| word.to_owned()).collect()
}

/// The names in braces that look like a placeholder: JSON in an argument does not.
fn placeholders(word: &str) -> impl Iterator<Item = &str> {
    word.split('{').skip(1).filter_map(|rest| {
        let (name, _) = rest.split_once('}')?;
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_name.then_some(name)
    })
}

fn timing(fields: &mut Fields) -> Option<Timing> {
    match (fields.get("cron"), fields.get("interval_seconds")) {
        (Some(node), None) => {
            let text = fields.text("cron")?;
            match cron::fields(text) {
                Ok(expanded) => Some(Timing::Cron { text: text.trim().to_owned(), fields: expanded }),
                Err(problem) => {
                    fields.problem(node.at, &format!("`cron`: {problem}"));
                    None
                }
            }
        }
        (None, Some(_)) => fields.whole("interval_seconds", 1..=MAX_SECONDS).map(Timing::Interval),
        (Some(_), Some(node)) => {
            fields.problem(node.at, "expected `cron` or `interval_seconds`, found both: delete one of them");
            None
        }
        (None, None) => {
            let at = fields.at();
            fields.problem(at, "expected `cron` or `interval_seconds`, found neither");
            None
        }
    }
}

fn timezone(fields: &mut Fields, known: &[String]) -> String {
    let Some(name) = fields.text("timezone") else { return "UTC".to_owned() };
    if known.iter().any(|zone| zone == name) {
        return name.to_owned();
    }
    let at = fields.get("timezone").and_then(|node| node.at);
    if known.iter().all(|zone| zone == "UTC") {
        fields.problem(at, "`timezone`: no time zones but UTC are installed here: `pip install tzdata`");
        return "UTC".to_owned();
    }
    let hint = suggestion(name, known.iter().map(String::as_str));
    let message = format!("`timezone`: expected a name such as `Europe/Berlin`, found {}{hint}", shown(name));
    fields.problem(at, &message);
    "UTC".to_owned()
}

fn tags(fields: &mut Fields) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    let Some(node) = fields.get("tags") else { return tags };
    let Data::Map(entries) = &node.data else {
        return fields.wrong("tags", node, "a map").unwrap_or(tags);
    };
    if entries.len() > MAX_TAGS {
        let message = format!("`tags`: expected at most {MAX_TAGS}, found {}", entries.len());
        fields.problem(node.at, &message);
        return tags;
    }
    for entry in entries {
        let key = one_line(&entry.key);
        match scalar_text(&entry.value) {
            Some(value) if entry.key.chars().count() + 1 + value.chars().count() <= MAX_TAG_CHARS => {
                tags.insert(entry.key.clone(), value);
            }
            Some(value) => {
                let length = entry.key.chars().count() + 1 + value.chars().count();
                let message = format!(
                    "`tags.{key}`: expected at most {MAX_TAG_CHARS} characters of key, colon and value, found {length}"
                );
                fields.problem(entry.value.at, &message);
            }
            None => {
                let message = format!("`tags.{key}`: expected a text, found {}", entry.value.found());
                fields.problem(entry.value.at, &message);
            }
        }
    }
    tags
}
