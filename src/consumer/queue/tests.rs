use std::{collections::BTreeSet, io::Read as _};

use futures_util::FutureExt as _;
use proptest::{collection::vec, prelude::*};

use super::*;

type Calls = Queue<u32, &'static str, String>;

/// Whether the descriptor is readable. Looks without reading.
fn is_readable(queue: &Calls) -> bool {
    queue.state.lock().is_signalled
}

fn opened() -> Arc<Calls> {
    let queue = Arc::new(Calls::default());
    queue.open().unwrap();
    queue
}

#[test]
fn a_call_is_taken_once_and_settled_once() {
    let queue = opened();
    let pending = queue.call(7);
    let (token, call) = queue.take(64).calls[0];
    assert_eq!(call, 7);
    assert!(queue.take(64).calls.is_empty());
    assert!(queue.settle(token, "done"));
    assert!(!queue.settle(token, "retry"), "settled already");
    assert_eq!(pending.verdict().now_or_never(), Some("done"));
    assert!(queue.take(64).dropped.is_empty(), "it has its verdict");
}

#[test]
fn a_call_that_nobody_took_has_no_token_to_settle_and_none_to_report() {
    let queue = opened();
    let pending = queue.call(1);
    assert!(!queue.settle(0, "done"), "nobody was given the token");
    drop(pending);
    let taken = queue.take(64);
    assert!(taken.calls.is_empty() && taken.dropped.is_empty(), "{taken:?}");
}

#[test]
fn a_call_that_is_dropped_after_it_was_taken_is_reported_and_unknown() {
    let queue = opened();
    let pending = queue.call(1);
    let (token, _) = queue.take(64).calls[0];
    assert!(!is_readable(&queue));
    drop(pending);
    assert!(is_readable(&queue));
    assert!(!queue.settle(token, "done"));
    assert_eq!(queue.take(0).dropped, [token]);
    assert!(queue.take(0).dropped.is_empty());
}

#[test]
fn a_verdict_that_nobody_waits_for_any_more_is_refused() {
    let queue = opened();
    let mut pending = queue.call(1);
    let (token, _) = queue.take(64).calls[0];
    // As when the pipeline drops the call at this moment: it no longer listens, and has not said so.
    pending.verdict.close();
    assert!(!queue.settle(token, "done"));
}

#[test]
fn the_descriptor_is_readable_while_there_is_something_to_take() {
    let queue = Arc::new(Calls::default());
    queue.open().unwrap();
    let mut watched = queue.wake.get().unwrap().watched_too().unwrap();
    let mut byte = [0; 8];
    assert!(watched.read(&mut byte).is_err(), "nothing to take: it does not block");
    let pending: Vec<_> = (0..5).map(|n| queue.call(n)).collect();
    assert_eq!(queue.take(3).calls.len(), 3);
    assert_eq!(watched.read(&mut byte).unwrap(), 1, "two are left");
    assert_eq!(queue.take(3).calls.len(), 2);
    assert!(watched.read(&mut byte).is_err());
    drop(pending);
    assert_eq!(watched.read(&mut byte).unwrap(), 1, "one byte, however many were dropped");
    assert_eq!(queue.take(0).dropped.len(), 5);
}

#[tokio::test]
async fn a_notice_resolves_when_whoever_took_it_takes_again() {
    let queue = opened();
    let mut notified = Box::pin(queue.notify("dead".to_owned()));
    assert!(notified.as_mut().now_or_never().is_none());
    assert!(is_readable(&queue));
    assert_eq!(queue.take(0).notices, ["dead"]);
    assert!(notified.as_mut().now_or_never().is_none(), "whoever took it may not have used it yet");
    assert!(is_readable(&queue), "there is to be another take");
    assert!(queue.take(0).notices.is_empty() && !is_readable(&queue));
    notified.await;
}

#[tokio::test]
async fn a_notice_that_nobody_waits_for_any_more_is_not_taken() {
    let queue = opened();
    let [mut first, mut second] = ["first", "second"].map(|notice| Box::pin(queue.notify(notice.to_owned())));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    drop(first);
    assert_eq!(queue.take(0).notices, ["second"]);
    drop(second);
    assert!(queue.take(0).notices.is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Call,
    Take(usize),
    Settle(usize),
    Drop(usize),
}

proptest! {
    /// Against a list of what a caller knows: no call is lost or handed over twice, and what is kept is bounded by the calls.
    #[test]
    fn every_call_is_taken_settled_or_dropped_once(
        steps in vec(prop_oneof![
            3 => Just(Step::Call),
            2 => (0..4_usize).prop_map(Step::Take),
            2 => (0..8_usize).prop_map(Step::Settle),
            1 => (0..8_usize).prop_map(Step::Drop),
        ], 0..200)
    ) {
        const MOST: usize = 8;
        let queue = opened();
        let mut pending: Vec<(u32, Pending<u32, &'static str, String>)> = Vec::new();
        let mut known: HashMap<Token, u32> = HashMap::new();
        let (mut next, mut seen) = (0, BTreeSet::new());
        for step in steps {
            match step {
                Step::Call if pending.len() < MOST => {
                    pending.push((next, queue.call(next)));
                    next += 1;
                }
                Step::Call => {}
                Step::Take(limit) => {
                    let taken = queue.take(limit);
                    prop_assert!(taken.calls.len() <= limit);
                    for token in taken.dropped {
                        prop_assert!(known.remove(&token).is_some(), "only what was taken is reported");
                    }
                    for (token, call) in taken.calls {
                        prop_assert!(seen.insert(call), "call {call} is handed over twice");
                        known.insert(token, call);
                    }
                }
                Step::Settle(nth) => {
                    let Some((&token, &call)) = known.iter().nth(nth) else { continue };
                    let at = pending.iter().position(|(number, _)| *number == call);
                    prop_assert_eq!(queue.settle(token, "done"), at.is_some());
                    if let Some(at) = at {
                        known.remove(&token);
                        let (_, pending) = pending.swap_remove(at);
                        prop_assert_eq!(pending.verdict().now_or_never(), Some("done"));
                    }
                }
                Step::Drop(nth) => {
                    if nth < pending.len() {
                        pending.swap_remove(nth);
                    }
                }
            }
            let state = queue.state.lock();
            prop_assert_eq!(state.calls.len(), pending.len());
            prop_assert!(state.waiting.len() <= pending.len());
            prop_assert!(state.dropped.len() <= known.len(), "each was taken, and is reported once");
            let has_more = !state.waiting.is_empty() || !state.dropped.is_empty();
            prop_assert!(!has_more || state.is_signalled, "the descriptor is readable");
        }
    }
}
