//! Whose fault a failure is over time: the breaker of one agent, as a pure state machine.
//!
//! Owns when deliveries to the agent are held and when a probe may go out. Invariant: while it is
//! open, nothing but one probe at a time is sent, and an acceptance closes it. It does not know what
//! is delivered, nor the clock.
//!
//! An agent that fails is left alone for longer after each probe. One that refuses event after event
//! with the same answer is alive, and each event that was not tried yet may be the one that it takes:
//! these are probed at the pace of the initial wait, and only those that it refused before wait longer
//! and longer. A refusal that stands although the agent accepted something since is the event's own.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::retry::Waits;

/// Failures in a row of an agent that may be passing (time-outs, 5xx) before it is held.
const PASSING_FAILURES: u32 = 5;
/// Different events refused in a row with the same answer before the agent is to blame.
const SAME_REFUSALS: usize = 20;

/// What one attempt says about the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Report<'a> {
    /// The agent works: it accepted, or said plainly that it is busy.
    Works {
        /// When the attempt began: an answer to an older request says nothing of what came since.
        began: Instant,
    },
    /// It failed in a way that may pass: a time-out, a reset, 5xx.
    Failed,
    /// It takes nothing until somebody mends it: a wrong key, a wrong address, nobody listening.
    Broken,
    /// It said nothing of itself: an earlier request is still being settled.
    Undecided,
    /// It refused this event, with this answer.
    Refused {
        /// The event.
        event_id: &'a str,
        /// What tells one refusal from another: the status.
        answer: u16,
        /// When it was first refused by an agent that was to blame, if it was.
        before: Option<Instant>,
    },
}

/// Whether an attempt may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// At once.
    Open,
    /// The agent asked for a pause until then.
    Until(Instant),
    /// Deliveries are held; one probe may go out then.
    Probe(Instant),
}

pub(super) struct Breaker {
    waits: Waits,
    failures: u32,
    refusals: Option<(u16, BTreeSet<Box<str>>)>,
    /// When the latest attempt began that was accepted.
    accepted: Option<Instant>,
    probe_at: Option<Instant>,
    /// While refusals hold the agent.
    refusing: Option<Refusing>,
    not_before: Option<Instant>,
}

/// What is known of an agent that is held for its refusals.
#[derive(Debug, Clone, Copy)]
struct Refusing {
    since: Instant,
    /// When a delivery that had no attempt yet may be the probe.
    untried_at: Instant,
}

impl Breaker {
    pub(super) fn new(waits: Waits) -> Self {
        Self { waits, failures: 0, refusals: None, accepted: None, probe_at: None, refusing: None, not_before: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.probe_at.is_some()
    }

    /// When the next attempt may start, if that is not now: of a delivery that had none yet, or of another.
    pub(super) fn next_attempt(&self, now: Instant, untried: bool) -> Option<Instant> {
        match self.gate(now, untried) {
            Gate::Open => None,
            Gate::Until(at) | Gate::Probe(at) => Some(at),
        }
    }

    /// Why it is open, in words.
    pub(super) fn cause(&self) -> &'static str {
        if self.refusals.as_ref().is_some_and(|(_, events)| events.len() >= SAME_REFUSALS) {
            "it refused 20 different events in a row with the same answer (the 19 before are dead letters)"
        } else if self.failures >= PASSING_FAILURES {
            "it failed 5 times in a row"
        } else {
            "it takes no event at all"
        }
    }

    /// Whether an attempt may start, for a delivery that had none yet (`untried`) or for another.
    pub(super) fn gate(&self, now: Instant, untried: bool) -> Gate {
        let pause = self.not_before.filter(|at| *at > now);
        let early = self.refusing.filter(|_| untried).map(|refusing| refusing.untried_at);
        let probe = self.probe_at.map(|at| early.map_or(at, |early| early.min(at)));
        match (probe, pause) {
            (Some(probe), pause) => Gate::Probe(pause.map_or(probe, |at| at.max(probe))),
            (None, Some(at)) => Gate::Until(at),
            (None, None) => Gate::Open,
        }
    }

