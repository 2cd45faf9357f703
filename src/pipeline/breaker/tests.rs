use super::*;
use crate::agents::{HandlerFailure, RetrySpec};

fn breaker() -> Breaker {
    Breaker::new(Backoff::after(
        &RetrySpec {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(10),
            give_up_after: Duration::from_secs(60),
            max_attempts: None,
        },
        0,
    ))
}

fn rejection(event_id: &str) -> AttemptResult<'_> {
    AttemptResult::Rejected { event_id, status: 400, before: None }
}

#[test]
fn a_permanent_failure_opens_at_once_and_an_acceptance_closes() {
    let (mut breaker, now) = (breaker(), Instant::now());
    breaker.record(&AttemptResult::Permanent, None, now);
    let Admission::Probe(at) = breaker.admission(now, false) else {
        panic!("open: {:?}", breaker.admission(now, false))
    };
    assert!(at > now);
    breaker.record(&AttemptResult::Success { began: at }, None, at);
    assert_eq!(breaker.admission(at, false), Admission::Now);
}

#[test]
fn transient_failures_open_only_in_a_row() {
    let (mut breaker, now) = (breaker(), Instant::now());
    for _ in 0..3 {
        for _ in 0..TRANSIENT_FAILURES - 1 {
            breaker.record(&AttemptResult::Transient, None, now);
        }
        assert!(!breaker.is_open());
        breaker.record(&AttemptResult::Success { began: now }, None, now);
    }
    for _ in 0..TRANSIENT_FAILURES {
        breaker.record(&AttemptResult::Transient, None, now);
    }
    assert!(breaker.is_open());
}

#[test]
fn failures_of_attempts_that_were_in_flight_together_are_one() {
    let (mut breaker, now) = (breaker(), Instant::now());
    breaker.record(&AttemptResult::Permanent, None, now);
    let first = breaker.admission(now, false);
    for _ in 0..50 {
        breaker.record(&AttemptResult::Permanent, None, now);
    }
    assert_eq!(breaker.admission(now, false), first);
}

#[test]
fn each_probe_that_fails_waits_longer_up_to_the_maximum() {
    let (mut breaker, mut now) = (breaker(), Instant::now());
    for _ in 0..30 {
        breaker.record(&AttemptResult::Permanent, None, now);
        let Admission::Probe(at) = breaker.admission(now, false) else { panic!("open") };
        assert!(at - now <= Duration::from_secs(10));
        now = at;
    }
    breaker.record(&AttemptResult::Permanent, None, now);
    let Admission::Probe(at) = breaker.admission(now, false) else { panic!("open") };
    assert!(at - now >= Duration::from_secs(5));
}

#[test]
fn a_retry_after_is_a_floor_for_the_whole_agent() {
    let (mut breaker, now) = (breaker(), Instant::now());
    let pause = Duration::from_secs(20);
    breaker.record(&AttemptResult::Transient, Some(pause), now);
    assert_eq!(breaker.admission(now, false), Admission::NotBefore(now + pause));
    breaker.record(&AttemptResult::Transient, Some(Duration::from_secs(1)), now);
    assert_eq!(breaker.admission(now, false), Admission::NotBefore(now + pause), "a shorter one does not shorten it");
    assert_eq!(breaker.admission(now + pause, false), Admission::Now);
    breaker.record(&AttemptResult::Permanent, Some(pause), now);
    assert_eq!(breaker.admission(now, false), Admission::Probe(now + pause));
}

#[test]
fn the_same_rejection_of_twenty_events_is_the_agents_fault() {
    let (mut breaker, now) = (breaker(), Instant::now());
    let ids: Vec<String> = (0..SAME_REJECTIONS).map(|n| n.to_string()).collect();
    for id in &ids[..SAME_REJECTIONS - 1] {
        assert!(!breaker.record(&rejection(id), None, now));
        assert!(!breaker.record(&rejection(id), None, now), "the same event twice is one event");
    }
    assert!(breaker.record(&rejection(&ids[SAME_REJECTIONS - 1]), None, now));
    assert!(breaker.is_open());
    assert!(breaker.record(&rejection("a probe"), None, now), "the event of a rejected probe waits as well");
    breaker.record(&AttemptResult::Success { began: now }, None, now);
    assert!(!breaker.record(&rejection("later"), None, now));
}

