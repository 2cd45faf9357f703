//! The newest outcomes of this process, for a page.
//!
//! Owns a ring in memory. Invariant: it has the newest outcomes, at most so many and of at most so many bytes; a name that is
//! long, other than an id, is kept as its beginning. A restart forgets them: the ledger and the log are what lasts.

use std::{borrow::Cow, collections::VecDeque};

use super::{
    clock::now_ms,
    outcome::{DeadLetterReason, Outcome},
    outcome_log::{EventNames, excerpt},
};
use crate::{event::Origin, sync::Mutex};

/// The most outcomes.
pub(crate) const MAX_EVENTS: usize = 10_000;
/// The most bytes of them all.
const MAX_BYTES: usize = 4 << 20;

/// A record that has its outcome.
pub(super) struct Ended<'a> {
    pub(super) outcome: Outcome,
    /// `None` for what is no event.
    pub(super) event: Option<EventNames<'a>>,
    pub(super) origin: &'a Origin,
    /// The reason's label, if the whole record is a dead letter.
    pub(super) reason: Option<&'static str>,
}

/// An outcome that is remembered.
#[derive(Debug, Clone)]
pub(crate) struct RecentEvent {
    /// When it had its outcome, in ms since 1970.
    pub at_ms: u64,
    /// What became of it then.
    pub outcome: Outcome,
    /// `None` for what is no event.
    pub names: Option<RecentNames>,
    /// Where its record is.
    pub origin: Origin,
    /// The reason's label, if the whole record is a dead letter.
    pub reason: Option<&'static str>,
}

/// What an event is called; of a long name the beginning. All names are one text: an event that nobody asks for costs one
/// allocation, and none once the ring is full.
#[derive(Debug, Clone)]
pub(crate) struct RecentNames {
    text: String,
    /// Where the type, the workflow and the run begin in it.
    begin: [usize; 3],
}

/// Which outcomes are asked for: those that all of these hold for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecentQuery<'a> {
    /// The workflow's name.
    pub workflow: Option<&'a str>,
    /// The run's name.
    pub run: Option<&'a str>,
    /// What became of it.
    pub outcome: Option<Outcome>,
    /// The most that are listed.
    pub limit: usize,
}

/// What is remembered of them.
#[derive(Debug)]
pub(crate) struct RecentAnswer {
    /// The newest, newest first.
    pub listed: Vec<RecentEvent>,
    /// How many are remembered that were asked for.
    pub matching: usize,
    /// How many are remembered in all.
    pub remembered: usize,
    /// From when on each outcome is remembered, in ms since 1970.
    pub complete_since_ms: u64,
}

/// See the module.
pub(super) struct Recent(Mutex<Ring>);

struct Ring {
    events: VecDeque<RecentEvent>,
    bytes: usize,
    complete_since_ms: u64,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Ring { events: VecDeque::new(), bytes: 0, complete_since_ms: now_ms() }))
    }

    /// Remembers an outcome, and forgets the oldest when there is no room.
    pub(super) fn add(&self, ended: &Ended<'_>) {
        let Ended { outcome, reason, origin, .. } = *ended;
        let origin = origin.clone();
        let mut ring = self.0.lock();
        // Within the lock, so that they are in order.
        let at_ms = now_ms();
        let names = ended.event.as_ref().map(|event| {
            let [kind, workflow, run] =
                [event.event_type.as_str(), event.workflow_id, event.workflow_run_id].map(excerpt);
            // An id is short, and events are looked up by it.
            RecentNames::new(&[Cow::Borrowed(event.id), kind, workflow, run], ring.spare_text())
        });
        ring.push(RecentEvent { at_ms, outcome, names, origin, reason });
    }

    /// Those that are asked for.
    pub(super) fn find(&self, query: &RecentQuery<'_>) -> RecentAnswer {
        let ring = self.0.lock();
        let is = |asked: Option<&str>, name: &str| asked.is_none_or(|asked| *excerpt(asked) == *name);
        let is_asked = |event: &&RecentEvent| {
            let names = event.names.as_ref();
            query.outcome.is_none_or(|outcome| event.outcome == outcome)
                && names.map_or(query.workflow.is_none() && query.run.is_none(), |names| {
                    is(query.workflow, names.workflow_id()) && is(query.run, names.workflow_run_id())
                })
        };
        let mut listed = Vec::new();
        let mut matching = 0;
        for event in ring.events.iter().rev().filter(is_asked) {
            matching += 1;
            if listed.len() < query.limit {
                listed.push(event.clone());
            }
        }
        let (remembered, complete_since_ms) = (ring.events.len(), ring.complete_since_ms);
        RecentAnswer { listed, matching, remembered, complete_since_ms }
    }

    /// How many records were dead letters because their id is that of this event, which came before.
    pub(super) fn conflicts(&self, event_id: &str) -> usize {
        let conflict = DeadLetterReason::IdConflict.as_str();
        let is_one = |event: &&RecentEvent| {
            event.reason == Some(conflict) && event.names.as_ref().is_some_and(|names| names.event_id() == event_id)
        };
        self.0.lock().events.iter().filter(is_one).count()
    }
}

