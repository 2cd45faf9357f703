//! The reading end of the ledger topic: one thread, and one consumer that is a member of no group.
//!
//! Owns how far each ledger partition of an owned source partition has been read. Its invariant: a source partition is
//! released only after every record that the ledger partition held at its assignment was applied. Afterwards the ledger
//! partition is followed, so that what a former owner wrote late arrives. A record that was applied is applied again when
//! in doubt: merging makes that harmless.

mod context;
mod followed;
mod open;
mod requests;

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError as RdError, RDKafkaErrorCode as Code},
};

use super::{
    super::{client, error::KafkaError, settings::KafkaSettings},
    apply::ApplyEntries,
    following::{Change, Following},
    settings::LedgerTopicSettings,
    topic::LedgerTopic,
};
use crate::{
    connection::{self, advice},
    telemetry,
    throttle::Throttle,
};
use context::Context;
use followed::{AtEnd, Followed, Received};

/// How long to wait for a record that is urgent.
const POLL: Duration = Duration::from_millis(50);
/// How often to look for records while none does, and once there were none. A change of the assignment ends the wait.
const FOLLOW: Duration = Duration::from_millis(200);
const REST: Duration = Duration::from_secs(1);
/// How long after an assignment what a former owner wrote late is looked for without such waits.
const FORMER_OWNER: Duration = Duration::from_secs(30);
/// Records between two looks at the clock.
const RUN: usize = 1_024;
/// Records wait at most so long to be applied.
const APPLY_AFTER: Duration = Duration::from_millis(500);
/// The bytes that wait to be applied, over all partitions.
const MAX_WAITING_BYTES: usize = 16 << 20;
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// How often what was not reached is looked at in more ways than by its records.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOG_EVERY: Duration = Duration::from_secs(5);

/// See the module.
pub(in super::super) struct Reader {
    consumer: BaseConsumer<Context>,
    topic: LedgerTopic,
    following: Arc<Following>,
    apply: Box<dyn ApplyEntries>,
    followed: BTreeMap<i32, Followed>,
    applied_at: Instant,
    checked_at: Instant,
    looked_at: Instant,
    /// The errors of the store, the progress, and records that are too large.
    throttle: Throttle<String>,
}

/// What to do after a poll.
enum Next {
    Poll,
    /// Nothing came in the time of a poll.
    Idle,
    Apply(i32),
    BeginAnother(i32, i64),
    /// It is begun again soon.
    Close(i32),
    Failed(RdError),
}

/// What is left to read.
enum Left {
    More,
    /// `came` says whether anything was read before.
    Nothing {
        came: bool,
    },
}

impl Reader {
    /// Makes the reader, and what the consumer shares with it.
    pub(in super::super) fn new(
        settings: &KafkaSettings,
        ledger: &LedgerTopicSettings,
        apply: Box<dyn ApplyEntries>,
    ) -> Result<(Self, Arc<Following>), KafkaError> {
        let following = Arc::new(Following::new(&ledger.topic));
        let consumer =
            BaseConsumer::from_config_and_context(&client::ledger_reader(settings), Context(Arc::clone(&following)))
                .map_err(|error| KafkaError::Client {
                    role: "ledger topic reader",
                    reason: connection::reason(&error),
                })?;
        let now = Instant::now();
        let reader = Self {
            consumer,
            topic: LedgerTopic::new(settings, ledger),
            following: Arc::clone(&following),
            apply,
            followed: BTreeMap::new(),
            applied_at: now,
            checked_at: now,
            looked_at: now,
            throttle: Throttle::every(LOG_EVERY),
        };
        Ok((reader, following))
    }

    /// Checks the topic, and starts the thread. Waits for brokers as long as `alive` says so.
    pub(in super::super) fn start(self, alive: &dyn Fn() -> bool) -> Result<thread::JoinHandle<()>, KafkaError> {
        self.topic.prepare(&self.consumer, alive)?;
        thread::Builder::new()
            .name("kafka-ledger-reader".into())
            .spawn(move || self.run())
            .map_err(|error| KafkaError::Thread { reason: error.to_string() })
    }

