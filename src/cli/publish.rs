//! `publish`: events from a file or stdin to Kafka, one JSON event a line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use tokio::runtime::Builder;

use super::{Settings, exit, fail, logging};
use crate::{
    bridge::process_environment,
    event::{EventType, Poison, decode},
    kafka::{Producer, PublishError},
    yaml::suggestion,
};

/// Flags of `publish`.
#[derive(Debug, Args)]
#[command(after_help = "Example: workflow-bridge publish events.jsonl\n\
Example: echo '{\"event_id\": ...}' | workflow-bridge publish -\n\n\
Each line is checked as the bridge reads it and written in the canonical spelling. A line that is no event is \
reported with its number and left out, the others are published, and the exit code is 65. Publishing a file again is \
safe: events with a known event_id are duplicates.")]
pub(super) struct Publish {
    #[command(flatten)]
    settings: Settings,
    /// A file of events, or - for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Publish {
    #[expect(clippy::print_stdout, reason = "the result of the command")]
    pub(super) fn main(&self) -> ExitCode {
        let config = match self.settings.load(&process_environment()) {
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
        let producer = match Producer::connect(&config.kafka) {
            Ok(producer) => producer,
            Err(error) => return fail(exit::CONFIG, &error),
        };
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return fail(exit::UNAVAILABLE, &format_args!("cannot start: {error}")),
        };
        let (mut published, mut refused) = (0_u64, 0_u64);
        for (number, line) in (1_u64..).zip(lines.split(b'\n')) {
            let line = match line {
                Ok(line) => line,
                Err(error) => return fail(exit::DATA, &format_args!("{name}:{number}: {error}")),
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            match decode(line.as_slice()) {
                Ok(event) => match runtime.block_on(producer.publish(topic, &event, None)) {
                    Ok(_) => {
                        published += 1;
                        if let EventType::Other(found) = event.event_type() {
                            let close = suggestion(found, EventType::NAMES.iter().copied());
                            eprintln!(
                                "workflow-bridge: {name}:{number}: warning: no rule can name the event_type \
                                 `{found}`{close} (known: {})",
                                EventType::NAMES.join(", ")
                            );
                        }
                    }
                    Err(error @ PublishError::TooLarge { .. }) => {
                        refused += 1;
                        eprintln!("workflow-bridge: {name}:{number}: {error}");
                    }
                    Err(error) => {
                        return fail(
                            exit::UNAVAILABLE,
                            &format_args!("{name}:{number}: {error} ({published} events were published before it)"),
                        );
                    }
                },
                Err(poison) => {
                    refused += 1;
                    let hint = match poison {
                        Poison::NotJson { .. } => " (one event a line)",
                        _ => "",
                    };
                    eprintln!("workflow-bridge: {name}:{number}: {poison}{hint}");
                }
            }
        }
        println!("{published} events published to {topic}, {refused} lines refused");
        if refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::DATA) }
    }
}
