//! What a worker's thread does: a callback, which has no time limit, or our own statements, which have one.
//!
//! A thread that waits for a server that does not respond cannot be interrupted. It is abandoned: another
//! thread takes its place and its message, and its result is ignored if it returns.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::job::Taken;
use crate::error::BoxError;

thread_local! {
    static OF_THREAD: RefCell<Option<Arc<ThreadWatch>>> = const { RefCell::new(None) };
}

/// The watch of one worker's thread.
#[derive(Debug, Default)]
pub(super) struct ThreadWatch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    taken: Option<Arc<Taken>>,
    /// The pool that the attempt uses, if it uses one.
    pool: Option<u64>,
    /// Since when our own statements run.
    ours_since: Option<Instant>,
    is_abandoned: bool,
}

/// The thread was abandoned while one of our statements ran.
#[derive(Debug, thiserror::Error)]
#[error("a statement took too long, and the message was given to another worker")]
struct Abandoned;

impl ThreadWatch {
    /// Makes it the watch of this thread.
    pub(super) fn attach(self: &Arc<Self>) {
        OF_THREAD.set(Some(Arc::clone(self)));
    }

    /// An attempt starts, on a connection of this pool, or on its own if `None`.
    pub(super) fn start_attempt(&self, taken: &Arc<Taken>, pool: Option<u64>) {
        let mut state = self.state();
        state.pool = pool;
        state.taken = Some(Arc::clone(taken));
        state.ours_since = Some(Instant::now());
    }

    /// The attempt has ended. Returns false if the thread was abandoned before.
    pub(super) fn end_attempt(&self) -> bool {
        let mut state = self.state();
        state.taken = None;
        state.ours_since = None;
        !state.is_abandoned
    }

    /// Whether our own statements have run for longer than the limit.
    pub(super) fn is_late(&self, limit: Duration) -> bool {
        let since = self.state().ours_since;
        since.is_some_and(|since| since.elapsed() >= limit)
    }

    /// Abandons the thread if our own statements have run for longer than the limit. Returns its message and
    /// the pool that it used.
    pub(super) fn abandon(&self, limit: Duration) -> Option<(Arc<Taken>, Option<u64>)> {
        let mut state = self.state();
        if state.ours_since?.elapsed() < limit {
            return None;
        }
        state.is_abandoned = true;
        state.ours_since = None;
        Some((state.taken.take()?, state.pool))
    }

    /// A callback starts. Returns false if the thread was abandoned before.
    fn begin_callback(&self) -> bool {
        let mut state = self.state();
        state.ours_since = None;
        !state.is_abandoned
    }

    fn end_callback(&self) {
        self.state().ours_since = Some(Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a callback; the time limit of our own statements does not apply to it.
pub(super) fn callback<T>(call: impl FnOnce() -> Result<T, BoxError>) -> Result<T, BoxError> {
    struct End(Arc<ThreadWatch>);

    // Also after a panic.
    impl Drop for End {
        fn drop(&mut self) {
            self.0.end_callback();
        }
    }

    let Some(watch) = OF_THREAD.with_borrow(Clone::clone) else {
        return call();
    };
    if !watch.begin_callback() {
        return Err(Abandoned.into());
    }
    let _end = End(watch);
    call()
}
