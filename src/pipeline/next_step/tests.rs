use super::*;
use crate::{
    agents::{FailureKind, Observation},
    pipeline::outcome::DeadLetterReason,
};

mod simulation;

const INITIAL: Duration = Duration::from_millis(100);
const SEARCH_TIME: Duration = Duration::from_secs(90);
/// Longer than the fair chance that every delivery has in this process.
const LONG: Duration = Duration::from_secs(3_600);

fn retry(max_attempts: Option<u32>) -> RetrySpec {
    RetrySpec {
        initial: INITIAL,
        max: Duration::from_secs(60),
        give_up_after: Duration::from_secs(86_400),
        max_attempts,
    }
}

/// The thread of the LangGraph deliveries here.
fn thread() -> DeliveryId {
    DeliveryId::new("rule", "agent", "event", crate::event::Generation::FIRST)
}

fn policy(retry: &RetrySpec, is_langgraph: bool) -> Policy<'_> {
    Policy {
        retry,
        thread: is_langgraph.then(thread),
        search_time: SEARCH_TIME,
        max_attempts: GiveUpReason::MaxAttempts,
    }
}

fn failure(class: Class) -> Failure {
    Failure {
        class,
        status: Some(418),
        retry_after: None,
        kind: FailureKind::Observed(Observation::Status(418)),
        reason: "no tea".into(),
    }
}

/// How old the delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// Without an attempt of any process.
    New,
    /// Younger than `give_up_after`.
    Young,
    /// Older, but this process has not tried it for five minutes.
    FairChance,
    TooLate,
}

/// The search for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Searching {
    No,
    Running,
    Over,
}

/// One line of the table: everything that a step depends on.
#[derive(Debug, Clone, Copy)]
struct Case {
    is_langgraph: bool,
    max_attempts: Option<u32>,
    failed_attempts: u32,
    age: Age,
    searching: Searching,
}

impl Case {
    fn times(now: Instant) -> Times {
        Times { now, now_ms: 200_000_000 }
    }

    fn progress(self, now: Instant) -> Progress {
        let (first_attempt_ms, tried_for) = match self.age {
            Age::New => (None, Duration::ZERO),
            Age::Young => (Some(200_000_000 - 1_000), LONG),
            Age::FairChance => (Some(0), Duration::from_secs(1)),
            Age::TooLate => (Some(0), LONG),
        };
        let search = |ago| Search { why: GiveUpReason::MaxAttempts, last: None, since: now - ago };
        Progress {
            failed_attempts: self.failed_attempts,
            first_attempt_ms,
            tried_since: Some(now - tried_for),
            search: match self.searching {
                Searching::No => None,
                Searching::Running => Some(search(SEARCH_TIME / 2)),
                Searching::Over => Some(search(SEARCH_TIME)),
            },
        }
    }

    fn next(self, happened: Happened<'_>) -> Decision {
        let now = Instant::now() + 2 * LONG;
        let retry = retry(self.max_attempts);
        next(happened, &self.progress(now), &policy(&retry, self.is_langgraph), Self::times(now))
    }

    /// Every line of the table.
    fn all() -> impl Iterator<Item = Self> {
        let limits = [(None, 7), (Some(3), 0), (Some(3), 1), (Some(3), 2), (Some(3), 3)];
        let ages = [Age::New, Age::Young, Age::FairChance, Age::TooLate];
        let searches = [Searching::No, Searching::Running, Searching::Over];
        [false, true].into_iter().flat_map(move |is_langgraph| {
            limits.into_iter().flat_map(move |(max_attempts, failed_attempts)| {
                ages.into_iter().flat_map(move |age| {
                    // A plain HTTP delivery never searches.
                    let searches = searches.into_iter().filter(move |search| is_langgraph || *search == Searching::No);
                    searches.map(move |searching| Self { is_langgraph, max_attempts, failed_attempts, age, searching })
                })
            })
        })
    }

