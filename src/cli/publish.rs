//! `publish`: events from a file or stdin to Kafka: JSON, one a line or each over several.

mod documents;

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::Args;

use documents::Documents;
use serde_json::json;

use super::{
    flags::{Kafka, OutputFlag, Source},
    logging,
    output::{self, fail},
    variables::Variables,
    watched::watched,
};
use crate::{
    bridge::Exit,
    config::environment_help,
    event::{Event, EventType, Poison, decode},
    kafka::KafkaSettings,
    publish::{Interrupt, PublishError, Publisher, Record},
    yaml::suggestion,
};

const HELP: &str = "Example: workflow-bridge publish events.jsonl\n\
Example: echo '{\"event_id\": ...}' | workflow-bridge publish -\n\n\
An event is one line of JSON, or an object over several lines that begins at the beginning of a line. Each is checked as the \
bridge reads it and written in the canonical spelling. What is no event is reported with the number of its line and left \
out, the others are published, and the exit code is 65. Publishing a file again is safe: events with a known event_id are \
duplicates. It takes one --topic; a --group changes nothing. Ctrl-C says what was published by then.\n\n\
Exit codes: 0 everything is published, 65 some of it is no event, 69 Kafka cannot be reached, 74 the result could not \
be written, 78 the settings are wrong; 130 ended by Ctrl-C, 143 by SIGTERM.";

/// Flags of `publish`.
#[derive(Debug, Args)]
#[command(after_help = HELP, after_long_help = format!("{HELP}\n\n{}", environment_help()))]
pub(super) struct Publish {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    form: OutputFlag,
    #[command(flatten)]
    kafka: Kafka,
    /// How long Kafka may take to answer, such as 3s [default: 5s to connect, 30s for each 1000 events]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// A file of events, or - for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// The most events in flight.
const BATCH_SIZE: usize = 1_000;
/// How long Kafka has to acknowledge them.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long the first connection to a broker may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("expected more than nothing, such as 3s".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("expected a duration such as 3s or 2m: {error}")),
    }
}

/// The publish client with the bridge's settings. It has no spool: the events are in a file already. `timeout` is how long
/// Kafka has to acknowledge events. For most of it the client waits for a topic that does not exist (yet), so that the error
/// says that the topic is missing, and not just that the time is over.
pub(super) fn publisher(kafka: &KafkaSettings, topic: &str, timeout: Duration) -> Result<Publisher, PublishError> {
    let wait_for_topic = (timeout * 3 / 4).as_millis().clamp(1, 3_600_000);
    let builder = Publisher::builder()
        .bootstrap_servers(&kafka.bootstrap_servers)
        .topic(topic)
        .client_id(&kafka.client_id)
        .security(kafka.security.clone())
        .max_in_flight_requests_per_connection(5)
        .property("topic.metadata.propagation.max.ms", wait_for_topic.to_string());
    kafka.properties.iter().fold(builder, |builder, (name, value)| builder.property(name, value)).build()
}

/// What is done, for whoever watches.
#[derive(Debug, Default)]
struct SoFar {
    published: AtomicU64,
    refused: AtomicU64,
    /// Handed to the client, and not acknowledged.
    under_way: AtomicU64,
}

impl SoFar {
    fn text(&self) -> String {
        let [published, refused, under_way] =
            [&self.published, &self.refused, &self.under_way].map(|count| count.load(Relaxed));
        let under_way = if under_way > 0 { format!(", {under_way} under way") } else { String::new() };
        format!("{published} events published{under_way}, {refused} lines refused")
    }
}

/// The results of the lines so far, and the batch of the next ones.
struct Lines {
    name: String,
    so_far: Arc<SoFar>,
    batch: Vec<(u64, Record)>,
    timeout: Option<Duration>,
    connected: bool,
}

impl Lines {
    /// Reads and publishes every line. `Err` ends the command.
    fn publish_all(&mut self, lines: Box<dyn BufRead>, publisher: &Publisher) -> Result<(), ExitCode> {
        let mut documents = Documents::new(lines);
        loop {
            let next = documents.next();
            let next = next.map_err(|error| fail(Exit::Data, &format_args!("{}: {error}", self.name)))?;
            let Some(document) = next else { break };
            let number = document.line;
            match decode(document.text.as_slice()) {
                Ok(event) => self.add(number, &event, publisher.topic()),
                Err(poison) => {
                    let hint = match poison {
                        Poison::NotJson { .. } => {
                            " (one event a line, or an object that begins at the beginning of a line)"
                        }
                        _ => "",
                    };
                    self.refuse(number, &format_args!("{poison}{hint}"));
                }
            }
            if self.batch.len() == BATCH_SIZE {
                self.publish(publisher)?;
            }
        }
        self.publish(publisher)
    }

