//! What was parked of partitions that were given up.
//!
//! What is parked of a partition is not known before it is scanned, and one that was given up may come back a moment later.

use std::{collections::BTreeSet, sync::Arc};

/// What was parked of partitions that were given up since the last scan.
#[derive(Default)]
pub(super) struct Lost {
    /// One was given up before it was known what is parked of it.
    is_unknown: bool,
    agents: BTreeSet<Arc<str>>,
}

impl Lost {
    /// A partition was given up, with parked deliveries to these agents, or before that was known.
    pub(super) fn add(&mut self, is_unknown: bool, agents: impl Iterator<Item = Arc<str>>) {
        self.is_unknown |= is_unknown;
        self.agents.extend(agents);
    }

    /// Whether something may have been parked for the agent.
    pub(super) fn may_have(&self, agent: &str) -> bool {
        self.is_unknown || self.agents.contains(agent)
    }
}
