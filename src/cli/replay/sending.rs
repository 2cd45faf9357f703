//! Publishes requests for deliveries, acknowledged, in batches, at most so many a second, and tells of each.

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::choose::Chosen;
use crate::{
    bridge::Exit,
    cli::{
        interrupt::Interrupt,
        output::{self, fail},
    },
    config::Config,
    event::{Limits, RECORDED_MS, RedriveRequest},
    kafka::{LetterSender, Outgoing, Scanned},
    yaml::excerpt,
};

/// The most requests of a batch, and the most bytes of their records, but for one that is larger.
const MAX_REQUESTS: usize = 100;
const MAX_BYTES: usize = 8 << 20;
const MAX_CHARS: usize = 255;

/// See the module.
pub(super) struct Sending<'a> {
    sender: LetterSender,
    runtime: Runtime,
    interrupt: &'a Interrupt,
    as_json: bool,
    rate: Option<u32>,
    limit: Option<u32>,
    is_dry_run: bool,
    is_forced: bool,
    waiting: Vec<(Outgoing, Told)>,
    bytes: usize,
    /// Requests that were published or are waiting.
    taken: u64,
    done: u64,
    refused: u64,
    began: Instant,
}

/// What is said of a request.
struct Told {
    record: String,
    event_id: String,
    rule: String,
    agent: String,
}

impl<'a> Sending<'a> {
    /// (the most a second, the most in all, whether nothing is published, also what the ledger may have forgotten)
    pub(super) fn new(
        config: &Config,
        interrupt: &'a Interrupt,
        as_json: bool,
        (rate, limit, is_dry_run, is_forced): (Option<u32>, Option<u32>, bool, bool),
    ) -> Result<Self, ExitCode> {
        let sender = LetterSender::connect(&config.kafka).map_err(|error| fail(Exit::Config, &error))?;
        let cannot = |error| fail(Exit::Unavailable, &format_args!("cannot start threads: {error}"));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(cannot)?;
        let (waiting, bytes, taken, done, refused, began) = (Vec::new(), 0, 0, 0, 0, Instant::now());
        Ok(Self {
            sender,
            runtime,
            interrupt,
            as_json,
            rate,
            limit,
            is_dry_run,
            is_forced,
            waiting,
            bytes,
            taken,
            done,
            refused,
            began,
        })
    }

    /// Whether another one may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.limit.is_none_or(|limit| self.taken < u64::from(limit))
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
        self.bytes += outgoing.size().bytes();
        self.taken += 1;
        self.waiting.push((outgoing, told));
        let most = self.rate.map_or(MAX_REQUESTS, |rate| (rate as usize / 4).clamp(1, MAX_REQUESTS));
        if self.waiting.len() >= most || self.bytes >= MAX_BYTES { self.flush() } else { Ok(()) }
    }

    /// The record once more, in its partition: whoever owns that has the ledger's record of the event.
    fn request(&self, record: &Scanned<'_>, chosen: Chosen) -> Outgoing {
        let mut headers = record.headers.to_owned_list();
        if let Some(published) = chosen.published_ms.filter(|_| !headers.iter().any(|(name, _)| name == RECORDED_MS)) {
            headers.push((RECORDED_MS.to_owned(), Some(published.to_string().into_bytes())));
        }
        let is_forced = self.is_forced;
        let request = RedriveRequest { rule: chosen.rule, agent: chosen.agent, generation: 0, is_forced };
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
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let (records, told): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let wanted = records.iter().map(|record| Some(record).filter(|_| !self.is_dry_run));
        let results = self.runtime.block_on(self.sender.send(wanted));
        let mut problem = None;
        for (told, result) in told.iter().zip(results) {
            match result {
                Ok(()) => {
                    self.done += 1;
                    self.tell(told, self.action(), None);
                }
                Err(error) if error.is_of_the_record => self.refuse(told, &error.to_string()),
                Err(error) => problem = problem.or(Some(error.to_string())),
            }
        }
        if let Some(problem) = problem {
            let text =
                format!("{problem} ({} {}; the same command goes on where this one ended)", self.done, self.action());
            return Err(fail(Exit::Unavailable, &text));
        }
        if let Some(rate) = self.rate {
            let due = self.began + Duration::from_secs_f64(self.done as f64 / f64::from(rate));
            while !self.interrupt.is_asked() && Instant::now() < due {
                thread::sleep(due.saturating_duration_since(Instant::now()).min(Duration::from_millis(50)));
            }
        }
        Ok(())
    }

    fn action(&self) -> &'static str {
        if self.is_dry_run { "would be asked for" } else { "asked for" }
    }

    fn refuse(&mut self, told: &Told, why: &str) {
        self.refused += 1;
        self.tell(told, "refused", Some(why));
    }

    /// A line for each.
    fn tell(&self, told: &Told, action: &str, error: Option<&str>) {
        let Told { record, event_id, rule, agent } = told;
        if self.as_json {
            let line = json!({
                "record": record, "action": action, "event_id": event_id, "rule": rule, "agent": agent, "error": error,
            });
            output::result(format_args!("{line}"));
        } else {
            let why = error.map(|error| format!(": {}", excerpt(error, MAX_CHARS))).unwrap_or_default();
            output::result(format_args!("{record}: {action}, event {event_id}, {rule} for {agent}{why}"));
        }
    }

    /// Publishes what is left, and says how many there were.
    pub(super) fn finish(mut self) -> Result<ExitCode, ExitCode> {
        self.flush()?;
        output::note(format_args!("{} {}, {} refused", self.done, self.action(), self.refused));
        if let Some(code) = self.interrupt.exit() {
            output::note(format_args!("interrupted: the same command goes on where this one ended"));
            return Err(code);
        }
        Ok(if self.refused == 0 { ExitCode::SUCCESS } else { Exit::Data.into() })
    }
}
