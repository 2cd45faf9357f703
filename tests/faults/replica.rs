//! One replica: its process, whether it is meant to run, and what an operator does when it ends by itself.

use std::{
    fs,
    path::Path,
    process::ExitStatus,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::kit::Bridge;

/// How long a SIGTERM may take: the drain, and commits to brokers that may be away.
const STOP: Duration = Duration::from_secs(60);
/// The exit code for a ledger that cannot be used.
pub const BAD_LEDGER: i32 = 74;
/// How much of the last line of a log is reported.
const LAST_LINE: usize = 160;

/// An exit code, and how the process ended in words.
type Ended = (Option<i32>, String);
/// How many bits are flipped.
const FLIPS: usize = 64;

/// A replica.
pub struct Replica {
    bridge: Mutex<Bridge>,
    /// Whether its process is meant to run.
    wanted: AtomicBool,
    moved_aside: AtomicUsize,
}

impl Replica {
    /// A replica that does not run yet.
    pub fn new(bridge: Bridge) -> Self {
        Self { bridge: Mutex::new(bridge), wanted: AtomicBool::new(false), moved_aside: AtomicUsize::new(0) }
    }

    /// The bridge.
    pub fn bridge(&self) -> MutexGuard<'_, Bridge> {
        self.bridge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the process.
    pub fn launch(&self) {
        self.bridge().launch();
        self.wanted.store(true, SeqCst);
    }

    /// SIGKILL, and what is done to the data folder before it may be started again.
    pub fn kill(&self, then: impl FnOnce(&Path)) {
        let mut bridge = self.bridge();
        self.wanted.store(false, SeqCst);
        bridge.kill9();
        then(&bridge.data_dir());
    }

    /// SIGTERM. `Err` says how it ended otherwise than with 0 and in time.
    pub fn terminate(&self) -> Result<(), Ended> {
        let mut bridge = self.bridge();
        self.wanted.store(false, SeqCst);
        bridge.sigterm();
        let asked = Instant::now();
        let status = loop {
            match bridge.exit_status() {
                Some(status) => break status,
                None if asked.elapsed() > STOP => {
                    bridge.kill9();
                    return Err((None, format!("it did not end within {STOP:?} of SIGTERM: {}", last_line(&bridge))));
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        if status.success() {
            return Ok(());
        }
        Err((status.code(), format!("SIGTERM: {status}: {}", last_line(&bridge))))
    }

    /// Whether it ended by itself: how. It is started again, as a supervisor would, and its ledger moved aside if that was why.
    pub fn supervise(&self) -> Option<Ended> {
        let Ok(mut bridge) = self.bridge.try_lock() else { return None };
        if !self.wanted.load(SeqCst) {
            return None;
        }
        let status = bridge.exit_status()?;
        let how = format!("{status}: {}", last_line(&bridge));
        self.recover(&bridge, status);
        bridge.launch();
        Some((status.code(), how))
    }

    /// What docs/ledger.md tells an operator to do.
    fn recover(&self, bridge: &Bridge, status: ExitStatus) {
        let data = bridge.data_dir();
        if status.code() == Some(BAD_LEDGER) && data.exists() {
            let number = self.moved_aside.fetch_add(1, SeqCst);
            fs::rename(&data, data.with_extension(format!("{number}.bad")))
                .expect("the data folder can be moved aside");
        }
    }
}

fn last_line(bridge: &Bridge) -> String {
    bridge.log().tail(1).trim().chars().take(LAST_LINE).collect()
}

/// Deletes a data folder, if it is there.
pub fn delete_data(data: &Path) {
    if data.exists() {
        fs::remove_dir_all(data).expect("the data folder can be removed");
    }
}

/// Flips bits of the store's file, drawn from a seed.
pub fn flip_bits(data: &Path, seed: u64) {
    let file = data.join("db");
    let Ok(mut bytes) = fs::read(&file) else { return };
    if bytes.is_empty() {
        return;
    }
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..FLIPS {
        let at = random.random_range(0..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
    }
    fs::write(&file, bytes).expect("the data folder can be written");
}
