//! Wakes a relay or an executor before its next poll.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::backend::{Backend, Listened};
use crate::db::Db;

/// Pause before a lost connection is opened again; the relay polls in the meantime.
const RECONNECT: Duration = Duration::from_secs(5);
/// How long a watcher may be silent before another one replaces it.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// How often a waiting watcher checks whether the relay still runs.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Wakes a relay or an executor. Call [`wake`](Self::wake) after a commit in the same process, and it polls the
/// database at once; [`OnCommit`](crate::relay::OnCommit) does that after each commit. Cheap to clone, and to call while
/// it works. After it has ended, nothing happens.
#[derive(Debug, Clone, Default)]
pub struct Waker(Arc<Notify>);

impl Waker {
    /// Makes the relay or the executor poll the database at once.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Whether both wake the same one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) async fn woken(&self) {
        self.0.notified().await;
    }
}

/// A thread that watches the database until this is dropped.
#[derive(Debug)]
pub(crate) struct Watcher(Arc<AtomicBool>);

impl Watcher {
    pub(crate) fn start<C: Backend>(db: &Db<C>, waker: &Waker) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (db, waker, is_over) = (db.clone(), waker.clone(), Arc::clone(&ended));
        let limit = db.limit().unwrap_or(SILENCE_LIMIT);
        let supervise = move || {
            let is_logged = Arc::default();
            while !is_over.load(Ordering::Relaxed) {
                let activity = Arc::new(LastActivity::default());
                if let Err(error) = start_watching(&db, &waker, &is_over, &activity, &is_logged) {
                    tracing::warn!(error = %error, "could not start a thread that watches for new rows; the database is polled");
                    return;
                }
                // A thread that waits for a silent server is abandoned.
                while !is_over.load(Ordering::Relaxed) && activity.since() < limit {
                    std::thread::sleep(CHECK_INTERVAL);
                }
                activity.is_abandoned.store(true, Ordering::Relaxed);
            }
        };
        let thread = std::thread::Builder::new().name("outbox-watch".to_owned());
        if let Err(error) = thread.spawn(supervise) {
            tracing::warn!(error = %error, "could not start a thread that watches for new rows; the database is polled");
        }
        Self(ended)
    }
}

/// When a watching thread last showed activity.
#[derive(Debug)]
struct LastActivity {
    last: Mutex<Instant>,
    is_abandoned: AtomicBool,
}

impl Default for LastActivity {
    fn default() -> Self {
        Self {
            last: Mutex::new(Instant::now()),
            is_abandoned: AtomicBool::new(false),
        }
    }
}

impl LastActivity {
    fn record(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn since(&self) -> Duration {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.elapsed()
    }
}

fn start_watching<C: Backend>(
    db: &Db<C>,
    waker: &Waker,
    is_over: &Arc<AtomicBool>,
    activity: &Arc<LastActivity>,
    is_logged: &Arc<AtomicBool>,
) -> std::io::Result<()> {
    let (db, waker, is_logged) = (db.clone(), waker.clone(), Arc::clone(is_logged));
    let (is_over, activity) = (Arc::clone(is_over), Arc::clone(activity));
    let watch = move || {
        let over = || {
            activity.record();
            is_over.load(Ordering::Relaxed) || activity.is_abandoned.load(Ordering::Relaxed)
        };
        while !over() {
            // A connection to a former primary does not report what the new one writes.
            let generation = db.generation();
            let ends = || over() || db.generation() != generation;
            if !listen(&db, &waker, &ends, &is_logged)
                && let Err(error) = db.in_schema(|| watch(&db, &waker, &ends))
            {
                tracing::debug!(
                    error,
                    "the watch for new rows has ended; it starts again in 5 s"
                );
            }
            let mut left = RECONNECT;
            while !over() && !left.is_zero() {
                std::thread::sleep(CHECK_INTERVAL);
                left = left.saturating_sub(CHECK_INTERVAL);
            }
        }
    };
    let thread = std::thread::Builder::new().name("outbox-watch".to_owned());
    thread.spawn(watch).map(drop)
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Listens to the notifications of the database. Returns false if it cannot, so that the database is polled
/// instead. The reason is logged once; `is_logged` records that.
fn listen<C: Backend>(
    db: &Db<C>,
    waker: &Waker,
    over: &impl Fn() -> bool,
    is_logged: &AtomicBool,
) -> bool {
    // Connections of a service's pool have no address for another client.
    let Some(url) = db.url() else {
        return false;
    };
    let schema = db.schema();
    match C::listen(url.expose(), schema.as_deref(), &|| waker.wake(), over) {
        Listened::Unsupported => false,
        Listened::Ended => true,
        Listened::Lost(reason) => {
            tracing::debug!(error = db.masked(&reason), "not listening");
            true
        }
        Listened::Refused {
            reason,
            is_temporary,
        } => {
            let reason = db.masked(&reason);
            if is_temporary || is_logged.swap(true, Ordering::Relaxed) {
                tracing::debug!(error = reason, "not listening");
            } else {
                tracing::info!(
                    error = reason,
                    "no connection of its own for notifications; asking through libpq every 20 ms"
                );
            }
            false
        }
    }
}

fn watch<C: Backend>(db: &Db<C>, waker: &Waker, over: &impl Fn() -> bool) -> Result<(), String> {
    let text = |error: diesel::result::Error| error.to_string();
    let mut conn = db.open().map_err(|error| error.to_string())?;
    // It may go on listening.
    conn.retire();
    conn.begin_watch().map_err(text)?;
    let mut seen = C::Seen::default();
    // Rows may have been written before it began to watch.
    waker.wake();
    while !over() {
        if conn.has_news(&mut seen).map_err(text)? {
            waker.wake();
        }
        std::thread::sleep(C::WATCH_INTERVAL);
    }
    Ok(())
}
