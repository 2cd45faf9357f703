//! Templates are rendered on threads of their own, which serve nothing else.
//!
//! A render is bounded in work and memory (see `routing`), but may still take most of a second, and
//! the threads of the runtime serve `/healthz` and every other delivery. The queue is short because an
//! agent has one render in it at a time, so no agent waits for more than one render of each other one.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use tokio::sync::{mpsc, oneshot};

/// Two, so that a slow render of one agent does not stop those of the others.
const THREADS: usize = 2;

/// Room for deeply nested values, which are dropped by recursion.
const STACK_BYTES: usize = 16 << 20;

/// Jobs that wait for a thread; whoever has one more waits for room.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// The threads, which end when this is dropped.
pub(super) struct Renderer {
    jobs: mpsc::Sender<Job>,
}

/// A job ended in a panic, or could not be run.
#[derive(Debug)]
pub(super) struct Failed;

impl Renderer {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..THREADS {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("render-{number}")).stack_size(STACK_BYTES).spawn(move || {
                loop {
                    // The one that holds the lock waits for a job, the others for the lock.
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                    let Some(job) = job else { return };
                    // A defect of the engine is the failure of one delivery: its sender is dropped.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            })?;
        }
        Ok(Self { jobs })
    }

    /// Does something on one of the threads.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failed> {
        let (sender, result) = oneshot::channel();
        let job: Job = Box::new(move || drop(sender.send(work())));
        self.jobs.send(job).await.map_err(|_| Failed)?;
        result.await.map_err(|_| Failed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn jobs_run_beside_the_runtime_and_a_panic_ends_one_of_them_alone() {
        let renderer = Renderer::start().unwrap();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let slow = renderer.run(move || wait.recv_timeout(Duration::from_secs(60)).is_ok());
        let others = async {
            // The runtime has one thread, and goes on; so does the second of the render threads.
            for _ in 0..3 {
                assert!(renderer.run(|| panic!("a defect")).await.is_err());
            }
            let name = renderer.run(|| thread::current().name().map(str::to_owned)).await.unwrap();
            assert!(name.unwrap().starts_with("render-"));
            release.send(()).unwrap();
        };
        let (slow, ()) = tokio::join!(slow, others);
        assert!(slow.unwrap());
    }
}
