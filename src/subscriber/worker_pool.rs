//! The workers of a subscriber: threads for callbacks that block, tasks for the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Interval, MissedTickBehavior};
use tracing::Instrument;
use tracing::instrument::WithSubscriber;

use super::attempt::Attempt;
use super::crash_count::CrashCount;
use super::job::Taken;
use super::stuck_threads::StuckThreads;
use super::thread_watch::ThreadWatch;
use super::worker;
use crate::backend::Backend;
use crate::callback::kind::{Blocking, Callback, External};
use crate::db::{Db, DbError, Health};

/// A message and the end of its attempt.
pub(super) type EndedAttempt = (Taken, Attempt);

enum Work<C: Backend> {
    /// Threads, which end when their channel is closed.
    Blocking(Box<Threads<C>>),
    External(Arc<External>),
}

/// The workers. Each thread takes its next message by itself, without waiting for the engine.
pub(super) struct WorkerPool<C: Backend> {
    work: Work<C>,
    count: CrashCount<C>,
    sender: UnboundedSender<EndedAttempt>,
    results: UnboundedReceiver<EndedAttempt>,
    running: usize,
    is_stopping: Arc<AtomicBool>,
    /// When stuck threads are looked for.
    rounds: Interval,
}

/// Threads, each with its watch, and the template for another one.
struct Threads<C: Backend> {
    jobs_sender: Sender<Taken>,
    next: Thread<C>,
    watches: Vec<Arc<ThreadWatch>>,
    /// Threads that were replaced.
    stuck: StuckThreads,
}

/// The longest interval between two looks for stuck threads.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl<C: Backend> WorkerPool<C> {
    /// Starts the workers. `limit` is the setting `delivery_limit`.
    pub(super) fn new(
        db: &Db<C>,
        callback: &Callback<C>,
        workers: usize,
        limit: Option<u32>,
    ) -> std::io::Result<Self> {
        let count = CrashCount::new(db.clone(), limit);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (sender, results) = unbounded_channel();
        let work = match callback {
            Callback::External(call) => Work::External(Arc::clone(call)),
            Callback::Blocking(call) => {
                let (jobs_sender, jobs) = crossbeam_channel::unbounded();
                let mut threads = Threads {
                    jobs_sender,
                    next: Thread {
                        callback: call.clone(),
                        count: count.clone(),
                        jobs,
                        sender: sender.clone(),
                        is_stopping: Arc::clone(&is_stopping),
                        watch: Arc::default(),
                    },
                    watches: Vec::with_capacity(workers),
                    stuck: StuckThreads::new(workers),
                };
                for _ in 0..workers {
                    let watch = threads.next.start()?;
                    threads.watches.push(watch);
                }
                Work::Blocking(Box::new(threads))
            }
        };
        let round = db.limit().map_or(CHECK_INTERVAL, |limit| limit / 4);
        let mut rounds =
            tokio::time::interval(round.clamp(Duration::from_millis(10), CHECK_INTERVAL));
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            work,
            count,
            sender,
            results,
            running: 0,
            is_stopping,
            rounds,
        })
    }

    /// The number of messages that workers have or are about to take.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// The number of messages that may be handed over at a time: each thread has its next one ready.
    pub(super) fn room(&self, workers: usize) -> usize {
        match self.work {
            Work::Blocking(_) => 2 * workers,
            Work::External(_) => workers,
        }
    }

    /// Hands a message to the next worker.
    pub(super) fn start(&mut self, taken: Taken) {
        self.running += 1;
        match &mut self.work {
            Work::Blocking(threads) => {
                if let Err(wait) = threads.stuck.admit(&taken) {
                    let _ = self.sender.send((taken, Attempt::Contended(wait.into())));
                    return;
                }
                if let Err(lost) = threads.jobs_sender.send(taken) {
                    // All threads have ended.
                    let error = "no worker is left".into();
                    let _ = self
                        .sender
                        .send((lost.into_inner(), Attempt::Unavailable(error)));
                }
            }
            Work::External(call) => {
                let (call, count, sender) =
                    (Arc::clone(call), self.count.clone(), self.sender.clone());
                let attempt = async move {
                    let is_alone = taken.is_alone;
                    let abandoned = sender.closed();
                    let attempt =
                        worker::attempt_external(&count, &call, &taken.job, is_alone, abandoned)
                            .await;
                    let _ = sender.send((taken, attempt));
                };
                tokio::spawn(attempt.in_current_span().with_current_subscriber());
            }
        }
    }

    /// The next attempt that ends; pending if none runs.
    pub(super) async fn next(&mut self) -> EndedAttempt {
        loop {
            tokio::select! {
                // The pool itself has a sender, so the channel never ends.
                Some(results) = self.results.recv() => {
                    self.running -= 1;
                    return results;
                }
                _ = self.rounds.tick(), if self.running > 0 => self.replace_stuck_threads(),
            }
        }
    }

    /// Replaces threads that wait for a database that does not respond.
    fn replace_stuck_threads(&mut self) {
        let db = self.count.db();
        let (Work::Blocking(threads), Some(limit)) = (&mut self.work, db.limit()) else {
            return;
        };
        for watch in &mut threads.watches {
            if !watch.is_late(limit) || !threads.stuck.has_room() {
                continue;
            }
            let Some((taken, pool)) = watch.abandon(limit) else {
                continue;
            };
            threads.stuck.add(&taken);
            if let Some(pool) = pool {
                db.abandon(pool);
            }
            match threads.next.start() {
                Ok(fresh) => *watch = fresh,
                Err(error) => {
                    tracing::error!(error = %error, "could not start a thread to replace a stuck one")
                }
            }
            let again = taken.again();
            // Only the stuck thread has it now, which shows when the thread returns.
            drop(taken);
            let (db, sender) = (db.clone(), self.sender.clone());
            tokio::spawn(async move {
                let error = DbError::Silent { after: limit }.into();
                let attempt = match db.ask().await {
                    Health::Healthy | Health::Busy => Attempt::Lost(error),
                    Health::Unreachable(_) => Attempt::Unavailable(error),
                };
                let _ = sender.send((again, attempt));
            });
        }
    }

    /// From now on, messages whose attempt has not started are returned.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
    }

    /// Ends the programs that run for messages. Returns whether the callback runs programs; then its attempts
    /// end soon.
    pub(super) fn end_programs(&self) -> bool {
        let Work::External(external) = &self.work else {
            return false;
        };
        if let Some(programs) = &external.programs {
            programs.end();
        }
        external.programs.is_some()
    }

    pub(super) fn crash_count(&self) -> &CrashCount<C> {
        &self.count
    }
}

