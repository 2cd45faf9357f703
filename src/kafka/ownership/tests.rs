use std::{task::Poll, time::Duration};

use futures_util::FutureExt as _;
use proptest::prelude::*;
use tokio::time::timeout;

use super::{super::lease::testing::FakeClock, *};

const SESSION: Duration = Duration::from_secs(6);

/// Whether an attempt begins now.
fn begins(ownership: &Arc<Ownership>) -> Poll<Option<AttemptGuard>> {
    ownership.begin_attempt().now_or_never().map_or(Poll::Pending, Poll::Ready)
}

#[tokio::test]
async fn an_attempt_waits_for_the_lease_and_begins_when_the_group_answers() {
    let clock = FakeClock::default();
    let lease = clock.lease(SESSION);
    let ownership = Ownership::new(Arc::clone(&lease));
    let waiting = tokio::spawn({
        let ownership = Arc::clone(&ownership);
        async move { ownership.begin_attempt().await }
    });
    tokio::task::yield_now().await;
    assert_eq!(ownership.attempts(), 0);
    assert!(!waiting.is_finished());
    lease.renew(lease.begin_renewal());
    let guard = timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap();
    assert_eq!(ownership.attempts(), 1);
    drop(guard);
    assert_eq!(ownership.attempts(), 0);
}

#[tokio::test]
async fn a_lease_that_has_run_out_begins_nothing_until_it_is_renewed() {
    let clock = FakeClock::default();
    let lease = clock.lease(SESSION);
    let ownership = Ownership::new(Arc::clone(&lease));
    lease.renew(lease.begin_renewal());
    assert!(matches!(begins(&ownership), Poll::Ready(Some(_))));
    clock.advance(SESSION);
    assert!(begins(&ownership).is_pending());
    // An answer to a request that was sent too long ago wakes the waiter, which waits on.
    let renewal = lease.begin_renewal();
    clock.advance(SESSION);
    lease.renew(renewal);
    assert!(begins(&ownership).is_pending());
    lease.renew(lease.begin_renewal());
    assert!(matches!(begins(&ownership), Poll::Ready(Some(_))));
}

#[tokio::test]
async fn giving_up_ends_those_who_wait_for_the_lease_and_leaves_what_is_under_way() {
    let clock = FakeClock::default();
    let lease = clock.lease(SESSION);
    let ownership = Ownership::new(Arc::clone(&lease));
    lease.renew(lease.begin_renewal());
    let under_way = ownership.begin_attempt().await;
    clock.advance(SESSION);
    let waiting = tokio::spawn({
        let ownership = Arc::clone(&ownership);
        async move { ownership.begin_attempt().await.is_none() }
    });
    tokio::task::yield_now().await;
    ownership.give_up();
    assert!(timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap());
    timeout(Duration::from_secs(20), ownership.given_up()).await.unwrap();
    assert_eq!(ownership.attempts(), 1);
    drop(under_way);
    assert_eq!(ownership.attempts(), 0);
    lease.renew(lease.begin_renewal());
    assert!(matches!(begins(&ownership), Poll::Ready(None)), "a renewal gives nothing back");
}

#[derive(Debug, Clone)]
enum Step {
    Begin,
    End(prop::sample::Index),
    Renew,
    Pass(u16),
    Lose,
    GiveUp,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Begin),
        3 => any::<prop::sample::Index>().prop_map(Step::End),
        2 => Just(Step::Renew),
        2 => (0..5_000_u16).prop_map(Step::Pass),
        1 => Just(Step::Lose),
        1 => Just(Step::GiveUp),
    ]
}

proptest! {
    /// Against a naive model: an attempt begins exactly when the partition is owned and less than the lease's length has
    /// passed since the last renewal of this membership; the count is that of the guards.
    #[test]
    fn an_attempt_begins_only_while_the_partition_is_owned_and_the_lease_is_valid(
        steps in prop::collection::vec(step(), 1..80)
    ) {
        let clock = FakeClock::default();
        let lease = clock.lease(SESSION);
        let ownership = Ownership::new(Arc::clone(&lease));
        let (mut guards, mut valid_ms, mut given_up) = (Vec::new(), 0_u32, false);
        for step in steps {
            match step {
                Step::Begin => match begins(&ownership) {
                    Poll::Ready(Some(guard)) => {
                        prop_assert!(!given_up && valid_ms > 0);
                        guards.push(guard);
                    }
                    Poll::Ready(None) => prop_assert!(given_up),
                    Poll::Pending => prop_assert!(!given_up && valid_ms == 0),
                },
                Step::End(which) if !guards.is_empty() => drop(guards.swap_remove(which.index(guards.len()))),
                Step::End(_) => {}
                Step::Renew => {
                    lease.renew(lease.begin_renewal());
                    valid_ms = 4_000;
                }
                Step::Pass(ms) => {
                    clock.advance(Duration::from_millis(ms.into()));
                    valid_ms = valid_ms.saturating_sub(ms.into());
                }
                Step::Lose => {
                    lease.end();
                    valid_ms = 0;
                }
                Step::GiveUp => {
                    ownership.give_up();
                    given_up = true;
                }
            }
            prop_assert_eq!(ownership.attempts(), guards.len());
            prop_assert_eq!(ownership.is_given_up(), given_up);
        }
    }
}

#[test]
fn no_attempt_begins_on_any_thread_after_giving_up_has_returned() {
    let clock = FakeClock::default();
    let lease = clock.lease(SESSION);
    lease.renew(lease.begin_renewal());
    for _ in 0..200 {
        let ownership = Ownership::new(Arc::clone(&lease));
        std::thread::scope(|scope| {
            let begun: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut guards = Vec::new();
                        while let Poll::Ready(Some(guard)) = begins(&ownership) {
                            guards.push(guard);
                        }
                        guards
                    })
                })
                .collect();
            ownership.give_up();
            let counted = ownership.attempts();
            let guards: usize = begun.into_iter().map(|thread| thread.join().unwrap().len()).sum();
            assert!(guards <= counted, "{guards} attempts began, {counted} were counted when giving up returned");
        });
        assert_eq!(ownership.attempts(), 0);
    }
}
