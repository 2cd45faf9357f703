//! The threads that render templates, and decode events of which an attempt needs the document.
//!
//! A render is bounded in work and memory (see `routing`), but may still take most of a second, and
//! the threads of the runtime serve `/healthz` and every other delivery. An agent has one render in the queue at a
//! time, so no agent waits for more than one render of each other agent.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use tokio::sync::{mpsc, oneshot};

use crate::sync::Mutex;

/// Two, so that a slow render of one agent does not stop those of the others.
const THREADS: usize = 2;

/// Room for deeply nested values, which are dropped by recursion.
const STACK_BYTES: usize = 16 << 20;

/// Jobs that wait for a thread; a further one waits for room.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// The threads, which end when this is dropped.
pub(super) struct Renderer {
    jobs: mpsc::Sender<Job>,
}

/// A job panicked, or could not be run.
#[derive(Debug)]
pub(super) struct RenderFailed;

impl Renderer {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..THREADS {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("render-{number}")).stack_size(STACK_BYTES).spawn(move || {
                loop {
                    // The owner of the lock waits for a job, the other threads for the lock.
                    let job = queue.lock().blocking_recv();
                    let Some(job) = job else { return };
                    // A panic of the engine fails one delivery: its sender is dropped.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            })?;
        }
        Ok(Self { jobs })
    }

    /// Runs a job on one of the threads.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RenderFailed> {
        let (sender, result) = oneshot::channel();
        let job: Job = Box::new(move || drop(sender.send(work())));
        self.jobs.send(job).await.map_err(|_| RenderFailed)?;
        result.await.map_err(|_| RenderFailed)
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