#[test]
fn another_status_breaks_the_row_of_rejections() {
    let (mut breaker, now) = (breaker(), Instant::now());
    for n in 0..SAME_REJECTIONS * 3 {
        let id = n.to_string();
        let status = if n % 10 == 0 { 422 } else { 400 };
        assert!(!breaker.record(&AttemptResult::Rejected { event_id: &id, status, before: None }, None, now));
    }
}

/// A breaker that the same rejection of 20 events has opened.
fn rejecting_breaker(now: Instant) -> Breaker {
    let mut breaker = breaker();
    for n in 0..SAME_REJECTIONS {
        breaker.record(&rejection(&n.to_string()), None, now);
    }
    assert!(breaker.is_open());
    breaker
}

#[test]
fn while_rejections_keep_it_open_untried_events_are_probed_at_the_initial_pace() {
    let mut now = Instant::now();
    let mut breaker = rejecting_breaker(now);
    let initial = Duration::from_millis(100);
    for n in 0..50 {
        let Admission::Probe(at) = breaker.admission(now, true) else { panic!("open") };
        assert!(at - now <= initial, "after {n} rejections: {:?}", at - now);
        now = at;
        assert!(breaker.record(&rejection(&format!("untried {n}")), None, now));
    }
    for n in 0..20 {
        let Admission::Probe(at) = breaker.admission(now, false) else { panic!("open") };
        now = at;
        let again = AttemptResult::Rejected { event_id: "0", status: 400, before: Some(now) };
        assert!(breaker.record(&again, None, now), "rejection {n} of what was rejected before");
    }
    let Admission::Probe(at) = breaker.admission(now, false) else { panic!("open") };
    assert!(at - now >= Duration::from_secs(5), "what was rejected before waits longer and longer: {:?}", at - now);
    let Admission::Probe(at) = breaker.admission(now, true) else { panic!("open") };
    assert!(at - now <= initial, "and holds up nothing else: {:?}", at - now);
}

#[test]
fn a_rejection_that_stands_after_an_acceptance_is_the_events_fault() {
    let opened = Instant::now();
    let mut breaker = rejecting_breaker(opened);
    let now = opened + Duration::from_secs(1);
    breaker.record(&AttemptResult::Success { began: now }, None, now);
    assert!(!breaker.is_open());
    for n in 0..3 * SAME_REJECTIONS {
        let id = n.to_string();
        let again = AttemptResult::Rejected { event_id: &id, status: 400, before: Some(opened) };
        assert!(!breaker.record(&again, None, now), "event {n}");
        assert!(!breaker.is_open(), "such a rejection says nothing about the agent");
    }
}

#[test]
fn the_acceptance_of_a_request_from_before_the_rejections_proves_nothing() {
    let began = Instant::now();
    let opened = began + Duration::from_secs(1);
    let mut breaker = rejecting_breaker(opened);
    breaker.record(&AttemptResult::Success { began }, None, opened + Duration::from_secs(1));
    assert!(breaker.is_open(), "a slow answer to an old request");
    let again = AttemptResult::Rejected { event_id: "0", status: 400, before: Some(opened) };
    assert!(breaker.record(&again, None, opened + Duration::from_secs(2)));
}

#[test]
fn an_agent_that_stops_answering_is_left_alone_for_longer_although_it_rejected_before() {
    let now = Instant::now();
    let mut breaker = rejecting_breaker(now);
    breaker.record(&AttemptResult::Transient, None, now);
    assert_eq!(breaker.admission(now, true), breaker.admission(now, false));
}