    fn add(&mut self, number: u64, event: &Event, topic: &Arc<str>) {
        if let EventType::Other(found) = event.event_type() {
            let (name, known) = (&self.name, EventType::NAMES.join(", "));
            let close = suggestion(found, EventType::NAMES.iter().copied());
            output::note(format_args!(
                "{name}:{number}: warning: this version does not know the event_type `{found}`: check its spelling{close} (known: {known})"
            ));
        }
        self.batch.push((number, Record::new(event, topic, None)));
    }

    fn refuse(&mut self, number: u64, reason: &dyn std::fmt::Display) {
        self.so_far.refused.fetch_add(1, Relaxed);
        output::note(format_args!("{}:{number}: {reason}", self.name));
    }

    /// Publishes the batch. An event that the broker did not acknowledge ends the command.
    fn publish(&mut self, publisher: &Publisher) -> Result<(), ExitCode> {
        let Some((first, _)) = self.batch.first() else { return Ok(()) };
        if !self.connected
            && let Err(error) = publisher.connect(self.timeout.unwrap_or(CONNECT_TIMEOUT), Interrupt::never())
        {
            return Err(self.unavailable(*first, &error));
        }
        self.connected = true;
        let (numbers, records): (Vec<_>, Vec<_>) = self.batch.drain(..).unzip();
        let mut unavailable = None;
        self.so_far.under_way.store(records.len() as u64, Relaxed);
        let answers = publisher.publish_many(records, self.timeout.unwrap_or(DEADLINE));
        for (number, answer) in numbers.into_iter().zip(answers) {
            match answer {
                Ok(_) => drop(self.so_far.published.fetch_add(1, Relaxed)),
                Err(error @ PublishError::TooLarge { .. }) => self.refuse(number, &error),
                Err(error) => unavailable = unavailable.or(Some((number, error))),
            }
        }
        self.so_far.under_way.store(0, Relaxed);
        unavailable.map_or(Ok(()), |(number, error)| Err(self.unavailable(number, &error)))
    }

    fn unavailable(&self, number: u64, error: &PublishError) -> ExitCode {
        let (name, so_far) = (&self.name, self.so_far.published.load(Relaxed));
        fail(
            Exit::Unavailable,
            &format_args!(
                "{name}:{number}: {error} ({so_far} events were published; publish the file again when Kafka is \
                 back: a repeat is a duplicate)"
            ),
        )
    }
}

impl Publish {
    pub(super) fn main(&self) -> ExitCode {
        let variables = Variables::default();
        let loaded = self.source.load(&self.kafka.flags(), &variables.environment());
        output::warnings(&variables.warnings(false));
        let config = match loaded {
            Ok(config) => config,
            Err(error) => return fail(Exit::Config, &error),
        };
        let name = if self.file.as_os_str() == "-" { "stdin".into() } else { self.file.display().to_string() };
        let lines: Box<dyn BufRead> = if self.file.as_os_str() == "-" {
            Box::new(BufReader::new(io::stdin()))
        } else {
            match File::open(&self.file) {
                Ok(file) => Box::new(BufReader::new(file)),
                Err(error) => {
                    return fail(Exit::Data, &format_args!("{name}: {error}: name a file of events, or - for stdin"));
                }
            }
        };
        // Show connection errors while a broker is waited for.
        logging::install(config.log_format, "warn");
        let [topic] = config.kafka.topics.as_slice() else {
            return fail(Exit::Config, &"publish needs one topic: name it with --topic");
        };
        let publisher = match publisher(&config.kafka, topic, self.timeout.unwrap_or(DEADLINE)) {
            Ok(publisher) => publisher,
            Err(error) => return fail(Exit::Config, &error),
        };
        let so_far = Arc::new(SoFar::default());
        let watching = watched({
            let so_far = Arc::clone(&so_far);
            move || so_far.text()
        });
        let mut lines_left =
            Lines { name, so_far: Arc::clone(&so_far), batch: Vec::new(), timeout: self.timeout, connected: false };
        let done = lines_left.publish_all(lines, &publisher);
        drop(watching);
        let [sent, refused] = [&so_far.published, &so_far.refused].map(|count| count.load(Relaxed));
        if self.form.is_json() {
            let summary = json!({"topic": topic, "published": sent, "refused": refused, "complete": done.is_ok()});
            output::result(format_args!("{}", output::json(&summary)));
        } else if done.is_ok() {
            output::result(format_args!("{sent} events published to {topic}, {refused} lines refused"));
        }
        match done {
            Err(code) => code,
            Ok(()) if refused == 0 => ExitCode::SUCCESS,
            Ok(()) => ExitCode::from(Exit::Data),
        }
    }
}
