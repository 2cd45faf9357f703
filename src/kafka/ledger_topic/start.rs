//! Where reading a partition of the ledger topic begins. Pure.

/// How far a store has read one partition of the ledger topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LedgerPosition {
    /// The next offset to be read.
    pub offset: i64,
    /// A digest of the record before it; 0 when there is none.
    pub anchor: u64,
}

/// Where to begin, and what is known of the records before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At the position, or at the beginning for a store that has read nothing.
    At(i64),
    /// At the position. What was read has left the log.
    Emptied(i64),
    /// At the position, if the record before it is the one that was read; else at the beginning of the log.
    Compare(LedgerPosition),
    /// At the beginning of the log: records from `from` on were removed before this store read them.
    Removed { from: i64, low: i64 },
    /// At the beginning: the topic is another one than the store has read.
    Another { low: i64 },
}

impl Start {
    /// `low` and `high` are the ends of the log.
    pub(super) fn of(position: Option<LedgerPosition>, low: i64, high: i64) -> Self {
        match position {
            None => Self::At(low),
            Some(position) if position.offset > high => Self::Another { low },
            Some(position) if position.offset < low => Self::Removed { from: position.offset, low },
            Some(position) if position.offset == low && position.anchor != 0 => Self::Emptied(low),
            // Nothing was read, or what was read cannot be compared.
            Some(position) if position.offset == low || position.anchor == 0 => Self::At(position.offset),
            Some(position) => Self::Compare(position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_begins_at_the_position_as_long_as_the_log_is_the_one_that_was_read() {
        let at = |offset| Some(LedgerPosition { offset, anchor: 7 });
        assert_eq!(Start::of(None, 0, 0), Start::At(0), "nothing read, nothing there");
        assert_eq!(Start::of(None, 5, 9), Start::At(5), "nothing read: what is left");
        assert_eq!(Start::of(at(7), 5, 9), Start::Compare(LedgerPosition { offset: 7, anchor: 7 }));
        assert_eq!(Start::of(at(9), 5, 9), Start::Compare(LedgerPosition { offset: 9, anchor: 7 }), "all read");
        assert_eq!(Start::of(at(10), 5, 9), Start::Another { low: 5 }, "beyond the end");
        assert_eq!(Start::of(at(4), 5, 9), Start::Removed { from: 4, low: 5 });
        assert_eq!(Start::of(at(5), 5, 9), Start::Emptied(5), "the record before it is gone");
        assert_eq!(Start::of(at(9), 9, 9), Start::Emptied(9), "everything left after it was read");
        let unread = |offset| Some(LedgerPosition { offset, anchor: 0 });
        assert_eq!(Start::of(unread(0), 0, 9), Start::At(0), "nothing was read yet");
        assert_eq!(Start::of(unread(5), 5, 9), Start::At(5), "nothing was read since reading began again");
        assert_eq!(Start::of(unread(7), 5, 9), Start::At(7), "no record is known");
    }
}