#[test]
fn the_state_is_half_open_while_a_probe_is_due_or_in_flight() {
    let (mut breaker, now) = (breaker(), Instant::now());
    assert_eq!(breaker.state(now), BreakerState::Closed);
    breaker.record(&AttemptResult::Permanent, None, now);
    assert_eq!(breaker.state(now), BreakerState::Open);
    let Admission::Probe(at) = breaker.admission(now, true) else { panic!("closed") };
    assert_eq!(breaker.state(at), BreakerState::HalfOpen);
    breaker.record(&AttemptResult::Permanent, None, at);
    assert_eq!(breaker.state(at), BreakerState::Open);
    breaker.record(&AttemptResult::Success { began: at }, Some(Duration::from_secs(9)), at);
    assert_eq!(breaker.state(at), BreakerState::Closed, "a pause that the agent asked for opens nothing");
}

#[test]
fn a_handler_that_fails_on_few_events_is_not_at_fault_however_often_it_fails() {
    let (mut breaker, now) = (breaker(), Instant::now());
    for _ in 0..10 {
        for event_id in ["a", "b", "c", "d"] {
            assert!(!breaker.record(&AttemptResult::FailedOn { event_id }, None, now));
        }
    }
    assert!(!breaker.is_open());
    breaker.record(&AttemptResult::Success { began: now }, None, now);
    assert!(!breaker.record(&AttemptResult::FailedOn { event_id: "e" }, None, now), "a success begins the count anew");
    assert!(!breaker.is_open());
}

#[test]
fn a_handler_that_fails_on_different_events_in_a_row_is_at_fault_until_it_succeeds() {
    let (mut breaker, now) = (breaker(), Instant::now());
    let blamed: Vec<_> = ["a", "b", "c", "d", "e", "a", "f"]
        .into_iter()
        .map(|event_id| breaker.record(&AttemptResult::FailedOn { event_id }, None, now))
        .collect();
    assert_eq!(blamed, [false, false, false, false, true, true, true]);
    assert!(breaker.is_open());
    breaker.record(&AttemptResult::Inconclusive, None, now);
    assert!(breaker.is_open(), "a later call says nothing of the handler");
    breaker.record(&AttemptResult::Success { began: now }, None, now);
    assert!(!breaker.is_open());
    assert!(!breaker.record(&AttemptResult::FailedOn { event_id: "a" }, None, now));
}

#[test]
fn a_call_of_before_the_latest_failure_proves_nothing() {
    let (mut breaker, began) = (breaker(), Instant::now());
    let at = |seconds| began + Duration::from_secs(seconds);
    for (event_id, seconds) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        assert!(!breaker.record(&AttemptResult::FailedOn { event_id }, None, at(seconds)));
        breaker.record(&AttemptResult::Success { began }, None, at(seconds));
    }
    assert!(breaker.record(&AttemptResult::FailedOn { event_id: "e" }, None, at(5)));
    breaker.record(&AttemptResult::Success { began: at(4) }, None, at(6));
    assert!(breaker.is_open(), "the call began before it opened");
    // The failure of a call that was under way with the others does not spoil the probe.
    breaker.record(&AttemptResult::FailedOn { event_id: "f" }, None, at(8));
    breaker.record(&AttemptResult::Success { began: at(7) }, None, at(9));
    assert!(!breaker.is_open());
}

#[test]
fn a_rejection_of_a_handler_says_nothing_of_what_it_depends_on() {
    let now = Instant::now();
    let failure = |failure, class| Failure {
        class,
        status: None,
        retry_after: None,
        kind: FailureKind::Handler(failure),
        reason: String::new(),
    };
    let rejected = failure(HandlerFailure::Rejected, Class::EventFault);
    assert_eq!(AttemptResult::of(&rejected, "a", now, None), AttemptResult::Inconclusive);
    for kind in [HandlerFailure::Error, HandlerFailure::Panic, HandlerFailure::Timeout] {
        let failed = failure(kind, Class::Ambiguous);
        assert_eq!(AttemptResult::of(&failed, "a", now, None), AttemptResult::FailedOn { event_id: "a" });
    }
}
