//! Ctrl-C and SIGTERM in a command that has something to show when it is ended early.

use std::{
    io, process,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use super::output::fail;
use crate::bridge::{Exit, SAME_SIGNAL};

/// Whether the command is to end. A second signal ends the process at once.
#[derive(Clone, Default)]
pub(super) struct Interrupt(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The exit code of the first signal; 0 before it.
    asked: AtomicU8,
    /// Ctrl-C is for another program.
    is_held: AtomicBool,
}

/// The two signals, and the runtime that they belong to.
pub(super) struct Signals {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on they do not end the process.
    pub(super) fn register() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(entered);
        Ok(Self { runtime, interrupt, terminate })
    }

    /// Runs something that waits for them.
    pub(super) fn run<T>(self, work: impl AsyncFnOnce(&mut Waiting) -> T) -> T {
        let mut waiting = Waiting { interrupt: self.interrupt, terminate: self.terminate };
        self.runtime.block_on(work(&mut waiting))
    }
}

/// Both signals, to be waited for.
pub(super) struct Waiting {
    interrupt: Signal,
    terminate: Signal,
}

impl Waiting {
    /// The exit code that belongs to the next one.
    pub(super) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupt,
            _ = self.terminate.recv() => Exit::Terminate,
        }
    }
}

impl Interrupt {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self, process::ExitCode> {
        let told = Self::default();
        let shared = Arc::clone(&told.0);
        let listening = Signals::register().and_then(|signals| {
            thread::Builder::new()
                .name("signals".into())
                .spawn(move || signals.run(async |next| shared.listen(next).await))
        });
        match listening {
            Ok(_) => Ok(told),
            Err(error) => Err(fail(Exit::Unavailable, &format_args!("cannot listen for signals: {error}"))),
        }
    }

    /// The exit code of the signal that came.
    pub(super) fn exit(&self) -> Option<process::ExitCode> {
        let code = self.0.asked.load(Ordering::Relaxed);
        (code != 0).then(|| code.into())
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed) != 0
    }

    /// Waits, unless a signal comes.
    pub(super) fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_asked() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Runs another program at the terminal: Ctrl-C is for that one, and ends only that.
    pub(super) fn without_ctrl_c<T>(&self, program: impl FnOnce() -> T) -> T {
        self.0.is_held.store(true, Ordering::Relaxed);
        let ended = program();
        self.0.is_held.store(false, Ordering::Relaxed);
        ended
    }
}

impl Shared {
    async fn listen(&self, signals: &mut Waiting) {
        let mut first: Option<Instant> = None;
        loop {
            let exit = signals.next().await;
            if exit == Exit::Interrupt && self.is_held.load(Ordering::Relaxed) {
                continue;
            }
            match first {
                None => {
                    self.asked.store(exit.code(), Ordering::Relaxed);
                    first = Some(Instant::now());
                }
                // One that is sent to the process and to its group arrives twice.
                Some(first) if first.elapsed() < SAME_SIGNAL => {}
                Some(_) => process::exit(exit.code().into()),
            }
        }
    }
}
