//! Where a partition begins for which the group has committed nothing, when `auto_offset_reset` is `latest`.
//!
//! `latest` is about a new group: it skips what was published before it existed. A partition that was added to the topic
//! since, a topic that was made since, and one that was deleted and created again, hold only newer records, and are read from
//! their start. Pure.

use super::super::anchor::CommitNote;

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Beginning,
    End,
}

/// What is known of the group's commits on one topic.
#[derive(Debug, Default)]
pub(super) struct GroupHistory {
    /// The note of each commit.
    pub(super) notes: Vec<CommitNote>,
    /// How many partitions the topic has now.
    pub(super) partitions: i32,
    /// The topic did not exist when this process began to read.
    pub(super) was_absent: bool,
}

impl GroupHistory {
    /// How many partitions the topic had when the group began to read it: what a commit says or, for a group without a
    /// commit, what it has now. `None` for commits of a version that did not write it.
    pub(super) fn began_with(&self) -> Option<i32> {
        if self.notes.is_empty() {
            return Some(if self.was_absent { 0 } else { self.partitions });
        }
        self.notes.iter().filter_map(|note| note.partitions).min()
    }

    /// Where this partition begins. `had_commit`: this process observed a commit for it, which is gone.
    pub(super) fn start(&self, number: i32, had_commit: bool) -> Start {
        match self.began_with() {
            Some(count) if number < count && !had_commit => Start::End,
            _ => Start::Beginning,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(notes: &[Option<i32>], partitions: i32) -> GroupHistory {
        let notes = notes.iter().map(|partitions| CommitNote { anchor: None, partitions: *partitions }).collect();
        GroupHistory { notes, partitions, was_absent: false }
    }

    #[test]
    fn a_new_group_begins_at_the_end() {
        assert_eq!(group(&[], 2).start(1, false), Start::End);
    }

    #[test]
    fn a_topic_that_was_made_since_is_read_from_its_start_by_every_replica() {
        let absent = GroupHistory { was_absent: true, ..group(&[], 2) };
        assert_eq!(absent.start(0, false), Start::Beginning);
        let note = absent.began_with();
        assert_eq!(group(&[note], 2).start(1, false), Start::Beginning, "another replica, which began later");
    }

    #[test]
    fn replicas_that_start_together_begin_at_the_end_each() {
        assert_eq!(group(&[Some(12)], 12).start(7, false), Start::End, "another replica was faster with partition 0");
    }

    #[test]
    fn a_partition_that_was_added_is_read_from_its_start() {
        assert_eq!(group(&[Some(2), Some(2)], 3).start(2, false), Start::Beginning);
        assert_eq!(group(&[None], 3).start(2, false), Start::Beginning, "the group is not new");
    }

    #[test]
    fn a_topic_that_lost_its_commits_while_we_read_it_is_read_from_its_start() {
        assert_eq!(group(&[], 2).start(1, true), Start::Beginning);
    }
}
