//! The life of one record as a state table. Pure: it sends, writes and counts nothing.
//!
//! Owns every transition: a caller says what happened ([`Event`]) and does what comes back ([`Action`]).
//! The table is in the head of [`publish`](super). Its invariants: a record is answered once; one that Kafka did not
//! acknowledge is kept somewhere, or its caller learns that it is not; an acknowledgement that comes late withdraws the
//! file that was written meanwhile.

use std::path::PathBuf;

use super::{Ack, PublishError, failure::Failure};

/// Who learns what became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A call that waits until its deadline, a drain included.
    Caller,
    /// Nobody waits (`enqueue`): the client keeps what fails.
    Client,
}

/// A record between the call that publishes it and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordLife {
    owner: Owner,
    state: State,
    /// It was sent once more, alone: the next verdict on its size is final.
    is_retried: bool,
}

/// Where a record is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Handed to librdkafka, or about to be; within its deadline.
    Pending,
    /// The broker has it.
    Acknowledged(Ack),
    /// The broker does not have it, and nothing keeps it yet.
    Failed(Failure),
    /// The deadline passed without a report. The caller is spooling it; a report may still come.
    Abandoned,
    /// It is in this file of a spool.
    Spooled { path: PathBuf, report: Report },
    /// Its topic refuses its size: it is in the quarantine of a spool.
    Quarantined,
    /// Nothing keeps it, and its caller learns that.
    Lost { report: Report },
}

/// Whether librdkafka still owes a report on a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    Due,
    Arrived,
}

/// What happened to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// librdkafka reports that the broker has it.
    Acknowledged(Ack),
    /// librdkafka reports, or its refusal says, that the broker does not have it.
    Failed(Failure),
    /// Its caller waits no longer.
    DeadlinePassed,
    /// Its caller sends it once more, alone.
    Retried,
    /// It was written to this file of a spool.
    Spooled(PathBuf),
    /// It was written to the quarantine of a spool.
    Quarantined,
    /// No spool took it.
    NotKept,
}

/// What has to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    None,
    /// Wake the caller, who waits for one report fewer.
    Wake,
    /// Tell the caller that the broker has it.
    Return(Ack),
    /// Send it once more, alone: the verdict on its size was on all records of its request.
    SendAlone,
    /// Keep it, then report [`Event::Spooled`], [`Event::Quarantined`] or [`Event::NotKept`]. Without a failure the
    /// deadline has passed.
    Keep(Keep, Option<Failure>),
    /// Remove this file: the broker has the record after all.
    Withdraw(PathBuf, Ack),
}

/// Where a record goes that the broker does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Into the spool, or back into it: a later attempt may succeed.
    InSpool,
    /// Into the quarantine: no later attempt succeeds before a person acts.
    InQuarantine,
}

impl Keep {
    /// Where a record goes whose last attempt ended with this error.
    pub(super) fn after(error: &PublishError) -> Self {
        if matches!(error, PublishError::TooLarge { .. }) { Self::InQuarantine } else { Self::InSpool }
    }
}

/// How `PendingRecords` counts a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// In flight, and a flush waits for it.
    Pending,
    /// In flight, and no flush waits for it: its outcome is known.
    Settled,
    /// Not at all.
    No,
}

/// What a transition means for the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CountChange {
    pub(super) from: Counted,
    pub(super) to: Counted,
}

impl RecordLife {
    /// A record that its caller waits for.
    pub(super) fn awaited() -> Self {
        Self { owner: Owner::Caller, state: State::Pending, is_retried: false }
    }

    /// A record that nobody waits for.
    pub(super) fn enqueued() -> Self {
        Self { owner: Owner::Client, state: State::Pending, is_retried: false }
    }

    /// Moves on, and says what has to be done and counted. An event that cannot happen in a state changes nothing.
    pub(super) fn on(&mut self, event: Event) -> (Action, CountChange) {
        let from = self.counted();
        let action = self.step(event);
        (action, CountChange { from, to: self.counted() })
    }

