//! The spool: events that Kafka did not take in time, one file each, until it does.
//!
//! Owns the folder and everything in it. Its invariants: an event whose [`put`](Spool::put) returned `Ok` is on the disk
//! until it is published, withdrawn or in the quarantine; nothing older is ever deleted for something newer; and an event
//! may be published twice, never zero times. Any number of processes may use one folder, and may be killed or forked at
//! any moment: there is no lock in memory and nothing to repair. It knows neither librdkafka nor the bridge, and connects
//! to nobody.

mod claim;
mod claimer;
mod clock;
mod dir;
mod entry;
mod error;
mod folder;
mod listing;
mod lock;
mod name;
mod pass;
mod permissions;
mod quarantine;
mod settings;
mod stats;
mod store;
mod usage;
mod write;

#[cfg(test)]
mod tests;

pub use claim::{Claim, Claimed};
pub use error::SpoolError;
pub use name::same_destination;
pub(super) use pass::DrainPass;
pub use settings::{ChosenFolder, DEFAULT_MAX_BYTES, FOLDER_VARIABLE, SpoolSettings};
pub use stats::{SpoolStats, Waiting};
pub(super) use store::MAX_TOGETHER;
pub use store::Spool;

/// The folder of this name below the state of the user, or why there is none that can be used.
#[cfg(feature = "consume")]
pub(crate) fn state_folder(
    env: &dyn Fn(&str) -> Option<String>,
    below: &str,
) -> Result<std::path::PathBuf, Vec<String>> {
    let (folder, obstacles) = settings::below_state(env, below, &folder::obstacle);
    folder.ok_or(obstacles)
}
