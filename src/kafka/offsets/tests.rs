use proptest::prelude::*;

use super::*;

#[test]
fn out_of_order_completion_does_not_move_the_frontier() {
    let mut frontier = Frontier::new(None);
    let epoch = frontier.receive(10);
    frontier.receive(11);
    frontier.receive(12);
    assert!(frontier.complete(epoch, 12));
    assert!(frontier.complete(epoch, 11));
    assert_eq!((frontier.position(), frontier.committable(), frontier.span()), (Some(10), Some(10), 3));
    assert!(frontier.complete(epoch, 10));
    assert_eq!((frontier.position(), frontier.committable(), frontier.span()), (Some(13), Some(13), 0));
}

#[test]
fn a_gap_in_the_log_is_neither_waited_for_nor_jumped_over() {
    let mut frontier = Frontier::new(Some(3));
    let epoch = frontier.receive(3);
    frontier.receive(900);
    frontier.complete(epoch, 3);
    assert_eq!(frontier.position(), Some(4));
    frontier.complete(epoch, 900);
    assert_eq!(frontier.position(), Some(901));
}

#[test]
fn a_commit_is_asked_for_once_and_again_when_it_failed() {
    let mut frontier = Frontier::new(Some(5));
    assert_eq!(frontier.committable(), None);
    let epoch = frontier.receive(5);
    frontier.complete(epoch, 5);
    assert_eq!(frontier.committable(), Some(6));
    frontier.mark_requested(6);
    assert_eq!(frontier.committable(), None);
    frontier.mark_failed();
    assert_eq!(frontier.committable(), Some(6));
    frontier.mark_requested(6);
    frontier.mark_seen(Some(6));
    assert_eq!((frontier.committable(), frontier.committed()), (None, Some(6)));
}

#[test]
fn a_commit_that_the_broker_never_shows_is_asked_for_again() {
    let mut frontier = Frontier::new(Some(5));
    let epoch = frontier.receive(5);
    frontier.complete(epoch, 5);
    frontier.mark_requested(6);
    for _ in 0..MAX_UNSEEN {
        frontier.mark_seen(Some(5));
        assert_eq!(frontier.committable(), None, "it may still be on its way");
    }
    frontier.mark_seen(Some(5));
    assert_eq!(frontier.committable(), Some(6));
}

#[test]
fn a_rewind_fences_what_is_read_again_and_keeps_what_is_not() {
    let mut frontier = Frontier::new(None);
    let first = frontier.receive(0);
    for offset in 1..10 {
        frontier.receive(offset);
    }
    let second = frontier.receive(5);
    assert_ne!(first, second);
    assert!(!frontier.complete(first, 5), "delivered again: the old ticket counts for nothing");
    assert!(!frontier.complete(first, 9));
    assert!(frontier.complete(second, 5));
    for offset in 1..5 {
        assert!(frontier.complete(first, offset), "offset {offset} is not delivered again: its ticket still counts");
    }
    assert_eq!(frontier.position(), Some(0), "offset 0 is still open");
    assert!(frontier.complete(first, 0));
    assert_eq!(frontier.position(), Some(6));
}

#[test]
fn a_topic_created_anew_is_committed_from_its_start() {
    let mut frontier = Frontier::new(Some(5_000));
    let old = frontier.receive(5_000);
    frontier.complete(old, 5_000);
    frontier.mark_seen(Some(5_001));
    let epoch = frontier.receive(0);
    assert_eq!(frontier.committable(), Some(0), "a restart must not begin at 5001");
    frontier.complete(epoch, 0);
    assert_eq!(frontier.committable(), Some(1));
}

#[test]
fn the_first_received_offset_is_committed_while_it_is_open() {
    // With `latest` and no commit, a restart would begin at the end and skip it.
    let mut frontier = Frontier::new(None);
    frontier.begin_again();
    frontier.receive(0);
    frontier.receive(1);
    assert_eq!(frontier.committable(), Some(0));
}

#[test]
fn a_commit_of_the_log_before_covers_nothing_of_this_one() {
    let mut frontier = Frontier::new(Some(1_000));
    let epoch = frontier.receive(0);
    frontier.receive(1);
    assert_eq!((frontier.committed(), frontier.committable()), (None, Some(0)));
    frontier.mark_requested(0);
    frontier.mark_seen(Some(1_000));
    assert_eq!(frontier.committed(), None, "an answer from before the commit");
    frontier.mark_seen(Some(0));
    assert_eq!(frontier.committed(), Some(0));
    frontier.complete(epoch, 0);
    assert_eq!(frontier.committable(), Some(1));
}

#[test]
fn a_chosen_start_is_committed_before_anything_is_received() {
    let mut frontier = Frontier::starting_at(77);
    assert_eq!(frontier.committable(), Some(77));
    frontier.receive(80);
    assert_eq!(frontier.committable(), Some(77));
}

