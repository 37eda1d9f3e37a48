//! What a worker's thread is at: a callback, which may take as long as it likes, or statements of ours,
//! which may not.
//!
//! A thread that waits for a silent server cannot be woken. It is given up with its message, and
//! another thread takes its place; should it come back, nobody listens to it any more.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::job::Taken;
use crate::registry::BoxError;

thread_local! {
    static OWN: RefCell<Option<Arc<Desk>>> = const { RefCell::new(None) };
}

/// The place of a worker's thread.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    taken: Option<Arc<Taken>>,
    /// The pool that the attempt uses, if it does.
    pool: Option<u64>,
    /// Since when statements of ours run.
    ours_since: Option<Instant>,
    is_given_up: bool,
}

/// The thread was given up while a statement of ours was under way.
#[derive(Debug, thiserror::Error)]
#[error("a statement took too long, and the message was given to another worker")]
struct GivenUp;

impl Desk {
    /// Makes it the place of this thread.
    pub(super) fn sit(self: &Arc<Self>) {
        OWN.set(Some(Arc::clone(self)));
    }

    /// A message is begun, on a connection of this pool if not of its own.
    pub(super) fn take_up(&self, taken: &Arc<Taken>, pool: Option<u64>) {
        let mut state = self.state();
        state.pool = pool;
        state.taken = Some(Arc::clone(taken));
        state.ours_since = Some(Instant::now());
    }

    /// The message has come to its end; false if it was given up before.
    pub(super) fn put_down(&self) -> bool {
        let mut state = self.state();
        state.taken = None;
        state.ours_since = None;
        !state.is_given_up
    }

    /// Whether statements of ours have run for too long.
    pub(super) fn is_late(&self, limit: Duration) -> bool {
        let since = self.state().ours_since;
        since.is_some_and(|since| since.elapsed() >= limit)
    }

    /// Gives the thread up if statements of ours have run for too long; returns what it was at, and
    /// the pool that it used.
    pub(super) fn give_up(&self, limit: Duration) -> Option<(Arc<Taken>, Option<u64>)> {
        let mut state = self.state();
        if state.ours_since?.elapsed() < limit {
            return None;
        }
        state.is_given_up = true;
        state.ours_since = None;
        Some((state.taken.take()?, state.pool))
    }

    /// A callback begins; false if the thread was given up before.
    fn begin_callback(&self) -> bool {
        let mut state = self.state();
        state.ours_since = None;
        !state.is_given_up
    }

    fn end_callback(&self) {
        self.state().ours_since = Some(Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a callback, for which nobody's patience ends.
pub(super) fn callback<T>(call: impl FnOnce() -> Result<T, BoxError>) -> Result<T, BoxError> {
    struct End(Arc<Desk>);

    // After a panic as well.
    impl Drop for End {
        fn drop(&mut self) {
            self.0.end_callback();
        }
    }

    let Some(desk) = OWN.with_borrow(Clone::clone) else {
        return call();
    };
    if !desk.begin_callback() {
        return Err(GivenUp.into());
    }
    let _end = End(desk);
    call()
}
