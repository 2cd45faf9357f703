//! Which events of a topic are asked for. Pure: it reads no topic, and what it keeps is bounded.

use std::{collections::HashMap, fmt};

use serde_json::{Value, json};

use crate::{
    event::{Event, Limits, Raw, digest},
    kafka::Scanned,
    routing::Routing,
    yaml::excerpt,
};

/// The most events that are kept.
pub(super) const MAX_EVENTS: usize = 1_000;
/// The most records that are no events which are kept.
const MAX_POISON: usize = 20;
/// The most characters of a name.
const MAX_CHARS: usize = 255;
/// The most rules of an event that are named.
const MAX_RULES: usize = 50;

/// For how many events that no rule matches the nearest rule is looked for: each tries all rules.
const MAX_EXPLAINED: usize = 20;
/// The most conditions of the nearest rule.
const MAX_CONDITIONS: usize = 5;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// The event with this id.
    Event(String),
    /// The events of this run of this workflow.
    Run { workflow: String, run: String },
}

impl Wanted {
    /// The key that its records have when the publish client, or a client with its partitioner, wrote them.
    pub(super) fn key(&self) -> Option<String> {
        match self {
            Self::Event(_) => None,
            Self::Run { workflow, run } => Some(format!("{workflow}/{run}")),
        }
    }

    fn is(&self, event: &Event) -> bool {
        match self {
            Self::Event(id) => event.id() == id,
            Self::Run { workflow, run } => event.workflow_id() == workflow && event.workflow_run_id() == run,
        }
    }

    /// Whether a record that is no event may be one of them, or was meant to be.
    fn may_be(&self, record: &Scanned<'_>) -> bool {
        let (at, wanted) = match self {
            Self::Event(id) => {
                let header = record.headers.iter().find(|(name, _)| *name == "event_id");
                (header.and_then(|(_, value)| value), id.clone())
            }
            Self::Run { .. } => (record.key, self.key().unwrap_or_default()),
        };
        at == Some(wanted.as_bytes())
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| excerpt(text, MAX_CHARS);
        match self {
            Self::Event(id) => write!(f, "event {}", shown(id)),
            Self::Run { workflow, run } => write!(f, "workflow {}, run {}", shown(workflow), shown(run)),
        }
    }
}

/// Where a record is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

impl Place {
    pub(super) fn of(record: &Scanned<'_>) -> Self {
        Self { topic: record.topic.to_owned(), partition: record.partition, offset: record.offset }
    }

    pub(super) fn json(&self) -> Value {
        json!({"topic": self.topic, "partition": self.partition, "offset": self.offset})
    }
}

/// An event that is asked for.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) event_id: String,
    pub(super) event_type: String,
    pub(super) workflow_id: String,
    pub(super) workflow_run_id: String,
    /// Tells it from another event with its id.
    pub(super) digest: u64,
    /// Its first record.
    pub(super) place: Place,
    pub(super) published_ms: Option<i64>,
    /// Further records of it.
    pub(super) copies: u64,
    /// The rules that match it today; `None` when the rules are not known.
    pub(super) rules: Option<Vec<String>>,
    /// The rule that misses it by the fewest conditions, and those.
    pub(super) nearest: Option<Value>,
}

/// A record that is no event.
#[derive(Debug)]
pub(super) struct PoisonRecord {
    pub(super) place: Place,
    /// The reason of its dead letter.
    pub(super) reason: &'static str,
    pub(super) error: String,
}

/// See the module.
pub(super) struct Finder<'r> {
    wanted: &'r Wanted,
    limits: Limits,
    routing: Option<&'r Routing>,
    events: Vec<Found>,
    /// Where each stands in `events`.
    known: HashMap<(String, u64), usize>,
    /// Records of events that found no room.
    pub(super) left_out: u64,
    /// Records that are no events and found no room.
    pub(super) poison_left_out: u64,
    /// For how many events the nearest rule was looked for.
    explained: usize,
    pub(super) poison: Vec<PoisonRecord>,
}

impl<'r> Finder<'r> {
    pub(super) fn new(wanted: &'r Wanted, limits: Limits, routing: Option<&'r Routing>) -> Self {
        let (events, known, poison) = (Vec::new(), HashMap::new(), Vec::new());
        Self { wanted, limits, routing, events, known, left_out: 0, poison_left_out: 0, explained: 0, poison }
    }

    /// Looks at a record.
    pub(super) fn take(&mut self, record: &Scanned<'_>) {
        let headers: Vec<_> = record.headers.iter().collect();
        let raw = Raw { key: record.key, value: record.value, headers: &headers, timestamp_ms: record.timestamp_ms };
        match self.limits.check(&record.size()).and_then(|()| self.limits.decode(raw)) {
            Ok(event) if self.wanted.is(&event) => self.keep(&event, record),
            Err(_) if !self.wanted.may_be(record) => {}
            Err(_) if self.poison.len() >= MAX_POISON => self.poison_left_out += 1,
            Err(poison) => {
                let error = excerpt(&poison.to_string(), MAX_CHARS);
                self.poison.push(PoisonRecord { place: Place::of(record), reason: poison.kind(), error });
            }
            Ok(_) => {}
        }
    }