    fn run(mut self) {
        while !self.following.is_closed() {
            self.change_assignment();
            if self.followed.is_empty() {
                self.following.wait(FOLLOW);
                continue;
            }
            let now = Instant::now();
            self.open_due(now);
            let is_urgent = self.is_urgent(now);
            let left = self.read(now, if is_urgent { POLL } else { Duration::ZERO });
            self.look(now);
            match left {
                Left::Nothing { came } if !is_urgent => self.following.wait(if came { FOLLOW } else { REST }),
                _ => {}
            }
        }
    }

    /// Whether records are to be applied as soon as they come.
    fn is_urgent(&self, now: Instant) -> bool {
        self.followed.values().any(|followed| {
            followed.is_waited_for() || followed.is_closed() || followed.was_assigned_within(FORMER_OWNER, now)
        })
    }

    fn change_assignment(&mut self) {
        let now = Instant::now();
        for change in self.following.take_changes() {
            match change {
                Change::Assigned(partition) => {
                    let number = partition.number();
                    self.followed.entry(number).or_insert_with(|| Followed::new(number, now)).add(partition, now);
                }
                Change::Revoked(partition) => {
                    let number = partition.number();
                    let needed = self.followed.get_mut(&number).is_none_or(|followed| followed.remove(&partition));
                    if !needed {
                        self.unassign(number);
                        self.followed.remove(&number);
                        self.show_progress();
                    }
                }
            }
        }
    }

    /// Reads what is there, or comes within this time.
    fn read(&mut self, now: Instant, wait: Duration) -> Left {
        let waiting: usize = self.followed.values().map(Followed::batch_bytes).sum();
        if waiting >= MAX_WAITING_BYTES || now.duration_since(self.applied_at) >= APPLY_AFTER {
            self.apply_all();
        }
        for polls in 0..RUN {
            match self.poll(now, wait) {
                Next::Poll => {}
                Next::Apply(number) => self.apply_one(number),
                Next::BeginAnother(number, low) => self.begin_another(number, low),
                Next::Close(number) => self.close(number),
                Next::Failed(error) => self.failed(&error, now),
                Next::Idle => {
                    self.apply_all();
                    return Left::Nothing { came: polls > 0 };
                }
            }
        }
        Left::More
    }

    fn poll(&mut self, now: Instant, wait: Duration) -> Next {
        match self.consumer.poll(wait) {
            None => Next::Idle,
            Some(Ok(message)) => {
                let number = message.partition();
                let Some(followed) = self.followed.get_mut(&number) else { return Next::Poll };
                match followed.receive(message.offset(), message.key(), message.payload()) {
                    Received::Taken => Next::Poll,
                    Received::Full => Next::Apply(number),
                    Received::Another(low) => Next::BeginAnother(number, low),
                    Received::TooLarge => {
                        let offset = message.offset();
                        if let Some(suppressed) = self.throttle.admit("too large", now) {
                            tracing::error!(
                                topic = self.topic.name(),
                                partition = number,
                                offset,
                                suppressed,
                                "a record of the ledger topic is too large to be one of a ledger, and was skipped"
                            );
                        }
                        Next::Poll
                    }
                }
            }
            Some(Err(RdError::PartitionEOF(number))) => {
                let Some(followed) = self.followed.get_mut(&number) else { return Next::Poll };
                match followed.at_end() {
                    AtEnd::Reached => Next::Apply(number),
                    AtEnd::Missing => Next::Close(number),
                    AtEnd::Another(low) => Next::BeginAnother(number, low),
                }
            }
            Some(Err(error)) => Next::Failed(error),
        }
    }

    fn apply_all(&mut self) {
        self.applied_at = Instant::now();
        let numbers: Vec<i32> = self.followed.keys().copied().collect();
        for number in numbers {
            self.apply_one(number);
        }
    }