/// Programs do not outlive their subscriber; their messages are redelivered.
impl<C: Backend> Drop for WorkerPool<C> {
    fn drop(&mut self) {
        self.end_programs();
    }
}

struct Thread<C: Backend> {
    callback: Blocking<C>,
    count: CrashCount<C>,
    jobs: Receiver<Taken>,
    sender: UnboundedSender<EndedAttempt>,
    is_stopping: Arc<AtomicBool>,
    watch: Arc<ThreadWatch>,
}

impl<C: Backend> Thread<C> {
    /// Starts a thread with a watch of its own.
    fn start(&self) -> std::io::Result<Arc<ThreadWatch>> {
        let watch = Arc::<ThreadWatch>::default();
        let thread = Self {
            callback: self.callback.clone(),
            count: self.count.clone(),
            jobs: self.jobs.clone(),
            sender: self.sender.clone(),
            is_stopping: Arc::clone(&self.is_stopping),
            watch: Arc::clone(&watch),
        };
        // A callback may use the runtime, as it could on the runtime's threads for blocking work.
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("outbox-worker".to_owned())
            .spawn(move || {
                let _runtime = runtime.enter();
                thread.run();
            })?;
        Ok(watch)
    }

    fn run(self) {
        self.watch.attach();
        for taken in &self.jobs {
            let taken = Arc::new(taken);
            let attempt = if self.is_stopping.load(Ordering::SeqCst) {
                Attempt::NotStarted
            } else {
                self.watch
                    .start_attempt(&taken, worker::pool(&self.count, &taken.job));
                let (job, is_alone) = (&taken.job, taken.is_alone);
                // Panics of the callback are caught by its transaction; a panic of ours must not end the
                // worker.
                let attempt = || worker::attempt(&self.count, &self.callback, job, is_alone);
                catch_unwind(AssertUnwindSafe(attempt))
                    .unwrap_or_else(|panic| Attempt::panicked(&*panic))
            };
            // If the thread was abandoned, another thread has its message and its place.
            if !self.watch.end_attempt() {
                return;
            }
            let Some(taken) = Arc::into_inner(taken) else {
                return;
            };
            if self.sender.send((taken, attempt)).is_err() {
                return;
            }
        }
    }
}
