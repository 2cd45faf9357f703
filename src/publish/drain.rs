//! From the spool to Kafka: the oldest first, within a budget.
//!
//! Owns what becomes of each answer: acknowledged, the file goes; can never be published, it goes to
//! the quarantine; anything else, it is put back. One topic that takes nothing does not hold up the
//! others. Sending itself is the caller's, so this file knows no Kafka.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Ack, PublishError, Publisher, Record,
    batch::Batch,
    spool::{Claimed, Queue, Spool, SpoolError, same_destination},
};

/// Events that are sent together.
const BATCH: usize = 100;
/// Bytes that are sent together, about.
const BATCH_BYTES: usize = 1024 * 1024;
/// How long Kafka has for them.
const BATCH_TIME: Duration = Duration::from_secs(30);
/// What a client without acknowledgements says.
const UNACKNOWLEDGED: &str = "with acks=0 nobody says that Kafka has an event, so nothing may leave the spool: drain it \
                              with a client whose acks are `all` or `1`, or with `workflow-bridge spool drain`";
/// After as many batches without a single acknowledgement, and with failures that no topic alone is to
/// blame for, the fault is Kafka's.
const FRUITLESS: u32 = 3;

/// How much a drain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Events at most.
    pub events: usize,
    /// No further events are sent after this time. What was sent is waited for, as long as the sender
    /// waits.
    pub time: Duration,
}

impl Budget {
    /// Everything that is there when the drain begins.
    pub const ALL: Self = Self { events: usize::MAX, time: Duration::MAX };
}

/// What a drain did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drained {
    /// Acknowledged by Kafka, and gone from the spool.
    pub published: u64,
    /// Tried without success; they wait again.
    pub put_back: u64,
    /// Can never be published; they are in the quarantine, with the reason.
    pub quarantined: u64,
    /// What waits in the spool still, what was put back and what other processes are draining counted in;
    /// at least so much, if the budget's time did not suffice to list all of it.
    pub left: u64,
    /// Of those, what cannot be read or moved, for the reason in `note`.
    pub left_alone: u64,
    /// Published events by the bootstrap servers that they were spooled for.
    pub destinations: BTreeMap<String, u64>,
    /// Why the last of those was left alone or quarantined, or that not all was listed.
    pub note: Option<String>,
    /// What went wrong last: why events were put back, or what ended the drain.
    pub error: Option<String>,
}

impl Drained {
    /// What was published here though it had been spooled for other bootstrap servers than these.
    pub fn elsewhere<'a>(&'a self, bootstrap_servers: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        let others = self.destinations.iter().filter(move |(servers, _)| !same_destination(servers, bootstrap_servers));
        others.map(|(servers, events)| (servers.as_str(), *events))
    }
}

/// What Kafka said of some events by a deadline, in the same order.
pub struct Sent {
    answers: Vec<Result<Ack, PublishError>>,
    /// Who hears what is said later.
    batch: Option<Arc<Batch>>,
    /// Nothing more shall be sent.
    is_last: bool,
}

impl Sent {
    pub(super) fn new(answers: Vec<Result<Ack, PublishError>>, batch: Arc<Batch>) -> Self {
        Self { answers, batch: Some(batch), is_last: false }
    }

    /// After these nothing more shall be sent.
    fn last(self) -> Self {
        Self { is_last: true, ..self }
    }

    /// The answers.
    pub fn into_answers(self) -> Vec<Result<Ack, PublishError>> {
        self.answers
    }
}

impl From<Vec<Result<Ack, PublishError>>> for Sent {
    /// Answers after which nothing comes.
    fn from(answers: Vec<Result<Ack, PublishError>>) -> Self {
        Self { answers, batch: None, is_last: false }
    }
}

/// Who hands events to Kafka: an answer for each, in the same order.
pub type Send<'a> = dyn FnMut(&[Record]) -> Sent + 'a;

