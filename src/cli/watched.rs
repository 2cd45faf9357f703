//! How far a command is, on stderr, once it takes more than 2 s; and what it has done so far when SIGINT or SIGTERM ends it.

use std::{process, sync::mpsc, thread, time::Duration};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::output;
use crate::bridge::Exit;

const FIRST: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_secs(5);

/// Until it is dropped, somebody watches.
pub(super) struct Watched {
    stop: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<()>,
}

/// Watches a command. `so_far` says in a few words what is done; a signal prints it too, and ends the process.
pub(super) fn watched(so_far: impl Fn() -> String + Send + 'static) -> Watched {
    let (stop, stopped) = oneshot::channel();
    let (end, ended) = mpsc::channel();
    // Without the thread nothing is shown, and a signal ends the process as it always does.
    let _ = thread::Builder::new().name("progress".into()).spawn(move || {
        if let Ok(runtime) = Builder::new_current_thread().enable_all().build() {
            runtime.block_on(watch(&so_far, stopped));
        }
        drop(end);
    });
    Watched { stop: Some(stop), ended }
}

impl Drop for Watched {
    /// Waits for the thread, so that no line of it follows the result.
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.ended.recv_timeout(FIRST);
    }
}

async fn watch(so_far: &impl Fn() -> String, mut stopped: oneshot::Receiver<()>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let mut ticks = interval_at(Instant::now() + FIRST, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let exit = tokio::select! {
            biased;
            _ = &mut stopped => return,
            _ = interrupt.recv() => Exit::Interrupt,
            _ = terminate.recv() => Exit::Terminate,
            _ = ticks.tick() => {
                output::note(format_args!("{} ...", so_far()));
                continue;
            }
        };
        output::note(format_args!("interrupted: {}", so_far()));
        process::exit(exit.code().into());
    }
}
