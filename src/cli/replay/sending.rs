//! Publishes requests for deliveries, acknowledged, and tells of each.

use std::{process::ExitCode, time::Instant};

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::choose::Chosen;
use crate::{
    bridge::Exit,
    cli::{
        batches::Batches,
        interrupt::Interrupt,
        output::{self, fail},
    },
    config::Config,
    event::{Generation, Limits, RECORDED_MS, RedriveRequest},
    kafka::{LetterSender, Outgoing, Scanned},
    yaml::excerpt,
};

const MAX_CHARS: usize = 255;

/// See the module.
pub(super) struct Sending {
    sender: LetterSender,
    runtime: Runtime,
    as_json: bool,
    is_dry_run: bool,
    is_forced: bool,
    generation: Generation,
    batches: Batches<(Outgoing, Told)>,
}

/// What is said of a request.
struct Told {
    record: String,
    event_id: String,
    rule: String,
    agent: String,
}

impl Sending {
    /// (the most a second, the most in all, whether nothing is published), what is asked for, and whether also of what the ledger
    /// may have forgotten.
    pub(super) fn new(
        config: &Config,
        interrupt: &Interrupt,
        as_json: bool,
        (rate, limit, is_dry_run): (Option<u32>, Option<u32>, bool),
        (generation, is_forced): (Generation, bool),
    ) -> Result<Self, ExitCode> {
        let sender = LetterSender::connect(&config.kafka).map_err(|error| fail(Exit::Config, &error))?;
        let cannot = |error| fail(Exit::Unavailable, &format_args!("cannot start threads: {error}"));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(cannot)?;
        let action = if is_dry_run { "would be asked for" } else { "asked for" };
        let batches = Batches::new(interrupt, action.to_owned(), limit.map(u64::from), rate);
        Ok(Self { sender, runtime, as_json, is_dry_run, is_forced, generation, batches })
    }

    /// Whether another one may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.batches.has_room()
    }

    /// Takes a delivery of a record's event, and publishes the batch when it is full.
    pub(super) fn add(&mut self, record: &Scanned<'_>, chosen: Chosen, limits: &Limits) -> Result<(), ExitCode> {
        let shown = |text: &str| excerpt(text, MAX_CHARS);
        let told = Told {
            record: format!("{}[{}]@{}", record.topic, record.partition, record.offset),
            event_id: shown(&chosen.event_id),
            rule: shown(&chosen.rule),
            agent: shown(&chosen.agent),
        };
        let outgoing = self.request(record, chosen);
        if let Err(poison) = limits.check(&outgoing.size()) {
            self.refuse(&told, &format!("with the headers of a request it is too large for the bridges: {poison}"));
            return Ok(());
        }
        let bytes = outgoing.size().bytes();
        if self.batches.add((outgoing, told), bytes) { self.flush() } else { Ok(()) }
    }

    /// The record once more, in its partition: whoever owns that has the ledger's record of the event.
    fn request(&self, record: &Scanned<'_>, chosen: Chosen) -> Outgoing {
        let mut headers = record.headers.to_owned_list();
        // One that is there already says the same, unless nobody can read it.
        headers.retain(|(name, _)| name != RECORDED_MS);
        if let Some(published) = chosen.published_ms {
            headers.push((RECORDED_MS.to_owned(), Some(published.to_string().into_bytes())));
        }
        let Self { generation, is_forced, .. } = *self;
        let request = RedriveRequest { rule: chosen.rule, agent: chosen.agent, generation, is_forced };
        headers.extend(request.headers());
        Outgoing {
            topic: record.topic.to_owned(),
            partition: Some(record.partition),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers,
        }
    }

    fn flush(&mut self) -> Result<(), ExitCode> {
        let (waiting, began) = (self.batches.take(), Instant::now());
        let (records, told): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let wanted = records.iter().map(|record| Some(record).filter(|_| !self.is_dry_run));
        let results = self.runtime.block_on(self.sender.send(wanted));
        let mut problem = None;
        for (told, result) in told.iter().zip(results) {
            match result {
                Ok(()) => {
                    self.batches.count_done();
                    self.tell(told, self.batches.action(), None);
                }
                Err(error) if error.is_of_the_record => self.refuse(told, &error.to_string()),
                Err(error) => problem = problem.or(Some(error.to_string())),
            }
        }
        self.batches.ended(told.len(), began, problem)
    }

    fn refuse(&mut self, told: &Told, why: &str) {
        self.batches.count_refused();
        self.tell(told, "refused", Some(why));
    }

    /// A line for each.
    fn tell(&self, told: &Told, action: &str, error: Option<&str>) {
        let (Told { record, event_id, rule, agent }, again) = (told, self.generation.again);
        if self.as_json {
            let mut line = json!({
                "record": record, "action": action, "event_id": event_id, "rule": rule, "agent": agent, "error": error,
            });
            if again > 0 {
                line["again"] = again.into();
            }
            output::result(format_args!("{line}"));
        } else {
            let why = error.map(|error| format!(": {}", excerpt(error, MAX_CHARS))).unwrap_or_default();
            let again = if again > 0 { format!(", again {again}") } else { String::new() };
            output::result(format_args!("{record}: {action}, event {event_id}, {rule} for {agent}{again}{why}"));
        }
    }

    /// Publishes what is left, and says how many there were.
    pub(super) fn finish(mut self) -> Result<ExitCode, ExitCode> {
        self.flush()?;
        self.batches.finish()
    }
}
