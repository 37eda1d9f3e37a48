//! The workers of a subscriber: threads for callbacks that block, tasks for the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::Instrument;
use tracing::instrument::WithSubscriber;

use super::count::Count;
use super::inbox::Attempt;
use super::job::Taken;
use super::worker;
use crate::backend::Backend;
use crate::db::Db;
use crate::registry::{Blocking, Callback, External};

/// What became of a message.
pub(super) type Tried = (Taken, Attempt);

enum Work {
    /// The way to the threads. They end when it is closed.
    Blocking(Sender<Taken>),
    External(Arc<External>),
}

/// The workers. Each thread takes its next message by itself, so that it need not wait for the
/// engine between two.
pub(super) struct Crew<C: Backend> {
    work: Work,
    count: Count<C>,
    tell: UnboundedSender<Tried>,
    tried: UnboundedReceiver<Tried>,
    running: usize,
    is_stopping: Arc<AtomicBool>,
}

impl<C: Backend> Crew<C> {
    /// As many workers; a message may be begun again `limit` times without coming to its end.
    pub(super) fn new(
        db: &Db<C>,
        callback: &Callback<C>,
        workers: usize,
        limit: Option<u32>,
    ) -> std::io::Result<Self> {
        let count = Count::new(db.clone(), limit);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (tell, tried) = unbounded_channel();
        let work = match callback {
            Callback::External(call) => Work::External(Arc::clone(call)),
            Callback::Blocking(call) => {
                let (sender, jobs) = crossbeam_channel::unbounded();
                for _ in 0..workers {
                    let thread = Thread {
                        callback: call.clone(),
                        count: count.clone(),
                        jobs: jobs.clone(),
                        tell: tell.clone(),
                        is_stopping: Arc::clone(&is_stopping),
                    };
                    // A callback may use the runtime, as on its own threads for blocking work, of
                    // which there may be fewer.
                    let runtime = tokio::runtime::Handle::current();
                    std::thread::Builder::new()
                        .name("outbox-worker".to_owned())
                        .spawn(move || {
                            let _runtime = runtime.enter();
                            thread.run();
                        })?;
                }
                Work::Blocking(sender)
            }
        };
        Ok(Self {
            work,
            count,
            tell,
            tried,
            running: 0,
            is_stopping,
        })
    }

    /// Messages that workers have, or are about to take.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// So many messages may wait for a worker, so that each has its next one at hand.
    pub(super) fn room(&self, workers: usize) -> usize {
        match self.work {
            Work::Blocking(_) => 2 * workers,
            Work::External(_) => workers,
        }
    }

    /// Hands a message to the next worker.
    pub(super) fn start(&mut self, taken: Taken) {
        self.running += 1;
        match &self.work {
            Work::Blocking(jobs) => {
                if let Err(lost) = jobs.send(taken) {
                    // Without a thread there is nobody to take it.
                    let error = "no worker is left".into();
                    let _ = self
                        .tell
                        .send((lost.into_inner(), Attempt::Unavailable(error)));
                }
            }
            Work::External(call) => {
                let (call, count, tell) = (Arc::clone(call), self.count.clone(), self.tell.clone());
                let attempt = async move {
                    let is_alone = taken.is_alone;
                    let abandoned = tell.closed();
                    let attempt =
                        worker::attempt_apart(&count, &call, &taken.job, is_alone, abandoned).await;
                    let _ = tell.send((taken, attempt));
                };
                tokio::spawn(attempt.in_current_span().with_current_subscriber());
            }
        }
    }

    /// The next of those that were tried; pending where none is being tried.
    pub(super) async fn next(&mut self) -> Tried {
        loop {
            // We hold a sender ourselves, so that it never ends.
            if let Some(tried) = self.tried.recv().await {
                self.running -= 1;
                return tried;
            }
        }
    }

    /// From now on what was not begun is given back.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
    }

    /// Ends the programs that run for messages. Returns whether the workers are of the kind that runs
    /// some; then they come to their end soon.
    pub(super) fn end_programs(&self) -> bool {
        let Work::External(external) = &self.work else {
            return false;
        };
        if let Some(programs) = &external.programs {
            programs.end();
        }
        external.programs.is_some()
    }

    pub(super) fn count(&self) -> &Count<C> {
        &self.count
    }
}

/// Programs do not outlive their subscriber: their messages are delivered again.
impl<C: Backend> Drop for Crew<C> {
    fn drop(&mut self) {
        self.end_programs();
    }
}

struct Thread<C: Backend> {
    callback: Blocking<C>,
    count: Count<C>,
    jobs: Receiver<Taken>,
    tell: UnboundedSender<Tried>,
    is_stopping: Arc<AtomicBool>,
}

impl<C: Backend> Thread<C> {
    fn run(self) {
        for taken in &self.jobs {
            let attempt = if self.is_stopping.load(Ordering::SeqCst) {
                Attempt::NotBegun
            } else {
                let is_alone = taken.is_alone;
                let job = &taken.job;
                // The callback's own panics are caught where its transaction is; none of ours is to
                // cost a worker.
                let attempt = || worker::attempt(&self.count, &self.callback, job, is_alone);
                catch_unwind(AssertUnwindSafe(attempt))
                    .unwrap_or_else(|panic| Attempt::panicked(&*panic))
            };
            if self.tell.send((taken, attempt)).is_err() {
                return;
            }
        }
    }
}
