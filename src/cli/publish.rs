//! `publish`: events from a file or stdin to Kafka, one JSON event a line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Args;

use super::{
    flags::{Kafka, Source},
    logging,
    output::{self, fail},
    variables::Variables,
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
Each line is checked as the bridge reads it and written in the canonical spelling. A line that is no event is \
reported with its number and left out, the others are published, and the exit code is 65. Publishing a file again is \
safe: events with a known event_id are duplicates. It takes one --topic; a --group changes nothing.\n\n\
Exit codes: 0 every line is published, 65 some lines are no events, 69 Kafka cannot be reached, 74 the result could not \
be written, 78 the settings are wrong.";

/// Flags of `publish`.
#[derive(Debug, Args)]
#[command(after_help = HELP, after_long_help = format!("{HELP}\n\n{}", environment_help()))]
pub(super) struct Publish {
    #[command(flatten)]
    source: Source,
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

/// The results of the lines so far, and the batch of the next ones.
struct Lines {
    name: String,
    published: u64,
    refused: u64,
    batch: Vec<(u64, Record)>,
    timeout: Option<Duration>,
    connected: bool,
}

impl Lines {
    /// Reads and publishes every line. `Err` ends the command.
    fn publish_all(&mut self, lines: Box<dyn BufRead>, publisher: &Publisher) -> Result<(), ExitCode> {
        for (number, line) in (1_u64..).zip(lines.split(b'\n')) {
            let line = line.map_err(|error| fail(Exit::Data, &format_args!("{}:{number}: {error}", self.name)))?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            match decode(line.as_slice()) {
                Ok(event) => self.add(number, &event, publisher.topic()),
                Err(poison) => {
                    let hint = match poison {
                        Poison::NotJson { .. } => " (one event a line)",
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
        self.refused += 1;
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
        let answers = publisher.publish_many(records, self.timeout.unwrap_or(DEADLINE));
        for (number, answer) in numbers.into_iter().zip(answers) {
            match answer {
                Ok(_) => self.published += 1,
                Err(error @ PublishError::TooLarge { .. }) => self.refuse(number, &error),
                Err(error) => unavailable = unavailable.or(Some((number, error))),
            }
        }
        unavailable.map_or(Ok(()), |(number, error)| Err(self.unavailable(number, &error)))
    }

    fn unavailable(&self, number: u64, error: &PublishError) -> ExitCode {
        let (name, so_far) = (&self.name, self.published);
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
        let mut progress =
            Lines { name, published: 0, refused: 0, batch: Vec::new(), timeout: self.timeout, connected: false };
        if let Err(code) = progress.publish_all(lines, &publisher) {
            return code;
        }
        let Lines { published, refused, .. } = progress;
        output::result(format_args!("{published} events published to {topic}, {refused} lines refused"));
        if refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(Exit::Data) }
    }
}
