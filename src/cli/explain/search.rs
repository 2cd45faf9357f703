//! Reading Kafka for `explain`: by assignment, as a member of no group, committing nothing.

use std::{cell::Cell, collections::BTreeMap, ops::ControlFlow, process::ExitCode};

use jiff::Timestamp;

use super::found::{Finder, Found, Place, PoisonRecord, Wanted};
use crate::{
    bridge::LedgerLookup,
    cli::{
        interrupt::Interrupt,
        output,
        progress::Progress,
        scan::{self, Visit},
    },
    config::Config,
    event::{Generation, Limits},
    kafka::{MarkKind, ScanError, ScanProgress, Scanned, TopicReader, TopicRecord, partition_of},
    routing::Routing,
    yaml::excerpt,
};

/// The most dead letters that are kept.
const MAX_LETTERS: usize = 1_000;
/// The most characters of a text of a dead letter.
const MAX_CHARS: usize = 255;

/// Why there is no answer.
pub(super) enum SearchError {
    Kafka(ScanError),
    Interrupted(ExitCode),
}

impl From<ScanError> for SearchError {
    fn from(error: ScanError) -> Self {
        Self::Kafka(error)
    }
}

/// Reads the topics of one cluster.
pub(super) struct Search<'c> {
    config: &'c Config,
    since: Timestamp,
    interrupt: Interrupt,
    reader: TopicReader,
}

/// What the topics of events have.
pub(super) struct InTopics {
    pub(super) events: Vec<Found>,
    pub(super) poison: Vec<PoisonRecord>,
    /// Records of events that found no room.
    pub(super) left_out: u64,
    /// Records that are no events and found no room.
    pub(super) poison_left_out: u64,
    /// Records that were read.
    pub(super) records: u64,
    /// Only the partition of the key was read.
    pub(super) is_of_key: bool,
    /// What the group has committed, by topic and partition, where that is known.
    pub(super) committed: BTreeMap<(String, i32), Option<i64>>,
    /// Why it is not known of all.
    pub(super) no_committed: Option<String>,
}

/// The dead letters that are meant.
#[derive(Debug, Default)]
pub(super) struct Letters {
    pub(super) kept: Vec<Letter>,
    /// Those that found no room.
    pub(super) left_out: u64,
}

/// A dead letter.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) place: Place,
    pub(super) event_id: Option<String>,
    /// Where its record is.
    pub(super) origin: Option<Place>,
    pub(super) reason: String,
    /// Why, in a sentence.
    pub(super) error: String,
    pub(super) delivery: Option<(String, String)>,
    /// Which time it was made.
    pub(super) generation: Generation,
    pub(super) done: Option<MarkKind>,
}

impl<'c> Search<'c> {
    /// Makes the client; it connects when it is asked something.
    pub(super) fn new(config: &'c Config, since: Timestamp, interrupt: Interrupt) -> Result<Self, ScanError> {
        let reader = TopicReader::connect(&config.kafka, "reader of topics")?;
        Ok(Self { config, since, interrupt, reader })
    }

    /// Whether Kafka answers, for somebody who has an answer already.
    pub(super) fn reach(&self) -> Result<(), SearchError> {
        self.config.kafka.topics.first().map_or(Ok(()), |topic| Ok(self.reader.reach(topic)?))
    }

