//! Where a process keeps its engine: made when it is first needed, on a thread of its own.
//!
//! Owns the bound on that making. librdkafka takes a lock of the whole process when it makes a
//! handle, and reads files when there is TLS: in a child that was forked at the wrong moment it may
//! never come back. Then the caller goes on by its deadline, into the spool.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use super::{
    engine::{Engine, Failure},
    rescue::Rescues,
};

/// One process's engine, and what it leaves to be told.
#[derive(Default)]
pub(super) struct Home {
    inner: Arc<Inner>,
    rescues: Arc<Rescues>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Empty,
    Making,
    Made(Arc<Engine>),
    Failed(Failure),
    Closed,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Home {
    /// The failures of what nobody waits for; they outlive an engine.
    pub(super) fn rescues(&self) -> &Arc<Rescues> {
        &self.rescues
    }

    /// The engine, waited for at most until then. `recipe` is asked for how to make one only when
    /// there is none. A failure is told to those who wait for it; the next caller tries again.
    pub(super) fn open<M>(&self, until: Instant, recipe: impl FnOnce() -> M) -> Result<Arc<Engine>, Failure>
    where
        M: FnOnce() -> Result<Engine, Failure> + Send + 'static,
    {
        let mut state = self.inner.lock();
        if let State::Made(engine) = &*state {
            return Ok(Arc::clone(engine));
        }
        if matches!(*state, State::Empty | State::Failed(_)) {
            let (make, inner) = (recipe(), Arc::clone(&self.inner));
            let maker = thread::Builder::new().name("wfe-new".into()).spawn(move || {
                let result = make();
                let mut state = inner.lock();
                if matches!(*state, State::Making) {
                    *state = match result {
                        Ok(engine) => State::Made(Arc::new(engine)),
                        Err(failure) => State::Failed(failure),
                    };
                }
                inner.changed.notify_all();
            });
            if let Err(error) = maker {
                return Err(Failure::new(format!("no thread can be started ({error}): check the limits on threads")));
            }
            *state = State::Making;
        }
        loop {
            match &*state {
                State::Made(engine) => return Ok(Arc::clone(engine)),
                State::Failed(failure) => return Err(failure.clone()),
                State::Empty | State::Closed => {
                    return Err(Failure::new("the client was closed meanwhile: make a new one"));
                }
                State::Making => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Failure::new(
                            "librdkafka did not make a client in time: is the machine overloaded?",
                        ));
                    }
                    state = self.inner.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// The engine, if it is made.
    pub(super) fn engine(&self) -> Option<Arc<Engine>> {
        match &*self.inner.lock() {
            State::Made(engine) => Some(Arc::clone(engine)),
            _ => None,
        }
    }

    /// Takes the engine away, also one that is still being made, and makes no other.
    pub(super) fn close(&self) -> Option<Arc<Engine>> {
        let mut state = self.inner.lock();
        let before = std::mem::replace(&mut *state, State::Closed);
        self.inner.changed.notify_all();
        if let State::Made(engine) = before { Some(engine) } else { None }
    }

    /// Takes the engine away if it is such a one.
    pub(super) fn take_if(&self, such: impl FnOnce(&Engine) -> bool) -> Option<Arc<Engine>> {
        let mut state = self.inner.lock();
        match &*state {
            State::Made(engine) if such(engine) => {
                let engine = Arc::clone(engine);
                *state = State::Empty;
                Some(engine)
            }
            _ => None,
        }
    }
}
