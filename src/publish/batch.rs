//! The records of one call: handed over one after the other, waited for together.
//!
//! Owns a call's records from the first hand-over to the answer for each. Its invariant: a record has exactly one
//! answer, and what no broker acknowledged by the deadline is in the spool when the answer is given, or the answer says
//! that it is not.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Ack, Interrupt, Kept, PublishError, Record,
    failure::Failure,
    keep::{keep_all, not_kept},
    lifecycle::{Action, Keep},
    producer::{Client, DeliverySlots, Producer},
    spool::MAX_TOGETHER,
    wait::{CHECK_INTERVAL, after, rounded},
};

/// What is known about a record when its caller's wait ends.
type Collected = Result<Ack, (Failure, Keep)>;

/// Records of one call that are on their way, until [`Publisher::finish`](super::Publisher::finish) waits for them.
/// Without it they are published, and nobody learns what fails.
#[must_use = "`finish` spools what fails"]
pub struct PublishBatch {
    slots: Arc<DeliverySlots>,
    records: Vec<Record>,
    carrier: Option<Carrier>,
    deadline: Duration,
    until: Instant,
    is_closed: bool,
}

/// The producer that carries the records of a call. Polls for their reports also when nobody waits for them in the end.
struct Carrier(Arc<Producer>);

impl Drop for Carrier {
    fn drop(&mut self) {
        if self.0.is_ours() {
            self.0.request_poll();
        }
    }
}

impl PublishBatch {
    /// A batch whose deadline is counted from now.
    pub(super) fn new(client: &Client, deadline: Duration) -> Self {
        Self {
            slots: Arc::default(),
            records: Vec::new(),
            carrier: None,
            deadline,
            until: after(deadline),
            is_closed: client.check_open().is_err(),
        }
    }

    /// A batch of records that the caller took on before the client was closed: what comes too late is spooled, not refused.
    pub(super) fn accepted(client: &Client, deadline: Duration) -> Self {
        Self { is_closed: false, ..Self::new(client, deadline) }
    }

    /// Whether a parent process handed records over: what a child adds goes nowhere.
    fn is_inherited(&self) -> bool {
        self.carrier.as_ref().is_some_and(|carrier| !carrier.0.is_ours())
    }

    /// Hands records over, and does not wait for their answers.
    pub(super) fn add(&mut self, client: &Client, records: Vec<Record>) {
        if !self.is_inherited() {
            for record in &records {
                self.add_one(client, record);
            }
            // A report that comes before the deadline has to be received before the deadline.
            if let Some(Carrier(producer)) = &self.carrier {
                producer.request_poll();
            }
        }
        self.records.extend(records);
    }

    fn add_one(&mut self, client: &Client, record: &Record) {
        let index = self.slots.add();
        if let Err(failure) = self.hand_over(client, record, index) {
            self.slots.refuse(index, failure);
        }
    }

    fn hand_over(&mut self, client: &Client, record: &Record, index: usize) -> Result<(), Failure> {
        if self.deadline.is_zero() {
            return Err(Failure::new("it was published with a deadline of 0, which is straight into the spool"));
        }
        if client.check_open().is_err() {
            return Err(Failure::closed());
        }
        let producer = match &self.carrier {
            Some(Carrier(producer)) => Arc::clone(producer),
            None => client.producer(self.until)?,
        };
        let producer = client.send(producer, record, &self.slots, index, self.until)?;
        if !self.carrier.as_ref().is_some_and(|carrier| Arc::ptr_eq(&carrier.0, &producer)) {
            self.carrier = Some(Carrier(producer));
        }
        Ok(())
    }

    /// Waits for the answers, in the order of the records, and keeps what Kafka did not take. Also when the wait ended:
    /// at the deadline, or earlier by an interrupt.
    pub(super) fn finish(
        self,
        client: &Client,
        interrupt: &mut Interrupt<'_>,
    ) -> (Vec<Result<Ack, PublishError>>, Instant) {
        if self.is_closed || self.is_inherited() {
            return (self.records.iter().map(|_| Err(PublishError::Closed)).collect(), self.until);
        }
        let (collected, ended) = self.wait(client, &self.records, interrupt);
        let mut answers = Vec::with_capacity(self.records.len());
        let mut collected = self.records.iter().zip(collected).enumerate();
        loop {
            let chunk: Vec<_> = collected.by_ref().take(MAX_TOGETHER).collect();
            if chunk.is_empty() {
                return (answers, ended);
            }
            self.settle(client, &chunk, &mut answers);
            // Run a signal's handler between chunks. It ends nothing here: every record needs its answer.
            interrupt.is_raised();
        }
    }

    /// The answers for some records; what is not in Kafka goes into the spool at once.
    fn settle(
        &self,
        client: &Client,
        chunk: &[(usize, (&Record, Collected))],
        answers: &mut Vec<Result<Ack, PublishError>>,
    ) {
        let refused = chunk.iter().filter_map(|(_, (record, collected))| {
            let (failure, keep) = collected.as_ref().err()?;
            Some((*record, failure, *keep))
        });
        let mut errors = keep_all(&refused.collect::<Vec<_>>(), client.spool(), client.servers()).into_iter();
        answers.extend(chunk.iter().filter_map(|(index, (_, collected))| match collected {
            Ok(ack) => Some(Ok(*ack)),
            Err(_) => errors.next().map(|error| self.kept(client, *index, error)),
        }));
    }

