//! Functions of the user's that are told what became of rows.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::memory::{Memory, Share};
use super::row::Row;

/// Rows that hooks may be behind; of more they are not told.
const BEHIND: usize = 10_000;
/// How long hooks may work on when the relay stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// A row that something became of.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Told {
    /// The message's id.
    pub id: Uuid,
    /// Its place in the order of writing.
    pub seq: i64,
    /// Where it goes.
    pub destination: String,
    /// The ordering key.
    pub key: Option<String>,
    /// The body as JSON text; empty if it is larger than the setting `maximum_message_size` allows,
    /// for then it is not read.
    pub body: String,
    /// The headers as JSON text.
    pub headers: String,
    /// Own failures before this.
    pub retry: i32,
    /// Why it failed or was parked.
    pub reason: Option<String>,
}

// The body may be a customer's.
impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told")
            .field("id", &self.id)
            .field("seq", &self.seq)
            .field("destination", &self.destination)
            .field("retry", &self.retry)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

type Hook = Arc<dyn Fn(&Told) + Send + Sync>;

/// What became of the row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Published,
    Failed,
    Parked,
}

/// The hooks of a relay, none at first.
#[derive(Clone, Default)]
pub(super) struct Hooks {
    pub(super) published: Option<Hook>,
    pub(super) failed: Option<Hook>,
    pub(super) parked: Option<Hook>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("published", &self.published.is_some())
            .field("failed", &self.failed.is_some())
            .field("parked", &self.parked.is_some())
            .finish()
    }
}

impl Hooks {
    fn of(&self, fate: Fate) -> Option<&Hook> {
        match fate {
            Fate::Published => self.published.as_ref(),
            Fate::Failed => self.failed.as_ref(),
            Fate::Parked => self.parked.as_ref(),
        }
    }

    /// Begins to call them, on a thread of their own, so that one that blocks holds up the others
    /// at most.
    pub(super) fn start(self, memory_limit: usize) -> Teller {
        let is_any = [&self.published, &self.failed, &self.parked];
        if is_any.iter().all(|hook| hook.is_none()) {
            return Teller::default();
        }
        let (sender, queue) = sync_channel(BEHIND);
        let (done, ended) = oneshot::channel();
        let hooks = self.clone();
        let thread = std::thread::Builder::new().name("outbox-hooks".to_owned());
        let started = thread.spawn(move || {
            hooks.call(&queue);
            let _ = done.send(());
        });
        if let Err(error) = started {
            tracing::error!(error = %error, "no thread for the hooks: they are not called");
            return Teller::default();
        }
        Teller {
            hooks: self,
            way: Some(Way {
                queue: sender,
                ended,
                memory: Memory::new(memory_limit),
            }),
            is_behind: false,
            untold: 0,
        }
    }

    fn call(&self, queue: &Receiver<(Fate, Told, Share)>) {
        for (fate, told, _share) in queue {
            let Some(hook) = self.of(fate) else { continue };
            if catch_unwind(AssertUnwindSafe(|| hook(&told))).is_err() {
                tracing::error!(id = %told.id, ?fate, "a hook panicked");
            }
        }
    }
}

/// The thread's queue, and a word when it has ended.
struct Way {
    queue: SyncSender<(Fate, Told, Share)>,
    ended: oneshot::Receiver<()>,
    /// Bytes of the rows that hooks are behind.
    memory: Memory,
}

/// The way to the hooks.
#[derive(Default)]
pub(super) struct Teller {
    hooks: Hooks,
    way: Option<Way>,
    is_behind: bool,
    /// Rows that hooks were not told of.
    untold: u64,
}

impl Teller {
    /// Tells the hook of this fate, if there is one. Never waits.
    pub(super) fn tell(&mut self, fate: Fate, row: &Row, reason: Option<&str>) {
        let Some(way) = &self.way else { return };
        if self.hooks.of(fate).is_none() {
            return;
        }
        let claimed = &row.claimed;
        let bytes = row.body.len() + claimed.headers.len();
        let Some(share) = way.memory.try_share(bytes) else {
            return self.behind();
        };
        let told = Told {
            id: claimed.id,
            seq: claimed.seq,
            destination: claimed.destination.clone(),
            key: claimed.key.clone(),
            body: String::from_utf8_lossy(&row.body).into_owned(),
            headers: claimed.headers.clone(),
            retry: claimed.retry,
            reason: reason.map(str::to_owned),
        };
        match way.queue.try_send((fate, told, share)) {
            Err(TrySendError::Full(_)) => self.behind(),
            Ok(()) | Err(TrySendError::Disconnected(_)) => self.is_behind = false,
        }
    }

    fn behind(&mut self) {
        self.untold += 1;
        if !self.is_behind {
            tracing::warn!(
                untold = self.untold,
                "hooks are too slow: they are not told of every row"
            );
        }
        self.is_behind = true;
    }

    /// Lets the hooks finish, for a while.
    pub(super) async fn finish(&mut self) {
        if let Some(Way { queue, ended, .. }) = self.way.take() {
            drop(queue);
            if tokio::time::timeout(FAREWELL, ended).await.is_err() {
                tracing::warn!("the hooks did not end in time");
            }
            if self.untold > 0 {
                tracing::warn!(rows = self.untold, "hooks were too slow for these rows");
            }
        }
    }
}