/// Publishes what waits in the spool, for one destination or for all, with `send`.
///
/// # Errors
/// The folder cannot be listed, or is another's. What goes wrong later ends the drain, and is in
/// [`Drained::error`].
pub fn drain(
    spool: &Spool,
    destination: Option<&str>,
    budget: Budget,
    send: &mut Send<'_>,
) -> Result<Drained, SpoolError> {
    let began = Instant::now();
    let until = began.checked_add(budget.time);
    // Half of the time for looking, so that a folder of any size is drained all the same.
    let look_until = until.map(|_| began + budget.time / 2);
    let mut queue = spool.queue(destination, look_until)?;
    if let Some(until) = look_until {
        // A topic that takes nothing may use up the time of the first batch: it shall not be all of it.
        queue.mix(until);
    }
    let mut drained = Drained::default();
    let (mut room, mut fruitless) = (budget.events, 0);
    let mut is_last = false;
    while !is_last && room > 0 && until.is_none_or(|until| Instant::now() < until) && fruitless < FRUITLESS {
        let claimed = match queue.take(room.min(BATCH), BATCH_BYTES, until) {
            Ok(claimed) if claimed.is_empty() => break,
            Ok(claimed) => claimed,
            Err(error) => {
                drained.error = Some(error.to_string());
                break;
            }
        };
        room -= claimed.len();
        let published = drained.published;
        let done = publish(spool, claimed, &mut queue, &mut drained, &mut |records| {
            let answered = send(records);
            is_last = answered.is_last;
            answered
        });
        match done {
            Ok(_) if drained.published > published => fruitless = 0,
            // A topic is tried once only: the next batch is of others.
            Ok(true) => {}
            Ok(false) => fruitless += 1,
            Err(error) => {
                drained.error = Some(error.to_string());
                break;
            }
        }
    }
    let passed = queue.passed();
    drained.quarantined += passed.quarantined;
    drained.left_alone += passed.left_alone;
    drained.left = drained.put_back + passed.busy + passed.skipped + drained.left_alone + queue.remaining();
    drained.note = drained.note.or_else(|| passed.note.clone());
    if queue.is_cut() {
        drained.left = drained.left.max(1);
        let note = || format!("{} has more files than could be listed in the time given", spool.folder().display());
        drained.note = drained.note.or_else(|| Some(note()));
    }
    Ok(drained)
}

impl Publisher {
    /// Publishes what waits in the client's own spool for the client's own brokers, the oldest first.
    /// It takes no longer than the budget's time, or half a minute for each 100 events if that is less.
    ///
    /// # Errors
    /// As [`drain`].
    pub fn drain(&self, budget: Budget) -> Result<Drained, SpoolError> {
        self.drain_while(budget, &mut || true)
    }

    /// [`drain`](Self::drain) that asks from time to time whether it shall go on.
    ///
    /// # Errors
    /// As [`drain`].
    pub fn drain_while(&self, budget: Budget, go_on: &mut dyn FnMut() -> bool) -> Result<Drained, SpoolError> {
        let Some(spool) = self.spool() else { return Ok(Drained::default()) };
        if !self.is_acknowledged {
            let left = spool.queue(Some(self.bootstrap_servers()), None)?.remaining();
            return Ok(Drained { left, error: Some(UNACKNOWLEDGED.into()), ..Drained::default() });
        }
        let began = Instant::now();
        drain(spool, Some(self.bootstrap_servers()), budget, &mut |records| {
            // A deadline of zero would not even try.
            let left = budget.time.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
            let sent = self.send_while(records, left.min(BATCH_TIME), go_on);
            if go_on() { sent } else { sent.last() }
        })
    }
}

/// Sends some events, and does with each file what its answer says: whether all that failed did so
/// through the fault of its topic.
fn publish(
    spool: &Spool,
    claimed: Vec<Claimed>,
    queue: &mut Queue,
    drained: &mut Drained,
    send: &mut Send<'_>,
) -> Result<bool, SpoolError> {
    let (mut records, mut claims) = (Vec::with_capacity(claimed.len()), Vec::with_capacity(claimed.len()));
    for Claimed { record, bootstrap_servers, claim } in claimed {
        claims.push((Arc::clone(&record.topic), bootstrap_servers, claim));
        records.push(record);
    }
    let Sent { answers, batch, .. } = send(&records);
    let mut answers = answers.into_iter();
    let (mut result, mut of_topics) = (Ok(()), true);
    for (index, (topic, bootstrap_servers, claim)) in claims.into_iter().enumerate() {
        let published = || {
            drained.published += 1;
            *drained.destinations.entry(bootstrap_servers).or_default() += 1;
        };
        let outcome = match answers.next() {
            Some(Ok(_)) => {
                published();
                claim.done()
            }
            Some(Err(error @ PublishError::TooLarge { .. })) => {
                let reason = error.to_string();
                match claim.quarantine(&reason) {
                    Ok(_) => {
                        drained.quarantined += 1;
                        drained.note = Some(reason);
                    }
                    // It was put back. A quarantine that takes nothing holds up no other event.
                    Err(fault) => {
                        drained.left_alone += 1;
                        drained.note = Some(format!("{reason}; and it cannot be set aside: {fault}"));
                    }
                }
                Ok(())
            }
            answer => {
                let released = claim.release();
                // Its acknowledgement may come late: then it is taken out, or it would be sent again and again.
                let acknowledged = released.as_ref().ok().filter(|path| {
                    batch.as_ref().is_some_and(|batch| batch.spooled(index, (*path).clone(), spool).is_some())
                });
                if let Some(path) = acknowledged {
                    spool.withdraw(path);
                    published();
                } else {
                    drained.put_back += 1;
                    of_topics &= matches!(answer, Some(Err(PublishError::NotAcknowledged { of_topic: true, .. })));
                    if let Some(Err(error)) = answer {
                        drained.error = Some(error.to_string());
                    }
                    queue.skip(topic);
                }
                released.map(drop)
            }
        };
        // Every file gets its answer, whatever went wrong with another one.
        result = result.and(outcome);
    }
    result.map(|()| of_topics)
}

#[cfg(test)]
mod tests;
