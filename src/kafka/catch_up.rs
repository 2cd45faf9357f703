//! Up to which moment one partition has been read.
//!
//! Owns the last requested end of the partition that is not reached yet. Its invariant: every record that was appended
//! before [`CatchUp::through`] has been received, or lies below the offset at which the assignment began. Pure: no
//! Kafka, no clock; times are ms since 1970.

/// See the module.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// An end of the partition, and when it was requested. It stays until it is reached, so that a reader that is always
    /// a little behind makes progress too.
    target: Option<(i64, u64)>,
    through: Option<u64>,
}

impl CatchUp {
    /// Updates the watermarks, which were requested at `asked_ms`; `position` is the next offset to be read, once it is
    /// known.
    pub(super) fn update(&mut self, position: Option<i64>, low: i64, high: i64, asked_ms: u64) {
        self.through = self.through(position);
        // A truncated log, or a topic that was created again, never reaches its old end.
        if self.target.is_none_or(|(end, _)| high < end || position.is_some_and(|at| at >= end)) {
            self.target = Some((high, asked_ms));
        }
        // An empty partition counts as read.
        if low >= high {
            self.through = self.through.max(Some(asked_ms));
            self.target = None;
        }
    }

    /// The moment up to which the partition has been read; `None` before it was read to an end.
    pub(super) fn through(&self, position: Option<i64>) -> Option<u64> {
        let reached = self.target.filter(|(end, _)| position.is_some_and(|at| at >= *end));
        reached.map(|(_, asked)| asked).max(self.through)
    }

    /// The partition is read again from a lower offset: forget what was reached.
    pub(super) fn rewound(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_read_up_to_the_update_whose_end_was_reached() {
        let mut catch_up = CatchUp::default();
        assert_eq!(catch_up.through(Some(5)), None, "no update yet");
        catch_up.update(Some(5), 0, 10, 1_000);
        assert_eq!(catch_up.through(Some(9)), None);
        assert_eq!(catch_up.through(Some(10)), Some(1_000));
        catch_up.update(Some(12), 0, 20, 2_000);
        assert_eq!(catch_up.through(Some(19)), Some(1_000));
        assert_eq!(catch_up.through(Some(20)), Some(2_000));
    }

    #[test]
    fn an_empty_partition_is_read_whether_its_position_is_known_or_not() {
        for position in [None, Some(7)] {
            let mut catch_up = CatchUp::default();
            catch_up.update(position, 7, 7, 1_000);
            assert_eq!(catch_up.through(position), Some(1_000));
            catch_up.update(position, 7, 9, 2_000);
            assert_eq!(catch_up.through(position), Some(1_000), "two records are unread");
            assert_eq!(catch_up.through(Some(9)), Some(2_000));
        }
    }

    #[test]
    fn a_reader_that_is_always_behind_is_read_up_to_earlier_updates() {
        let mut catch_up = CatchUp::default();
        let mut through = None;
        for update in 1..100_u32 {
            // At each update the position is 15 records behind, and 10 records come between two updates.
            let (high, asked) = (i64::from(update) * 10, u64::from(update) * 1_000);
            catch_up.update(Some(high - 15), 0, high, asked);
            through = catch_up.through(Some(high - 15));
        }
        assert!(through.is_some_and(|through| through >= 95_000), "{through:?}");
    }

    #[test]
    fn an_end_that_the_log_no_longer_has_is_not_waited_for() {
        let mut catch_up = CatchUp::default();
        catch_up.update(Some(500), 0, 1_000, 1_000);
        catch_up.update(Some(500), 0, 600, 2_000);
        assert_eq!(catch_up.through(Some(600)), Some(2_000));
    }

    #[test]
    fn a_rewound_partition_is_unread() {
        let mut catch_up = CatchUp::default();
        catch_up.update(Some(10), 0, 10, 1_000);
        catch_up.rewound();
        assert_eq!(catch_up.through(Some(10)), None);
    }
}