    /// The next failed attempt is the last that `max_attempts` allows.
    fn is_last(self) -> bool {
        self.max_attempts.is_some_and(|max| self.failed_attempts + 1 >= max)
    }
}

/// What a step is, without its texts.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Deliver,
    DeadLetter(&'static str),
    Retry,
    Wait,
    /// Retry or wait, and begin a search for this reason.
    Search(GiveUpReason),
}

fn kind(step: &NextStep) -> Kind {
    match step {
        NextStep::Deliver => Kind::Deliver,
        NextStep::DeadLetter(cause) => Kind::DeadLetter(cause.reason()),
        NextStep::Retry { search: Some(search), .. } | NextStep::Wait { search: Some(search), .. } => {
            Kind::Search(search.why)
        }
        NextStep::Retry { search: None, .. } => Kind::Retry,
        NextStep::Wait { search: None, .. } => Kind::Wait,
    }
}

const GAVE_UP: Kind = Kind::DeadLetter("gave_up");
const MAX_ATTEMPTS: Kind = Kind::DeadLetter("max_attempts");

#[test]
fn an_acceptance_delivers_in_every_state_and_records_nothing_more() {
    for case in Case::all() {
        let decision = case.next(Happened::Accepted);
        assert_eq!((decision.write, decision.step), (LedgerWrite::Nothing, NextStep::Deliver), "{case:?}");
    }
}

#[test]
fn a_rejection_is_a_dead_letter_at_once_in_every_state() {
    for case in Case::all() {
        let failure = failure(Class::EventFault);
        let decision = case.next(Happened::Failed { failure: &failure, agent_at_fault: false });
        let expected = NextStep::DeadLetter(Cause::rejected(&failure));
        assert_eq!((decision.write, decision.step), (LedgerWrite::Nothing, expected), "{case:?}");
    }
}

#[test]
fn a_failure_of_the_agent_ends_by_age_alone() {
    let agents = [Class::Busy, Class::AgentUnavailable, Class::AgentFault, Class::EventFault];
    for case in Case::all() {
        for class in agents {
            // A rejection that the breaker attributes to the agent is one of its failures.
            let failure = failure(class);
            let decision =
                case.next(Happened::Failed { failure: &failure, agent_at_fault: class == Class::EventFault });
            let expected = if case.age == Age::TooLate { GAVE_UP } else { Kind::Retry };
            assert_eq!(
                (decision.write, kind(&decision.step)),
                (LedgerWrite::Attempt, expected),
                "{class:?} {case:?}: a wrong key must not use up max_attempts"
            );
        }
    }
}

#[test]
fn an_ambiguous_answer_counts_and_ends_an_http_delivery_by_count_or_age() {
    for case in Case::all().filter(|case| !case.is_langgraph) {
        let failure = failure(Class::Ambiguous);
        let decision = case.next(Happened::Failed { failure: &failure, agent_at_fault: false });
        let expected = match case.age {
            _ if case.is_last() => MAX_ATTEMPTS,
            Age::TooLate => GAVE_UP,
            Age::New | Age::Young | Age::FairChance => Kind::Retry,
        };
        assert_eq!((decision.write, kind(&decision.step)), (LedgerWrite::FailedAttempt, expected), "{case:?}");
    }
}

#[test]
fn a_langgraph_delivery_is_not_given_up_on_an_ambiguous_answer_before_the_search_had_its_time() {
    for case in Case::all().filter(|case| case.is_langgraph) {
        let failure = failure(Class::Ambiguous);
        let decision = case.next(Happened::Failed { failure: &failure, agent_at_fault: false });
        let why = if case.is_last() { Some(GiveUpReason::MaxAttempts) } else { None };
        let why = why.or((case.age == Age::TooLate).then_some(GiveUpReason::GiveUpAfter));
        let expected = match (why, case.searching, case.age) {
            (Some(why), Searching::Over, Age::TooLate) => Kind::DeadLetter(why.reason().as_str()),
            (Some(why), Searching::No, _) => Kind::Search(why),
            (Some(_), Searching::Running | Searching::Over, _) | (None, ..) => Kind::Retry,
        };
        assert_eq!((decision.write, kind(&decision.step)), (LedgerWrite::FailedAttempt, expected), "{case:?}");
    }
}

