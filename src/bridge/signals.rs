//! The signals that stop the bridge.

use std::{fs, future, io, process, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use super::exit::Exit;

/// Signals that come within this time of the first are the same signal.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// Resolves at the first SIGTERM, SIGINT or SIGHUP; a second one ends the process at once. SIGHUP stays ignored where it
/// is ignored, as under `nohup`.
pub(crate) fn signals() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = received(&mut hangup) => {}
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
                    () = received(&mut hangup) => {}
                }
            }
            let exit = tokio::select! {
                _ = terminate.recv() => Exit::Terminate,
                _ = interrupt.recv() => Exit::Interrupt,
                () = received(&mut hangup) => Exit::Hangup,
            };
            warn!("second signal: ending at once");
            process::exit(exit.code().into());
        });
    })
}

async fn received(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => future::pending().await,
    }
}

/// Whether the process was started with SIGHUP ignored. Where /proc does not say, it was not.
fn hangup_is_ignored() -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return false };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is signal 1, the lowest bit.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
