//! One value for each process, whatever forks.
//!
//! librdkafka's threads do not survive a fork: an inherited handle answers nothing, and dropping it
//! hangs. So a value belongs to the process that made it. In a child it is neither used nor dropped:
//! a fresh one takes its place, and the parent's stays where it is, in memory that is never touched
//! again. There is no lock here, because a fork can happen while one is held.

use std::{
    marker::PhantomData,
    process,
    sync::atomic::{AtomicPtr, Ordering},
};

struct Owned<T> {
    pid: u32,
    value: T,
}

/// A `T` of the process that asks.
pub(super) struct PerProcess<T> {
    slot: AtomicPtr<Owned<T>>,
    owns: PhantomData<T>,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(super) fn new() -> Self {
        Self { slot: AtomicPtr::new(std::ptr::null_mut()), owns: PhantomData }
    }

    /// This process's value, made by `make` when there is none. `make` has to be cheap: when two
    /// threads get here first, one of the values is dropped again.
    #[expect(unsafe_code, reason = "a lock could be inherited locked; an atomic pointer cannot")]
    pub(super) fn get(&self, make: impl Fn() -> T) -> &T {
        let pid = process::id();
        let mut seen = self.slot.load(Ordering::Acquire);
        loop {
            // SAFETY: a pointer in the slot comes from `Box::into_raw` below and is freed only by `drop`, which
            // has the slot to itself; a pointer that is replaced is never freed. So it is valid as long as `self`.
            if let Some(owned) = unsafe { seen.as_ref() }
                && owned.pid == pid
            {
                return &owned.value;
            }
            let fresh = Box::into_raw(Box::new(Owned { pid, value: make() }));
            match self.slot.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire) {
                // What was there belongs to another process: forgotten on purpose.
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
    pub(super) fn existing(&self) -> Option<&T> {
        // SAFETY: as in `get`.
        unsafe { self.slot.load(Ordering::Acquire).as_ref() }
            .filter(|owned| owned.pid == process::id())
            .map(|owned| &owned.value)
    }
}

impl<T> Drop for PerProcess<T> {
    #[expect(unsafe_code, reason = "see `get`")]
    fn drop(&mut self) {
        let slot = *self.slot.get_mut();
        // SAFETY: as in `get`; `&mut self` says that nobody else holds a reference into the slot.
        if unsafe { slot.as_ref() }.is_some_and(|owned| owned.pid == process::id()) {
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
        let places: Vec<usize> = std::thread::scope(|scope| {
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
        assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
        assert_eq!(alive.load(Ordering::SeqCst), 1, "those that came second were dropped");
        assert!(slot.existing().is_some());
        drop(slot);
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn the_value_of_another_process_is_neither_used_nor_dropped() {
        let alive = AtomicUsize::new(2);
        let mut slot = PerProcess::new();
        *slot.slot.get_mut() = Box::into_raw(Box::new(Owned { pid: 0, value: Counted(&alive) }));
        assert!(slot.existing().is_none());
        slot.get(|| Counted(&alive));
        assert!(slot.existing().is_some());
        drop(slot);
        assert_eq!(alive.load(Ordering::SeqCst), 1, "only our own was dropped");
    }
}