/// One step of a schedule; the numbers choose among what is possible at that moment.
#[derive(Debug, Clone)]
enum Step {
    Receive { gap: i64 },
    Complete { which: usize },
    CompleteStale { which: usize },
    Rewind { by: i64 },
    Reassign,
    Commit { answered: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_i64..4).prop_map(|gap| Step::Receive { gap }),
        6 => any::<usize>().prop_map(|which| Step::Complete { which }),
        1 => any::<usize>().prop_map(|which| Step::CompleteStale { which }),
        1 => (0_i64..20).prop_map(|by| Step::Rewind { by }),
        1 => Just(Step::Reassign),
        2 => any::<bool>().prop_map(|answered| Step::Commit { answered }),
    ]
}

/// What the broker keeps and the world knows, written down naively.
struct World {
    frontier: Frontier,
    /// The log: every offset that exists, in order.
    log: Vec<i64>,
    next: usize,
    /// Tickets of this assignment that are not settled: index in the log, epoch.
    tickets: Vec<(usize, Epoch)>,
    /// Tickets that were superseded by a rewind.
    stale: Vec<(usize, Epoch)>,
    complete: std::collections::BTreeSet<i64>,
    committed: Option<i64>,
}

impl World {
    fn receive(&mut self) {
        let index = self.next;
        self.next += 1;
        let again: Vec<_> = self.tickets.extract_if(.., |(other, _)| *other >= index).collect();
        self.stale.extend(again);
        let epoch = self.frontier.receive(self.log[index]);
        self.tickets.push((index, epoch));
    }

    fn settle(&mut self, ticket: (usize, Epoch)) -> Result<(), TestCaseError> {
        let offset = self.log[ticket.0];
        prop_assert!(self.frontier.complete(ticket.1, offset), "the ticket of {offset} was refused");
        self.complete.insert(offset);
        Ok(())
    }

    fn commit(&mut self, answered: bool) -> Result<(), TestCaseError> {
        if let Some(offset) = self.frontier.committable() {
            self.frontier.mark_requested(offset);
            if answered {
                self.frontier.mark_seen(Some(offset));
                self.committed = Some(offset);
                let skipped: Vec<_> = self.log.iter().filter(|o| **o < offset && !self.complete.contains(*o)).collect();
                prop_assert!(skipped.is_empty(), "committed {offset} past {skipped:?}");
            } else {
                self.frontier.mark_failed();
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn no_schedule_commits_past_an_open_offset_and_each_ends_with_the_whole(steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World {
            frontier: Frontier::new(None), log: vec![], next: 0, tickets: vec![], stale: vec![],
            complete: std::collections::BTreeSet::new(), committed: None,
        };
        for step in steps {
            match step {
                Step::Receive { gap } => {
                    if world.next == world.log.len() {
                        let offset = world.log.last().map_or(0, |last| last + 1) + gap;
                        world.log.push(offset);
                    }
                    world.receive();
                }
                Step::Complete { which } if !world.tickets.is_empty() => {
                    let ticket = world.tickets.swap_remove(which % world.tickets.len());
                    world.settle(ticket)?;
                }
                Step::CompleteStale { which } if !world.stale.is_empty() => {
                    let (index, epoch) = world.stale.swap_remove(which % world.stale.len());
                    prop_assert!(!world.frontier.complete(epoch, world.log[index]));
                }
                Step::Rewind { by } => {
                    let by = usize::try_from(by).unwrap();
                    world.next = world.next.saturating_sub(by);
                }
                Step::Reassign => {
                    // A new assignment reads from the committed offset; old tickets reach the old frontier only.
                    world.frontier = Frontier::new(world.committed);
                    world.tickets.clear();
                    world.stale.clear();
                    let from = world.committed.unwrap_or(0);
                    world.next = world.log.partition_point(|offset| *offset < from);
                }
                Step::Commit { answered } => world.commit(answered)?,
                Step::Complete { .. } | Step::CompleteStale { .. } => {}
            }
            let open: std::collections::BTreeSet<_> = world.tickets.iter().map(|(index, _)| world.log[*index]).collect();
            prop_assert_eq!(world.frontier.open(), open.len());
            if let (Some(position), Some(first)) = (world.frontier.position(), open.first()) {
                prop_assert!(position <= *first);
            }
        }
        while world.next < world.log.len() {
            world.receive();
        }
        while let Some(ticket) = world.tickets.pop() {
            world.settle(ticket)?;
        }
        world.commit(true)?;
        prop_assert_eq!(world.frontier.span(), 0);
        if let Some(last) = world.log.last() {
            prop_assert_eq!(world.committed, Some(last + 1));
        }
    }
}
