//! What Kafka did not take: into the spool with it. What nobody waits for goes there on a
//! thread that is there only as long as there is something to do.
//!
//! Owns what an event's failure is called, and the failures that are still to be told. Its invariant: a
//! failure of an event that is in neither place is never dropped. It is not done by the thread that hears
//! Kafka's reports, because a slow disk would make everybody else's acknowledgements late.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::{
    Kept, PublishError, Record,
    engine::Failure,
    spool::{Spool, SpoolError, TOGETHER},
    traffic::Traffic,
};

/// Failures of spooled events that are kept until somebody asks.
const KEPT: usize = 10_000;

/// The rescues of one process.
#[derive(Default)]
pub(super) struct Rescues {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Rescue>,
    is_running: bool,
    failures: VecDeque<PublishError>,
}

/// An event to be rescued.
pub(super) struct Rescue {
    pub(super) record: Record,
    pub(super) failure: Failure,
    pub(super) spool: Option<Spool>,
    pub(super) servers: Arc<str>,
    /// Where it is counted until it is safe.
    pub(super) traffic: Arc<Traffic>,
}

impl Rescues {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rescues an event, soon; here and now, if no thread can be started.
    pub(super) fn add(self: &Arc<Self>, rescue: Rescue) {
        let mut state = self.lock();
        state.waiting.push_back(rescue);
        if state.is_running {
            return;
        }
        state.is_running = true;
        drop(state);
        let rescues = Arc::clone(self);
        if thread::Builder::new().name("wfe-spool".into()).spawn(move || rescues.work()).is_err() {
            self.work();
        }
    }

    fn work(&self) {
        loop {
            let mut rescues: Vec<Rescue> = {
                let mut state = self.lock();
                let together = state.waiting.len().min(TOGETHER);
                state.is_running = together > 0;
                state.waiting.drain(..together).collect()
            };
            let Some(first) = rescues.first() else { return };
            // They are of one client: they have the same spool and the same brokers.
            let (spool, servers) = (first.spool.clone(), Arc::clone(&first.servers));
            if spool.is_some() {
                // Each was sent in company, and the verdict may be on that: the drain tries it alone.
                for rescue in &mut rescues {
                    rescue.failure.too_large = false;
                }
            }
            let failed: Vec<_> = rescues.iter().map(|rescue| (&rescue.record, &rescue.failure)).collect();
            for (error, rescue) in all_into_spool(&failed, spool.as_ref(), &servers).into_iter().zip(&rescues) {
                self.tell(error);
                rescue.traffic.end();
            }
        }
    }

    fn tell(&self, error: PublishError) {
        let mut state = self.lock();
        if state.failures.len() >= KEPT
            && let Some(spooled) = state.failures.iter().position(|failure| failure.kind() == "spooled")
        {
            state.failures.remove(spooled);
        }
        state.failures.push_back(error);
    }

    /// What became of them since the last call.
    pub(super) fn take_failures(&self) -> Vec<PublishError> {
        self.lock().failures.drain(..).collect()
    }
}

/// Into the spool with it, if there is one.
pub(super) fn into_spool(record: &Record, failure: &Failure, spool: Option<&Spool>, servers: &str) -> PublishError {
    let Some(spool) = spool else { return unspooled(record, failure) };
    if failure.too_large {
        let kept = spool.keep_refused(record, servers, &failure.reason);
        return too_large(record, kept.map_or_else(|error| Kept::Nowhere(error.to_string()), Kept::In));
    }
    told(record, failure, spool.put(record, servers, &failure.reason))
}

/// Many at once, in the same order.
pub(super) fn all_into_spool(
    failed: &[(&Record, &Failure)],
    spool: Option<&Spool>,
    servers: &str,
) -> Vec<PublishError> {
    let to_put = |failure: &Failure| spool.is_some() && !failure.too_large;
    let put = failed.iter().filter(|(_, failure)| to_put(failure));
    let put: Vec<_> = put.map(|(record, failure)| (*record, &*failure.reason)).collect();
    let mut kept = spool.map_or_else(Vec::new, |spool| spool.put_many(&put, servers)).into_iter();
    let settle = |(record, failure): &(&Record, &Failure)| {
        let kept = if to_put(failure) { kept.next() } else { None };
        kept.map_or_else(|| into_spool(record, failure, spool, servers), |kept| told(record, failure, kept))
    };
    failed.iter().map(settle).collect()
}

/// What became of an event that was put.
fn told(record: &Record, failure: &Failure, put: Result<PathBuf, SpoolError>) -> PublishError {
    let (event_id, topic, reason) = (record.event_id.to_string(), record.topic.to_string(), failure.reason.clone());
    match put {
        Ok(path) => PublishError::Spooled { event_id, topic, path, reason },
        Err(error) => {
            let event = String::from_utf8_lossy(&record.value).into_owned();
            PublishError::Lost { event_id, topic, reason, spool: error.to_string(), event }
        }
    }
}

/// What it is called without a spool.
pub(super) fn unspooled(record: &Record, failure: &Failure) -> PublishError {
    if failure.too_large {
        return too_large(record, Kept::ByCaller);
    }
    let (event_id, topic) = (record.event_id.to_string(), record.topic.to_string());
    let event = String::from_utf8_lossy(&record.value).into_owned();
    let (reason, of_topic) = (failure.reason.clone(), failure.of_topic);
    PublishError::NotAcknowledged { event_id, topic, reason, of_topic, event }
}

fn too_large(record: &Record, kept: Kept) -> PublishError {
    PublishError::TooLarge {
        event_id: record.event_id.to_string(),
        topic: record.topic.to_string(),
        bytes: record.value.len(),
        kept,
        event: String::from_utf8_lossy(&record.value).into_owned(),
    }
}