#[test]
fn an_inconclusive_answer_waits_and_ends_when_it_is_too_late_and_the_search_is_over() {
    for case in Case::all() {
        let decision = case.next(Happened::Inconclusive(Duration::from_secs(7)));
        let expected = match (case.age, case.searching) {
            (Age::TooLate, Searching::No) => Kind::Search(GiveUpReason::GiveUpAfter),
            (Age::TooLate, Searching::Over) => GAVE_UP,
            (_, _) => Kind::Wait,
        };
        assert_eq!((decision.write, kind(&decision.step)), (LedgerWrite::Attempt, expected), "{case:?}");
    }
}

#[test]
fn a_search_that_finds_no_run_ends_the_delivery_for_the_reason_that_began_it() {
    for case in Case::all() {
        let decision = case.next(Happened::NoRun);
        let expected = if case.searching == Searching::No { GAVE_UP } else { MAX_ATTEMPTS };
        assert_eq!((decision.write, kind(&decision.step)), (LedgerWrite::Nothing, expected), "{case:?}");
    }
}

#[test]
fn an_overdue_delivery_is_given_up_with_the_last_failure_of_the_agent() {
    let last = LastFailure { reason: "answered 401".into(), status: Some(401) };
    for case in Case::all() {
        let decision = case.next(Happened::Overdue { last: Some(&last) });
        assert_eq!((decision.write, kind(&decision.step)), (LedgerWrite::Nothing, GAVE_UP), "{case:?}");
        let NextStep::DeadLetter(cause) = decision.step else { panic!("{case:?}") };
        assert_eq!(cause.status(), Some(401));
        assert!(cause.error().ends_with("the last answer: answered 401"), "{}", cause.error());
        let NextStep::DeadLetter(cause) = case.next(Happened::Overdue { last: None }).step else { panic!("{case:?}") };
        assert!(cause.error().ends_with("the breaker of the agent was open"), "{}", cause.error());
    }
}

#[test]
fn a_delivery_is_overdue_only_after_an_attempt_of_this_process() {
    let now = Instant::now() + 2 * LONG;
    let retry = retry(None);
    for case in Case::all() {
        let mut progress = case.progress(now);
        let left = overdue_in(&progress, &policy(&retry, case.is_langgraph), Case::times(now));
        match (case.age, case.searching) {
            (Age::New, _) => assert_eq!(left, None, "{case:?}"),
            (Age::TooLate, Searching::No | Searching::Over) => assert_eq!(left, Some(Duration::ZERO), "{case:?}"),
            (Age::TooLate, Searching::Running) => {
                assert_eq!(left, Some(SEARCH_TIME / 2), "{case:?}: a search has its time");
            }
            (Age::Young, _) => assert_eq!(left, Some(Duration::from_secs(86_399)), "{case:?}"),
            (Age::FairChance, _) => assert_eq!(left, Some(Duration::from_secs(299)), "{case:?}"),
        }
        progress.tried_since = None;
        assert_eq!(overdue_in(&progress, &policy(&retry, case.is_langgraph), Case::times(now)), None, "{case:?}");
    }
}

#[test]
fn a_langgraph_delivery_whose_attempts_were_all_made_begins_with_a_search() {
    let now = Instant::now() + 2 * LONG;
    for case in Case::all() {
        let retry = retry(case.max_attempts);
        let search = resume(&case.progress(now), &policy(&retry, case.is_langgraph), now);
        let posts_no_more = case.is_langgraph && case.max_attempts.is_some_and(|max| case.failed_attempts >= max);
        assert_eq!(search.map(|search| search.why), posts_no_more.then_some(GiveUpReason::MaxAttempts), "{case:?}");
    }
}

