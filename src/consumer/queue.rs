//! Calls of handlers that are functions of another language: they wait here until they are taken, and then for their verdict.
//!
//! Owns the tokens. Invariants:
//! - a token is one call's, and has one verdict at most: it is settled, or dropped, and unknown from then on;
//! - what is kept is bounded by the calls that the handlers may have at the same time, which the pipeline limits: each token is one
//!   of those, and a dropped token is reported only if it was taken, until the next `take`;
//! - whenever there is something to take, the descriptor is readable; nothing here blocks;
//! - a notice is of somebody who waits for it: it leaves with them, and whoever took it has it when they take again.
//!
//! It does not know what an event is, nor what follows from a verdict.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::RawFd,
    sync::{Arc, OnceLock},
};

use tokio::sync::oneshot;

use super::wake::Wake;
use crate::sync::Mutex;

/// A call by its token.
pub(super) type Token = u64;

/// See the module. `C` is what is handed over, `V` a verdict, `N` a notice.
#[derive(Debug)]
pub(super) struct Queue<C, V, N> {
    state: Mutex<State<C, V, N>>,
    wake: OnceLock<Wake>,
}

#[derive(Debug)]
struct State<C, V, N> {
    next: Token,
    calls: HashMap<Token, Entry<C, V>>,
    /// Those that were not taken, the oldest first.
    waiting: VecDeque<Token>,
    /// Those that were taken, and dropped since.
    dropped: Vec<Token>,
    /// With what resolves when whoever took it has it.
    notices: VecDeque<(N, oneshot::Sender<()>)>,
    /// Of the notices of the latest `take`.
    handed_over: Vec<oneshot::Sender<()>>,
    /// The descriptor is readable.
    is_signalled: bool,
}

#[derive(Debug)]
struct Entry<C, V> {
    /// Until it is taken.
    call: Option<C>,
    verdict: oneshot::Sender<V>,
}

/// What one `take` returned.
#[derive(Debug)]
pub(super) struct Taken<C, N> {
    pub(super) calls: Vec<(Token, C)>,
    pub(super) dropped: Vec<Token>,
    pub(super) notices: Vec<N>,
}

/// A call that has no verdict yet. Dropped, its token is unknown.
#[derive(Debug)]
pub(super) struct Pending<C, V, N> {
    queue: Arc<Queue<C, V, N>>,
    token: Token,
    verdict: oneshot::Receiver<V>,
}

impl<C, V, N> Default for Queue<C, V, N> {
    fn default() -> Self {
        let state = State {
            next: 0,
            calls: HashMap::new(),
            waiting: VecDeque::new(),
            dropped: Vec::new(),
            notices: VecDeque::new(),
            handed_over: Vec::new(),
            is_signalled: false,
        };
        Self { state: Mutex::new(state), wake: OnceLock::new() }
    }
}

impl<C, V, N> Queue<C, V, N> {
    /// Makes the descriptor to watch.
    pub(super) fn open(&self) -> std::io::Result<RawFd> {
        let wake = Wake::new()?;
        Ok(self.wake.get_or_init(|| wake).descriptor())
    }

    /// Makes the descriptor readable: something has changed.
    pub(super) fn signal(&self) {
        self.signal_in(&mut self.state.lock());
    }

    fn signal_in(&self, state: &mut State<C, V, N>) {
        if let Some(wake) = self.wake.get().filter(|_| !state.is_signalled) {
            state.is_signalled = wake.signal();
        }
    }

    /// Adds a call.
    pub(super) fn call(self: &Arc<Self>, call: C) -> Pending<C, V, N> {
        let (sender, verdict) = oneshot::channel();
        let state = &mut *self.state.lock();
        let token = state.next;
        state.next += 1;
        state.calls.insert(token, Entry { call: Some(call), verdict: sender });
        state.waiting.push_back(token);
        self.signal_in(state);
        Pending { queue: Arc::clone(self), token, verdict }
    }

    /// Adds a notice, and resolves when it was taken and there was another `take`: whoever takes does so after having used what the
    /// last one returned. Dropped before, the notice is not taken any more.
    pub(super) async fn notify(&self, notice: N) {
        let (taken, is_taken) = oneshot::channel();
        let mut waiting = Notified { queue: self, is_taken };
        {
            let state = &mut *self.state.lock();
            state.notices.push_back((notice, taken));
            self.signal_in(state);
        }
        // The sender is dropped then.
        let _ = (&mut waiting.is_taken).await;
    }

    /// Takes at most `limit` calls, all dropped tokens and all notices. The descriptor stays readable while there is more, and after
    /// notices, so that there is a `take` that says that somebody has them.
    pub(super) fn take(&self, limit: usize) -> Taken<C, N> {
        let state = &mut *self.state.lock();
        state.handed_over.clear();
        if let Some(wake) = self.wake.get() {
            wake.clear();
            state.is_signalled = false;
        }
        let mut calls = Vec::with_capacity(limit.min(state.waiting.len()));
        while calls.len() < limit
            && let Some(token) = state.waiting.pop_front()
        {
            calls.extend(state.calls.get_mut(&token).and_then(|entry| Some((token, entry.call.take()?))));
        }
        let dropped = std::mem::take(&mut state.dropped);
        let (notices, handed_over) = state.notices.drain(..).unzip();
        state.handed_over = handed_over;
        if !state.waiting.is_empty() || !state.handed_over.is_empty() {
            self.signal_in(state);
        }
        Taken { calls, dropped, notices }
    }

    /// Ends a call that was taken. False when its token is unknown.
    pub(super) fn settle(&self, token: Token, verdict: V) -> bool {
        let state = &mut *self.state.lock();
        if state.calls.get(&token).is_none_or(|entry| entry.call.is_some()) {
            return false;
        }
        // It may be about to be dropped.
        state.calls.remove(&token).is_some_and(|entry| entry.verdict.send(verdict).is_ok())
    }

    /// A call has ended without a verdict.
    fn abandon(&self, token: Token) {
        let state = &mut *self.state.lock();
        let Some(entry) = state.calls.remove(&token) else { return };
        if entry.call.is_some() {
            state.waiting.retain(|waiting| *waiting != token);
        } else {
            state.dropped.push(token);
            self.signal_in(state);
        }
    }
}

/// Somebody who waits until a notice was taken.
struct Notified<'a, C, V, N> {
    queue: &'a Queue<C, V, N>,
    is_taken: oneshot::Receiver<()>,
}

impl<C, V, N> Drop for Notified<'_, C, V, N> {
    fn drop(&mut self) {
        self.is_taken.close();
        self.queue.state.lock().notices.retain(|(_, taken)| !taken.is_closed());
    }
}

impl<C, V, N> Pending<C, V, N> {
    /// Resolves with the verdict.
    pub(super) async fn verdict(mut self) -> V {
        match (&mut self.verdict).await {
            Ok(verdict) => verdict,
            // Whoever removes the entry sends a verdict, but for the drop of this.
            Err(_) => std::future::pending().await,
        }
    }
}

impl<C, V, N> Drop for Pending<C, V, N> {
    fn drop(&mut self) {
        self.queue.abandon(self.token);
    }
}

#[cfg(test)]
mod tests;