    /// Takes in one attempt's answer. True when a refusal is the agent's fault by now, so that the
    /// event must be held instead of dead-lettered.
    pub(super) fn report(&mut self, report: &Report<'_>, retry_after: Option<Duration>, now: Instant) -> bool {
        if let Some(pause) = retry_after {
            let at = now + pause;
            self.not_before = Some(self.not_before.map_or(at, |old| old.max(at)));
        }
        match report {
            Report::Works { began } => {
                self.failures = 0;
                if self.refusing.is_none_or(|refusing| *began >= refusing.since) {
                    self.accepted = self.accepted.max(Some(*began));
                    self.refusals = None;
                    self.close();
                }
            }
            Report::Failed => {
                self.failures = self.failures.saturating_add(1);
                if self.is_open() || self.failures >= PASSING_FAILURES {
                    self.hold(now);
                }
            }
            Report::Broken => self.hold(now),
            Report::Undecided if self.refusing.is_some() => self.hold_for_refusal(now, true),
            Report::Undecided if self.is_open() => self.hold(now),
            Report::Undecided => {}
            Report::Refused { before: Some(before), .. }
                if self.accepted.is_some_and(|accepted| accepted > *before) =>
            {
                // The agent took another event since: it is this one that it does not take.
                self.failures = 0;
                if self.refusing.is_none() {
                    self.close();
                }
            }
            Report::Refused { event_id, answer, before } => {
                self.failures = 0;
                if self.refused(event_id, *answer) {
                    self.hold_for_refusal(now, before.is_some());
                    return true;
                }
                // It answers, and has an opinion on the event.
                self.close();
            }
        }
        false
    }

    fn close(&mut self) {
        self.refusing = None;
        if self.probe_at.take().is_some() {
            self.waits.reset();
        }
    }

    fn refused(&mut self, event_id: &str, answer: u16) -> bool {
        let events = match &mut self.refusals {
            Some((same, events)) if *same == answer => events,
            other => &mut other.insert((answer, BTreeSet::new())).1,
        };
        if events.len() < SAME_REFUSALS {
            events.insert(event_id.into());
        }
        events.len() >= SAME_REFUSALS
    }

    /// Several attempts that were under way fail together; they are one failure, so a probe that is
    /// already due later stays where it is.
    fn hold(&mut self, now: Instant) {
        // It does not even refuse any more.
        self.refusing = None;
        if self.probe_at.is_none_or(|at| at <= now) {
            self.probe_at = Some(now + self.waits.next());
        }
    }

    /// The agent is alive: what it has not seen yet may go out soon, what it refused before
    /// (`again`) is left for longer each time.
    fn hold_for_refusal(&mut self, now: Instant, again: bool) {
        let soon = now + self.waits.initial();
        match &mut self.refusing {
            Some(refusing) if refusing.untried_at > now => {}
            Some(refusing) => refusing.untried_at = soon,
            None => self.refusing = Some(Refusing { since: now, untried_at: soon }),
        }
        if self.probe_at.is_none_or(|at| at <= now) {
            self.probe_at = Some(if again { now + self.waits.next() } else { soon });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::RetrySpec;

    fn breaker() -> Breaker {
        Breaker::new(Waits::after(
            &RetrySpec {
                initial: Duration::from_millis(100),
                max: Duration::from_secs(10),
                give_up_after: Duration::from_secs(60),
                max_attempts: None,
            },
            0,
        ))
    }

    fn refusal(event_id: &str) -> Report<'_> {
        Report::Refused { event_id, answer: 400, before: None }
    }

    #[test]
    fn a_broken_agent_is_held_at_once_and_released_by_an_acceptance() {
        let (mut breaker, now) = (breaker(), Instant::now());
        breaker.report(&Report::Broken, None, now);
        let Gate::Probe(at) = breaker.gate(now, false) else { panic!("open: {:?}", breaker.gate(now, false)) };
        assert!(at > now);
        breaker.report(&Report::Works { began: at }, None, at);
        assert_eq!(breaker.gate(at, false), Gate::Open);
    }

    #[test]
    fn passing_failures_hold_the_agent_only_in_a_row() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for _ in 0..3 {
            for _ in 0..PASSING_FAILURES - 1 {
                breaker.report(&Report::Failed, None, now);
            }
            assert!(!breaker.is_open());
            breaker.report(&Report::Works { began: now }, None, now);
        }
        for _ in 0..PASSING_FAILURES {
            breaker.report(&Report::Failed, None, now);
        }
        assert!(breaker.is_open());
    }

    #[test]
    fn failures_of_attempts_that_were_under_way_together_are_one() {
        let (mut breaker, now) = (breaker(), Instant::now());
        breaker.report(&Report::Broken, None, now);
        let first = breaker.gate(now, false);
        for _ in 0..50 {
            breaker.report(&Report::Broken, None, now);
        }
        assert_eq!(breaker.gate(now, false), first);
    }

    #[test]
    fn each_probe_that_fails_waits_longer_up_to_the_maximum() {
        let (mut breaker, mut now) = (breaker(), Instant::now());
        for _ in 0..30 {
            breaker.report(&Report::Broken, None, now);
            let Gate::Probe(at) = breaker.gate(now, false) else { panic!("open") };
            assert!(at - now <= Duration::from_secs(10));
            now = at;
        }
        breaker.report(&Report::Broken, None, now);
        let Gate::Probe(at) = breaker.gate(now, false) else { panic!("open") };
        assert!(at - now >= Duration::from_secs(5));
    }

