//! How many parked deliveries may be read back now.
//!
//! Owns the bounds of what was read back and has no end: half of the budget for all agents, a window for each, shared by
//! its partitions. Each agent has at least one delivery: without a probe nobody would notice that it works again, whatever
//! the others have taken. What is being read counts, and so does what was read from a log that is gone.

use std::{collections::BTreeMap, sync::Arc};

/// The most parked deliveries of an agent that is down that are read back at once, unless it has a high concurrency.
const WINDOW: usize = 64;

/// One agent, in all partitions.
#[derive(Debug, Default)]
struct OfAgent {
    taken: usize,
    partitions: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Room {
    max: usize,
    taken: usize,
    agents: BTreeMap<Arc<str>, OfAgent>,
}

impl Room {
    /// For a budget of so many events.
    pub(super) fn new(max_events: usize) -> Self {
        Self { max: (max_events / 2).max(1), taken: 0, agents: BTreeMap::new() }
    }

    /// So many deliveries to an agent of one partition were read back, or are being read. `is_parked` if more of it may be
    /// read.
    pub(super) fn add(&mut self, agent: &Arc<str>, taken: usize, is_parked: bool) {
        self.taken += taken;
        let known = self.agents.entry(Arc::clone(agent)).or_default();
        known.taken += taken;
        known.partitions += usize::from(is_parked);
    }

    /// How many reads there may be at once.
    pub(super) fn reads(&self) -> usize {
        self.agents.values().map(|agent| agent.partitions).sum()
    }

    /// How many deliveries to the agent are to be read from a partition that has taken `own`. `concurrency` is `None` for an
    /// agent that works. With `is_full` there is no memory for more than a probe.
    pub(super) fn of(&self, agent: &str, own: usize, concurrency: Option<usize>, is_full: bool) -> Option<usize> {
        let known = self.agents.get(agent)?;
        // Not all of it for one, although it may be the only one today: it keeps what it has taken when others go down.
        let others = self.agents.values().filter(|agent| agent.partitions > 0).count().max(2);
        let most = (self.max / others).max(1);
        // Of one that works, a few may wait for long, each with those behind it: the others go on.
        let (window, share) = concurrency.map_or((most, most), |concurrency| {
            let window = concurrency.saturating_mul(4).max(WINDOW).min(most);
            (window, (window / known.partitions.max(1)).max(1))
        });
        let left = if is_full { 0 } else { self.max.saturating_sub(self.taken) };
        // Not one by one: each read asks the broker.
        if own > share / 2 || known.taken >= window {
            return None;
        }
        match (share - own).min(window - known.taken).min(left) {
            0 => (known.taken == 0).then_some(1),
            room => Some(room),
        }
    }

    /// A read of so many has begun.
    pub(super) fn take(&mut self, agent: &str, room: usize) {
        self.taken += room;
        if let Some(known) = self.agents.get_mut(agent) {
            known.taken += room;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(max_events: usize, agents: &[(&str, usize)]) -> Room {
        let mut room = Room::new(max_events);
        for (agent, taken) in agents {
            room.add(&Arc::from(*agent), *taken, true);
        }
        room
    }

    #[test]
    fn what_is_being_read_counts_before_it_is_there() {
        let mut room = room(60, &[("a", 0), ("a", 0)]);
        assert_eq!(room.of("a", 0, None, false), Some(15));
        room.take("a", 15);
        assert_eq!(room.of("a", 0, None, false), None);
    }

    #[test]
    fn the_partitions_of_an_agent_that_is_down_share_its_window() {
        let mut room = room(10_000, &[("a", 0), ("a", 0)]);
        assert_eq!(room.of("a", 0, Some(1), false), Some(32));
        assert_eq!(room.of("a", 0, Some(100), false), Some(200));
        room.take("a", 32);
        assert_eq!(room.of("a", 32, Some(1), false), None);
        assert_eq!(room.of("a", 0, Some(1), false), Some(32));
        assert_eq!(room.of("a", 0, None, false), Some(2_468), "of a half for two agents");
    }

    #[test]
    fn agents_that_go_down_one_after_the_other_never_take_more_than_half_of_the_budget_and_a_probe_each() {
        for concurrency in [None, Some(1), Some(1_000)] {
            let mut taken: Vec<(String, usize)> = Vec::new();
            for number in 0..40 {
                taken.push((format!("agent-{number}"), 0));
                for at in 0..taken.len() {
                    let all: Vec<_> = taken.iter().map(|(agent, taken)| (agent.as_str(), *taken)).collect();
                    let (agent, own) = all[at];
                    if let Some(more) = room(60, &all).of(agent, own, concurrency, false) {
                        taken[at].1 += more;
                    }
                }
                let all: usize = taken.iter().map(|(_, taken)| taken).sum();
                assert!(taken.iter().all(|(_, taken)| *taken > 0), "{taken:?}");
                assert!(all <= 30 + number, "{all} with {number} others: {taken:?}");
            }
        }
    }

    #[test]
    fn without_memory_only_probes_are_read() {
        let mut room = room(10_000, &[("a", 0), ("b", 3)]);
        assert_eq!((room.of("a", 0, Some(1), true), room.of("b", 3, Some(1), true)), (Some(1), None));
        room.take("a", 1);
        assert_eq!(room.of("a", 1, Some(1), true), None);
    }
}
