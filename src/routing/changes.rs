//! What is different between two loads of the routing folder, by names: a delivery is known by its rule and its agent.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use super::{loaded::Routing, rule::Rule};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Of the rules. One is renamed when another name has its conditions, its templates and its agents.
    pub rules: NameChanges,
    /// Of the agents. One is renamed when another name has its endpoint.
    pub agents: NameChanges,
    /// The rule and the agent of each delivery that no rule asks for any more.
    pub gone: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Those of them whose rule and agent are still there: the rule does not send to the agent any more.
    pub dropped: Vec<(Arc<str>, Arc<str>)>,
}

/// What a rule sends, and the agents that get it.
type Sends = (u64, BTreeSet<Arc<str>>);

/// Which names are others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NameChanges {
    /// From the former name to the present one.
    pub renamed: Vec<(Arc<str>, Arc<str>)>,
    /// Names that are gone.
    pub removed: Vec<Arc<str>>,
    /// Names that are new.
    pub added: Vec<Arc<str>>,
}

impl Changes {
    /// From what was loaded before to what is loaded now.
    pub(crate) fn between(before: &Routing, after: &Routing) -> Self {
        let agents = agents(before, after);
        let rules = rules(before, after, &agents);
        let asks = |rule: &Rule, agent: &str| {
            after.rule(rule.name()).is_some_and(|now| now.agents().iter().any(|name| **name == *agent))
        };
        let pairs = before.rules().flat_map(|rule| rule.agents().iter().map(move |agent| (rule, agent)));
        let gone = pairs.filter(|(rule, agent)| !asks(rule, agent));
        let gone: BTreeSet<_> = gone.map(|(rule, agent)| (Arc::clone(rule.name()), Arc::clone(agent))).collect();
        let is_there =
            |(rule, agent): &&(Arc<str>, Arc<str>)| after.rule(rule).is_some() && after.agents.contains_key(agent);
        let dropped = gone.iter().filter(is_there).cloned().collect();
        Self { rules, agents, gone, dropped }
    }
}

fn agents(before: &Routing, after: &Routing) -> NameChanges {
    let removed: Vec<_> = before.agents().filter(|agent| !after.agents.contains_key(&agent.name)).collect();
    let mut added: Vec<_> = after.agents().filter(|agent| !before.agents.contains_key(&agent.name)).collect();
    let mut changes = NameChanges::default();
    for agent in removed {
        let now = added.iter().position(|added| added.endpoint == agent.endpoint);
        changes.add(&agent.name, now.map(|at| Arc::clone(&added.remove(at).name)));
    }
    changes.added = added.into_iter().map(|agent| Arc::clone(&agent.name)).collect();
    changes
}

fn rules(before: &Routing, after: &Routing, agents: &NameChanges) -> NameChanges {
    let renamed: BTreeMap<&str, &Arc<str>> = agents.renamed.iter().map(|(from, to)| (&**from, to)).collect();
    let removed: Vec<_> = before.rules().filter(|rule| after.rule(rule.name()).is_none()).collect();
    // By what they send and to whom.
    let mut added: HashMap<Sends, VecDeque<&Arc<str>>> = HashMap::new();
    for rule in after.rules().filter(|rule| before.rule(rule.name()).is_none()) {
        let to = rule.agents().iter().map(Arc::clone).collect();
        added.entry((rule.content(), to)).or_default().push_back(rule.name());
    }
    let mut changes = NameChanges::default();
    for rule in removed {
        let now = |agent: &Arc<str>| renamed.get(&**agent).map_or_else(|| Arc::clone(agent), |now| Arc::clone(now));
        let names = added.get_mut(&(rule.content(), rule.agents().iter().map(now).collect()));
        changes.add(rule.name(), names.and_then(VecDeque::pop_front).map(Arc::clone));
    }
    changes.added = added.into_values().flatten().map(Arc::clone).collect();
    changes.added.sort();
    changes
}

impl NameChanges {
    /// A name that is gone, and the one that took its place.
    fn add(&mut self, name: &Arc<str>, now: Option<Arc<str>>) {
        match now {
            Some(now) => self.renamed.push((Arc::clone(name), now)),
            None => self.removed.push(Arc::clone(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::tests::load;

    /// A line for each name that is not what it was.
    fn lines(changes: &NameChanges) -> Vec<String> {
        let renamed = changes.renamed.iter().map(|(from, to)| format!("{from} -> {to}"));
        let removed = changes.removed.iter().map(|name| format!("- {name}"));
        let added = changes.added.iter().map(|name| format!("+ {name}"));
        renamed.chain(removed).chain(added).collect()
    }

    const BEFORE: &str = "
agents:
  audit: {http: {url: 'http://one/'}}
  other: {http: {url: 'http://two/'}}
  former: {http: {url: 'http://three/'}}
rules:
  - {name: a, when: {event_type: [WORKFLOW_COMPLETED]}, to: [audit, other]}
  - {name: b, when: {event_type: [WORKFLOW_FAILED], workflow_id: [x]}, to: [audit]}
  - {name: c, when: {event_type: [WORKFLOW_FAILED]}, to: [former]}
  - {name: same, when: {event_type: [WORKFLOW_TRIGGERED]}, to: [audit, other]}
";

    #[test]
    fn renamed_and_removed_names_are_told_apart() {
        let after = "
agents:
  auditor: {http: {url: 'http://one/'}, concurrency: 2}
  other: {http: {url: 'http://elsewhere/'}}
rules:
  - {name: z, when: {workflow_id: [x], event_type: [WORKFLOW_FAILED]}, to: [auditor]}
  - {name: a, when: {event_type: [WORKFLOW_COMPLETED]}, to: [auditor, other]}
  - {name: same, when: {event_type: [WORKFLOW_TRIGGERED], workflow_id: [y]}, to: [other]}
  - {name: new, when: {event_type: [WORKFLOW_TRIGGERED]}, to: [auditor]}
";
        let changes = Changes::between(&load(BEFORE), &load(after));
        assert_eq!(lines(&changes.agents), ["audit -> auditor", "- former"]);
        assert_eq!(lines(&changes.rules), ["b -> z", "- c", "+ new"]);
        let gone: Vec<_> = changes.gone.iter().map(|(rule, agent)| format!("{rule} {agent}")).collect();
        assert_eq!(gone, ["a audit", "b audit", "c former", "same audit"]);
        assert_eq!(changes.dropped, []);
        let less = BEFORE.replace("[audit, other]}\n  - {name: b", "[audit]}\n  - {name: b");
        let changes = Changes::between(&load(BEFORE), &load(&less));
        assert_eq!(changes.dropped, [("a".into(), "other".into())]);
        assert_eq!((lines(&changes.rules), lines(&changes.agents)), (vec![], vec![]));
    }

    #[test]
    fn a_folder_without_other_names_has_no_changes() {
        let after = BEFORE.replace("http://one/", "http://other/").replace("[x]", "[x, y]");
        assert_eq!(Changes::between(&load(BEFORE), &load(&after)), Changes::default());
    }
}
