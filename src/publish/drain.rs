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
    spool::{Claimed, Queue, Spool, SpoolError, same_destination},
};

/// Events that are sent together.
const BATCH: usize = 100;
/// Bytes that are sent together, about.
const BATCH_BYTES: usize = 1024 * 1024;
/// How long Kafka has for them.
const BATCH_TIME: Duration = Duration::from_secs(30);
/// After as many batches without a single acknowledgement the fault is Kafka's, not a topic's.
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
    /// What waits in the spool still, what was put back and what other processes are draining counted in.
    pub left: u64,
    /// Of those, what this version or this user cannot read.
    pub left_alone: u64,
    /// Published events by the bootstrap servers that they were spooled for.
    pub destinations: BTreeMap<String, u64>,
    /// Why the last of those was left alone or quarantined.
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

/// Who hands events to Kafka: an answer for each, in the same order.
pub type Send<'a> = dyn FnMut(&[Record]) -> Vec<Result<Ack, PublishError>> + 'a;

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
    let mut queue = spool.queue(destination)?;
    let mut drained = Drained::default();
    let (mut room, mut fruitless) = (budget.events, 0);
    while room > 0 && until.is_none_or(|until| Instant::now() < until) && fruitless < FRUITLESS {
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
        if let Err(error) = publish(claimed, &mut queue, &mut drained, send) {
            drained.error = Some(error.to_string());
            break;
        }
        fruitless = if drained.published > published { 0 } else { fruitless + 1 };
    }
    let passed = queue.passed();
    drained.quarantined += passed.quarantined;
    drained.left_alone = passed.left_alone;
    drained.left = drained.put_back + passed.busy + passed.skipped + passed.left_alone + queue.remaining();
    drained.note = drained.note.or_else(|| passed.note.clone());
    Ok(drained)
}

impl Publisher {
    /// Publishes what waits in the client's own spool for the client's own brokers, the oldest first.
    /// It takes no longer than the budget's time, or half a minute for each 100 events if that is less.
    ///
    /// # Errors
    /// As [`drain`].
    pub fn drain(&self, budget: Budget) -> Result<Drained, SpoolError> {
        let Some(spool) = self.spool() else { return Ok(Drained::default()) };
        let began = Instant::now();
        drain(spool, Some(self.bootstrap_servers()), budget, &mut |records| {
            // A deadline of zero would not even try.
            let left = budget.time.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
            self.send_unspooled(records, left.min(BATCH_TIME))
        })
    }
}

/// Sends some events, and does with each file what its answer says.
fn publish(
    claimed: Vec<Claimed>,
    queue: &mut Queue,
    drained: &mut Drained,
    send: &mut Send<'_>,
) -> Result<(), SpoolError> {
    let (mut records, mut claims) = (Vec::with_capacity(claimed.len()), Vec::with_capacity(claimed.len()));
    for Claimed { record, bootstrap_servers, claim } in claimed {
        claims.push((Arc::clone(&record.topic), bootstrap_servers, claim));
        records.push(record);
    }
    let mut answers = send(&records).into_iter();
    let mut result = Ok(());
    for (topic, bootstrap_servers, claim) in claims {
        let outcome = match answers.next() {
            Some(Ok(_)) => {
                drained.published += 1;
                *drained.destinations.entry(bootstrap_servers).or_default() += 1;
                claim.done()
            }
            Some(Err(error @ PublishError::TooLarge { .. })) => {
                drained.quarantined += 1;
                drained.note = Some(error.to_string());
                claim.quarantine(&error.to_string()).map(|_| ())
            }
            answer => {
                drained.put_back += 1;
                if let Some(Err(error)) = answer {
                    drained.error = Some(error.to_string());
                }
                queue.skip(topic);
                claim.release()
            }
        };
        // Every file gets its answer, whatever went wrong with another one.
        result = result.and(outcome);
    }
    result
}

#[cfg(test)]
mod tests;
