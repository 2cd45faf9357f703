//! The names of the agents, and which line a parked delivery is in.

use std::{collections::BTreeSet, sync::Arc};

/// The line of the deliveries to agents that no routing file names any more: anybody may write such names.
pub(super) const GONE: &str = "(gone)";

/// The names of the agents that there are.
#[derive(Clone)]
pub(in crate::pipeline) struct AgentNames(Arc<BTreeSet<Arc<str>>>);

impl AgentNames {
    pub(in crate::pipeline) fn new(agents: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self(Arc::new(agents.into_iter().collect()))
    }

    /// With these names too; `None` when they are there already.
    pub(super) fn with(&self, agents: impl IntoIterator<Item = Arc<str>>) -> Option<Self> {
        let mut names = BTreeSet::clone(&self.0);
        names.extend(agents);
        (names.len() > self.0.len()).then(|| Self(Arc::new(names)))
    }

    /// Whether no name was added between the two.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
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

    #[test]
    fn an_agent_that_is_added_has_a_line_of_its_own() {
        let names = AgentNames::new(["audit".into()]);
        assert!(names.with(["audit".into()]).is_none());
        let more = names.with(["back".into()]).unwrap();
        assert_eq!(["audit", "back", "gone"].map(|agent| more.line(agent)), ["audit", "back", GONE]);
        assert!(more.is(&more.clone()) && !more.is(&names));
    }
}
