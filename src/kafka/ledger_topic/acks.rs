//! The acknowledgements that a ticket waits for.
//!
//! Owns which appends of one event are open, and the tickets that wait for them. Its invariant: a ticket is completed
//! once, when every append that was registered before it has been acknowledged; when one of them is abandoned, which
//! happens at the end of the process alone, the ticket is dropped. It knows no broker.

use std::{fmt, mem, sync::Arc};

use super::super::{ownership::AttemptGuard, ticket::Ticket};
use crate::sync::Mutex;

/// The appends of one event. Clones are the same appends.
#[derive(Clone, Default)]
pub(crate) struct Acks(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The number of the next append.
    next: u64,
    /// The appends without an acknowledgement.
    open: Vec<u64>,
    /// Each of these waits for the appends below its number.
    waiting: Vec<(u64, Waiting)>,
    /// An append ended without an acknowledgement.
    abandoned: bool,
}

/// What waits for acknowledgements.
enum Waiting {
    /// Completed after them.
    Ticket(Ticket),
    /// Dropped after them.
    Guard { _guard: AttemptGuard },
}

/// An append that is not acknowledged yet. Dropping it abandons it.
pub(super) struct OpenAppend {
    acks: Acks,
    number: u64,
}

impl Acks {
    /// Without an append.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An append is about to be made. Tickets that come after this call wait for it.
    pub(super) fn register(&self) -> OpenAppend {
        let mut state = self.0.lock();
        let number = state.next;
        state.next += 1;
        state.open.push(number);
        OpenAppend { acks: self.clone(), number }
    }

    /// Whether every append has been acknowledged.
    pub(crate) fn is_complete(&self) -> bool {
        let state = self.0.lock();
        state.open.is_empty() && !state.abandoned
    }

    /// Keeps the guard of an attempt until every append that was registered before this call has been acknowledged, or one
    /// of them is abandoned: the partition is not released before.
    pub(crate) fn keep(&self, guard: AttemptGuard) {
        let mut state = self.0.lock();
        if !state.open.is_empty() && !state.abandoned {
            let mark = state.next;
            state.waiting.push((mark, Waiting::Guard { _guard: guard }));
        }
    }

    /// Ends an append, and returns what waited for nothing else, in order. The others stay.
    fn end(&self, number: u64) -> Vec<Waiting> {
        let mut state = self.0.lock();
        state.open.retain(|open| *open != number);
        let first_open = state.open.iter().min().copied().unwrap_or(u64::MAX);
        let (ready, waiting) = mem::take(&mut state.waiting).into_iter().partition(|(mark, _)| *mark <= first_open);
        state.waiting = waiting;
        ready.into_iter().map(|(_, waiting)| waiting).collect()
    }

    fn abandon(&self, number: u64) {
        let mut state = self.0.lock();
        // Acknowledged, or abandoned before.
        if !state.open.contains(&number) {
            return;
        }
        state.abandoned = true;
        let (dropped, waiting) = mem::take(&mut state.waiting).into_iter().partition(|(mark, _)| *mark > number);
        state.waiting = waiting;
        drop(state);
        drop::<Vec<_>>(dropped);
    }
}

impl OpenAppend {
    /// The broker has it.
    pub(super) fn acknowledge(self) {
        for waiting in self.acks.end(self.number) {
            if let Waiting::Ticket(ticket) = waiting {
                ticket.complete();
            }
        }
    }
}

impl Drop for OpenAppend {
    fn drop(&mut self) {
        self.acks.abandon(self.number);
    }
}

impl Ticket {
    /// Completes the ticket when every append that was registered with `acks` before this call has been acknowledged; at
    /// once when none is open. When one of them is abandoned, the ticket is dropped.
    pub(crate) fn complete_after(self, acks: &Acks) {
        let mut state = acks.0.lock();
        if state.abandoned {
            drop(state);
            drop(self);
        } else if state.open.is_empty() {
            drop(state);
            self.complete();
        } else {
            let mark = state.next;
            state.waiting.push((mark, Waiting::Ticket(self)));
        }
    }
}

impl fmt::Debug for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("Acks")
            .field("open", &state.open.len())
            .field("waiting", &state.waiting.len())
            .field("abandoned", &state.abandoned)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{
        super::super::testing::{owned, owned_ticket},
        *,
    };

    /// The ends of a ticket: `true` when it was completed.
    type Ends = Arc<Mutex<Vec<bool>>>;

    fn ticket() -> (Ticket, Ends) {
        let ends = Ends::default();
        let seen = Arc::clone(&ends);
        (owned_ticket(&owned(), move |completed| seen.lock().push(completed)), ends)
    }

    #[derive(Debug, Clone)]
    enum Step {
        Register,
        CompleteAfter,
        Acknowledge(prop::sample::Index),
        Abandon(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Register),
            2 => Just(Step::CompleteAfter),
            4 => any::<prop::sample::Index>().prop_map(Step::Acknowledge),
            1 => any::<prop::sample::Index>().prop_map(Step::Abandon),
        ]
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Append {
        Open,
        Acknowledged,
        Abandoned,
    }

    proptest! {
        #[test]
        fn a_ticket_ends_once_and_is_completed_only_after_every_earlier_append(steps in vec(step(), 0..40)) {
            let acks = Acks::new();
            let mut open: Vec<(usize, OpenAppend)> = vec![];
            let mut appends: Vec<Append> = vec![];
            let mut tickets: Vec<(usize, Ends)> = vec![];
            for step in steps {
                match step {
                    Step::Register => {
                        open.push((appends.len(), acks.register()));
                        appends.push(Append::Open);
                    }
                    Step::CompleteAfter => {
                        let (ticket, ends) = ticket();
                        tickets.push((appends.len(), ends));
                        ticket.complete_after(&acks);
                    }
                    Step::Acknowledge(which) if !open.is_empty() => {
                        let (number, append) = open.remove(which.index(open.len()));
                        append.acknowledge();
                        appends[number] = Append::Acknowledged;
                    }
                    Step::Abandon(which) if !open.is_empty() => {
                        let (number, append) = open.remove(which.index(open.len()));
                        drop(append);
                        appends[number] = Append::Abandoned;
                    }
                    _ => {}
                }
                for (count, ends) in &tickets {
                    let before = &appends[..*count];
                    let expected: &[bool] = if before.contains(&Append::Abandoned) {
                        &[false]
                    } else if before.contains(&Append::Open) {
                        &[]
                    } else {
                        &[true]
                    };
                    prop_assert_eq!(&ends.lock()[..], expected);
                }
            }
            drop(open);
            for (count, ends) in &tickets {
                let completed = appends[..*count].iter().all(|append| *append == Append::Acknowledged);
                prop_assert_eq!(&ends.lock()[..], &[completed][..]);
            }
        }
    }

    #[test]
    fn a_ticket_completes_when_the_appends_of_several_threads_are_acknowledged() {
        for _ in 0..200 {
            let acks = Acks::new();
            let appends: Vec<_> = (0..4).map(|_| acks.register()).collect();
            let (ticket, ends) = ticket();
            std::thread::scope(|scope| {
                for append in appends {
                    scope.spawn(|| append.acknowledge());
                }
                ticket.complete_after(&acks);
            });
            assert_eq!(*ends.lock(), [true]);
        }
    }
}
