//! Where events go under two sets of rules. Pure: it reads no topic.
//!
//! Its invariant: each record is read and matched by the code of the running bridge, once for each set of rules. What it
//! keeps is bounded: a count for each rule and agent, and so many events.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;

use crate::{
    event::{Limits, Poison, Raw, RecordSize},
    routing::{Matched, Routing, Rule},
    yaml::excerpt,
};

/// The most characters that are kept of a name of an event.
const MAX_NAME_CHARS: usize = 200;
/// The most deliveries of an event that are listed; all are counted.
const MAX_DELIVERIES: usize = 20;

/// A delivery: the name of a rule and that of one of its agents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Target {
    pub(super) rule: String,
    pub(super) agent: String,
}

/// How many events go to an agent by a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Count {
    /// Under the rules in use alone.
    pub(super) only_old: u64,
    /// Under the new rules alone.
    pub(super) only_new: u64,
    /// Under both.
    pub(super) both: u64,
}

/// An event that goes elsewhere.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Changed {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) event_id: String,
    pub(super) event_type: String,
    pub(super) workflow_id: String,
    pub(super) workflow_run_id: String,
    /// Deliveries that it has under the rules in use alone.
    pub(super) only_old: Vec<Target>,
    /// Deliveries that it has under the new rules alone.
    pub(super) only_new: Vec<Target>,
    /// How many deliveries are not listed.
    pub(super) not_shown: usize,
}

/// See the module.
pub(super) struct Comparison<'r> {
    old: &'r Routing,
    new: &'r Routing,
    limits: Limits,
    limit: usize,
    counts: BTreeMap<(Arc<str>, Arc<str>), Count>,
    pub(super) events: u64,
    pub(super) poison: u64,
    pub(super) changed: u64,
    /// Events that no rule matches under either.
    pub(super) unmatched: u64,
    listed: Vec<Changed>,
}

type Targets<'m> = BTreeSet<(&'m Arc<str>, &'m Arc<str>)>;

impl<'r> Comparison<'r> {
    /// Lists at most `limit` of the events that go elsewhere.
    pub(super) fn new(old: &'r Routing, new: &'r Routing, limits: Limits, limit: usize) -> Self {
        Self {
            old,
            new,
            limits,
            limit,
            counts: BTreeMap::new(),
            events: 0,
            poison: 0,
            changed: 0,
            unmatched: 0,
            listed: Vec::new(),
        }
    }

    /// Compares a record of this topic, partition and offset.
    pub(super) fn compare(&mut self, place: (&str, i32, i64), size: &RecordSize, raw: &Raw<'_>) {
        // Whether it is an event does not depend on the rules.
        let read = |routing: &Routing| routing.router().read(&self.limits, raw);
        let both = || -> Result<_, Poison> {
            self.limits.check(size)?;
            Ok((read(self.old)?, read(self.new)?))
        };
        let Ok((old, new)) = both() else {
            self.poison += 1;
            return;
        };
        self.events += 1;
        if old.rules().is_empty() && new.rules().is_empty() {
            self.unmatched += 1;
            return;
        }
        let (of_old, of_new) = (targets(old.rules()), targets(new.rules()));
        for target in of_old.union(&of_new) {
            let key = (target.0.clone(), target.1.clone());
            let count = self.counts.entry(key).or_default();
            match (of_old.contains(target), of_new.contains(target)) {
                (true, false) => count.only_old += 1,
                (false, true) => count.only_new += 1,
                _ => count.both += 1,
            }
        }
        if of_old == of_new {
            return;
        }
        self.changed += 1;
        if self.listed.len() < self.limit {
            let listed = changed(place, &old, &of_old, &of_new);
            self.listed.push(listed);
        }
    }

    /// The count of each rule and agent, by name.
    pub(super) fn counts(&self) -> impl Iterator<Item = (Target, Count)> + '_ {
        self.counts
            .iter()
            .map(|((rule, agent), count)| (Target { rule: rule.to_string(), agent: agent.to_string() }, *count))
    }

    /// The events that are listed.
    pub(super) fn into_listed(self) -> Vec<Changed> {
        self.listed
    }
}

fn targets(rules: &[Arc<Rule>]) -> Targets<'_> {
    rules.iter().flat_map(|rule| rule.agents().iter().map(move |agent| (rule.name(), agent))).collect()
}

