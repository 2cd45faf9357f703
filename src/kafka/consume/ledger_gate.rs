//! The ledger topic's part in the loop: it is read before the partitions, which are resumed when that is done.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::consumer::{BaseConsumer, ConsumerContext};

use super::{
    super::{
        error::KafkaError,
        ledger_topic::{Following, Reader},
    },
    state::ConsumerState,
};

/// How long a stop waits for the thread.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The thread that reads the ledger topic. Dropping it ends the thread.
pub(super) struct Running {
    following: Option<Arc<Following>>,
    thread: thread::JoinHandle<()>,
}

/// Checks the ledger topic, which may wait for brokers, and starts to read it.
pub(super) fn start(reader: Reader, state: &Arc<ConsumerState>) -> Result<Running, KafkaError> {
    let thread = reader.start(&|| {
        state.polled(Instant::now());
        !state.is_closing()
    })?;
    Ok(Running { following: state.ledger.get().cloned(), thread })
}

/// Resumes the partitions whose part of the ledger topic was read, unless all of them are paused. Cheap when there is
/// none.
pub(super) fn open<C: ConsumerContext>(consumer: &BaseConsumer<C>, state: &ConsumerState, fetches: bool) {
    if !state.ledger.get().is_some_and(|ledger| ledger.take_caught_up()) {
        return;
    }
    let mut opened = state.owned();
    opened.retain(|partition| partition.open_after_ledger() && !partition.is_held());
    if fetches && !opened.is_empty() {
        state.resume(consumer, &opened);
    }
}

impl Running {
    /// Whether the thread has ended, which it does only when it is asked to.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Asks the thread to end, and waits, polling, for a bounded time. It has a consumer of its own, so one that still waits
    /// for a broker is left behind.
    pub(super) fn stop(&self, poll: impl Fn()) {
        self.close();
        let until = Instant::now() + STOP_TIMEOUT;
        while !self.thread.is_finished() && Instant::now() < until {
            poll();
        }
    }

    fn close(&self) {
        if let Some(following) = &self.following {
            following.close();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.close();
    }
}