impl RecentNames {
    /// `text` is written over.
    fn new(names: &[Cow<'_, str>; 4], mut text: String) -> Self {
        text.clear();
        let length: usize = names.iter().map(|name| name.len()).sum();
        // Memory is counted by what it takes.
        if text.capacity() > 2 * length {
            text = String::new();
        }
        text.reserve_exact(length);
        let [event_id, names @ ..] = names;
        text.push_str(event_id);
        let begin = names.each_ref().map(|name| {
            let begin = text.len();
            text.push_str(name);
            begin
        });
        Self { text, begin }
    }

    pub(crate) fn event_id(&self) -> &str {
        self.part(0, self.begin[0])
    }

    pub(crate) fn event_type(&self) -> &str {
        self.part(self.begin[0], self.begin[1])
    }

    pub(crate) fn workflow_id(&self) -> &str {
        self.part(self.begin[1], self.begin[2])
    }

    pub(crate) fn workflow_run_id(&self) -> &str {
        self.part(self.begin[2], self.text.len())
    }

    fn part(&self, begin: usize, end: usize) -> &str {
        self.text.get(begin..end).unwrap_or_default()
    }
}

impl Ring {
    /// The text of the oldest, when there is no room for another one.
    fn spare_text(&mut self) -> String {
        if self.events.len() < MAX_EVENTS && self.bytes < MAX_BYTES {
            return String::new();
        }
        self.forget_oldest().and_then(|oldest| oldest.names).map_or_else(String::new, |names| names.text)
    }

    fn forget_oldest(&mut self) -> Option<RecentEvent> {
        let oldest = self.events.pop_front()?;
        self.bytes -= oldest.bytes();
        // Another one of the same millisecond may still be there, or not.
        self.complete_since_ms = self.complete_since_ms.max(oldest.at_ms + 1);
        Some(oldest)
    }

    fn push(&mut self, event: RecentEvent) {
        self.bytes += event.bytes();
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            self.forget_oldest();
        }
    }
}