    fn keep(&mut self, event: &Event, record: &Scanned<'_>) {
        let key = (event.id().to_owned(), digest(event));
        if let Some(found) = self.known.get(&key).and_then(|at| self.events.get_mut(*at)) {
            found.copies += 1;
            return;
        }
        if self.events.len() >= MAX_EVENTS {
            self.left_out += 1;
            return;
        }
        let shown = |text: &str| excerpt(text, MAX_CHARS);
        let names = |routing: &Routing| {
            let rules = routing.router().matches(event.document());
            rules.iter().take(MAX_RULES).map(|rule| rule.name().to_string()).collect()
        };
        let rules: Option<Vec<String>> = self.routing.map(names);
        let is_unmatched = rules.as_ref().is_some_and(Vec::is_empty) && self.explained < MAX_EXPLAINED;
        self.explained += usize::from(is_unmatched);
        let nearest = self.routing.filter(|_| is_unmatched).and_then(|routing| nearest(routing, event));
        self.events.push(Found {
            event_id: key.0.clone(),
            event_type: shown(event.event_type().as_str()),
            workflow_id: shown(event.workflow_id()),
            workflow_run_id: shown(event.workflow_run_id()),
            digest: key.1,
            place: Place::of(record),
            published_ms: record.timestamp_ms,
            copies: 0,
            rules,
            nearest,
        });
        self.known.insert(key, self.events.len() - 1);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.poison.is_empty()
    }

    /// The events, in the order in which they were published.
    pub(super) fn into_events(mut self) -> (Vec<Found>, Vec<PoisonRecord>) {
        self.events.sort_by(|a, b| (a.published_ms, &a.place).cmp(&(b.published_ms, &b.place)));
        (self.events, self.poison)
    }
}

/// The rule that misses the event by the fewest conditions.
fn nearest(routing: &Routing, event: &Event) -> Option<Value> {
    let explanation = routing.explain(event, |_| true, 1);
    let rule = explanation.rules.first()?;
    let conditions = &rule.explanation.conditions;
    let missed = conditions.iter().filter(|condition| !condition.holds).take(MAX_CONDITIONS);
    let missed = missed.map(|condition| {
        json!({"path": condition.path, "expected": condition.expected, "found": condition.found.to_string()})
    });
    Some(json!({
        "rule": rule.rule,
        "missed": rule.explanation.missed(),
        "conditions": conditions.len(),
        "first_missed": missed.collect::<Vec<_>>(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kafka::Headers, routing::LoadOptions};

    fn take(finder: &mut Finder<'_>, offset: i64, key: &str, value: &str) {
        finder.take(&Scanned {
            topic: "t",
            partition: 0,
            offset,
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: Headers::default(),
            timestamp_ms: Some(1_000 - offset),
        });
    }

    fn event(id: &str, run: &str) -> String {
        json!({"event_id": id, "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T12:00:00Z", "source": "AIRFLOW",
            "workflow_id": "etl", "workflow_run_id": run, "payload": {}})
        .to_string()
    }

    #[test]
    fn the_events_of_a_run_are_found_whatever_their_key_is_and_repeats_are_counted() {
        let wanted = Wanted::Run { workflow: "etl".into(), run: "r".into() };
        let mut finder = Finder::new(&wanted, Limits::default(), None);
        let others = event("e-3", "other");
        for (offset, (key, value)) in (0..).zip([
            ("etl/r", &*event("e-1", "r")),
            ("another key", &event("e-2", "r")),
            ("etl/r", &event("e-1", "r")),
            ("etl/other", &others),
            ("etl/r", "no event"),
            ("etl/other", "no event"),
        ]) {
            take(&mut finder, offset, key, value);
        }
        assert_eq!((finder.left_out, finder.is_empty()), (0, false));
        let (events, poison) = finder.into_events();
        let ids: Vec<_> = events.iter().map(|found| (&*found.event_id, found.place.offset, found.copies)).collect();
        assert_eq!(ids, [("e-2", 1, 0), ("e-1", 0, 1)], "by the time of the record");
        assert_eq!(
            poison.iter().map(|record| (record.place.offset, record.reason)).collect::<Vec<_>>(),
            [(4, "not_json")]
        );
    }

    #[test]
    fn an_event_that_no_rule_matches_has_the_nearest_rule_and_what_that_misses() {
        let rules = "agents: {a: {http: {url: 'http://h/'}}}\nrules:\n\
            - {name: far, when: {workflow_id: [x], event_type: [WORKFLOW_FAILED]}, to: [a]}\n\
            - {name: near, when: {workflow_id: [etl], event_type: [WORKFLOW_FAILED]}, to: [a]}\n";
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
        let options = LoadOptions { env: Box::new(|_| None), dedup_window: std::time::Duration::from_secs(60) };
        let routing = Routing::load(folder.path(), &options).unwrap();
        let wanted = Wanted::Event("e-1".into());
        let mut finder = Finder::new(&wanted, Limits::default(), Some(&routing));
        take(&mut finder, 0, "", &event("e-1", "r"));
        let (events, _) = finder.into_events();
        let expected = json!({"rule": "near", "missed": 1, "conditions": 2, "first_missed": [
            {"path": "event_type", "expected": "[\"WORKFLOW_FAILED\"]", "found": "\"WORKFLOW_COMPLETED\""},
        ]});
        assert_eq!(events[0].nearest, Some(expected));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let wanted = Wanted::Run { workflow: "etl".into(), run: "r".into() };
        let mut finder = Finder::new(&wanted, Limits::default(), None);
        for offset in 0..i64::try_from(MAX_EVENTS).unwrap() + 5 {
            take(&mut finder, offset, "", &event(&format!("e-{offset}"), "r"));
            take(&mut finder, offset, "etl/r", "no event");
        }
        assert_eq!((finder.events.len(), finder.left_out, finder.poison.len()), (MAX_EVENTS, 5, MAX_POISON));
        assert_eq!(finder.poison_left_out, u64::try_from(MAX_EVENTS + 5 - MAX_POISON).unwrap());
    }
}
