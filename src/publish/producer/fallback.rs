//! Enqueued records that Kafka did not take: into the spool, on a thread that ends when there is nothing to do.
//!
//! Owns the failures that nobody has asked for yet. Its invariant: the failure of a record that is in neither place is
//! never dropped. The poll thread does not write to the spool itself: a slow disk would delay everybody's reports.

use std::{collections::VecDeque, sync::Arc, thread};

use super::pending::PendingRecords;
use crate::{
    publish::{
        PublishError, Record,
        failure::Failure,
        keep,
        lifecycle::{Event, Keep, RecordLife},
        spool::{MAX_TOGETHER, Spool},
    },
    sync::Mutex,
};

/// Failures of spooled records that are kept until somebody asks.
const MAX_SPOOLED_FAILURES: usize = 10_000;

/// Keeps the enqueued records of one process that fail.
pub(super) struct SpoolFallback {
    spool: Option<Spool>,
    servers: Arc<str>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<FailedRecord>,
    has_thread: bool,
    failures: VecDeque<PublishError>,
}

/// An enqueued record that Kafka did not take.
pub(super) struct FailedRecord {
    pub(super) record: Record,
    pub(super) life: RecordLife,
    pub(super) failure: Failure,
    pub(super) keep: Keep,
    /// Where it is counted until it is kept.
    pub(super) pending: Arc<PendingRecords>,
}

impl SpoolFallback {
    pub(super) fn new(spool: Option<Spool>, servers: Arc<str>) -> Self {
        Self { spool, servers, queue: Mutex::default() }
    }

    /// Keeps a record soon; before it returns, if no thread can be started.
    pub(super) fn add(self: &Arc<Self>, failed: FailedRecord) {
        let mut queue = self.queue.lock();
        queue.waiting.push_back(failed);
        if queue.has_thread {
            return;
        }
        queue.has_thread = true;
        drop(queue);
        let fallback = Arc::clone(self);
        if thread::Builder::new().name("wfe-spool".into()).spawn(move || fallback.work()).is_err() {
            self.work();
        }
    }

    fn work(&self) {
        loop {
            let failed: Vec<FailedRecord> = {
                let mut queue = self.queue.lock();
                let together = queue.waiting.len().min(MAX_TOGETHER);
                queue.has_thread = together > 0;
                queue.waiting.drain(..together).collect()
            };
            if failed.is_empty() {
                return;
            }
            let refused: Vec<_> = failed.iter().map(|failed| (&failed.record, &failed.failure, failed.keep)).collect();
            let errors = keep::keep_all(&refused, self.spool.as_ref(), &self.servers);
            for (error, mut failed) in errors.into_iter().zip(failed) {
                let event = match &error {
                    PublishError::Spooled { path, .. } => Event::Spooled(path.clone()),
                    _ => Event::NotKept,
                };
                self.push_failure(error);
                let (_, change) = failed.life.on(event);
                failed.pending.apply(change);
            }
        }
    }

    fn push_failure(&self, error: PublishError) {
        let mut queue = self.queue.lock();
        if queue.failures.len() >= MAX_SPOOLED_FAILURES
            && let Some(spooled) =
                queue.failures.iter().position(|failure| matches!(failure, PublishError::Spooled { .. }))
        {
            queue.failures.remove(spooled);
        }
        queue.failures.push_back(error);
    }

    /// What became of them since the last call.
    pub(super) fn take_failures(&self) -> Vec<PublishError> {
        self.queue.lock().failures.drain(..).collect()
    }
}
