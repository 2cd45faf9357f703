//! The signals that stop the bridge, and the exit codes of those who cannot wait.

use std::{fs, future, io, process, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

/// Signals that come within this time of the first are the same signal.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// Resolves at the first SIGTERM, SIGINT or SIGHUP; a second one ends the process at once. SIGHUP is left alone where it
/// is ignored, as under `nohup`.
pub fn signals() -> io::Result<impl Future<Output = ()>> {
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
            // Whoever signals the process and its group means one signal.
            let calm = tokio::time::sleep(SAME_SIGNAL);
            tokio::pin!(calm);
            loop {
                tokio::select! {
                    biased;
                    () = &mut calm => break,
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    () = received(&mut hangup) => {}
                }
            }
            let code = tokio::select! {
                _ = terminate.recv() => 143,
                _ = interrupt.recv() => 130,
                () = received(&mut hangup) => 129,
            };
            warn!("second signal: ending at once");
            process::exit(code);
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
