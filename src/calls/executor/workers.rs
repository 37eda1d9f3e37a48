//! The threads of an executor, and the functions that wait for one.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// How long an idle thread waits for more work.
const IDLE: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() + Send>;

/// Threads for functions, in a number that is limited. What finds no idle thread waits in the order in which it came,
/// so that a thread goes on with the next function without waiting for the runtime.
pub(super) struct Workers(Arc<Shared>);

struct Shared {
    most: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    threads: usize,
    idle: usize,
    is_stopping: bool,
}

/// A function that runs, or waits for a thread.
pub(super) struct Job<T> {
    /// Receives nothing if it did not run.
    pub(super) done: oneshot::Receiver<Finished<T>>,
    /// When it began to run.
    pub(super) started: Arc<OnceLock<Instant>>,
}

/// A function that has returned.
pub(super) struct Finished<T> {
    pub(super) result: T,
    pub(super) started: Instant,
    pub(super) took: Duration,
}

impl Workers {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Shared {
            most,
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Runs the work on a thread, as soon as one is free.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Job<T> {
        let (tell, done) = oneshot::channel();
        let started = Arc::new(OnceLock::new());
        let start = Arc::clone(&started);
        let work = move || {
            let started = *start.get_or_init(Instant::now);
            let result = work();
            let took = started.elapsed();
            // The caller may be gone.
            let _ = tell.send(Finished {
                result,
                started,
                took,
            });
        };
        self.push(Box::new(work));
        Job { done, started }
    }

    fn push(&self, work: Work) {
        let mut state = self.0.state();
        if state.is_stopping {
            return;
        }
        state.waiting.push_back(work);
        if state.idle >= state.waiting.len() {
            self.0.changed.notify_one();
        } else if state.threads < self.0.most {
            let shared = Arc::clone(&self.0);
            let thread = std::thread::Builder::new().name("outbox-function".to_owned());
            match thread.spawn(move || shared.work()) {
                Ok(_) => state.threads += 1,
                Err(error) => {
                    tracing::error!(error = %error, "no thread for a function");
                    if state.threads == 0 {
                        state.waiting.clear();
                    }
                }
            }
        }
    }

    /// Drops what waits for a thread, and takes no more.
    pub(super) fn stop(&self) {
        let mut state = self.0.state();
        state.is_stopping = true;
        state.waiting.clear();
        self.0.changed.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.0.state().is_stopping
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread.
    fn work(&self) {
        while let Some(work) = self.next() {
            work();
        }
    }

    /// Waits for work. Returns `None` if the thread is to end, which is recorded.
    fn next(&self) -> Option<Work> {
        let mut state = self.state();
        let until = Instant::now() + IDLE;
        loop {
            if let Some(work) = state.waiting.pop_front() {
                return Some(work);
            }
            let left = until.saturating_duration_since(Instant::now());
            if state.is_stopping || left.is_zero() {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn no_more_run_than_there_are_workers_and_each_runs_once() {
        let workers = Workers::new(3);
        let (running, most, done) =
            <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let jobs: Vec<_> = (0..200)
            .map(|_| {
                let (running, most, done) = (running.clone(), most.clone(), done.clone());
                workers.run(move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_micros(200));
                    running.fetch_sub(1, Ordering::SeqCst);
                    done.fetch_add(1, Ordering::SeqCst)
                })
            })
            .collect();
        for job in jobs {
            assert!(job.done.blocking_recv().is_ok());
        }
        assert_eq!(done.load(Ordering::SeqCst), 200);
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_stop_drops_what_has_not_started() {
        let workers = Workers::new(1);
        let (begun, begins) = channel();
        let (go, waits) = channel::<()>();
        let first = workers.run(move || {
            begun.send(()).unwrap();
            waits.recv().unwrap();
            1
        });
        let second = workers.run(|| 2);
        begins.recv().unwrap();
        workers.stop();
        assert!(second.done.blocking_recv().is_err());
        assert!(second.started.get().is_none());
        let third = workers.run(|| 3);
        assert!(third.done.blocking_recv().is_err());
        go.send(()).unwrap();
        let first = first.done.blocking_recv().unwrap();
        assert_eq!(first.result, 1);
        assert!(first.took <= first.started.elapsed());
    }
}
