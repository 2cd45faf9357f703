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

use super::{Source, environment_help, exit, fail, logging, output, variables::Variables};
use crate::{
    event::{Event, EventType, Poison, decode},
    kafka::KafkaSettings,
    publish::{PublishError, Publisher, Record},
    yaml::suggestion,
};

const HELP: &str = "Example: workflow-bridge publish events.jsonl\n\
Example: echo '{\"event_id\": ...}' | workflow-bridge publish -\n\n\
Each line is checked as the bridge reads it and written in the canonical spelling. A line that is no event is \
reported with its number and left out, the others are published, and the exit code is 65. Publishing a file again is \
safe: events with a known event_id are duplicates.\n\n\
Exit codes: 0 every line is published, 65 some lines are no events, 69 Kafka cannot be reached, 74 the result could not \
be written, 78 the settings are wrong.";

/// Flags of `publish`.
#[derive(Debug, Args)]
#[command(after_help = HELP, after_long_help = format!("{HELP}\n\n{}", environment_help()))]
pub(super) struct Publish {
    #[command(flatten)]
    source: Source,
    /// Topic to publish to [default: the one that the settings name]
    #[arg(long)]
    topic: Option<String>,
    /// Kafka brokers, comma-separated [default: those that the settings name]
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// How long Kafka may take to answer, such as 3s [default: 5s to connect, 30s for each 1000 events]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// A file of events, or - for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Events that are under way at once.
const AT_ONCE: usize = 1_000;
/// How long Kafka has for them.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a broker is looked for before the first of them.
const CONNECT_TIME: Duration = Duration::from_secs(5);

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("expected more than nothing, such as 3s".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("expected a duration such as 3s or 2m: {error}")),
    }
}

/// The publish client with the bridge's settings. It has no spool: the events are in a file already.
pub(super) fn publisher(kafka: &KafkaSettings, topic: &str) -> Result<Publisher, PublishError> {
    let builder = Publisher::builder()
        .bootstrap_servers(&kafka.bootstrap_servers)
        .topic(topic)
        .client_id(&kafka.client_id)
        .security(kafka.security.clone())
        .max_in_flight(5);
    kafka.properties.iter().fold(builder, |builder, (name, value)| builder.property(name, value)).build()
}

/// What became of the lines so far, and those that wait for their turn.
struct Sheet {
    name: String,
    published: u64,
    refused: u64,
    waiting: Vec<(u64, Record)>,
    timeout: Option<Duration>,
    connected: bool,
}

impl Sheet {
    fn take(&mut self, number: u64, event: &Event, topic: &Arc<str>) {
        if let EventType::Other(found) = event.event_type() {
            let (name, known) = (&self.name, EventType::NAMES.join(", "));
            let close = suggestion(found, EventType::NAMES.iter().copied());
            output::note(format_args!(
                "{name}:{number}: warning: this version does not know the event_type `{found}`: check its spelling{close} (known: {known})"
            ));
        }
        self.waiting.push((number, Record::new(event, topic, None)));
    }

    fn refuse(&mut self, number: u64, reason: &dyn std::fmt::Display) {
        self.refused += 1;
        output::note(format_args!("{}:{number}: {reason}", self.name));
    }

    /// Publishes those that wait. Without the broker's word on one of them there is no going on.
    fn publish(&mut self, publisher: &Publisher) -> Result<(), ExitCode> {
        let Some((first, _)) = self.waiting.first() else { return Ok(()) };
        if !self.connected
            && let Err(error) = publisher.connect(self.timeout.unwrap_or(CONNECT_TIME))
        {
            return Err(self.away(*first, &error));
        }
        self.connected = true;
        let (numbers, records): (Vec<_>, Vec<_>) = self.waiting.drain(..).unzip();
        let mut away = None;
        let answers = publisher.publish_many(records, self.timeout.unwrap_or(DEADLINE));
        for (number, answer) in numbers.into_iter().zip(answers) {
            match answer {
                Ok(_) => self.published += 1,
                Err(error @ PublishError::TooLarge { .. }) => self.refuse(number, &error),
                Err(error) => away = away.or(Some((number, error))),
            }
        }
        away.map_or(Ok(()), |(number, error)| Err(self.away(number, &error)))
    }

    fn away(&self, number: u64, error: &PublishError) -> ExitCode {
        let (name, so_far) = (&self.name, self.published);
        fail(
            exit::UNAVAILABLE,
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
        let flags = [("kafka.topics", &self.topic), ("kafka.bootstrap_servers", &self.brokers)];
        let loaded = self.source.load(&flags, &variables.environment());
        output::warnings(&variables.warnings(false));
        let config = match loaded {
            Ok(config) => config,
            Err(error) => return fail(exit::CONFIG, &error),
        };
        let name = if self.file.as_os_str() == "-" { "stdin".into() } else { self.file.display().to_string() };
        let lines: Box<dyn BufRead> = if self.file.as_os_str() == "-" {
            Box::new(BufReader::new(io::stdin()))
        } else {
            match File::open(&self.file) {
                Ok(file) => Box::new(BufReader::new(file)),
                Err(error) => {
                    return fail(exit::DATA, &format_args!("{name}: {error}: name a file of events, or - for stdin"));
                }
            }
        };
        // A broker that is away is told of while it is waited for.
        logging::install(config.log_format, "warn");
        let [topic] = config.kafka.topics.as_slice() else {
            return fail(exit::CONFIG, &"publish needs one topic: name it with --topic");
        };
        let publisher = match publisher(&config.kafka, topic) {
            Ok(publisher) => publisher,
            Err(error) => return fail(exit::CONFIG, &error),
        };
        let mut sheet =
            Sheet { name, published: 0, refused: 0, waiting: Vec::new(), timeout: self.timeout, connected: false };
        for (number, line) in (1_u64..).zip(lines.split(b'\n')) {
            let line = match line {
                Ok(line) => line,
                Err(error) => return fail(exit::DATA, &format_args!("{}:{number}: {error}", sheet.name)),
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            match decode(line.as_slice()) {
                Ok(event) => sheet.take(number, &event, publisher.topic()),
                Err(poison) => {
                    let hint = match poison {
                        Poison::NotJson { .. } => " (one event a line)",
                        _ => "",
                    };
                    sheet.refuse(number, &format_args!("{poison}{hint}"));
                }
            }
            if sheet.waiting.len() == AT_ONCE
                && let Err(code) = sheet.publish(&publisher)
            {
                return code;
            }
        }
        if let Err(code) = sheet.publish(&publisher) {
            return code;
        }
        let Sheet { published, refused, .. } = sheet;
        output::result(format_args!("{published} events published to {topic}, {refused} lines refused"));
        if refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::DATA) }
    }
}
