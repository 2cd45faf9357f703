//! The signals: those that stop the bridge, and the one that makes it load the routing folder.

use std::{fs, future, io, io::IsTerminal as _, process, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use tracing::warn;

use super::exit::Exit;

/// Signals that come within this time of the first are the same signal.
pub(crate) const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// Resolves at the first SIGTERM or SIGINT, or at a SIGHUP because the terminal is gone; a second one ends the process at once.
/// Every other SIGHUP is sent to `reloads`; without it, each stops. SIGHUP stays ignored where it is ignored, as under `nohup`.
pub(crate) fn signals(reloads: Option<mpsc::Sender<()>>) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = Hangup::new(reloads)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = hangup.stops() => {}
        }
        tokio::spawn(async move {
            // One that is sent to the process and to its group arrives twice.
            let settled = tokio::time::sleep(SAME_SIGNAL);
            tokio::pin!(settled);
            loop {
                tokio::select! {
                    biased;
                    () = &mut settled => break,
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    () = hangup.stops() => {}
                }
            }
            let exit = tokio::select! {
                _ = terminate.recv() => Exit::Terminate,
                _ = interrupt.recv() => Exit::Interrupt,
                () = hangup.stops() => Exit::Hangup,
            };
            warn!("second signal: ending at once");
            process::exit(exit.code().into());
        });
    })
}

/// SIGHUP, which means one of two things.
struct Hangup {
    /// `None` where it is ignored.
    signal: Option<Signal>,
    reloads: Option<mpsc::Sender<()>>,
    terminals: [bool; 3],
}

impl Hangup {
    fn new(reloads: Option<mpsc::Sender<()>>) -> io::Result<Self> {
        let signal = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { signal, reloads, terminals: terminals() })
    }

    /// Resolves at a SIGHUP that is to stop the bridge.
    async fn stops(&mut self) {
        let Some(signal) = &mut self.signal else { return future::pending().await };
        loop {
            if signal.recv().await.is_none() {
                return future::pending().await;
            }
            // A terminal that was closed is none any more.
            let Some(reloads) = self.reloads.as_ref().filter(|_| terminals() == self.terminals) else { return };
            // When it is full, a reload follows anyway.
            let _ = reloads.try_send(());
        }
    }
}

/// Which of stdin, stdout and stderr are terminals.
fn terminals() -> [bool; 3] {
    [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()]
}

/// Whether the process was started with SIGHUP ignored. Where /proc does not say, it was not.
fn hangup_is_ignored() -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return false };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is signal 1, the lowest bit.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
