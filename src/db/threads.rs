//! Threads for blocking work on a database.
//!
//! The runtime's own threads do not suffice: a runtime that is dropped waits for them, and a
//! thread may wait for a silent server until the system ends the call.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::oneshot;

/// How long an idle thread waits for more work.
const IDLE: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() + Send>;

/// A pool with one thread for each piece of work in progress. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Threads {
    /// Locked only by a thread that waits for work.
    way: Sender<Work>,
    work: Receiver<Work>,
}

impl Default for Threads {
    fn default() -> Self {
        let (way, work) = crossbeam_channel::bounded(0);
        Self { way, work }
    }
}

impl Threads {
    /// Runs the work on a thread. The receiver gets nothing if the work panics.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (tell, done) = oneshot::channel();
        let work: Work = Box::new(move || {
            // The caller may be gone.
            let _ = tell.send(work());
        });
        let Err(unsent) = self.way.try_send(work) else {
            return done;
        };
        let (first, more) = (unsent.into_inner(), self.work.clone());
        let thread = std::thread::Builder::new().name("outbox-database".to_owned());
        let started = thread.spawn(move || {
            first();
            while let Ok(next) = more.recv_timeout(IDLE) {
                next();
            }
        });
        if let Err(error) = started {
            tracing::error!(error = %error, "no thread for work on the database");
        }
        done
    }
}