fn changed(
    (topic, partition, offset): (&str, i32, i64),
    event: &Matched<'_>,
    old: &Targets<'_>,
    new: &Targets<'_>,
) -> Changed {
    let name = |text: &str| excerpt(text, MAX_NAME_CHARS);
    let [event_id, event_type, workflow_id, workflow_run_id] = match event {
        Matched::Projected(event, _) => {
            [event.id(), event.event_type().as_str(), event.workflow_id(), event.workflow_run_id()].map(name)
        }
        Matched::Decoded(event, _) => {
            [event.id(), event.event_type().as_str(), event.workflow_id(), event.workflow_run_id()].map(name)
        }
    };
    let only = |some: &Targets<'_>, others: &Targets<'_>| -> Vec<Target> {
        let target =
            |(rule, agent): &(&Arc<str>, &Arc<str>)| Target { rule: rule.to_string(), agent: agent.to_string() };
        some.difference(others).map(target).collect()
    };
    let (mut only_old, mut only_new) = (only(old, new), only(new, old));
    let all = only_old.len() + only_new.len();
    only_old.truncate(MAX_DELIVERIES);
    only_new.truncate(MAX_DELIVERIES);
    let not_shown = all - only_old.len() - only_new.len();
    let topic = topic.to_owned();
    Changed {
        topic,
        partition,
        offset,
        event_id,
        event_type,
        workflow_id,
        workflow_run_id,
        only_old,
        only_new,
        not_shown,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use serde_json::json;

    use super::*;
    use crate::routing::LoadOptions;

    fn routing(rules: &str) -> Routing {
        let folder = tempfile::tempdir().unwrap();
        let agents = "agents: {a: {http: {url: 'http://127.0.0.1:9/'}}, b: {http: {url: 'http://127.0.0.1:9/'}}}";
        fs::write(folder.path().join("rules.yaml"), format!("{agents}\nrules:\n{rules}")).unwrap();
        let options = LoadOptions { env: Box::new(|_| None), dedup_window: Duration::from_secs(60) };
        Routing::load(folder.path(), &options).unwrap()
    }

    #[test]
    fn each_delivery_is_counted_and_the_first_events_are_listed() {
        let old = routing(
            "  - {name: x, when: {event_type: [E]}, to: [a]}\n  - {name: y, when: {event_type: [E, F]}, to: [a, b]}\n",
        );
        let new = routing("  - {name: y, when: {event_type: [E, G]}, to: [b]}\n");
        let mut comparison = Comparison::new(&old, &new, Limits::default(), 2);
        let mut offset = 0;
        let mut record = |value: &[u8]| {
            comparison.compare(
                ("t", 1, offset),
                &RecordSize { value: value.len(), ..RecordSize::default() },
                &value.into(),
            );
            offset += 1;
        };
        for event_type in ["E", "E", "F", "G", "H"] {
            let event = json!({"event_id": format!("e-{event_type}"), "event_type": event_type, "timestamp": "2026-01-31T12:00:00Z",
                "source": "S", "workflow_id": "w\u{1b}", "workflow_run_id": "r"});
            record(event.to_string().as_bytes());
        }
        record(b"no event");
        record(&vec![b' '; 5 << 20]);
        let numbers = (comparison.events, comparison.changed, comparison.unmatched, comparison.poison);
        assert_eq!(numbers, (5, 4, 1, 2));
        let counts = comparison.counts();
        let counts: Vec<_> = counts
            .map(|(target, count)| {
                (format!("{} {}", target.rule, target.agent), count.only_old, count.only_new, count.both)
            })
            .collect();
        let expected = [("x a", 2, 0, 0), ("y a", 3, 0, 0), ("y b", 1, 1, 2)];
        assert_eq!(counts, expected.map(|(name, old, new, both)| (name.to_owned(), old, new, both)));
        let listed = comparison.into_listed();
        assert_eq!((listed.len(), listed[0].only_old.len(), listed[0].only_new.len()), (2, 2, 0));
        assert_eq!((&*listed[1].event_id, listed[1].offset, &*listed[1].workflow_id), ("e-E", 1, "w\\u{1b}"));
    }
}