    /// Its acknowledgement may have come while it was being kept.
    fn kept(&self, client: &Client, index: usize, error: PublishError) -> Result<Ack, PublishError> {
        let late = match (&error, client.spool()) {
            (PublishError::Spooled { path, .. }, Some(spool)) => self.slots.spooled(index, path.clone(), spool),
            (PublishError::TooLarge { kept: Kept::In(_), .. }, _) => self.slots.quarantined(index),
            _ => self.slots.not_kept(index),
        };
        late.ok_or(error)
    }

    /// Sends records that are in a spool already: what fails is kept by nobody here.
    pub(super) fn send(client: &Client, records: &[Record], deadline: Duration, interrupt: &mut Interrupt<'_>) -> Sent {
        if let Err(closed) = client.check_open() {
            return records.iter().map(|_| Err(closed.clone())).collect::<Vec<_>>().into();
        }
        let mut batch = Self::new(client, deadline);
        for record in records {
            batch.add_one(client, record);
        }
        let (collected, _) = batch.wait(client, records, interrupt);
        let answers = records.iter().zip(collected);
        let answers = answers.map(|(record, found)| found.map_err(|(failure, _)| not_kept(record, &failure))).collect();
        Sent { answers, slots: Some(Arc::clone(&batch.slots)), is_last: false }
    }

    /// Waits for the reports: what is known about each record when the wait ends, and when that was.
    fn wait(&self, client: &Client, records: &[Record], interrupt: &mut Interrupt<'_>) -> (Vec<Collected>, Instant) {
        let mut until = self.until;
        while let Some(Carrier(producer)) = &self.carrier {
            producer.wait_for(&self.slots, until.min(after(CHECK_INTERVAL)));
            let now = Instant::now();
            if !self.slots.is_awaited() || now >= until {
                break;
            }
            if interrupt.is_raised() {
                until = now;
            }
        }
        loop {
            let actions = self.slots.collect(until);
            let alone =
                actions.iter().zip(records).enumerate().filter(|(_, (action, _))| **action == Action::SendAlone);
            let alone: Vec<_> = alone.map(|(index, (_, record))| (index, record)).collect();
            if alone.is_empty() {
                return (actions.into_iter().map(|action| self.collected(client, action, until)).collect(), until);
            }
            for (index, record) in alone {
                self.send_alone(client, record, index, until);
            }
        }
    }

    fn collected(&self, client: &Client, action: Action, ended: Instant) -> Collected {
        match action {
            Action::Return(ack) => Ok(ack),
            Action::Keep(keep, Some(failure)) => Err((failure, keep)),
            _ if ended < self.until => {
                Err((Failure::new("the call was interrupted before a broker acknowledged it"), Keep::InSpool))
            }
            _ => Err((no_acknowledgement(client, self.deadline), Keep::InSpool)),
        }
    }

    /// The broker's verdict on a size is on all records of a request, those of other threads included: this record gets
    /// its own.
    fn send_alone(&self, client: &Client, record: &Record, index: usize, until: Instant) {
        self.slots.retry(index);
        let sent = if Instant::now() >= until {
            let reason = "it was refused as too large together with others, and there was no time to try it alone";
            Err(Failure::new(reason))
        } else {
            client.producer(until).and_then(|producer| client.send(producer, record, &self.slots, index, until))
        };
        match sent {
            Ok(producer) => producer.wait_for(&self.slots, until),
            Err(failure) => self.slots.refuse(index, failure),
        }
    }
}

/// Why nothing is acknowledged at a deadline.
fn no_acknowledgement(client: &Client, deadline: Duration) -> Failure {
    let explained = client.existing().map(|producer| producer.explain());
    let (reason, advice) = explained.unwrap_or_else(|| ("the client is closed".into(), "make a new one"));
    Failure::new(format!("no acknowledgement within {:?}: {reason}: {advice}", rounded(deadline)))
}

/// What Kafka answered on some records by a deadline, in the same order.
pub struct Sent {
    pub(super) answers: Vec<Result<Ack, PublishError>>,
    /// Receives the reports that come later.
    pub(super) slots: Option<Arc<DeliverySlots>>,
    /// Nothing more has to be sent.
    pub(super) is_last: bool,
}

impl Sent {
    /// How many of them Kafka has, as far as it is known.
    pub fn acknowledged(&self) -> usize {
        self.answers.iter().filter(|answer| answer.is_ok()).count()
    }

    /// The same, and nothing more has to be sent.
    pub(super) fn last(self) -> Self {
        Self { is_last: true, ..self }
    }
}

impl From<Vec<Result<Ack, PublishError>>> for Sent {
    /// Answers after which no report comes.
    fn from(answers: Vec<Result<Ack, PublishError>>) -> Self {
        Self { answers, slots: None, is_last: false }
    }
}

#[cfg(test)]
mod tests;
