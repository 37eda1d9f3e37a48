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

use super::count::Count;
use super::desk::Desk;
use super::inbox::Attempt;
use super::job::Taken;
use super::stuck::Stuck;
use super::worker;
use crate::backend::Backend;
use crate::db::{Db, DbError, Health};
use crate::registry::{Blocking, Callback, External};

/// What became of a message.
pub(super) type Tried = (Taken, Attempt);

enum Work<C: Backend> {
    /// The way to the threads, which end when it is closed.
    Blocking(Box<Threads<C>>),
    External(Arc<External>),
}

/// The workers. Each thread takes its next message by itself, so that it need not wait for the
/// engine between two.
pub(super) struct Crew<C: Backend> {
    work: Work<C>,
    count: Count<C>,
    tell: UnboundedSender<Tried>,
    tried: UnboundedReceiver<Tried>,
    running: usize,
    is_stopping: Arc<AtomicBool>,
    /// When it is looked whether a thread is stuck.
    rounds: Interval,
}

/// Threads, each with its desk, and how to start one more.
struct Threads<C: Backend> {
    way: Sender<Taken>,
    next: Thread<C>,
    desks: Vec<Arc<Desk>>,
    /// Those that were given up.
    stuck: Stuck,
}

/// How often to look, unless the time limit is shorter than that.
const ROUND: Duration = Duration::from_secs(1);

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
                let mut threads = Threads {
                    way: sender,
                    next: Thread {
                        callback: call.clone(),
                        count: count.clone(),
                        jobs,
                        tell: tell.clone(),
                        is_stopping: Arc::clone(&is_stopping),
                        desk: Arc::default(),
                    },
                    desks: Vec::with_capacity(workers),
                    stuck: Stuck::new(workers),
                };
                for _ in 0..workers {
                    let desk = threads.next.start()?;
                    threads.desks.push(desk);
                }
                Work::Blocking(Box::new(threads))
            }
        };
        let round = db.limit().map_or(ROUND, |limit| limit / 4);
        let mut rounds = tokio::time::interval(round.clamp(Duration::from_millis(10), ROUND));
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            work,
            count,
            tell,
            tried,
            running: 0,
            is_stopping,
            rounds,
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
        match &mut self.work {
            Work::Blocking(threads) => {
                if let Err(wait) = threads.stuck.admit(&taken) {
                    let _ = self.tell.send((taken, Attempt::Hindered(wait.into())));
                    return;
                }
                if let Err(lost) = threads.way.send(taken) {
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
            tokio::select! {
                // We hold a sender ourselves, so that it never ends.
                Some(tried) = self.tried.recv() => {
                    self.running -= 1;
                    return tried;
                }
                _ = self.rounds.tick(), if self.running > 0 => self.look_after_threads(),
            }
        }
    }

    /// Gives up threads that wait for a silent database, and starts others in their place.
    fn look_after_threads(&mut self) {
        let db = self.count.db();
        let (Work::Blocking(threads), Some(limit)) = (&mut self.work, db.limit()) else {
            return;
        };
        for desk in &mut threads.desks {
            if !desk.is_late(limit) || !threads.stuck.has_room() {
                continue;
            }
            let Some((taken, pool)) = desk.give_up(limit) else {
                continue;
            };
            threads.stuck.add(&taken);
            if let Some(pool) = pool {
                db.give_up(pool);
            }
            match threads.next.start() {
                Ok(fresh) => *desk = fresh,
                Err(error) => {
                    tracing::error!(error = %error, "no thread in the place of one that is stuck")
                }
            }
            let again = taken.again();
            // It is the thread's alone, which shows when it comes back.
            drop(taken);
            let (db, tell) = (db.clone(), self.tell.clone());
            tokio::spawn(async move {
                let error = DbError::Silent { after: limit }.into();
                let attempt = match db.ask().await {
                    Health::Well | Health::Busy => Attempt::Lost(error),
                    Health::Away(_) => Attempt::Unavailable(error),
                };
                let _ = tell.send((again, attempt));
            });
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
    desk: Arc<Desk>,
}

impl<C: Backend> Thread<C> {
    /// Starts one like this, with a desk of its own.
    fn start(&self) -> std::io::Result<Arc<Desk>> {
        let desk = Arc::<Desk>::default();
        let thread = Self {
            callback: self.callback.clone(),
            count: self.count.clone(),
            jobs: self.jobs.clone(),
            tell: self.tell.clone(),
            is_stopping: Arc::clone(&self.is_stopping),
            desk: Arc::clone(&desk),
        };
        // A callback may use the runtime, as on its own threads for blocking work, of which there may
        // be fewer.
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("outbox-worker".to_owned())
            .spawn(move || {
                let _runtime = runtime.enter();
                thread.run();
            })?;
        Ok(desk)
    }

    fn run(self) {
        self.desk.sit();
        for taken in &self.jobs {
            let taken = Arc::new(taken);
            let attempt = if self.is_stopping.load(Ordering::SeqCst) {
                Attempt::NotBegun
            } else {
                self.desk
                    .take_up(&taken, worker::pool(&self.count, &taken.job));
                let (job, is_alone) = (&taken.job, taken.is_alone);
                // The callback's own panics are caught where its transaction is; none of ours is to
                // cost a worker.
                let attempt = || worker::attempt(&self.count, &self.callback, job, is_alone);
                catch_unwind(AssertUnwindSafe(attempt))
                    .unwrap_or_else(|panic| Attempt::panicked(&*panic))
            };
            // Given up, another one has its message and its place.
            if !self.desk.put_down() {
                return;
            }
            let Some(taken) = Arc::into_inner(taken) else {
                return;
            };
            if self.tell.send((taken, attempt)).is_err() {
                return;
            }
        }
    }
}
