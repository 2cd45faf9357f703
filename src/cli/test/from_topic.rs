//! `test --from-topic`: a test file from real events, with what the rules in use do with them.

use std::{collections::BTreeSet, fmt::Write as _, ops::ControlFlow, process::ExitCode, sync::Arc};

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    reservoir::Reservoir,
    scrub::{ScrubPath, scrub},
};
use crate::{
    cli::{
        interrupt::Interrupt,
        logging, output,
        scan::{self, Visit},
        since::{Since, since},
    },
    config::Config,
    event::{Event, Limits, Raw},
    kafka::{ScanProgress, Scanned},
    routing::{Matched, Routing, cases::write_case},
    words::counted,
    yaml::one_line,
};

/// The largest record, with its key and headers, that a test is made of.
const MAX_EVENT_BYTES: usize = 64 << 10;
/// The most bytes of all events that are kept while the topic is read.
const MAX_SAMPLE_BYTES: usize = 64 << 20;
/// The most bytes of the file: what `test` reads at once is twice as much.
const MAX_FILE_BYTES: usize = 16 << 20;

/// The flags of the mode.
#[derive(Debug, Args)]
pub(super) struct FromTopic {
    /// Print a test file from events of the topic instead
    #[arg(long)]
    from_topic: bool,
    /// How far back to read: 24h, 7d, or a time
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = since, requires = "from_topic")]
    since: Since,
    /// The most tests, 1 to 10000
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = clap::value_parser!(u16).range(1..=10_000), requires = "from_topic")]
    sample: u16,
    /// Paths of values to replace, such as payload.data.customer; * is any key
    #[arg(long, value_name = "PATH,…", value_delimiter = ',', value_parser = ScrubPath::read, requires = "from_topic")]
    scrub: Vec<ScrubPath>,
}

/// An event that a test may be made of.
struct Kept {
    place: String,
    event: Vec<u8>,
}

/// What was read so far.
struct Reading<'r> {
    routing: &'r Routing,
    limits: Limits,
    reservoir: Reservoir<Vec<Arc<str>>, Kept>,
    events: u64,
    /// Records that are no events.
    poison: u64,
    /// Events of which no test is made.
    too_large: u64,
}

impl FromTopic {
    pub(super) fn is_asked(&self) -> bool {
        self.from_topic
    }

    pub(super) fn main(&self, config: &Config, routing: &Routing) -> Result<ExitCode, ExitCode> {
        logging::install(config.log_format, "warn");
        let interrupt = Interrupt::listen()?;
        let since = self.since.before(Timestamp::now());
        let budget = &config.kafka.budget;
        let mut reading = Reading {
            routing,
            limits: Limits::new(budget.max_record_bytes, budget.max_bytes),
            reservoir: Reservoir::new(self.sample.into(), MAX_SAMPLE_BYTES),
            events: 0,
            poison: 0,
            too_large: 0,
        };
        let ended = scan::sources(config, since, &interrupt, &mut reading)?;
        scan::warn_of_withheld(ended.withheld);
        let topics = config.kafka.topics.join(", ");
        self.print(reading, &format!("{topics} since {since}"));
        Ok(interrupt.exit().unwrap_or(ExitCode::SUCCESS))
    }

    fn print(&self, reading: Reading<'_>, what: &str) {
        let Reading { routing, limits, reservoir, events, poison, too_large } = reading;
        let mut notes = Vec::new();
        let mut note = |count: u64, text: &str| {
            if count > 0 {
                notes.push(format!("{} {text}", counted(count, "event")));
            }
        };
        note(reservoir.left_out(), "of rare combinations of rules found no room: raise --sample");
        note(too_large, "are too large for a test");
        let mut writing = Writing {
            routing,
            limits,
            paths: &self.scrub,
            used: BTreeSet::new(),
            text: String::new(),
            cases: 0,
            unfit: 0,
            changed: 0,
        };
        let mut kinds = 0;
        for (rules, _, kept) in reservoir.into_kinds() {
            kinds += 1;
            for kept in &kept {
                writing.case(&rules, kept);
            }
        }
        note(writing.unfit, "cannot be written as YAML, or found no room in the file");
        note(
            writing.changed,
            "match other rules since values were replaced: what the tests expect is about the replaced ones",
        );
        let Writing { text, cases, used, .. } = writing;
        let unused = self.scrub.iter().enumerate().filter(|(index, _)| !used.contains(index));
        notes.extend(unused.map(|(_, path)| format!("--scrub {}: no event has a value there", path.text())));
        output::warnings(&notes);
        let tests = counted(cases, "test");
        output::note(format_args!(
            "{tests} of {} of rules from {events} events of {what}; {poison} records are no events",
            counted(kinds, "combination")
        ));
        output::result(format_args!(
            "# {tests} from real events of {what}, by `workflow-bridge test --from-topic`. Look through the values before you \
             share them.\ntests:{}{}",
            if cases == 0 { " []" } else { "\n" },
            text.trim_end()
        ));
    }
}

