//! The records that are not acknowledged yet: their number, and those that librdkafka gave back.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode as Code};
use tokio::sync::watch;

use super::super::acks::OpenAppend;
use crate::{
    connection::{self, advice},
    sync::{Condvar, Mutex},
};

/// The bytes that may wait for the broker before no more attempts are started.
const ROOM: u64 = 64 << 20;

/// What the appender waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AppenderStatus {
    /// Records that the broker has not acknowledged.
    pub unacknowledged: u64,
    /// Since when none was acknowledged although some wait.
    pub waiting_since: Option<Instant>,
    /// Why the last one was refused, until one is acknowledged.
    pub error: Option<String>,
}

/// A record on its way: it belongs to librdkafka, or to [`Refused`].
pub(super) struct Sent {
    pub(super) append: OpenAppend,
    pub(super) partition: i32,
    pub(super) bytes: u64,
}

/// A record that librdkafka did not take, or gave back.
pub(super) struct Refused {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) sent: Box<Sent>,
}

/// Records that failed since the last look.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) count: u64,
    pub(super) partition: i32,
    pub(super) error: String,
    pub(super) advice: &'static str,
}

/// See the module.
pub(super) struct Pending {
    state: Mutex<State>,
    changed: Condvar,
    room: watch::Sender<bool>,
}

/// The records of a partition that are not acknowledged.
struct Open {
    count: u64,
    /// The last answer for one of them; the first of them, if there was none.
    answered: Instant,
}

#[derive(Default)]
struct State {
    open: BTreeMap<i32, Open>,
    bytes: u64,
    /// Threads in [`Pending::wait`]. To wake nobody costs a call of the system, for each record.
    waiters: usize,
    waiting_since: Option<Instant>,
    refused: VecDeque<Refused>,
    failure: Option<Failure>,
    /// Why the last record failed, until one is acknowledged.
    error: Option<String>,
}

impl Default for Pending {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), room: watch::Sender::new(true) }
    }
}

impl State {
    fn unacknowledged(&self, partitions: Option<&[i32]>) -> u64 {
        let counted = |partition: &i32| partitions.is_none_or(|only| only.contains(partition));
        self.open.iter().filter(|(partition, _)| counted(partition)).map(|(_, open)| open.count).sum()
    }
}

impl Pending {
    pub(super) fn open(&self, partition: i32, bytes: u64) {
        let mut state = self.state.lock();
        state.open.entry(partition).or_insert_with(|| Open { count: 0, answered: Instant::now() }).count += 1;
        state.bytes += bytes;
        state.waiting_since.get_or_insert_with(Instant::now);
        let full = state.bytes >= ROOM;
        drop(state);
        if full {
            self.room.send_if_modified(|room| std::mem::replace(room, false));
        }
    }

    /// A broker has answered for a record, well or not.
    pub(super) fn answered(&self, partition: i32) {
        if let Some(open) = self.state.lock().open.get_mut(&partition) {
            open.answered = Instant::now();
        }
    }

    pub(super) fn acknowledged(&self, partition: i32, bytes: u64) {
        let mut state = self.state.lock();
        if let Some(open) = state.open.get_mut(&partition) {
            open.count -= 1;
            open.answered = Instant::now();
            if open.count == 0 {
                state.open.remove(&partition);
            }
        }
        state.bytes -= bytes;
        state.error = None;
        state.waiting_since = (!state.open.is_empty()).then(Instant::now);
        let (room, waiters) = (state.bytes < ROOM, state.waiters);
        drop(state);
        if room {
            self.room.send_if_modified(|room| !std::mem::replace(room, true));
        }
        if waiters > 0 {
            self.changed.notify_all();
        }
    }

    /// Keeps a record to be sent again; without an error it was not refused, but found no place or was taken back.
    pub(super) fn refused(&self, refused: Refused, error: Option<&RdError>) {
        let mut state = self.state.lock();
        if let Some(error) = error {
            let text = connection::reason(error);
            let count = state.failure.as_ref().map_or(0, |failure| failure.count) + 1;
            let advice = advice_on(error.rdkafka_error_code(), &text);
            state.error = Some(format!("{text}: {advice}"));
            state.failure = Some(Failure { count, partition: refused.sent.partition, error: text, advice });
        }
        state.refused.push_back(refused);
    }

    pub(super) fn take_refused(&self, most: usize) -> Vec<Refused> {
        let mut state = self.state.lock();
        let count = state.refused.len().min(most);
        state.refused.drain(..count).collect()
    }