    /// Finds the events: in the partition of their key, and in all when there is nothing, or when all are asked for.
    pub(super) fn events(
        &self,
        wanted: &Wanted,
        routing: Option<&Routing>,
        is_everywhere: bool,
    ) -> Result<InTopics, SearchError> {
        let budget = &self.config.kafka.budget;
        let limits = Limits::new(budget.max_record_bytes, budget.max_bytes);
        let mut finder = Finder::new(wanted, limits, routing);
        let key = wanted.key().filter(|_| !is_everywhere);
        let is_more = Cell::new(false);
        let is_of_key = |partition, count| {
            let is_asked = key.as_ref().is_none_or(|key| partition_of(key.as_bytes(), count) == partition);
            is_more.set(is_more.get() || !is_asked);
            is_asked
        };
        let topics = &self.config.kafka.topics;
        let mut find = |record: &Scanned<'_>| finder.take(record);
        let mut records = self.read(topics, "events", &is_of_key, &mut find)?;
        let mut only_key = is_more.get();
        if only_key && finder.is_empty() {
            let mut find = |record: &Scanned<'_>| finder.take(record);
            let others = |partition, count| !is_of_key(partition, count);
            records += self.read(topics, "events of other keys", &others, &mut find)?;
            only_key = false;
        }
        let (left_out, poison_left_out) = (finder.left_out, finder.poison_left_out);
        let (events, poison) = finder.into_events();
        let places = events.iter().map(|found| &found.place).chain(poison.iter().map(|record| &record.place));
        let mut partitions: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for place in places {
            let known = partitions.entry(&place.topic).or_default();
            if !known.contains(&place.partition) {
                known.push(place.partition);
            }
        }
        let (mut committed, mut no_committed) = (BTreeMap::new(), None);
        for (topic, partitions) in partitions {
            let found = self.reader.committed(topic, &partitions);
            committed.extend(found.known.into_iter().map(|(partition, at)| ((topic.to_owned(), partition), at)));
            // The rest of the answer stands without it.
            no_committed = no_committed.or(found.problem.map(|problem| problem.to_string()));
        }
        Ok(InTopics {
            events,
            poison,
            left_out,
            poison_left_out,
            records,
            is_of_key: only_key,
            committed,
            no_committed,
        })
    }

    /// Merges what the ledger topic has of these events. Without partitions, those of all are read.
    pub(super) fn ledger(&self, topic: &str, partitions: &[i32], lookup: &mut LedgerLookup) -> Result<(), SearchError> {
        let is_asked = |partition, _| partitions.is_empty() || partitions.contains(&partition);
        let mut take = |record: &Scanned<'_>| lookup.take(record.key, record.value);
        self.read(&[topic.to_owned()], "records of the ledger topic", &is_asked, &mut take).map(drop)
    }

    /// The dead letters that `is_meant` says yes to, with what was done about them.
    pub(super) fn letters(&self, is_meant: &dyn Fn(&Letter) -> bool) -> Result<Letters, SearchError> {
        let kafka = &self.config.kafka;
        let mut topics: Vec<_> = kafka.topics.iter().map(|topic| kafka.dead_letter_topic(topic)).collect();
        topics.sort();
        topics.dedup();
        let mut letters = Letters::default();
        for topic in topics {
            let mut take = |record: &Scanned<'_>| letter(&mut letters, record, is_meant);
            match self.read(&[topic], "dead letters", &|_, _| true, &mut take) {
                // It is made with the first letter.
                Ok(_) | Err(SearchError::Kafka(ScanError::NoTopic(_))) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(letters)
    }

    fn read(
        &self,
        topics: &[String],
        what: &str,
        is_asked: &dyn Fn(i32, i32) -> bool,
        take: &mut dyn FnMut(&Scanned<'_>),
    ) -> Result<u64, SearchError> {
        let mut records = 0;
        for topic in topics {
            let mut ranges = self.reader.ranges(topic, Some(self.since.as_millisecond()), None)?;
            let count = i32::try_from(ranges.len()).unwrap_or(i32::MAX);
            ranges.retain(|range| is_asked(range.partition, count));
            let mut at = ScanProgress::of(&ranges);
            let mut taking = Taking { what, records: 0, take: &mut *take };
            let read = scan::run(&self.interrupt, Progress::new(), &mut taking, |visitor| {
                self.reader.read(topic, &ranges, &mut at, visitor)
            })?;
            records += taking.records;
            if read.is_break() {
                let ScanProgress { done, all, .. } = at;
                output::note(format_args!("interrupted: {done} of {all} {what} were read, so nothing is said"));
                return Err(SearchError::Interrupted(self.interrupt.exit().unwrap_or(ExitCode::SUCCESS)));
            }
            scan::warn_of_withheld(at.withheld);
        }
        Ok(records)
    }
}

struct Taking<'t> {
    what: &'t str,
    records: u64,
    take: &'t mut dyn FnMut(&Scanned<'_>),
}

impl Visit for Taking<'_> {
    fn record(&mut self, record: &Scanned<'_>) -> ControlFlow<()> {
        self.records += 1;
        (self.take)(record);
        ControlFlow::Continue(())
    }

