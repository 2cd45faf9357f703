//! Which deliveries of which events are asked for. Pure: it reads no topic and publishes nothing.
//!
//! Its invariant: a delivery is chosen at most once, whatever the topic repeats, and not when it was asked for under a greater
//! number. What it keeps is bounded: 18 bytes and a slot for each delivery that was asked for, and no more of them than
//! `MAX_KNOWN`; what finds no room is asked for again, and the ledger recognises it.

use std::{collections::HashMap, sync::Arc};

use crate::{
    event::{DeliveryId, Generation, Limits, Raw, RedriveRequest, recorded_ms},
    kafka::Scanned,
    routing::{Matched, Routing, Rule},
};

/// The most deliveries that are known as asked for.
const MAX_KNOWN: usize = 1_000_000;

/// What is to be delivered.
pub(super) struct Selection<'r> {
    /// The rules in use.
    pub(super) routing: &'r Routing,
    /// Rules of before: what they deliver too is left out.
    pub(super) against: Option<&'r Routing>,
    /// Only these rules; all when it is empty.
    pub(super) rules: &'r [String],
    /// Only these agents; all when it is empty.
    pub(super) agents: &'r [String],
    /// Only records of before, ms since 1970.
    pub(super) until_ms: Option<i64>,
    /// Records of before may be forgotten by the ledger, ms since 1970.
    pub(super) remembered_since_ms: i64,
    /// Also those.
    pub(super) is_forced: bool,
    /// What the deliveries are asked for in.
    pub(super) generation: Generation,
    pub(super) limits: Limits,
}

/// A delivery that is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) event_id: String,
    pub(super) rule: Arc<str>,
    pub(super) agent: Arc<str>,
    /// When its event was published first, ms since 1970.
    pub(super) published_ms: Option<i64>,
}

/// What was seen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) events: u64,
    /// Records that are no events.
    pub(super) poison: u64,
    /// Deliveries of events that the ledger may have forgotten.
    pub(super) too_old: u64,
    /// Deliveries that were asked for before.
    pub(super) before: u64,
    /// Deliveries that were asked for under a greater number: where that was made, ours would be a duplicate.
    pub(super) overtaken: u64,
    /// The greatest of those numbers.
    pub(super) greatest: u16,
}

/// Deliveries that were asked for, each with the greatest number that was.
#[derive(Default, Clone)]
pub(super) struct AskedFor(HashMap<DeliveryId, u16>);

impl AskedFor {
    /// Takes note of a delivery. The greatest number under which it was asked for before.
    fn add(&mut self, (rule, agent): (&str, &str), event_id: &str, again: u16) -> Option<u16> {
        // Whatever its generation is: the number is kept beside it.
        let id = DeliveryId::new(rule, agent, event_id, Generation::FIRST);
        let is_full = self.0.len() >= MAX_KNOWN;
        match self.0.get_mut(&id) {
            Some(known) => {
                let before = *known;
                *known = before.max(again);
                Some(before)
            }
            None if is_full => None,
            None => {
                self.0.insert(id, again);
                None
            }
        }
    }
}

impl Selection<'_> {
    /// Takes note of a record that asks for a delivery. Whether it is one that asks.
    pub(super) fn note(&self, record: &Scanned<'_>, asked: &mut AskedFor) -> bool {
        let headers: Vec<_> = record.headers.iter().collect();
        let Some(request) = RedriveRequest::read(headers.iter().copied()) else { return false };
        if let Ok(request) = request
            && (request.generation == self.generation || request.generation.again > self.generation.again)
            && let Some(event) = self.read(record, &headers, self.routing)
        {
            asked.add((&request.rule, &request.agent), id(&event), request.generation.again);
        }
        true
    }

    /// The deliveries of a record that are chosen.
    pub(super) fn choose(&self, record: &Scanned<'_>, asked: &mut AskedFor, seen: &mut Seen) -> Vec<Chosen> {
        let headers: Vec<_> = record.headers.iter().collect();
        let is_late = self.until_ms.is_some_and(|until| record.timestamp_ms.is_none_or(|at| at >= until));
        if is_late || RedriveRequest::read(headers.iter().copied()).is_some() {
            return Vec::new();
        }
        let Some(event) = self.read(record, &headers, self.routing) else {
            seen.poison += 1;
            return Vec::new();
        };
        seen.events += 1;
        let mut chosen = self.asked_of(event.rules());
        if chosen.is_empty() {
            return Vec::new();
        }
        if let Some(before) = self.against.and_then(|against| self.read(record, &headers, against)) {
            let of_before = deliveries(before.rules());
            chosen.retain(|delivery| !of_before.contains(delivery));
        }
        let published_ms = recorded_ms(headers.iter().copied(), record.timestamp_ms);
        if !self.is_forced && published_ms.is_none_or(|at| at < self.remembered_since_ms) {
            seen.too_old += chosen.len() as u64;
            return Vec::new();
        }
        let mut new = Vec::with_capacity(chosen.len());
        for (rule, agent) in chosen {
            match asked.add((&rule, &agent), id(&event), self.generation.again) {
                None => new.push(Chosen { event_id: id(&event).to_owned(), rule, agent, published_ms }),
                Some(greater) if greater > self.generation.again => {
                    seen.overtaken += 1;
                    seen.greatest = seen.greatest.max(greater);
                }
                Some(_) => seen.before += 1,
            }
        }
        new
    }

    fn read<'r>(
        &self,
        record: &Scanned<'r>,
        headers: &'r [(&'r str, Option<&'r [u8]>)],
        routing: &Routing,
    ) -> Option<Matched<'r>> {
        self.limits.check(&record.size()).ok()?;
        let raw = Raw { key: record.key, value: record.value, headers, timestamp_ms: record.timestamp_ms };
        routing.router().read(&self.limits, &raw).ok()
    }

    fn asked_of(&self, rules: &[Arc<Rule>]) -> Vec<(Arc<str>, Arc<str>)> {
        let is_one = |names: &[String], name: &str| names.is_empty() || names.iter().any(|one| one == name);
        let mut asked = deliveries(rules);
        asked.retain(|(rule, agent)| is_one(self.rules, rule) && is_one(self.agents, agent));
        asked
    }
}

fn deliveries(rules: &[Arc<Rule>]) -> Vec<(Arc<str>, Arc<str>)> {
    rules
        .iter()
        .flat_map(|rule| rule.agents().iter().map(|agent| (Arc::clone(rule.name()), Arc::clone(agent))))
        .collect()
}

fn id<'a>(event: &'a Matched<'_>) -> &'a str {
    match event {
        Matched::Projected(event, _) => event.id(),
        Matched::Decoded(event, _) => event.id(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_number_under_which_a_delivery_was_asked_for_is_kept() {
        let mut asked = AskedFor::default();
        let delivery = ("rule", "agent");
        for (again, before) in [(1, None), (3, Some(1)), (2, Some(3)), (0, Some(3)), (3, Some(3)), (4, Some(3))] {
            assert_eq!(asked.add(delivery, "e", again), before, "{again}");
        }
        assert_eq!(asked.add(delivery, "another", 0), None);
        assert_eq!(asked.add(("rule", "other"), "e", 0), None);
    }
}
