//! Whether a partition may be read: not before its part of the ledger topic has been.

/// How far a partition that waits has read the ledger topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LedgerProgress {
    /// Records read.
    pub read: i64,
    /// Records to read, once the end of the ledger topic is known.
    pub total: Option<i64>,
    /// Why it does not proceed, when it does not.
    pub problem: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) enum LedgerGate {
    /// It may be read.
    #[default]
    Open,
    /// The ledger topic is being read.
    Waiting(LedgerProgress),
    /// The ledger topic was read; the consumer loop has not resumed the partition yet.
    CaughtUp,
}

impl LedgerGate {
    pub(super) fn waiting() -> Self {
        Self::Waiting(LedgerProgress::default())
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    pub(super) fn progress(&self) -> Option<&LedgerProgress> {
        if let Self::Waiting(progress) = self { Some(progress) } else { None }
    }

    pub(super) fn set_progress(&mut self, progress: LedgerProgress) {
        if let Self::Waiting(current) = self {
            *current = progress;
        }
    }

    pub(super) fn caught_up(&mut self) {
        if matches!(self, Self::Waiting(_)) {
            *self = Self::CaughtUp;
        }
    }

    /// Opens it, if the ledger topic was read; whether it did.
    pub(super) fn open(&mut self) -> bool {
        let opens = matches!(self, Self::CaughtUp);
        if opens {
            *self = Self::Open;
        }
        opens
    }
}