    #[test]
    fn a_retry_after_is_a_floor_for_the_whole_agent() {
        let (mut breaker, now) = (breaker(), Instant::now());
        let pause = Duration::from_secs(20);
        breaker.report(&Report::Failed, Some(pause), now);
        assert_eq!(breaker.gate(now, false), Gate::Until(now + pause));
        breaker.report(&Report::Failed, Some(Duration::from_secs(1)), now);
        assert_eq!(breaker.gate(now, false), Gate::Until(now + pause), "a shorter one does not shorten it");
        assert_eq!(breaker.gate(now + pause, false), Gate::Open);
        breaker.report(&Report::Broken, Some(pause), now);
        assert_eq!(breaker.gate(now, false), Gate::Probe(now + pause));
    }

    #[test]
    fn the_same_refusal_of_twenty_events_is_the_agents_fault() {
        let (mut breaker, now) = (breaker(), Instant::now());
        let ids: Vec<String> = (0..SAME_REFUSALS).map(|n| n.to_string()).collect();
        for id in &ids[..SAME_REFUSALS - 1] {
            assert!(!breaker.report(&refusal(id), None, now));
            assert!(!breaker.report(&refusal(id), None, now), "the same event twice is one event");
        }
        assert!(breaker.report(&refusal(&ids[SAME_REFUSALS - 1]), None, now));
        assert!(breaker.is_open());
        assert!(breaker.report(&refusal("a probe"), None, now), "a refused probe is held as well");
        breaker.report(&Report::Works { began: now }, None, now);
        assert!(!breaker.report(&refusal("later"), None, now));
    }

    #[test]
    fn an_acceptance_or_another_answer_breaks_the_row_of_refusals() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for n in 0..SAME_REFUSALS * 3 {
            let id = n.to_string();
            let answer = if n % 10 == 0 { 422 } else { 400 };
            assert!(!breaker.report(&Report::Refused { event_id: &id, answer, before: None }, None, now));
        }
    }

    /// A breaker that the same refusal of 20 events has opened.
    fn refusing(now: Instant) -> Breaker {
        let mut breaker = breaker();
        for n in 0..SAME_REFUSALS {
            breaker.report(&refusal(&n.to_string()), None, now);
        }
        assert!(breaker.is_open());
        breaker
    }

    #[test]
    fn while_refusals_hold_the_agent_untried_events_are_probed_at_the_initial_pace() {
        let mut now = Instant::now();
        let mut breaker = refusing(now);
        let initial = Duration::from_millis(100);
        for n in 0..50 {
            let Gate::Probe(at) = breaker.gate(now, true) else { panic!("open") };
            assert!(at - now <= initial, "after {n} refusals: {:?}", at - now);
            now = at;
            assert!(breaker.report(&refusal(&format!("untried {n}")), None, now));
        }
        for n in 0..20 {
            let Gate::Probe(at) = breaker.gate(now, false) else { panic!("open") };
            now = at;
            let again = Report::Refused { event_id: "0", answer: 400, before: Some(now) };
            assert!(breaker.report(&again, None, now), "refusal {n} of what was refused before");
        }
        let Gate::Probe(at) = breaker.gate(now, false) else { panic!("open") };
        assert!(at - now >= Duration::from_secs(5), "what was refused before waits longer and longer: {:?}", at - now);
        let Gate::Probe(at) = breaker.gate(now, true) else { panic!("open") };
        assert!(at - now <= initial, "and holds up nothing else: {:?}", at - now);
    }

    #[test]
    fn a_refusal_that_stands_after_an_acceptance_is_the_events_fault() {
        let held = Instant::now();
        let mut breaker = refusing(held);
        let now = held + Duration::from_secs(1);
        breaker.report(&Report::Works { began: now }, None, now);
        assert!(!breaker.is_open());
        for n in 0..3 * SAME_REFUSALS {
            let id = n.to_string();
            let again = Report::Refused { event_id: &id, answer: 400, before: Some(held) };
            assert!(!breaker.report(&again, None, now), "event {n}");
            assert!(!breaker.is_open(), "such a refusal says nothing of the agent");
        }
    }

    #[test]
    fn the_acceptance_of_a_request_from_before_the_refusals_proves_nothing() {
        let began = Instant::now();
        let held = began + Duration::from_secs(1);
        let mut breaker = refusing(held);
        breaker.report(&Report::Works { began }, None, held + Duration::from_secs(1));
        assert!(breaker.is_open(), "a slow answer to an old request");
        let again = Report::Refused { event_id: "0", answer: 400, before: Some(held) };
        assert!(breaker.report(&again, None, held + Duration::from_secs(2)));
    }

    #[test]
    fn an_agent_that_stops_answering_is_left_alone_for_longer_although_it_refused_before() {
        let now = Instant::now();
        let mut breaker = refusing(now);
        breaker.report(&Report::Failed, None, now);
        assert_eq!(breaker.gate(now, true), breaker.gate(now, false));
    }
}
