//! A real Apache Kafka broker (KRaft, one node) on ports and data of its own.

use std::{
    fs,
    ops::Deref,
    path::PathBuf,
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rdkafka::{
    error::RDKafkaErrorCode,
    producer::{FutureProducer, FutureRecord},
};
use rustix::process::Signal;

use super::{
    PATIENCE, block_on, free_port,
    kafka::Kafka,
    poll, prepared,
    process::{Log, Process, Scratch},
};

/// The cluster for tests that leave the broker alone: the one that `KAFKA_BOOTSTRAP_SERVERS` names,
/// else a broker of our own, started once. Topics and groups need unique names.
pub fn kafka() -> &'static Kafka {
    static NAMED: OnceLock<Option<Kafka>> = OnceLock::new();
    static SHARED: OnceLock<Broker> = OnceLock::new();
    let named = NAMED.get_or_init(|| {
        std::env::var("KAFKA_BOOTSTRAP_SERVERS").ok().filter(|servers| !servers.is_empty()).map(|s| Kafka::at(&s))
    });
    match named {
        Some(kafka) => kafka,
        None => SHARED.get_or_init(|| Broker::start_with(&[])),
    }
}

/// A broker. Tests that stop or kill one start their own, whatever `KAFKA_BOOTSTRAP_SERVERS` says.
pub struct Broker {
    kafka: Kafka,
    folder: Scratch,
    process: Process,
}

impl Broker {
    /// A broker that is ready again some 4 s after a SIGKILL (the default takes 15 s).
    pub fn start() -> Self {
        Self::start_with(&[("broker.session.timeout.ms", "3000"), ("broker.heartbeat.interval.ms", "500")])
    }

    /// A broker with more settings in its `server.properties`.
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let folder = Scratch::new("kafka");
        let (port, controller) = (free_port(), free_port());
        fs::write(folder.join("server.properties"), properties(&folder.join("data"), port, controller, settings))
            .expect("the scratch folder can be written");
        let log = Arc::new(Log::default());
        format_storage(&folder, &log);
        let process = run(&folder, log);
        Self { kafka: Kafka::at(&format!("127.0.0.1:{port}")), folder, process }
    }

    /// SIGKILL: nothing is flushed, no client is told.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and waits: the broker ends as an operator would end it.
    pub fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        self.process.wait_exit(PATIENCE);
    }

    /// Starts it again on the same ports and data, and waits until it is ready.
    pub fn start_again(&mut self) {
        assert!(self.process.exit_status().is_some(), "the broker still runs");
        self.process = run(&self.folder, Arc::clone(self.process.log()));
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn freeze(&mut self) {
        self.process.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        self.process.resume();
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

impl Deref for Broker {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        &self.kafka
    }
}

/// Makes the folder of a node whose `server.properties` stand there.
pub(super) fn format_storage(folder: &Scratch, log: &Arc<Log>) {
    let mut format = java(folder);
    format.args(["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", "server.properties"]);
    let status = Process::spawn("StorageTool", &format, Arc::clone(log)).wait_exit(Duration::from_secs(180));
    assert!(status.success(), "Kafka's storage could not be formatted ({status}):\n{}", log.tail(40));
}

fn run(folder: &Scratch, log: Arc<Log>) -> Process {
    let seen = log.count();
    let mut process = launch(folder, log);
    wait_started(&mut process, seen);
    process
}

/// Starts the node of this folder and returns at once.
pub(super) fn launch(folder: &Scratch, log: Arc<Log>) -> Process {
    let mut command = java(folder);
    command.args(["kafka.Kafka", "server.properties"]);
    Process::spawn("the Kafka broker", &command, log)
}

/// Waits until the node is ready: it says so in its log after the first `seen` lines.
pub(super) fn wait_started(process: &mut Process, seen: usize) {
    poll(Duration::from_secs(300), "the broker says `Kafka Server started`", || {
        if let Some(status) = process.exit_status() {
            panic!("the broker ended ({status}):\n{}", process.log().tail(60));
        }
        let lines = process.log().since(seen);
        if lines.iter().any(|line| line.contains("Kafka Server started")) { Ok(()) } else { Err(lines.last().cloned()) }
    });
}

/// Runs one of Kafka's own tools to its end; what it printed. It must succeed.
#[track_caller]
pub fn kafka_tool(class: &str, arguments: &[&str]) -> String {
    try_kafka_tool(class, arguments).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs one of Kafka's own tools to its end: what it printed, or how it failed.
pub fn try_kafka_tool(class: &str, arguments: &[&str]) -> Result<String, String> {
    let folder = Scratch::new("kafka-tool");
    let output = java(&folder).arg(class).args(arguments).output().expect("java starts");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{class} {arguments:?} ended with {}:\n{said}", output.status))
}

/// From here on the broker refuses every record of this topic, and nothing else.
pub fn refuse_records(kafka: &Kafka, topic: &str) {
    configure(kafka, topic, ["--add-config", "max.message.bytes=1"]);
    let producer: FutureProducer = kafka.client().create().expect("a producer can be made");
    // It goes by a topic's new limit a moment after it has answered.
    poll(PATIENCE, "records are too large for the topic", || {
        let record = FutureRecord::<(), str>::to(topic).partition(0).payload("nobody's");
        match block_on(producer.send(record, PATIENCE)) {
            Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    });
}

/// It takes them again.
pub fn accept_records(kafka: &Kafka, topic: &str) {
    configure(kafka, topic, ["--delete-config", "max.message.bytes"]);
}

fn configure(kafka: &Kafka, topic: &str, change: [&str; 2]) {
    let mut all = vec!["--bootstrap-server", kafka.bootstrap(), "--alter", "--topic", topic];
    all.extend(change);
    kafka_tool("kafka.admin.ConfigCommand", &all);
}

fn java(folder: &Scratch) -> Command {
    let jars = jars();
    let logging = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/log4j2.properties");
    let mut command = Command::new("java");
    command
        .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
        .arg("-cp")
        .arg(jars.join("*"))
        .env_remove("KAFKA_OPTS")
        .env_remove("JAVA_TOOL_OPTIONS")
        .current_dir(&**folder);
    command
}

fn jars() -> PathBuf {
    let jars = prepared("kafka/libs");
    assert!(
        jars.is_dir(),
        "Apache Kafka's jars are not in {}: run `make test-setup` (it needs Java 17 and Maven), or `make test`",
        jars.display()
    );
    jars
}

fn properties(data: &std::path::Path, port: u16, controller: u16, settings: &[(&str, &str)]) -> String {
    let listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
    let advertised = format!("PLAINTEXT://127.0.0.1:{port}");
    let voters = format!("1@127.0.0.1:{controller}");
    let data = data.display().to_string();
    let mut all = vec![
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.quorum.voters", &voters),
        ("listeners", &listeners),
        ("advertised.listeners", &advertised),
        ("controller.listener.names", "CONTROLLER"),
        ("log.dirs", &data),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "4"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("transaction.state.log.num.partitions", "2"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("group.min.session.timeout.ms", "1000"),
        // It would end after a minute without a controller, which is slow to start on a busy machine.
        ("initial.broker.registration.timeout.ms", "300000"),
        ("auto.create.topics.enable", "false"),
        ("log.retention.check.interval.ms", "300"),
        ("log.initial.task.delay.ms", "100"),
    ];
    all.retain(|(key, _)| settings.iter().all(|(other, _)| other != key));
    all.extend_from_slice(settings);
    let lines: Vec<String> = all.iter().map(|(key, value)| format!("{key}={value}")).collect();
    lines.join("\n")
}