    fn progress(&self, at: ScanProgress) -> String {
        format!("{} of {} {} read", at.done, at.all, self.what)
    }
}

fn letter(found: &mut Letters, record: &Scanned<'_>, is_meant: &dyn Fn(&Letter) -> bool) {
    let headers: Vec<_> = record.headers.iter().collect();
    let shown = |text: &str| excerpt(text, MAX_CHARS);
    match TopicRecord::read(&headers) {
        TopicRecord::Letter(head) => {
            let origin =
                head.origin.map(|(topic, partition, offset)| Place { topic: topic.to_owned(), partition, offset });
            let letter = Letter {
                place: Place::of(record),
                event_id: head.event_id.map(str::to_owned),
                origin,
                reason: shown(head.reason),
                error: shown(head.error),
                delivery: head.delivery.map(|(rule, agent)| (shown(rule), shown(agent))),
                generation: head.generation,
                done: None,
            };
            if is_meant(&letter) {
                if found.kept.len() < MAX_LETTERS {
                    found.kept.push(letter);
                } else {
                    found.left_out += 1;
                }
            }
        }
        // It stands behind its letter, in the same partition.
        TopicRecord::Mark(mark) => {
            let at = (record.topic, mark.partition, mark.offset);
            let marked = found
                .kept
                .iter_mut()
                .find(|letter| (&*letter.place.topic, letter.place.partition, letter.place.offset) == at);
            if let Some(letter) = marked {
                letter.done = Some(mark.kind);
            }
        }
        TopicRecord::Foreign => {}
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::{
        mocking::MockCluster,
        producer::{BaseProducer, BaseRecord, Producer as _},
        types::{RDKafkaApiKey, RDKafkaRespErr},
    };

    use super::*;
    use crate::config::Sources;

    #[test]
    fn events_are_found_though_nobody_may_see_what_the_group_has_committed() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("events", 1, 1).unwrap();
        let client = || {
            let mut client = rdkafka::ClientConfig::new();
            client.set("bootstrap.servers", cluster.bootstrap_servers());
            client
        };
        let producer: BaseProducer = client().create().unwrap();
        let event = r#"{"event_id": "e", "event_type": "WORKFLOW_COMPLETED", "source": "AIRFLOW", "workflow_id": "etl",
            "workflow_run_id": "r", "timestamp": "2026-01-31T06:00:00Z"}"#;
        producer.send(BaseRecord::<str, str>::to("events").payload(event)).unwrap();
        producer.flush(std::time::Duration::from_secs(60)).unwrap();
        let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
        cluster.request_errors(RDKafkaApiKey::OffsetFetch, &[denied; 20]);

        let environment = |name: &str| match name {
            "KAFKA_BOOTSTRAP_SERVERS" => Some(cluster.bootstrap_servers()),
            "KAFKA_TOPIC" => Some("events".to_owned()),
            _ => None,
        };
        let config = Config::load(&Sources { flags: BTreeMap::new(), env: &environment, file: None }).unwrap();
        let search = Search::new(&config, Timestamp::UNIX_EPOCH, Interrupt::default()).ok().unwrap();
        let found = search.events(&Wanted::Event("e".to_owned()), None, true).ok().expect("the rest is shown");
        assert_eq!((found.events.len(), found.committed.len()), (1, 0));
        let why = found.no_committed.unwrap();
        assert!(why.contains("the group workflow-bridge has committed of topic events is not known"), "{why}");
    }
}
