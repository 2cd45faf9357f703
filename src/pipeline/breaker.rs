//! Whose fault a failure is over time: the breaker of one agent, as a pure state machine.
//!
//! Owns when deliveries to the agent are held and when a probe may go out. Invariant: while it is
//! open, nothing but one probe at a time is sent, each after a longer wait, and an acceptance closes
//! it. It does not know what is delivered, nor the clock.

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
    Works,
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
    probe_at: Option<Instant>,
    not_before: Option<Instant>,
}

impl Breaker {
    pub(super) fn new(waits: Waits) -> Self {
        Self { waits, failures: 0, refusals: None, probe_at: None, not_before: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.probe_at.is_some()
    }

    /// When the next attempt may start, if that is not now.
    pub(super) fn next_attempt(&self, now: Instant) -> Option<Instant> {
        match self.gate(now) {
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

    pub(super) fn gate(&self, now: Instant) -> Gate {
        let pause = self.not_before.filter(|at| *at > now);
        match (self.probe_at, pause) {
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
            Report::Works => {
                self.failures = 0;
                self.refusals = None;
                if self.probe_at.take().is_some() {
                    self.waits.reset();
                }
                false
            }
            Report::Failed => {
                self.failures = self.failures.saturating_add(1);
                if self.is_open() || self.failures >= PASSING_FAILURES {
                    self.hold(now);
                }
                false
            }
            Report::Broken => {
                self.hold(now);
                false
            }
            Report::Undecided => {
                if self.is_open() {
                    self.hold(now);
                }
                false
            }
            Report::Refused { event_id, answer } => {
                let blamed = self.refused(event_id, *answer);
                if blamed {
                    self.hold(now);
                } else {
                    // It answers, and has an opinion on the event.
                    self.failures = 0;
                    if self.probe_at.take().is_some() {
                        self.waits.reset();
                    }
                }
                blamed
            }
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
        if self.probe_at.is_none_or(|at| at <= now) {
            self.probe_at = Some(now + self.waits.next());
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
        Report::Refused { event_id, answer: 400 }
    }

    #[test]
    fn a_broken_agent_is_held_at_once_and_released_by_an_acceptance() {
        let (mut breaker, now) = (breaker(), Instant::now());
        breaker.report(&Report::Broken, None, now);
        let Gate::Probe(at) = breaker.gate(now) else { panic!("open: {:?}", breaker.gate(now)) };
        assert!(at > now);
        breaker.report(&Report::Works, None, at);
        assert_eq!(breaker.gate(at), Gate::Open);
    }

    #[test]
    fn passing_failures_hold_the_agent_only_in_a_row() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for _ in 0..3 {
            for _ in 0..PASSING_FAILURES - 1 {
                breaker.report(&Report::Failed, None, now);
            }
            assert!(!breaker.is_open());
            breaker.report(&Report::Works, None, now);
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
        let first = breaker.gate(now);
        for _ in 0..50 {
            breaker.report(&Report::Broken, None, now);
        }
        assert_eq!(breaker.gate(now), first);
    }

    #[test]
    fn each_probe_that_fails_waits_longer_up_to_the_maximum() {
        let (mut breaker, mut now) = (breaker(), Instant::now());
        for _ in 0..30 {
            breaker.report(&Report::Broken, None, now);
            let Gate::Probe(at) = breaker.gate(now) else { panic!("open") };
            assert!(at - now <= Duration::from_secs(10));
            now = at;
        }
        breaker.report(&Report::Broken, None, now);
        let Gate::Probe(at) = breaker.gate(now) else { panic!("open") };
        assert!(at - now >= Duration::from_secs(5));
    }

    #[test]
    fn a_retry_after_is_a_floor_for_the_whole_agent() {
        let (mut breaker, now) = (breaker(), Instant::now());
        let pause = Duration::from_secs(20);
        breaker.report(&Report::Failed, Some(pause), now);
        assert_eq!(breaker.gate(now), Gate::Until(now + pause));
        breaker.report(&Report::Failed, Some(Duration::from_secs(1)), now);
        assert_eq!(breaker.gate(now), Gate::Until(now + pause), "a shorter one does not shorten it");
        assert_eq!(breaker.gate(now + pause), Gate::Open);
        breaker.report(&Report::Broken, Some(pause), now);
        assert_eq!(breaker.gate(now), Gate::Probe(now + pause));
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
        breaker.report(&Report::Works, None, now);
        assert!(!breaker.report(&refusal("later"), None, now));
    }

    #[test]
    fn an_acceptance_or_another_answer_breaks_the_row_of_refusals() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for n in 0..SAME_REFUSALS * 3 {
            let id = n.to_string();
            let answer = if n % 10 == 0 { 422 } else { 400 };
            assert!(!breaker.report(&Report::Refused { event_id: &id, answer }, None, now));
        }
    }
}
