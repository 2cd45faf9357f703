//! Ctrl-C and SIGTERM in a command that has something to show when it is ended early.

use std::{
    io, process,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use crate::bridge::Exit;

/// Whether the command is to end. A second signal ends the process at once.
#[derive(Clone, Default)]
pub(super) struct Interrupt(Arc<AtomicU8>);

impl Interrupt {
    /// Listens from now on.
    pub(super) fn listen() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(entered);
        let asked = Arc::new(AtomicU8::new(0));
        let told = Self(Arc::clone(&asked));
        thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                loop {
                    let exit = tokio::select! {
                        _ = interrupt.recv() => Exit::Interrupt,
                        _ = terminate.recv() => Exit::Terminate,
                    };
                    if asked.swap(exit.code(), Ordering::Relaxed) != 0 {
                        process::exit(exit.code().into());
                    }
                }
            });
        })?;
        Ok(told)
    }

    /// The exit code of the signal that came.
    pub(super) fn exit(&self) -> Option<process::ExitCode> {
        let code = self.0.load(Ordering::Relaxed);
        (code != 0).then(|| code.into())
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}