    fn step(&mut self, event: Event) -> Action {
        use State as S;

        match (&self.state, event) {
            // The report comes in time.
            (S::Pending, Event::Acknowledged(ack)) => self.enter(S::Acknowledged(ack), Action::Wake),
            (S::Pending, Event::Failed(failure)) => match self.owner {
                Owner::Caller => self.enter(S::Failed(failure), Action::Wake),
                Owner::Client => {
                    // It was sent in company, and the verdict may be on that: the drain sends it alone.
                    let action = Action::Keep(Keep::InSpool, Some(failure.clone()));
                    self.enter(S::Failed(failure), action)
                }
            },

            // The caller's wait ends.
            (S::Pending | S::Abandoned, Event::DeadlinePassed) => {
                self.enter(S::Abandoned, Action::Keep(Keep::InSpool, None))
            }
            (S::Acknowledged(ack), Event::DeadlinePassed | Event::NotKept) => Action::Return(*ack),
            (S::Failed(failure), Event::DeadlinePassed) => match failure.is_too_large() {
                true if !self.is_retried => Action::SendAlone,
                true => Action::Keep(Keep::InQuarantine, Some(failure.clone())),
                false => Action::Keep(Keep::InSpool, Some(failure.clone())),
            },
            (S::Failed(_), Event::Retried) => {
                self.is_retried = true;
                self.enter(S::Pending, Action::None)
            }

            // The report comes while the caller spools the record.
            (S::Abandoned, Event::Acknowledged(ack)) => self.enter(S::Acknowledged(ack), Action::None),
            (S::Abandoned, Event::Failed(failure)) => self.enter(S::Failed(failure), Action::None),

            // The record is kept, or not.
            (S::Abandoned, Event::Spooled(path)) => self.enter(S::Spooled { path, report: Report::Due }, Action::None),
            (S::Failed(_), Event::Spooled(path)) => {
                self.enter(S::Spooled { path, report: Report::Arrived }, Action::None)
            }
            (S::Acknowledged(ack), Event::Spooled(path)) => {
                let ack = *ack;
                if ack.is_heard() {
                    Action::Withdraw(path, ack)
                } else {
                    // With acks=0 no broker said so: the file stays.
                    self.enter(S::Spooled { path, report: Report::Arrived }, Action::None)
                }
            }
            (S::Failed(_), Event::Quarantined) => self.enter(S::Quarantined, Action::None),
            (S::Abandoned, Event::NotKept) => self.enter(S::Lost { report: Report::Due }, Action::None),
            (S::Failed(_), Event::NotKept) => self.enter(S::Lost { report: Report::Arrived }, Action::None),

            // The report comes after the outcome.
            (S::Spooled { path, report: Report::Due }, Event::Acknowledged(ack)) => {
                let path = path.clone();
                if ack.is_heard() {
                    self.enter(S::Acknowledged(ack), Action::Withdraw(path, ack))
                } else {
                    self.enter(S::Spooled { path, report: Report::Arrived }, Action::None)
                }
            }
            (S::Spooled { path, report: Report::Due }, Event::Failed(_)) => {
                let path = path.clone();
                self.enter(S::Spooled { path, report: Report::Arrived }, Action::None)
            }
            (S::Lost { report: Report::Due }, Event::Acknowledged(ack)) => {
                self.enter(S::Acknowledged(ack), Action::None)
            }
            (S::Lost { report: Report::Due }, Event::Failed(_)) => {
                self.enter(S::Lost { report: Report::Arrived }, Action::None)
            }

            _ => Action::None,
        }
    }

    fn enter(&mut self, state: State, action: Action) -> Action {
        self.state = state;
        action
    }

    fn counted(&self) -> Counted {
        match &self.state {
            State::Pending | State::Abandoned => Counted::Pending,
            // The caller of one holds it in its hands; nobody does with the other.
            State::Failed(_) if self.owner == Owner::Client => Counted::Pending,
            State::Spooled { report: Report::Due, .. } | State::Lost { report: Report::Due } => Counted::Settled,
            _ => Counted::No,
        }
    }
}

#[cfg(test)]
mod tests;