    /// What failed since the last call.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.state.lock().failure.take()
    }

    /// The last answer was an acknowledgement.
    pub(super) fn works(&self) -> bool {
        self.state.lock().error.is_none()
    }

    pub(super) fn of(&self, partition: i32) -> u64 {
        self.state.lock().open.get(&partition).map_or(0, |open| open.count)
    }

    pub(super) fn wait(&self, partitions: Option<&[i32]>, deadline: Instant) -> Result<(), u64> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut state = self.state.lock();
        state.waiters += 1;
        let mut state = self.changed.wait_timeout_while(state, left, |state| state.unacknowledged(partitions) > 0);
        state.waiters -= 1;
        match state.unacknowledged(partitions) {
            0 => Ok(()),
            open => Err(open),
        }
    }

    pub(super) async fn room(&self) {
        // The sender is `self`, so it cannot have gone.
        _ = self.room.subscribe().wait_for(|room| *room).await;
    }

    pub(super) fn has_room(&self) -> bool {
        *self.room.borrow()
    }

    /// The partition that has waited longest for any answer, and how long.
    pub(super) fn longest_wait(&self, now: Instant) -> Option<(i32, Duration)> {
        let state = self.state.lock();
        let first = state.open.iter().min_by_key(|(_, open)| open.answered);
        first.map(|(partition, open)| (*partition, now.saturating_duration_since(open.answered)))
    }

    pub(super) fn status(&self) -> AppenderStatus {
        let state = self.state.lock();
        AppenderStatus {
            unacknowledged: state.unacknowledged(None),
            waiting_since: state.waiting_since,
            error: state.error.clone(),
        }
    }
}

fn advice_on(code: Option<Code>, text: &str) -> &'static str {
    match code {
        Some(Code::TopicAuthorizationFailed) => {
            "grant our user WRITE, READ and DESCRIBE on the ledger topic, or set dedup.ledger_topic: off"
        }
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => {
            "raise the ledger topic's max.message.bytes to 2097152"
        }
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            "the ledger topic was deleted, or lacks this partition: the bridge creates it again where it may"
        }
        Some(Code::PolicyViolation) => "a policy of the cluster refuses the record: see the broker's log",
        Some(code) => advice(code, text).1,
        None => "it is sent again",
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn who_waits_for_the_records_of_a_partition_is_woken_by_the_last_of_them() {
        const PATIENCE: Duration = Duration::from_secs(30);
        let pending = Pending::default();
        for partition in [1, 1, 2] {
            pending.open(partition, 10);
        }
        assert_eq!(pending.wait(None, Instant::now()), Err(3));
        thread::scope(|scope| {
            let waiting = [Some(&[1][..]), None].map(|partitions| {
                let pending = &pending;
                scope.spawn(move || pending.wait(partitions, Instant::now() + 2 * PATIENCE))
            });
            let began = Instant::now();
            while pending.state.lock().waiters < 2 {
                assert!(began.elapsed() < PATIENCE, "{} wait", pending.state.lock().waiters);
                thread::yield_now();
            }
            for partition in [1, 1, 2] {
                pending.acknowledged(partition, 10);
            }
            for waiting in waiting {
                assert_eq!(waiting.join().unwrap(), Ok(()));
            }
            assert!(began.elapsed() < PATIENCE, "nobody was woken");
        });
        assert_eq!(pending.state.lock().waiters, 0);
    }

    #[test]
    fn the_partition_without_an_answer_for_longest_is_named_until_nothing_waits() {
        const LATER: Duration = Duration::from_secs(3_600);
        let pending = Pending::default();
        let longest = || pending.longest_wait(Instant::now() + LATER);
        assert_eq!(longest(), None);
        for partition in [1, 2, 2] {
            pending.open(partition, 10);
        }
        let (first, waited) = longest().unwrap();
        assert!(first == 1 && waited >= LATER, "{first}: {waited:?}");
        pending.answered(1);
        assert_eq!(longest().map(|(partition, _)| partition), Some(2));
        pending.acknowledged(2, 10);
        assert_eq!(longest().map(|(partition, _)| partition), Some(1), "the answer for partition 2 was later");
        pending.acknowledged(1, 10);
        assert_eq!(longest().map(|(partition, _)| partition), Some(2), "one of its two records is left");
        pending.acknowledged(2, 10);
        assert_eq!(longest(), None);
    }
}
