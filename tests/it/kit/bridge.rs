//! The bridge as a process: its command line, its signals, its log and its admin address.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    PATIENCE, http,
    kafka::Kafka,
    poll,
    process::{Log, Process, Scratch},
    unique, when,
};

/// The `bridge.yaml` of a test that gives none: a machine that stands still for some seconds costs no membership, so nothing
/// is read again. A test that crashes a bridge waits for the end of the session, and gives a shorter one.
pub const LONG_SESSION: &str = "kafka: {properties: {session.timeout.ms: '45000'}}\n";

/// What a bridge is started with.
pub struct BridgeSetup {
    bootstrap: String,
    topic: String,
    group: String,
    config: String,
    routing: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl BridgeSetup {
    /// A bridge that reads this topic as a group of its own.
    pub fn new(kafka: &Kafka, topic: &str) -> Self {
        Self {
            bootstrap: kafka.bootstrap().to_owned(),
            topic: topic.to_owned(),
            group: unique("bridge"),
            config: LONG_SESSION.to_owned(),
            routing: Vec::new(),
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// The routing folder's one file, as YAML.
    pub fn routing(self, yaml: &str) -> Self {
        self.routing_file("rules.yaml", yaml)
    }

    /// A further routing file.
    pub fn routing_file(mut self, name: &str, yaml: &str) -> Self {
        self.routing.push((name.to_owned(), yaml.to_owned()));
        self
    }

    /// bridge.yaml, in place of [`LONG_SESSION`].
    pub fn config(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.config);
        self
    }

    /// The consumer group.
    pub fn group(mut self, group: &str) -> Self {
        group.clone_into(&mut self.group);
        self
    }

    /// A variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A further argument of `run`.
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Writes the files and starts the bridge; returns when its admin address answers.
    #[track_caller]
    pub fn start(self) -> Bridge {
        let mut bridge = self.prepare();
        bridge.start_again();
        bridge
    }

    /// Writes the files and starts nothing: [`Bridge::launch`] is for runs that are to fail.
    pub fn prepare(self) -> Bridge {
        let folder = Scratch::new("bridge");
        fs::create_dir(folder.join("routing")).expect("a scratch folder can be written");
        fs::write(folder.join("bridge.yaml"), &self.config).expect("a scratch folder can be written");
        for (name, yaml) in &self.routing {
            fs::write(folder.join("routing").join(name), yaml).expect("a scratch folder can be written");
        }
        Bridge {
            setup: self,
            folder,
            log: Arc::new(Log::default()),
            process: None,
            admin: String::new(),
            starts: 0,
            launched_at: 0,
        }
    }
}

/// A bridge, running or not, with its data folder. Dropping it kills it.
pub struct Bridge {
    setup: BridgeSetup,
    folder: Scratch,
    log: Arc<Log>,
    process: Option<Process>,
    admin: String,
    starts: usize,
    /// How many lines the log had when the process was started last.
    launched_at: usize,
}

impl Bridge {
    /// Starts the process and returns at once.
    pub fn launch(&mut self) {
        assert!(self.process.as_mut().is_none_or(|process| process.exit_status().is_some()), "the bridge still runs");
        self.starts += 1;
        self.launched_at = self.log.count();
        self.log.push(format!("--- start {} of the bridge", self.starts));
        self.process = None;
        self.process = Some(Process::spawn("the bridge", &self.command(), Arc::clone(&self.log)));
    }

    /// Starts it (again) on the same data and waits for its admin address.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.launch();
        poll(PATIENCE, "the bridge logs `admin listening`", || {
            if let Some(status) = self.exit_status() {
                panic!("the bridge ended ({status}):\n{}", self.log.tail(40));
            }
            when(self.listens(), self.log.since(self.launched_at).pop())
        });
    }

    /// Whether the process that was started last has logged its admin address, which counts from then on.
    pub fn listens(&mut self) -> bool {
        let address = self.log.since(self.launched_at).iter().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (message(&line) == Some("admin listening")).then(|| field(&line, "addr").map(str::to_owned))?
        });
        let Some(address) = address else { return false };
        self.admin = format!("http://{address}");
        true
    }

    /// Replaces a routing file.
    pub fn write_routing(&self, name: &str, yaml: &str) {
        fs::write(self.folder.join("routing").join(name), yaml).expect("a scratch folder can be written");
    }

    /// Sets a variable for the next start.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.setup.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The consumer group.
    pub fn group(&self) -> &str {
        &self.setup.group
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.setup.topic
    }

    /// The scratch folder: `bridge.yaml`, `routing/`, `data/`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Removes the data folder of a bridge that does not run.
    pub fn delete_data(&mut self) {
        assert!(self.process().exit_status().is_some(), "the bridge still runs");
        fs::remove_dir_all(self.data_dir()).expect("the data folder can be removed");
    }

    /// The process id.
    pub fn pid(&mut self) -> u32 {
        self.process().pid()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill9(&mut self) {
        self.process().kill();
    }

    /// SIGSTOP.
    pub fn sigstop(&mut self) {
        self.process().signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn sigcont(&mut self) {
        self.process().resume();
    }

    /// SIGTERM. [`wait_exit`](Self::wait_exit) says how it ended.
    pub fn sigterm(&mut self) {
        self.process().signal(Signal::TERM);
    }

    /// Waits for the process to end.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        self.process().wait_exit(deadline)
    }

    /// SIGTERM, and insists on exit status 0.
    #[track_caller]
    pub fn stop(&mut self) {
        self.sigterm();
        let status = self.wait_exit(PATIENCE);
        assert!(status.success(), "the bridge ended with {status}:\n{}", self.log.tail(40));
    }

    /// How the process ended, once it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.process().exit_status()
    }

    /// Whether the process runs.
    pub fn runs(&mut self) -> bool {
        self.process().exit_status().is_none()
    }

    /// Resident memory now, in bytes.
    pub fn rss_bytes(&mut self) -> u64 {
        self.process().rss_bytes()
    }

    /// The most resident memory that it had, in bytes.
    pub fn peak_rss_bytes(&mut self) -> u64 {
        self.process().peak_rss_bytes()
    }

    /// The processor time that this process of it has used, in seconds.
    pub fn cpu_seconds(&mut self) -> f64 {
        self.process().cpu_seconds()
    }

    /// How many times the threads of this process of it have waited and gone on so far, by their names.
    pub fn wakes(&mut self) -> BTreeMap<String, u64> {
        self.process().wakes()
    }

    /// `http://host:port` of the admin address.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The status of a `GET` on the admin address (`/healthz`, `/readyz`), or why there was none.
    pub fn probe(&self, path: &str) -> Result<u16, String> {
        http::get(&format!("{}{path}", self.admin)).map(|(status, _)| status)
    }

    /// What a `GET` on the admin address says: the status and the body. It is asked again while there is no answer.
    #[track_caller]
    pub fn ask(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.admin);
        poll(PATIENCE, "the admin address answers", || http::get(&url))
    }

    /// Waits until `/readyz` says 200.
    #[track_caller]
    pub fn wait_ready(&self, deadline: Duration) {
        poll(deadline, "/readyz says 200", || {
            let seen = http::get(&format!("{}/readyz", self.admin));
            when(matches!(seen, Ok((200, _))), seen)
        });
    }

    /// `/api/status`.
    #[track_caller]
    pub fn status(&self) -> Value {
        let (status, body) = self.ask("/api/status");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("/api/status is JSON")
    }

    /// `/metrics`, parsed.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let (status, body) = self.ask("/metrics");
        assert_eq!(status, 200, "{body}");
        Metrics::parse(&body)
    }

    /// One metric now: see [`Metrics::sum`]. `workflow_bridge_` may be left out.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().sum(name, labels)
    }

    /// The log, all starts together.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The log's lines with this message, as JSON.
    pub fn logged(&self, wanted: &str) -> Vec<Value> {
        let lines = self.log.since(0);
        lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|line| message(line) == Some(wanted))
            .collect()
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the bridge has been started")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workflow-bridge"));
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| {
                ["KAFKA_", "BRIDGE_", "WORKFLOW_EVENTS_", "RUST_LOG"].iter().any(|p| name.starts_with(p))
            }) {
                command.env_remove(name);
            }
        }
        command
            .current_dir(&*self.folder)
            .args(["run", "--config", "bridge.yaml", "--routing", "routing", "--data-dir", "data"])
            .args(["--topic", &self.setup.topic, "--group", &self.setup.group])
            .args(["--admin", "127.0.0.1:0", "--log-format", "json"])
            .args(&self.setup.arguments)
            .env("KAFKA_BOOTSTRAP_SERVERS", &self.setup.bootstrap)
            .envs(self.setup.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The message of a log line, wherever the formatter puts it.
fn message(line: &Value) -> Option<&str> {
    field(line, "message")
}

/// A text field of a log line: at the top or under `fields`.
pub fn field<'a>(line: &'a Value, name: &str) -> Option<&'a str> {
    line.get(name).or_else(|| line.get("fields")?.get(name))?.as_str()
}

/// One sample of `/metrics`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// What `/metrics` said.
#[derive(Debug, Clone, Default)]
pub struct Metrics(pub Vec<Sample>);

impl Metrics {
    /// Reads the text format. A line that is not understood is a panic.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(|line| sample(line).unwrap_or_else(|| panic!("no sample: {line}"))).collect())
    }

    /// The sum of the samples of this name that bear these labels, and 0 if there is none.
    /// `workflow_bridge_` may be left out of the name.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).fold(0.0, |sum, sample| sum + sample.value)
    }

    /// The samples of this name that bear these labels.
    pub fn find<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            (sample.name == name || sample.name.strip_prefix("workflow_bridge_") == Some(name))
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|has| has == value))
        })
    }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.trim_start_matches(',').split_once("=\"")?;
            let mut value = String::new();
            let mut chars = after.char_indices();
            loop {
                match chars.next()? {
                    (at, '"') => {
                        rest = &after[at + 1..];
                        break;
                    }
                    (_, '\\') => value.push(match chars.next()?.1 {
                        'n' => '\n',
                        other => other,
                    }),
                    (_, plain) => value.push(plain),
                }
            }
            labels.insert(label.to_owned(), value);
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}
