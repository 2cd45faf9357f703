//! Letters that are done together: published, acknowledged, marked, and told.
//!
//! Owns the order: a letter is marked when the broker has its record, and told after that. So a command that ends at any
//! moment leaves letters that are published and not marked, at most one batch; they are published again by the next one,
//! and the ledger recognises them. What a person corrected is kept in its file until the broker has it.

use std::{fmt::Write as _, fs, process::ExitCode, time::Instant};

use clap::Args;
use serde_json::json;

use super::{
    super::{
        batches::Batches,
        output::{self, fail},
    },
    pass::Context,
    prepare::{Audit, Prepared},
};
use crate::{
    bridge::Exit,
    kafka::{LetterSender, MarkKind, Outgoing},
    yaml::excerpt,
};

const MAX_ERROR: usize = 2_000;

/// The flags of every command that does letters.
#[derive(Debug, Args)]
pub(super) struct Pace {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// The most dead letters a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rate: Option<u32>,
    /// The most dead letters in all
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u64>,
    /// Every dead letter that is open: without another flag that selects some
    #[arg(long)]
    pub(super) all: bool,
}

/// See the module.
pub(super) struct Batch<'a> {
    context: &'a Context,
    pace: &'a Pace,
    as_json: bool,
    sender: LetterSender,
    by: String,
    /// Each with its dead-letter topic.
    batches: Batches<(String, Prepared)>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(context: &'a Context, pace: &'a Pace, kind: MarkKind, as_json: bool) -> Result<Self, ExitCode> {
        let sender = LetterSender::connect(&context.config.kafka).map_err(|error| fail(Exit::Config, &error))?;
        let by = (context.environment)("USER").map(|user| excerpt(&user, 64)).unwrap_or_default();
        let action = if pace.dry_run { format!("would be {}", kind.as_str()) } else { kind.as_str().to_owned() };
        let batches = Batches::new(&context.interrupt, action, pace.limit, pace.rate);
        Ok(Self { context, pace, as_json, sender, by, batches })
    }

    /// Whether another letter may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.batches.has_room()
    }

    /// Takes a letter of this dead-letter topic, and does the batch when it is full.
    pub(super) fn add(&mut self, topic: &str, prepared: Prepared) -> Result<(), ExitCode> {
        let bytes = prepared.bytes();
        if self.batches.add((topic.to_owned(), prepared), bytes) { self.flush() } else { Ok(()) }
    }

    /// A letter that is not done.
    pub(super) fn refuse(&mut self, audit: &Audit, why: &str) {
        self.batches.count_refused();
        let why = excerpt(why, MAX_ERROR);
        if self.as_json {
            Self::tell_json("refused", audit, Some(&why));
        } else {
            output::note(format_args!("{}: refused: {why}", audit.letter));
        }
    }

    fn flush(&mut self) -> Result<(), ExitCode> {
        let waiting = self.batches.take();
        if waiting.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let problem = if self.pace.dry_run {
            for (_, prepared) in &waiting {
                self.batches.count_done();
                self.tell(&prepared.audit);
                prepared.say_where_the_text_is();
            }
            None
        } else {
            self.send(&waiting).err()
        };
        self.batches.ended(waiting.len(), began, problem)
    }

    /// Publishes, marks and tells. A letter whose own record the broker refuses is refused; any other error ends the command.
    fn send(&mut self, waiting: &[(String, Prepared)]) -> Result<(), String> {
        let records = waiting.iter().map(|(_, prepared)| prepared.record.as_ref());
        let results = self.context.runtime.block_on(self.sender.send(records));
        let (mut problem, mut published) = (None, Vec::new());
        for ((topic, prepared), result) in waiting.iter().zip(results) {
            let Err(error) = result else {
                if let Some(file) = &prepared.edited {
                    // The broker has what is in it.
                    drop(fs::remove_file(file));
                }
                published.push((topic, prepared));
                continue;
            };
            prepared.say_where_the_text_is();
            if error.is_of_the_record {
                self.refuse(&prepared.audit, &error.to_string());
            } else {
                problem = problem.or(Some(error.to_string()));
            }
        }
        let marks: Vec<_> =
            published.iter().map(|(topic, prepared)| Outgoing::mark(topic, prepared.mark, &self.by)).collect();
        let marked = self.context.runtime.block_on(self.sender.send(marks.iter().map(Some)));
        for ((_, prepared), result) in published.into_iter().zip(marked) {
            // Whether its mark was written or not: it was done.
            self.batches.count_done();
            self.tell(&prepared.audit);
            if let Err(error) = result {
                problem =
                    problem.or(Some(format!("dead letter {} is done and not marked: {error}", prepared.audit.letter)));
            }
        }
        problem.map_or(Ok(()), Err)
    }

    fn tell(&self, audit: &Audit) {
        let action = self.batches.action();
        if self.as_json {
            return Self::tell_json(action, audit, None);
        }
        let mut line = format!("{}: {action}", audit.letter);
        if let Some(id) = &audit.event_id {
            let _ = write!(line, ", event {id}");
        }
        if let Some((rule, agent)) = &audit.delivery {
            let _ = write!(line, ", {rule} for {agent}");
        }
        if let Some(generation) = audit.generation {
            let _ = write!(line, ", generation {generation}");
        }
        if let Some(to) = &audit.to {
            let _ = write!(line, ", to {to}");
        }
        output::result(format_args!("{line}"));
    }

    /// One line for each letter, so that a long run can be read while it goes on.
    fn tell_json(action: &str, audit: &Audit, error: Option<&str>) {
        let (rule, agent) = audit.delivery.clone().unzip();
        let line = json!({
            "letter": audit.letter, "action": action, "event_id": audit.event_id, "rule": rule, "agent": agent,
            "generation": audit.generation.map(|generation| generation.number),
            "again": audit.generation.map(|generation| generation.again), "to": audit.to, "error": error,
        });
        output::result(format_args!("{line}"));
    }

    /// Does what is left, and says how many there were.
    pub(super) fn finish(mut self) -> Result<ExitCode, ExitCode> {
        self.flush()?;
        self.batches.finish()
    }
}