impl RecentEvent {
    /// Bytes that it takes, about; names of topics are shared.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.names.as_ref().map_or(0, |names| names.text.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Outcome::{DeadLettered, Delivered, Duplicate, Unmatched},
        *,
    };
    use crate::event::EventType;

    fn add(recent: &Recent, run: &str, outcome: Outcome) {
        let event_type = EventType::Completed;
        let event = EventNames { id: "e", event_type: &event_type, workflow_id: "etl", workflow_run_id: run };
        let origin = Origin { topic: "t".into(), partition: 0, offset: 7 };
        recent.add(&Ended { outcome, event: Some(event), origin: &origin, reason: None });
    }

    const ALL: RecentQuery<'_> = RecentQuery { workflow: None, run: None, outcome: None, limit: 10 };

    #[test]
    fn the_newest_that_are_asked_for_are_listed_first_and_all_are_counted() {
        let recent = Recent::new();
        for (run, outcome) in [("a", Delivered), ("b", Delivered), ("a", Duplicate), ("a", Unmatched)] {
            add(&recent, run, outcome);
        }
        let origin = Origin { topic: "t".into(), partition: 0, offset: 9 };
        let reason = Some("not_json");
        recent.add(&Ended { outcome: DeadLettered, event: None, origin: &origin, reason });
        let outcomes = |query: &RecentQuery<'_>| {
            let answer = recent.find(query);
            (answer.listed.iter().map(|event| event.outcome).collect::<Vec<_>>(), answer.matching, answer.remembered)
        };
        assert_eq!(outcomes(&RecentQuery { limit: 2, ..ALL }), (vec![DeadLettered, Unmatched], 5, 5));
        let of_run = RecentQuery { workflow: Some("etl"), run: Some("a"), ..ALL };
        assert_eq!(outcomes(&of_run), (vec![Unmatched, Duplicate, Delivered], 3, 5));
        assert_eq!(outcomes(&RecentQuery { outcome: Some(Delivered), ..of_run }), (vec![Delivered], 1, 5));
        assert_eq!(outcomes(&RecentQuery { workflow: Some("other"), ..ALL }), (vec![], 0, 5));
    }

    #[test]
    fn other_events_with_an_id_are_counted() {
        let recent = Recent::new();
        let event_type = EventType::Completed;
        let origin = Origin { topic: "t".into(), partition: 0, offset: 7 };
        for (id, reason) in
            [("a", Some("id_conflict")), ("a", Some("ledger_record")), ("a", None), ("b", Some("id_conflict"))]
        {
            let event = EventNames { id, event_type: &event_type, workflow_id: "etl", workflow_run_id: "r" };
            recent.add(&Ended { outcome: DeadLettered, event: Some(event), origin: &origin, reason });
        }
        assert_eq!(["a", "b", "c"].map(|id| recent.conflicts(id)), [1, 1, 0]);
    }

    #[test]
    fn what_is_remembered_is_bounded_in_number_and_bytes() {
        let recent = Recent::new();
        let began = recent.find(&ALL).complete_since_ms;
        for n in 0..MAX_EVENTS + 5 {
            add(&recent, &n.to_string(), Delivered);
        }
        let answer = recent.find(&ALL);
        assert_eq!(
            (answer.remembered, answer.listed[0].names.as_ref().map(RecentNames::workflow_run_id)),
            (MAX_EVENTS, Some("10004"))
        );
        assert!(answer.complete_since_ms >= began);
        let long = "é".repeat(500);
        for _ in 0..MAX_EVENTS {
            add(&recent, &long, Delivered);
        }
        let ring = recent.0.lock();
        assert!(ring.bytes <= MAX_BYTES && ring.events.len() > 1_000, "{} bytes, {}", ring.bytes, ring.events.len());
        assert_eq!(ring.bytes, ring.events.iter().map(RecentEvent::bytes).sum::<usize>());
        drop(ring);
        assert_eq!(recent.find(&RecentQuery { run: Some(&long), ..ALL }).listed.len(), 10, "a long name is found");
        for _ in 0..MAX_EVENTS {
            add(&recent, "short", Delivered);
        }
        // The room that long names took is not kept for short ones.
        assert_eq!(recent.find(&RecentQuery { run: Some("short"), ..ALL }).remembered, MAX_EVENTS);
    }

    #[test]
    fn names_keep_their_places_in_one_text() {
        let recent = Recent::new();
        let event_type = EventType::Completed;
        let origin = Origin { topic: "t".into(), partition: 0, offset: 7 };
        let longest = "x".repeat(255);
        for event_id in ["e", "", "é", &longest] {
            let event = EventNames { id: event_id, event_type: &event_type, workflow_id: "", workflow_run_id: "run" };
            recent.add(&Ended { outcome: Delivered, event: Some(event), origin: &origin, reason: None });
            let names = recent.find(&ALL).listed[0].names.clone().unwrap();
            let found = [names.event_id(), names.event_type(), names.workflow_id(), names.workflow_run_id()];
            assert_eq!(found, [event_id, "WORKFLOW_COMPLETED", "", "run"]);
        }
    }
}
