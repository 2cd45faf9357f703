//! Group commit: all that wait for durability share one flush.
//!
//! Owns a thread that flushes a short delay after the first waiter, one flush at a time. Invariant: a
//! waiter gets the result of a flush that *started* after it began to wait, because a flush takes
//! exactly the waiters that are there when it starts. It does not know what is flushed.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::error::LedgerError;
use crate::sync::{Condvar, Mutex, MutexGuard};

type FlushResult = Result<(), LedgerError>;

/// The handle on the flush thread. Dropping it ends the thread and waits for that.
pub(super) struct Committer {
    flusher: Arc<Flusher>,
    thread: Option<JoinHandle<()>>,
}

struct Flusher {
    flush: Box<dyn Fn() -> FlushResult + Send + Sync>,
    delay: Duration,
    queue: Mutex<WaiterQueue>,
    wake: Condvar,
    flushing: Mutex<()>,
}

#[derive(Default)]
struct WaiterQueue {
    waiters: Vec<oneshot::Sender<FlushResult>>,
    /// When the first of them began to wait.
    since: Option<Instant>,
    closed: bool,
}

impl Committer {
    /// Starts the thread. `flush` makes everything durable that was written before its call. Once it
    /// has failed, it must fail on every later call.
    pub(super) fn start(delay: Duration, flush: impl Fn() -> FlushResult + Send + Sync + 'static) -> io::Result<Self> {
        let flusher = Arc::new(Flusher {
            flush: Box::new(flush),
            delay,
            queue: Mutex::default(),
            wake: Condvar::new(),
            flushing: Mutex::new(()),
        });
        let thread = thread::Builder::new().name("ledger-flush".into()).spawn({
            let flusher = Arc::clone(&flusher);
            move || flusher.run()
        })?;
        Ok(Self { flusher, thread: Some(thread) })
    }

    /// Resolves with the result of a flush that starts after this call; `None` if the thread has ended.
    /// Dropping the future is safe: the flush goes on for the others.
    pub(super) fn durable(&self) -> impl Future<Output = Option<FlushResult>> + use<> {
        let (sender, result) = oneshot::channel();
        let mut queue = self.flusher.queue();
        queue.waiters.push(sender);
        if queue.since.is_none() {
            queue.since = Some(Instant::now());
            self.flusher.wake.notify_one();
        }
        drop(queue);
        async move { result.await.ok() }
    }

    /// Flushes now, on the caller's thread, and resolves the waiters.
    pub(super) fn flush_now(&self) -> FlushResult {
        self.flusher.flush_now()
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.flusher.queue().closed = true;
        self.flusher.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // It ends after at most one flush. The store's file must be free when this returns.
            let _ = thread.join();
        }
    }
}

impl Flusher {
    fn queue(&self) -> MutexGuard<'_, WaiterQueue> {
        self.queue.lock()
    }

    fn run(&self) {
        while self.wait_for_flush() {
            // The waiters have the result.
            let _ = self.flush_now();
        }
    }

    /// Blocks until a flush is due; false if none will be any more.
    fn wait_for_flush(&self) -> bool {
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
                None => self.wake.wait(queue),
                Some(left) => self.wake.wait_timeout(queue, left),
            };
        }
    }

    fn flush_now(&self) -> FlushResult {
        let _one_at_a_time = self.flushing.lock();
        let waiters = {
            let mut queue = self.queue();
            queue.since = None;
            std::mem::take(&mut queue.waiters)
        };
        let result = (self.flush)();
        for waiter in waiters {
            // A waiter may have been dropped.
            let _ = waiter.send(result.clone());
        }
        result
    }
}