    /// Applies the batch of one partition, and releases who waited for it. When the store fails, the partition is read
    /// again from what was applied.
    fn apply_one(&mut self, number: i32) {
        let Some(followed) = self.followed.get_mut(&number) else { return };
        let Some((entries, position)) = followed.batch() else {
            followed.release(None, &self.following);
            return;
        };
        match self.apply.apply(number, entries, position) {
            Ok(()) => {
                metrics::counter!(telemetry::LEDGER_RECORDS_READ).increment(entries.len() as u64);
                tracing::trace!(partition = number, records = entries.len(), "records of the ledger topic applied");
                followed.batch_applied(position);
                followed.release(None, &self.following);
            }
            Err(error) => {
                let now = Instant::now();
                let problem = format!("the ledger does not take the records of the ledger topic: {error}");
                followed.not_read(&problem, now);
                if let Some(suppressed) = self.throttle.admit("store", now) {
                    tracing::error!(
                        topic = self.topic.name(),
                        partition = number,
                        error,
                        suppressed,
                        "the ledger does not take the records of the ledger topic; they are read again"
                    );
                }
                self.close(number);
            }
        }
    }

    /// An error of librdkafka's, which does not say about which partition.
    fn failed(&mut self, error: &RdError, now: Instant) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let lost = matches!(
            code,
            Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::OffsetOutOfRange
                | Code::AutoOffsetReset
        );
        if lost {
            self.close_all();
            return;
        }
        let text = connection::reason(error);
        let advice = match code {
            Code::TopicAuthorizationFailed => "grant our user READ, WRITE and DESCRIBE on the ledger topic",
            code => advice(code, &text).1,
        };
        tracing::debug!(error = text, "the ledger topic is not read");
        for followed in self.followed.values_mut() {
            followed.not_read(&format!("{text}: {advice}"), now);
        }
    }

    /// Periodic work: ends that no record reaches, topics that were created again, gauges, the log.
    fn look(&mut self, now: Instant) {
        if now.duration_since(self.looked_at) < LOOK_EVERY {
            return;
        }
        self.looked_at = now;
        let at = self.consumer.position().ok();
        for (number, followed) in &mut self.followed {
            if !followed.is_waited_for() {
                continue;
            }
            let position = at.as_ref().and_then(|list| list.find_partition(self.topic.name(), *number));
            let position = position.and_then(|entry| match entry.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            });
            followed.release(position, &self.following);
            if followed.is_waited_for() && !followed.moved() {
                followed.ask_again();
            }
            if let Some((read, total)) = followed.progress()
                && let Some(suppressed) = self.throttle.admit("progress", now)
            {
                tracing::info!(
                    topic = self.topic.name(),
                    partition = *number,
                    read,
                    total,
                    suppressed,
                    "reading the ledger topic; its source partition waits (logged at most every 5 s, for one of those that wait)"
                );
            }
        }
        self.show_progress();
        if now.duration_since(self.checked_at) >= CHECK_EVERY {
            self.checked_at = now;
            self.check_ends();
        }
    }

    fn show_progress(&self) {
        let waiting = self.followed.values().filter(|followed| followed.is_waited_for()).count();
        metrics::gauge!(telemetry::LEDGER_CATCHING_UP).set(waiting as f64);
        let read = self.followed.values().filter(|followed| !followed.is_waited_for() && !followed.is_closed());
        self.following.set_positions(read.map(|followed| (followed.number, followed.applied())).collect());
    }

    fn assign(&self, number: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        let result = list
            .add_partition_offset(self.topic.name(), number, Offset::Offset(offset))
            .and_then(|()| self.consumer.incremental_assign(&list));
        self.report(result, "Assign");
    }

    fn unassign(&self, number: i32) {
        if self.followed.get(&number).is_none_or(Followed::is_closed) {
            return;
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(self.topic.name(), number);
        self.report(self.consumer.incremental_unassign(&list), "Unassign");
    }

    fn close_all(&mut self) {
        let numbers: Vec<i32> = self.followed.keys().copied().collect();
        for number in numbers {
            self.close(number);
        }
    }

    fn close(&mut self, number: i32) {
        self.unassign(number);
        if let Some(followed) = self.followed.get_mut(&number) {
            followed.close();
        }
    }

    fn report(&self, result: Result<(), RdError>, request: &str) {
        if let Err(error) = result {
            self.following.reporter.report_failure("other", "the request is made again", request, &error.to_string());
        }
    }
}
