//! What wakes a relay before its next look at the outbox.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::backend::Backend;
use crate::db::Db;

/// How long to wait before a lost connection is made again; meanwhile the relay polls.
const RECONNECT: Duration = Duration::from_secs(5);
/// How long a watcher may be silent before another one takes its place.
const SILENCE: Duration = Duration::from_secs(30);
/// How often a watcher that waits looks whether the relay is still there.
const STEP: Duration = Duration::from_millis(100);

/// Wakes a relay: call [`wake`](Self::wake) after a commit in the same process, and the relay looks
/// at the outbox at once. Cheap to clone, and to call while the relay is awake.
#[derive(Debug, Clone, Default)]
pub struct Waker(Arc<Notify>);

impl Waker {
    /// Makes the relay look at the outbox at once.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.0.notified().await;
    }
}

/// A thread that watches the database for as long as this lives.
#[derive(Debug)]
pub(super) struct Watcher(Arc<AtomicBool>);

impl Watcher {
    pub(super) fn start<C: Backend>(db: &Db<C>, waker: &Waker) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (db, waker, is_over) = (db.clone(), waker.clone(), Arc::clone(&ended));
        let patience = db.limit().unwrap_or(SILENCE);
        let supervise = move || {
            while !is_over.load(Ordering::Relaxed) {
                let watched = Arc::new(Pulse::default());
                if let Err(error) = start_watching(&db, &waker, &is_over, &watched) {
                    tracing::warn!(error = %error, "no thread to watch for new rows: the relay polls");
                    return;
                }
                // A thread that waits for a silent server is left behind.
                while !is_over.load(Ordering::Relaxed) && watched.since() < patience {
                    std::thread::sleep(STEP);
                }
                watched.is_given_up.store(true, Ordering::Relaxed);
            }
        };
        let thread = std::thread::Builder::new().name("outbox-watch".to_owned());
        if let Err(error) = thread.spawn(supervise) {
            tracing::warn!(error = %error, "no thread to watch for new rows: the relay polls");
        }
        Self(ended)
    }
}

/// When a watching thread last showed that it lives.
#[derive(Debug)]
struct Pulse {
    last: Mutex<Instant>,
    is_given_up: AtomicBool,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            last: Mutex::new(Instant::now()),
            is_given_up: AtomicBool::new(false),
        }
    }
}

impl Pulse {
    fn beat(&self) {
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
    pulse: &Arc<Pulse>,
) -> std::io::Result<()> {
    let (db, waker) = (db.clone(), waker.clone());
    let (is_over, pulse) = (Arc::clone(is_over), Arc::clone(pulse));
    let watch = move || {
        let over = || {
            pulse.beat();
            is_over.load(Ordering::Relaxed) || pulse.is_given_up.load(Ordering::Relaxed)
        };
        while !over() {
            // A connection to a former primary tells nothing of what the new one writes.
            let generation = db.generation();
            let ends = || over() || db.generation() != generation;
            if !listen(&db, &waker, &ends)
                && let Err(error) = db.in_schema(|| watch(&db, &waker, &ends))
            {
                tracing::debug!(error, "nothing is told of new rows for a while");
            }
            let mut left = RECONNECT;
            while !over() && !left.is_zero() {
                std::thread::sleep(STEP);
                left = left.saturating_sub(STEP);
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

/// Whether it listened to the database instead of asking it again and again.
#[cfg(feature = "postgres")]
fn listen<C: Backend>(db: &Db<C>, waker: &Waker, over: &impl Fn() -> bool) -> bool {
    use super::listener::{ListenError, listen};

    if !C::NOTIFIES {
        return false;
    }
    let schema = db.schema();
    let result = listen(db.url().expose(), schema.as_deref(), waker, over);
    if let Err(error) = &result {
        tracing::debug!(error = %error, "not listening");
    }
    !matches!(result, Err(ListenError::Refused(_)))
}

#[cfg(not(feature = "postgres"))]
fn listen<C: Backend>(_: &Db<C>, _: &Waker, _: &impl Fn() -> bool) -> bool {
    false
}

fn watch<C: Backend>(db: &Db<C>, waker: &Waker, over: &impl Fn() -> bool) -> Result<(), String> {
    let told = |error: diesel::result::Error| error.to_string();
    let mut conn = db.open().map_err(|error| error.to_string())?;
    conn.begin_watch().map_err(told)?;
    let mut seen = C::Seen::default();
    // What was written before it began to listen.
    waker.wake();
    while !over() {
        if conn.has_news(&mut seen).map_err(told)? {
            waker.wake();
        }
        std::thread::sleep(C::PAUSE);
    }
    Ok(())
}
