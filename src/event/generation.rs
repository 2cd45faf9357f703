//! Which time a delivery is made: the ledger, the headers and the ids that are derived from it mean the same by it.
//!
//! Invariant: generations are in the order in which they may follow each other. What is sent again on purpose comes after
//! everything before it, and a redrive after what it redrives.

use std::fmt;

/// How often a delivery was asked for again: 0 and 0 as its event was published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    /// The number that somebody gave it when he had it sent again, whatever had become of it.
    pub again: u16,
    /// How often it was redriven since.
    pub number: u32,
}

impl Generation {
    /// As its event was published.
    pub const FIRST: Self = Self { again: 0, number: 0 };

    /// What a redrive of its dead letter asks for; `None` when there is no greater number.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Some(Self { number: self.number.checked_add(1)?, ..self })
    }

    /// The one whose dead letter a redrive redrives. What was not redriven is its own.
    #[must_use]
    pub fn before(self) -> Self {
        Self { number: self.number.saturating_sub(1), ..self }
    }
}

/// A redrive of what was never sent again.
impl From<u32> for Generation {
    fn from(number: u32) -> Self {
        Self { number, ..Self::FIRST }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.again {
            0 => self.number.fmt(f),
            again => write!(f, "{} (sent again: {again})", self.number),
        }
    }
}
