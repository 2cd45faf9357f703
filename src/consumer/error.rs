//! Why a consumer does not do what it was asked for.

/// Why a consumer cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// Its process was forked.
    #[error("this consumer belongs to the process that made it: make another one in a forked child")]
    Forked,
    /// It was started before.
    #[error("this consumer was started or stopped before: make another one")]
    Used,
    /// The folder of its ledger cannot be made.
    #[error(
        "the folder {folder} for the consumer's data cannot be used: {reason}: set data_dir to a folder of this user"
    )]
    Data {
        /// The folder.
        folder: String,
        /// What the system says.
        reason: String,
    },
    /// Threads or descriptors cannot be had.
    #[error("the consumer cannot be started: {0}: raise the limits on threads and open files")]
    System(String),
}
