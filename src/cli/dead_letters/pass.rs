//! A pass over the dead-letter topics: which letters there are, and which are done.

use std::{collections::BTreeSet, ops::ControlFlow, process::ExitCode};

use jiff::Timestamp;
use tokio::runtime::{Builder, Runtime};

use super::{
    super::{
        flags::Settings,
        interrupt::Interrupt,
        logging,
        output::{self, fail},
        progress::Progress,
        scan,
        since::Since,
        variables::Variables,
    },
    select::{Filter, Letter, Place},
};
use crate::{
    bridge::{Environment, Exit},
    config::Config,
    event::Limits,
    kafka::{Marks, PartitionRange, ScanError, ScanProgress, Scanned, TopicReader, TopicRecord},
};

/// What every subcommand uses.
pub(super) struct Context {
    pub(super) config: Config,
    pub(super) environment: Environment,
    pub(super) limits: Limits,
    pub(super) runtime: Runtime,
    /// The dead-letter topics of the source topics.
    pub(super) topics: Vec<String>,
    pub(super) interrupt: Interrupt,
}

/// A dead-letter topic, ready to be visited.
pub(super) struct Pass<'a> {
    pub(super) topic: &'a str,
    context: &'a Context,
    reader: TopicReader,
    ranges: Vec<PartitionRange>,
    marks: Marks,
}

impl Context {
    /// Reads the settings, and begins to listen for signals.
    pub(super) fn open(settings: &Settings) -> Result<Self, ExitCode> {
        let variables = Variables::default();
        let environment = variables.environment();
        let loaded = settings.load(&environment);
        output::warnings(&variables.warnings(false));
        let config = loaded.map_err(|error| fail(Exit::Config, &error))?;
        logging::install(config.log_format, "warn");
        let kafka = &config.kafka;
        let topics: BTreeSet<_> = kafka.topics.iter().map(|topic| kafka.dead_letter_topic(topic)).collect();
        let limits = Limits::new(kafka.budget.max_record_bytes, kafka.budget.max_bytes);
        let cannot = |error| fail(Exit::Unavailable, &format_args!("cannot start threads: {error}"));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(cannot)?;
        let interrupt = Interrupt::listen()?;
        Ok(Self { config, environment, limits, runtime, topics: topics.into_iter().collect(), interrupt })
    }

    /// The topics that a filter may have letters in.
    pub(super) fn asked<'a>(&'a self, filter: &'a Filter) -> Result<Vec<&'a str>, ExitCode> {
        for Place { topic, .. } in &filter.letter {
            let is_known = topic.as_ref().is_none_or(|topic| self.topics.contains(topic));
            if !is_known || (topic.is_none() && self.topics.len() > 1) {
                let known = self.topics.join(", ");
                return Err(fail(
                    Exit::Usage,
                    &format_args!("name a dead letter of one of these topics, as TOPIC:PARTITION@OFFSET: {known}"),
                ));
            }
        }
        let is_asked = |topic: &&str| {
            filter.letter.is_empty()
                || filter.letter.iter().any(|place| place.topic.as_deref().is_none_or(|named| named == *topic))
        };
        Ok(self.topics.iter().map(String::as_str).filter(is_asked).collect())
    }

    /// The name of a letter.
    fn place(&self, topic: &str, partition: i32, offset: i64) -> Place {
        Place { topic: (self.topics.len() > 1).then(|| topic.to_owned()), partition, offset }
    }
}

impl<'a> Pass<'a> {
    /// Finds out which part of the topic is asked for, and which of its letters are done.
    pub(super) fn open(context: &'a Context, topic: &'a str, filter: &Filter) -> Result<Self, ExitCode> {
        let reader = TopicReader::connect(&context.config.kafka, "reader of dead letters");
        let reader = reader.map_err(|error| scan::failed(&error))?;
        let ms = |time: Since| time.before(Timestamp::now()).as_millisecond();
        let (since, until) = (filter.since.map(ms), filter.until.map(ms));
        let mut ranges = match reader.ranges(topic, since, until) {
            Ok(ranges) => ranges,
            // It is made with the first letter.
            Err(ScanError::NoTopic(_)) => Vec::new(),
            Err(error) => return Err(scan::failed(&error)),
        };
        if !filter.letter.is_empty() {
            narrow(&mut ranges, &filter.letter);
        }
        let mut pass = Self { topic, context, reader, ranges, marks: Marks::default() };
        let mut marks = Marks::default();
        pass.visit("looking for marks", &pass.ranges, &mut |_, read| {
            if let TopicRecord::Mark(mark) = read {
                marks.add(mark, &pass.ranges);
            }
            true
        })?;
        if let Some(exit) = context.interrupt.exit() {
            // Some marks are not known.
            return Err(exit);
        }
        pass.marks = marks;
        Ok(pass)
    }

    /// Visits the letters that a filter fits, of each partition in order, until `visit` says false or a signal comes.
    pub(super) fn letters(&self, filter: &Filter, visit: &mut dyn FnMut(&Letter<'_>) -> bool) -> Result<(), ExitCode> {
        let ranges: Vec<_> = self.ranges.iter().map(|range| PartitionRange { end: range.until, ..*range }).collect();
        self.visit("reading dead letters", &ranges, &mut |record, read| {
            let TopicRecord::Letter(head) = read else { return true };
            let letter = Letter {
                place: self.context.place(self.topic, record.partition, record.offset),
                timestamp_ms: record.timestamp_ms,
                head,
                done: self.marks.of(record.partition, record.offset),
                key: record.key,
                value: record.value,
                headers: record.headers.iter().collect(),
            };
            !filter.fits(&letter, &self.context.limits) || visit(&letter)
        })
    }

    fn visit(
        &self,
        doing: &str,
        ranges: &[PartitionRange],
        visit: &mut dyn FnMut(&Scanned<'_>, TopicRecord<'_>) -> bool,
    ) -> Result<(), ExitCode> {
        let mut progress = ScanProgress::of(ranges);
        let mut visiting = Visiting { topic: self.topic, doing, visit };
        // Whoever visits knows whether it wanted more.
        let _ = scan::run(&self.context.interrupt, Progress::in_lines(), &mut visiting, |visitor| {
            self.reader.read(self.topic, ranges, &mut progress, visitor)
        })
        .map_err(|error| scan::failed(&error))?;
        scan::warn_of_withheld(progress.withheld);
        Ok(())
    }
}

struct Visiting<'a> {
    topic: &'a str,
    doing: &'a str,
    visit: &'a mut dyn FnMut(&Scanned<'_>, TopicRecord<'_>) -> bool,
}

impl scan::Visit for Visiting<'_> {
    fn record(&mut self, record: &Scanned<'_>) -> ControlFlow<()> {
        let headers: Vec<_> = record.headers.iter().collect();
        if (self.visit)(record, TopicRecord::read(&headers)) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn progress(&self, at: ScanProgress) -> String {
        format!("{}: {}: {} of {} records", self.topic, self.doing, at.done, at.all)
    }
}

/// Only the part that has these letters; marks are behind them.
fn narrow(ranges: &mut Vec<PartitionRange>, letters: &[Place]) {
    ranges.retain_mut(|range| {
        let offsets = || letters.iter().filter(|place| place.partition == range.partition).map(|place| place.offset);
        let (Some(first), Some(last)) = (offsets().min(), offsets().max()) else { return false };
        range.from = range.from.max(first);
        range.until = range.until.min(last.saturating_add(1)).max(range.from);
        true
    });
}
