//! One value for each process, whatever forks.
//!
//! librdkafka's threads do not survive a fork: an inherited handle reports nothing, and dropping it hangs. So a value
//! belongs to the generation of the process that made it. A child neither uses nor drops an inherited value: it makes
//! its own, and the parent's stays in memory that nobody touches again. There is no lock here, because a fork can happen
//! while one is held.
//!
//! A generation is one process: [`generation`] counts up when a process first asks after a fork. What counts it up is a
//! change of the process id, because no safe crate offers `pthread_atfork`, and a handler of our own would be more
//! `unsafe` code in a library that its host may unload. The counter makes the id of an ancestor harmless that a
//! descendant was given again: its parent counted up already, so the inherited value has an older generation. One gap
//! stays: if no process in between ever asked, the descendant takes the ancestor's generation for its own.

use std::{
    marker::PhantomData,
    process,
    sync::atomic::{AtomicPtr, AtomicU64, Ordering},
};

/// The generation in the upper half and the id of its process in the lower: one word, so a fork sees both or neither.
static CURRENT: AtomicU64 = AtomicU64::new(0);

/// The generation of the process that asks.
pub(crate) fn generation() -> u32 {
    generation_of(&CURRENT, process::id())
}

fn generation_of(current: &AtomicU64, pid: u32) -> u32 {
    const PID: u64 = 0xffff_ffff;

    let mut seen = current.load(Ordering::Acquire);
    loop {
        let generation = u32::try_from(seen >> 32).unwrap_or_default();
        if seen & PID == u64::from(pid) {
            return generation;
        }
        let next = generation.wrapping_add(1);
        let packed = (u64::from(next) << 32) | u64::from(pid);
        match current.compare_exchange(seen, packed, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return next,
            // Another thread of this process counted up.
            Err(now) => seen = now,
        }
    }
}

struct Owned<T> {
    generation: u32,
    value: T,
}

/// A `T` of the process that asks.
pub(crate) struct PerProcess<T> {
    slot: AtomicPtr<Owned<T>>,
    owns: PhantomData<T>,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self { slot: AtomicPtr::new(std::ptr::null_mut()), owns: PhantomData }
    }

    /// This process's value, made by `make` when there is none. `make` has to be cheap: when two
    /// threads get here first, one of the values is dropped again.
    #[expect(unsafe_code, reason = "a lock could be inherited locked; an atomic pointer cannot")]
    pub(crate) fn get(&self, make: impl Fn() -> T) -> &T {
        let generation = generation();
        let mut seen = self.slot.load(Ordering::Acquire);
        loop {
            // SAFETY: a pointer in the slot comes from `Box::into_raw` below and is freed only by `drop`, which
            // has the slot to itself; a pointer that is replaced is never freed. So it is valid as long as `self`.
            if let Some(owned) = unsafe { seen.as_ref() }
                && owned.generation == generation
            {
                return &owned.value;
            }
            let fresh = Box::into_raw(Box::new(Owned { generation, value: make() }));
            match self.slot.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire) {
                // What was there belongs to another process: leaked on purpose.
                Ok(_) => {
                    // SAFETY: `fresh` is in the slot now; see above.
                    return unsafe { &(*fresh).value };
                }
                Err(now) => {
                    // SAFETY: `fresh` was made here, and nobody else has seen it.
                    drop(unsafe { Box::from_raw(fresh) });
                    seen = now;
                }
            }
        }
    }

    /// This process's value, if it has one.
    #[expect(unsafe_code, reason = "see `get`")]
    pub(crate) fn existing(&self) -> Option<&T> {
        // SAFETY: as in `get`.
        unsafe { self.slot.load(Ordering::Acquire).as_ref() }
            .filter(|owned| owned.generation == generation())
            .map(|owned| &owned.value)
    }
}

impl<T> Drop for PerProcess<T> {
    #[expect(unsafe_code, reason = "see `get`")]
    fn drop(&mut self) {
        let slot = *self.slot.get_mut();
        // SAFETY: as in `get`; `&mut self` says that nobody else holds a reference into the slot.
        if unsafe { slot.as_ref() }.is_some_and(|owned| owned.generation == generation()) {
            // SAFETY: it came from `Box::into_raw`, and it is freed once.
            drop(unsafe { Box::from_raw(slot) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    struct Counted<'a>(&'a AtomicUsize);

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn every_thread_of_a_process_gets_the_same_value_and_it_is_dropped_once() {
        let alive = AtomicUsize::new(0);
        let slot = PerProcess::new();
        assert!(slot.existing().is_none());
        let make = || {
            alive.fetch_add(1, Ordering::SeqCst);
            Counted(&alive)
        };
        let start = Barrier::new(8);
        let addresses: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        std::ptr::from_ref(slot.get(make)).addr()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(addresses.iter().all(|address| *address == addresses[0]), "{addresses:?}");
        assert_eq!(alive.load(Ordering::SeqCst), 1, "those that came second were dropped");
        assert!(slot.existing().is_some());
        drop(slot);
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn the_value_of_another_process_is_neither_used_nor_dropped() {
        let alive = AtomicUsize::new(2);
        let mut slot = PerProcess::new();
        *slot.slot.get_mut() = Box::into_raw(Box::new(Owned { generation: u32::MAX, value: Counted(&alive) }));
        assert!(slot.existing().is_none());
        slot.get(|| Counted(&alive));
        assert!(slot.existing().is_some());
        drop(slot);
        assert_eq!(alive.load(Ordering::SeqCst), 1, "only our own was dropped");
    }

    #[test]
    fn a_process_keeps_its_generation_and_a_child_has_another_one() {
        let current = AtomicU64::new(0);
        let parent = generation_of(&current, 100);
        assert_eq!(generation_of(&current, 100), parent);
        let inherited = AtomicU64::new(current.load(Ordering::SeqCst));
        assert_ne!(generation_of(&inherited, 200), parent);
        assert_eq!(generation_of(&current, 100), parent, "a child's memory is its own");
    }

    #[test]
    fn a_descendant_with_the_id_of_an_ancestor_has_another_generation() {
        let current = AtomicU64::new(0);
        let generations = [100, 200, 100].map(|pid| generation_of(&current, pid));
        assert_ne!(generations[0], generations[2]);
    }

    #[test]
    fn threads_that_ask_at_once_after_a_fork_agree() {
        let (current, start) = (AtomicU64::new(u64::MAX), Barrier::new(8));
        let found: Vec<u32> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        generation_of(&current, 7)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(found.iter().all(|generation| *generation == 0), "{found:?}: the next after the last is the first");
    }
}