#[test]
fn a_retry_comes_no_sooner_than_the_agent_asked_for() {
    for case in Case::all().filter(|case| case.age == Age::Young && !case.is_last()) {
        let retry_after = Some(Duration::from_secs(20));
        let failure = Failure { retry_after, ..failure(Class::Ambiguous) };
        let decision = case.next(Happened::Failed { failure: &failure, agent_at_fault: false });
        assert!(
            matches!(decision.step, NextStep::Retry { no_sooner, .. } if Some(no_sooner) == retry_after),
            "{case:?}"
        );
    }
}

#[test]
fn a_wait_is_at_least_half_a_second_or_the_initial_backoff() {
    let case =
        Case { is_langgraph: true, max_attempts: None, failed_attempts: 0, age: Age::Young, searching: Searching::No };
    let wait = |asked| match case.next(Happened::Inconclusive(asked)).step {
        NextStep::Wait { after, .. } => after,
        step => panic!("{step:?}"),
    };
    assert_eq!(wait(Duration::ZERO), INITIAL);
    assert_eq!(wait(Duration::from_secs(7)), Duration::from_secs(7));
}

#[test]
fn a_dead_letter_of_langgraph_names_the_thread_where_a_run_may_be() {
    let case = Case {
        is_langgraph: true,
        max_attempts: Some(3),
        failed_attempts: 2,
        age: Age::TooLate,
        searching: Searching::Over,
    };
    let failure = failure(Class::Ambiguous);
    let decision = case.next(Happened::Failed { failure: &failure, agent_at_fault: false });
    let NextStep::DeadLetter(dead) = decision.step else { panic!("{decision:?}") };
    assert_eq!((dead.reason(), dead.status()), (DeadLetterReason::MaxAttempts.as_str(), Some(418)));
    assert!(dead.error().contains("answered ambiguously 3 times, which is max_attempts"), "{}", dead.error());
    assert!(dead.error().contains(&format!("thread {}", thread())), "{}", dead.error());
    assert!(dead.error().ends_with("the last answer: no tea"), "{}", dead.error());
}

#[test]
fn a_failed_attempt_is_counted_before_the_limit_is_compared() {
    let case = |failed_attempts| Case {
        is_langgraph: false,
        max_attempts: Some(3),
        failed_attempts,
        age: Age::Young,
        searching: Searching::No,
    };
    let failure = failure(Class::Ambiguous);
    let step = |failed| kind(&case(failed).next(Happened::Failed { failure: &failure, agent_at_fault: false }).step);
    assert_eq!((step(1), step(2)), (Kind::Retry, MAX_ATTEMPTS));
}

#[test]
fn a_failure_that_the_breaker_attributes_to_a_handler_is_no_retry() {
    let retry = retry(Some(4));
    let policy = Policy { max_attempts: GiveUpReason::MaxRetries, ..policy(&retry, false) };
    let times = Times { now: Instant::now(), now_ms: 1_000 };
    let progress = Progress { failed_attempts: 3, first_attempt_ms: Some(900), ..Progress::default() };
    let failed = |agent_at_fault| {
        let failure = failure(Class::Ambiguous);
        next(Happened::Failed { failure: &failure, agent_at_fault }, &progress, &policy, times)
    };
    let held = failed(true);
    assert_eq!(held.write, LedgerWrite::Attempt);
    assert_eq!(held.step, NextStep::Retry { no_sooner: Duration::ZERO, search: None });
    let Decision { write: LedgerWrite::FailedAttempt, step: NextStep::DeadLetter(cause) } = failed(false) else {
        panic!("the fourth failure of an event is its last: {:?}", failed(false));
    };
    assert_eq!(cause.reason(), DeadLetterReason::MaxAttempts.as_str());
    assert!(cause.error().contains("its handler failed 4 times"), "{}", cause.error());
}
