//! The names of the agents, and which line a parked delivery is in.

use std::{collections::BTreeSet, sync::Arc};

/// The line of the deliveries to agents that no routing file names any more: anybody may write such names.
const GONE: &str = "(gone)";

/// The names of the agents that there are.
#[derive(Clone)]
pub(in crate::pipeline) struct AgentNames(Arc<BTreeSet<Arc<str>>>);

impl AgentNames {
    pub(in crate::pipeline) fn new(agents: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self(Arc::new(agents.into_iter().collect()))
    }

    /// The line that a parked delivery to this agent is in.
    pub(in crate::pipeline) fn line<'a>(&self, agent: &'a str) -> &'a str {
        if self.0.contains(agent) { agent } else { GONE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_that_are_gone_share_a_line() {
        let names = AgentNames::new(["audit".into()]);
        assert_eq!(["audit", "gone-1", "gone-2"].map(|agent| names.line(agent)), ["audit", GONE, GONE]);
    }
}
