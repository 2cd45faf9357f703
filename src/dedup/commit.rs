//! Group commit: many that wait for durability share one flush.
//!
//! Owns a thread that flushes a short delay after the first waiter, one flush at a time. Its
//! invariant: a waiter is answered by a flush that *started* after it began to wait, because a flush
//! takes exactly those that wait when it starts. It does not know what is flushed.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::LedgerError;

type Answer = Result<(), LedgerError>;

/// The flusher: its thread ends, and is waited for, when it is dropped.
pub(super) struct Committer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    flush: Box<dyn Fn() -> Answer + Send + Sync>,
    delay: Duration,
    queue: Mutex<Queue>,
    wake: Condvar,
    flushing: Mutex<()>,
}

#[derive(Default)]
struct Queue {
    waiters: Vec<oneshot::Sender<Answer>>,
    /// When the first of them came.
    since: Option<Instant>,
    closed: bool,
}

impl Committer {
    /// Starts the thread. `flush` makes all that was written before its call durable; its failures
    /// are for good, and it says so itself on every later call.
    pub(super) fn start(delay: Duration, flush: impl Fn() -> Answer + Send + Sync + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            flush: Box::new(flush),
            delay,
            queue: Mutex::default(),
            wake: Condvar::new(),
            flushing: Mutex::new(()),
        });
        let thread = thread::Builder::new().name("ledger-flush".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Resolves after a flush that started after this call. `None` when the thread is gone. Dropping
    /// the future is safe: the flush goes on for the others.
    pub(super) fn durable(&self) -> impl Future<Output = Option<Answer>> + use<> {
        let (answer, answered) = oneshot::channel();
        let mut queue = self.shared.queue();
        queue.waiters.push(answer);
        if queue.since.is_none() {
            queue.since = Some(Instant::now());
            self.shared.wake.notify_one();
        }
        drop(queue);
        async move { answered.await.ok() }
    }

    /// Flushes now, on the caller's thread, and answers whoever waits.
    pub(super) fn flush_now(&self) -> Answer {
        self.shared.flush_now()
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // It ends after at most one flush; the store's file must be free when this returns.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while self.first_waiter_has_waited() {
            // Whoever waits has the answer.
            let _ = self.flush_now();
        }
    }

    /// Blocks until it is time for a flush; false when there will be none any more.
    fn first_waiter_has_waited(&self) -> bool {
        let mut queue = self.queue();
        loop {
            let left = match queue.since {
                None if queue.closed => return false,
                None => None,
                Some(_) if queue.closed => return true,
                Some(since) => match self.delay.checked_sub(since.elapsed()) {
                    None | Some(Duration::ZERO) => return true,
                    left => left,
                },
            };
            queue = match left {
                None => self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    fn flush_now(&self) -> Answer {
        let _one_at_a_time = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let waiters = {
            let mut queue = self.queue();
            queue.since = None;
            std::mem::take(&mut queue.waiters)
        };
        let result = (self.flush)();
        for waiter in waiters {
            // Whoever stopped waiting needs no answer.
            let _ = waiter.send(result.clone());
        }
        result
    }
}
