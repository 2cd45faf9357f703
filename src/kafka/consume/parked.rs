//! How far the parked topics are to be committed.
//!
//! Owns what the broker does not have yet. The loop commits it with the offsets of the source topics: a group may commit
//! offsets of any topic.

use std::collections::BTreeMap;

/// Everything is sent again with every so many commits: nobody reads back what the broker has, and a former owner may
/// have committed late.
const SEND_AGAIN_EVERY: u8 = 15;

/// Offsets by topic and partition.
type Offsets = BTreeMap<(String, i32), i64>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ParkedCommits {
    wanted: Offsets,
    /// Sent; the answer may be open.
    requested: Offsets,
    takes: u8,
    /// Nothing is sent in as many of the next commits.
    pause: u8,
}

/// A commit that failed is sent again after as many others: an entry that the broker refuses for good (the topic was
/// removed) must not be refused each second.
const PAUSE: u8 = 30;

impl ParkedCommits {
    /// Replaces the positions.
    pub(super) fn set(&mut self, wanted: Offsets) {
        // A partition that comes back was in the hands of another member meanwhile.
        self.requested.retain(|partition, _| wanted.contains_key(partition));
        self.wanted = wanted;
    }

    /// What is to be sent now.
    pub(super) fn take(&mut self) -> Offsets {
        if self.pause > 0 {
            self.pause -= 1;
            return Offsets::new();
        }
        self.takes = (self.takes + 1) % SEND_AGAIN_EVERY;
        if self.takes == 0 {
            self.requested.clear();
        }
        let mut new = self.wanted.clone();
        new.retain(|partition, offset| self.requested.get(partition) != Some(offset));
        self.requested.extend(new.clone());
        new
    }

    /// Whether a text of librdkafka is about one of these topics.
    pub(super) fn is_named_in(&self, text: &str) -> bool {
        self.wanted.keys().chain(self.requested.keys()).any(|(topic, _)| text.contains(topic.as_str()))
    }

    /// A commit failed: everything is sent again, later.
    pub(super) fn failed(&mut self) {
        self.requested.clear();
        self.pause = PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(offsets: &[(i32, i64)]) -> Offsets {
        offsets.iter().map(|(partition, offset)| (("parked".to_owned(), *partition), *offset)).collect()
    }

    #[test]
    fn a_position_is_sent_once_and_again_after_a_failure() {
        let mut commits = ParkedCommits::default();
        commits.set(offsets(&[(0, 5), (1, 7)]));
        assert_eq!(commits.take(), offsets(&[(0, 5), (1, 7)]));
        assert_eq!(commits.take(), offsets(&[]));
        commits.set(offsets(&[(0, 4), (1, 8)]));
        assert_eq!(commits.take(), offsets(&[(0, 4), (1, 8)]), "it goes back when the topic was created again");
        assert_eq!(commits.take(), offsets(&[]));
        assert!(commits.is_named_in("failed for 1/2 partition(s): parked[0]@4") && !commits.is_named_in("events[0]@4"));
        commits.failed();
        let sent: Vec<_> = (0..PAUSE).map(|_| commits.take()).filter(|sent| !sent.is_empty()).collect();
        assert_eq!(sent, [] as [Offsets; 0]);
        assert_eq!(commits.take(), offsets(&[(0, 4), (1, 8)]));
        commits.set(offsets(&[]));
        commits.set(offsets(&[(1, 3)]));
        assert_eq!(commits.take(), offsets(&[(1, 3)]), "another member had it");
        let sent = (0..SEND_AGAIN_EVERY).map(|_| commits.take().len()).sum::<usize>();
        assert_eq!(sent, 1, "and once more, in case it was lost");
    }
}
