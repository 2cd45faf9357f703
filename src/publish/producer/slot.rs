//! Where a process keeps its producer: made when it is first needed, on a thread of its own.
//!
//! Owns the bound on making it. librdkafka takes a process-wide lock when it makes a handle, and reads files when there
//! is TLS: in a child that was forked at the wrong moment that may never return. The caller goes on by its deadline.

use std::{mem, sync::Arc, thread, time::Instant};

use super::{fallback::SpoolFallback, handle::Producer};
use crate::{
    publish::failure::Failure,
    sync::{Condvar, Mutex},
};

/// One process's producer, and the failures that outlive it.
pub(super) struct ProducerSlot {
    cell: Arc<Cell>,
    fallback: Arc<SpoolFallback>,
}

#[derive(Default)]
struct Cell {
    stage: Mutex<Stage>,
    changed: Condvar,
}

#[derive(Default)]
enum Stage {
    #[default]
    Empty,
    Starting,
    Ready(Arc<Producer>),
    Failed(Failure),
    Closed,
}

impl ProducerSlot {
    pub(super) fn new(fallback: SpoolFallback) -> Self {
        Self { cell: Arc::default(), fallback: Arc::new(fallback) }
    }

    /// The failures of enqueued records; they outlive a producer.
    pub(super) fn fallback(&self) -> &Arc<SpoolFallback> {
        &self.fallback
    }

    /// The producer, waited for at most until then. If there is none, `start` makes one on a thread. Everybody who waits
    /// gets its failure; the next caller tries again.
    pub(super) fn open<S>(&self, until: Instant, start: impl FnOnce() -> S) -> Result<Arc<Producer>, Failure>
    where
        S: FnOnce() -> Result<Producer, Failure> + Send + 'static,
    {
        let mut stage = self.cell.stage.lock();
        if let Stage::Ready(producer) = &*stage {
            return Ok(Arc::clone(producer));
        }
        if matches!(*stage, Stage::Empty | Stage::Failed(_)) {
            let (start, cell) = (start(), Arc::clone(&self.cell));
            let thread = thread::Builder::new().name("wfe-new".into()).spawn(move || {
                let result = start();
                let mut stage = cell.stage.lock();
                if matches!(*stage, Stage::Starting) {
                    *stage = match result {
                        Ok(producer) => Stage::Ready(Arc::new(producer)),
                        Err(failure) => Stage::Failed(failure),
                    };
                }
                cell.changed.notify_all();
            });
            if let Err(error) = thread {
                return Err(Failure::new(format!("no thread can be started ({error}): check the limits on threads")));
            }
            *stage = Stage::Starting;
        }
        loop {
            match &*stage {
                Stage::Ready(producer) => return Ok(Arc::clone(producer)),
                Stage::Failed(failure) => return Err(failure.clone()),
                Stage::Empty | Stage::Closed => return Err(Failure::closed()),
                Stage::Starting => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Failure::new(
                            "librdkafka did not make a client in time: is the machine overloaded?",
                        ));
                    }
                    stage = self.cell.changed.wait_timeout(stage, left);
                }
            }
        }
    }

    /// The producer, if it is made.
    pub(super) fn producer(&self) -> Option<Arc<Producer>> {
        match &*self.cell.stage.lock() {
            Stage::Ready(producer) => Some(Arc::clone(producer)),
            _ => None,
        }
    }

    /// Takes the producer away, also one that is still being made, and makes no other.
    pub(super) fn close(&self) -> Option<Arc<Producer>> {
        let mut stage = self.cell.stage.lock();
        let before = mem::replace(&mut *stage, Stage::Closed);
        self.cell.changed.notify_all();
        if let Stage::Ready(producer) = before { Some(producer) } else { None }
    }

    /// Takes the producer away if librdkafka cannot go on with it.
    pub(super) fn take_dead(&self) -> Option<Arc<Producer>> {
        let mut stage = self.cell.stage.lock();
        match &*stage {
            Stage::Ready(producer) if producer.is_dead() => {
                let producer = Arc::clone(producer);
                *stage = Stage::Empty;
                Some(producer)
            }
            _ => None,
        }
    }
}
