//! Whether the group has other members, which a bridge without a ledger topic has to be warned of.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

use super::state::ConsumerState;

const TIMEOUT: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// The last look found partitions that are not assigned here.
    seen: bool,
    warned: bool,
}

impl Sharing {
    /// Warns once when others read partitions of the topics, as long as they do. Blocks.
    pub(super) fn check<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>, state: &ConsumerState) {
        if state.ledger.get().is_some() || state.is_closing() {
            return;
        }
        let assigned = state.partitions().len();
        let Some(all) = partitions(consumer, state) else { return };
        if self.observe(assigned, all) {
            tracing::warn!(
                group = state.group,
                assigned,
                partitions = all,
                advice = "set dedup.ledger_topic: on, which is the default, or run one replica",
                "another member of the group reads some partitions, and the ledger topic is off: after a partition has moved, \
                 its new owner does not know what the former one delivered"
            );
        }
    }

    /// Whether to warn now. Partitions that were added a moment ago are nobody's yet, so they are looked at twice.
    fn observe(&mut self, assigned: usize, all: usize) -> bool {
        let shared = assigned > 0 && assigned < all;
        let seen = std::mem::replace(&mut self.seen, shared);
        if !shared {
            self.warned = false;
        }
        shared && seen && !std::mem::replace(&mut self.warned, true)
    }
}

/// How many partitions the topics have; `None` when that is not answered.
fn partitions<C: ConsumerContext>(consumer: &BaseConsumer<C>, state: &ConsumerState) -> Option<usize> {
    let mut all = 0;
    for topic in &state.topics {
        let found = consumer.fetch_metadata(Some(topic), TIMEOUT).ok()?;
        all += found.topics().iter().map(|topic| topic.partitions().len()).sum::<usize>();
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_with_other_members_is_warned_of_once_until_it_has_none() {
        let mut sharing = Sharing::default();
        let mut looks = vec![];
        for (assigned, all) in [(0, 4), (4, 4), (4, 6), (6, 6), (2, 6), (2, 6), (3, 6), (6, 6), (2, 6), (2, 6)] {
            looks.push(sharing.observe(assigned, all));
        }
        assert_eq!(looks, [false, false, false, false, false, true, false, false, false, true]);
    }
}