impl Visit for Reading<'_> {
    fn record(&mut self, record: &Scanned<'_>) -> ControlFlow<()> {
        self.take(record);
        ControlFlow::Continue(())
    }

    fn progress(&self, at: ScanProgress) -> String {
        format!("{} of {} records read, {} events", at.done, at.all, self.events)
    }
}

impl Reading<'_> {
    fn take(&mut self, record: &Scanned<'_>) {
        let headers: Vec<_> = record.headers.iter().collect();
        let raw = Raw { key: record.key, value: record.value, headers: &headers, timestamp_ms: record.timestamp_ms };
        let read = self.limits.check(&record.size()).and_then(|()| self.routing.router().read(&self.limits, &raw));
        let Ok(matched) = read else {
            self.poison += 1;
            return;
        };
        self.events += 1;
        // Key and headers may be a part of the event: what the test has of it may be as large.
        let bytes = record.size().bytes();
        if bytes > MAX_EVENT_BYTES {
            self.too_large += 1;
            return;
        }
        let kind = matched.rules().iter().map(|rule| Arc::clone(rule.name())).collect();
        let limits = self.limits;
        let make = || {
            let event = match matched {
                Matched::Decoded(event, _) => event,
                Matched::Projected(..) => limits.decode(raw).ok()?,
            };
            let place = format!("{}[{}]@{}", record.topic, record.partition, record.offset);
            Some(Kept { place, event: event.encode() })
        };
        let mut below = |bound: u64| rand::random_range(0..bound.max(1));
        self.reservoir.offer(kind, bytes, &mut below, make);
    }
}

/// The file that is made.
struct Writing<'r> {
    routing: &'r Routing,
    limits: Limits,
    paths: &'r [ScrubPath],
    /// The paths that named something.
    used: BTreeSet<usize>,
    text: String,
    cases: usize,
    unfit: u64,
    /// Events that match other rules since values were replaced.
    changed: u64,
}

impl Writing<'_> {
    fn case(&mut self, rules: &[Arc<str>], kept: &Kept) {
        let Some((text, is_changed)) = self.written(rules, kept) else {
            self.unfit += 1;
            return;
        };
        if self.text.len() + text.len() > MAX_FILE_BYTES {
            self.unfit += 1;
            return;
        }
        self.changed += u64::from(is_changed);
        self.cases += 1;
        self.text.push_str(&text);
    }

    /// The test, and whether the event matches other rules than before.
    fn written(&mut self, rules: &[Arc<str>], kept: &Kept) -> Option<(String, bool)> {
        let mut event: Value = serde_json::from_slice(&kept.event).ok()?;
        scrub(&mut event, self.paths, &mut self.used);
        let event: Event = self.limits.decode(event.to_string().as_bytes()).ok()?;
        let matching = self.routing.router().matches(event.document());
        let is_changed = !matching.iter().map(|rule| rule.name()).eq(rules);
        let expected: Vec<_> = matching
            .iter()
            .map(|rule| (rule.name().to_string(), rule.agents().iter().map(ToString::to_string).collect()))
            .collect();
        let mut name = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            name,
            "{} of {}, {}",
            one_line(event.event_type().as_str()),
            one_line(event.workflow_id()),
            kept.place
        );
        Some((write_case(&name, event.document(), &expected)?.0, is_changed))
    }
}
