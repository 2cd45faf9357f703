//! Whole deliveries over simulated time.

use super::*;
use crate::pipeline::retry::Backoff;

/// A delivery over simulated time: the steps are carried out, and the answers come from `happened`.
struct Simulation {
    policy_retry: RetrySpec,
    is_langgraph: bool,
    progress: Progress,
    began: Instant,
    now: Duration,
    /// When each attempt was made.
    attempts: Vec<Duration>,
}

impl Simulation {
    fn new(is_langgraph: bool, policy_retry: RetrySpec) -> Self {
        let began = Instant::now();
        Self {
            policy_retry,
            is_langgraph,
            progress: Progress::default(),
            began,
            now: Duration::ZERO,
            attempts: Vec::new(),
        }
    }

    /// Runs to the end. `happened` gets the time and whether the delivery only searches.
    fn run<'a>(&mut self, happened: impl Fn(Duration, bool) -> Happened<'a>) -> NextStep {
        let mut backoff = Backoff::after(&self.policy_retry, 0);
        loop {
            self.attempts.push(self.now);
            let now = self.began + self.now;
            self.progress.tried_since.get_or_insert(now);
            let times = Times { now, now_ms: u64::try_from(self.now.as_millis()).unwrap() };
            let happened = happened(self.now, self.progress.search.is_some());
            let policy = policy(&self.policy_retry, self.is_langgraph);
            let Decision { write, step } = next(happened, &self.progress, &policy, times);
            if write != LedgerWrite::Nothing {
                self.progress = self.progress.after(write, times);
            }
            let (wait, search) = match step {
                NextStep::Deliver | NextStep::DeadLetter(_) => return step,
                NextStep::Retry { no_sooner, search } => (backoff.next().max(no_sooner), search),
                NextStep::Wait { after, search } => (after, search),
            };
            self.now += wait;
            self.progress.search = search.or(self.progress.search.take());
        }
    }
}

#[test]
fn an_agent_that_is_down_for_good_ends_an_http_delivery_after_give_up_after() {
    let mut simulation = Simulation::new(false, retry(Some(3)));
    let failure = failure(Class::AgentFault);
    let end = simulation.run(|_, _| Happened::Failed { failure: &failure, agent_at_fault: false });
    assert_eq!((kind(&end), simulation.progress.failed_attempts), (GAVE_UP, 0));
    let limit = simulation.policy_retry.give_up_after;
    assert!((limit..limit + 2 * simulation.policy_retry.max).contains(&simulation.now), "{:?}", simulation.now);
}

#[test]
fn an_agent_that_always_times_out_ends_an_http_delivery_after_max_attempts() {
    let mut simulation = Simulation::new(false, retry(Some(3)));
    let failure = failure(Class::Ambiguous);
    let end = simulation.run(|_, _| Happened::Failed { failure: &failure, agent_at_fault: false });
    assert_eq!((kind(&end), simulation.attempts.len()), (MAX_ATTEMPTS, 3));
}

#[test]
fn a_langgraph_delivery_whose_searches_fail_too_ends_only_after_give_up_after() {
    let mut simulation = Simulation::new(true, retry(Some(3)));
    let (ambiguous, unavailable) = (failure(Class::Ambiguous), failure(Class::AgentUnavailable));
    let end = simulation.run(|_, is_searching| {
        let failure = if is_searching { &unavailable } else { &ambiguous };
        Happened::Failed { failure, agent_at_fault: false }
    });
    assert_eq!((kind(&end), simulation.progress.failed_attempts), (GAVE_UP, 3));
    assert!(simulation.now >= simulation.policy_retry.give_up_after, "{:?}", simulation.now);
}

#[test]
fn a_langgraph_delivery_that_finds_its_run_in_the_search_is_delivered() {
    let mut simulation = Simulation::new(true, retry(Some(2)));
    let failure = failure(Class::Ambiguous);
    let end = simulation.run(|_, is_searching| {
        if is_searching { Happened::Accepted } else { Happened::Failed { failure: &failure, agent_at_fault: false } }
    });
    assert_eq!((kind(&end), simulation.attempts.len()), (Kind::Deliver, 3));
}
