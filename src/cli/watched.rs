//! How far a command is, on stderr, once it takes more than 2 s; and what it has done so far when SIGINT or SIGTERM ends it.

use std::{process, sync::mpsc, thread, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{
    interrupt::{Signals, Waiting},
    output,
};

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
    // Before the work begins: a signal then must not be one that nobody waits for. Without them, or the thread, nothing is
    // shown, and a signal ends the process as it always does.
    if let Ok(signals) = Signals::register() {
        let _ = thread::Builder::new().name("progress".into()).spawn(move || {
            signals.run(async |signals| watch(&so_far, signals, stopped).await);
            drop(end);
        });
    }
    Watched { stop: Some(stop), ended }
}

impl Drop for Watched {
    /// Waits for the thread, so that no line of it follows the result.
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.ended.recv_timeout(FIRST);
    }
}

async fn watch(so_far: &impl Fn() -> String, signals: &mut Waiting, mut stopped: oneshot::Receiver<()>) {
    let mut ticks = interval_at(Instant::now() + FIRST, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let exit = tokio::select! {
            biased;
            _ = &mut stopped => return,
            exit = signals.next() => exit,
            _ = ticks.tick() => {
                output::note(format_args!("{} ...", so_far()));
                continue;
            }
        };
        output::note(format_args!("interrupted: {}", so_far()));
        process::exit(exit.code().into());
    }
}
