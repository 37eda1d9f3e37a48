//! The user's functions that are called for rows.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::memory::{Memory, Share};

/// Rows that may wait for the hooks; the hooks are not called for more.
const QUEUE_LENGTH: usize = 10_000;
/// How long hooks may continue when the engine stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

type Hook<E> = Arc<dyn Fn(&E) + Send + Sync>;

/// What a hook receives.
pub(crate) trait HookEvent: Send + 'static {
    /// The row's id.
    fn id(&self) -> Uuid;
}

/// The delivery result that a hook is called for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EventKind {
    Sent,
    Failed,
    Parked,
}

/// The hooks for each kind; none at first.
pub(crate) struct Hooks<E> {
    pub(crate) sent: Option<Hook<E>>,
    pub(crate) failed: Option<Hook<E>>,
    pub(crate) parked: Option<Hook<E>>,
    /// For failed attempts and parked rows, besides their own hooks.
    pub(crate) error: Option<Hook<E>>,
}

impl<E> Default for Hooks<E> {
    fn default() -> Self {
        Self {
            sent: None,
            failed: None,
            parked: None,
            error: None,
        }
    }
}

impl<E> Clone for Hooks<E> {
    fn clone(&self) -> Self {
        Self {
            sent: self.sent.clone(),
            failed: self.failed.clone(),
            parked: self.parked.clone(),
            error: self.error.clone(),
        }
    }
}

impl<E> fmt::Debug for Hooks<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("sent", &self.sent.is_some())
            .field("failed", &self.failed.is_some())
            .field("parked", &self.parked.is_some())
            .field("error", &self.error.is_some())
            .finish()
    }
}

impl<E: HookEvent> Hooks<E> {
    fn of(&self, kind: EventKind) -> impl Iterator<Item = &Hook<E>> {
        let hooks = match kind {
            EventKind::Sent => [self.sent.as_ref(), None],
            EventKind::Failed => [self.failed.as_ref(), self.error.as_ref()],
            EventKind::Parked => [self.parked.as_ref(), self.error.as_ref()],
        };
        hooks.into_iter().flatten()
    }

    /// Starts the thread that calls the hooks. A hook that blocks delays the other hooks only. Rows that
    /// wait for hooks take at most `memory_limit` bytes.
    pub(crate) fn start(self, memory_limit: usize) -> HookQueue<E> {
        let is_any = [&self.sent, &self.failed, &self.parked, &self.error];
        if is_any.iter().all(|hook| hook.is_none()) {
            return HookQueue::default();
        }
        let (sender, queue) = sync_channel(QUEUE_LENGTH);
        let (done, ended) = oneshot::channel();
        let hooks = self.clone();
        let thread = std::thread::Builder::new().name("outbox-hooks".to_owned());
        let started = thread.spawn(move || {
            hooks.call(&queue);
            let _ = done.send(());
        });
        if let Err(error) = started {
            tracing::error!(error = %error, "could not start a thread for the hooks; they are not called");
            return HookQueue::default();
        }
        HookQueue {
            hooks: self,
            thread: Some(HookThread {
                queue: sender,
                ended,
                memory: Memory::new(memory_limit),
            }),
            is_behind: false,
            skipped: 0,
        }
    }

    fn call(&self, queue: &Receiver<(EventKind, E, Share)>) {
        for (kind, event, _share) in queue {
            for hook in self.of(kind) {
                if catch_unwind(AssertUnwindSafe(|| hook(&event))).is_err() {
                    tracing::error!(id = %event.id(), ?kind, "a hook panicked");
                }
            }
        }
    }
}

/// The thread that calls the hooks.
struct HookThread<E> {
    queue: SyncSender<(EventKind, E, Share)>,
    ended: oneshot::Receiver<()>,
    /// Bytes of the rows in the queue.
    memory: Memory,
}

/// The queue of rows that wait for the hooks.
pub(crate) struct HookQueue<E> {
    hooks: Hooks<E>,
    thread: Option<HookThread<E>>,
    is_behind: bool,
    /// Rows that hooks were not called for.
    skipped: u64,
}

impl<E> Default for HookQueue<E> {
    fn default() -> Self {
        Self {
            hooks: Hooks::default(),
            thread: None,
            is_behind: false,
            skipped: 0,
        }
    }
}

impl<E: HookEvent> HookQueue<E> {
    /// Queues a call of the hook for this kind, if there is one. Never waits. `bytes`: the size of the event.
    pub(crate) fn notify(&mut self, kind: EventKind, bytes: usize, event: impl FnOnce() -> E) {
        let Some(thread) = &self.thread else { return };
        if self.hooks.of(kind).next().is_none() {
            return;
        }
        let Some(share) = thread.memory.try_share(bytes) else {
            return self.skip();
        };
        match thread.queue.try_send((kind, event(), share)) {
            Err(TrySendError::Full(_)) => self.skip(),
            Ok(()) | Err(TrySendError::Disconnected(_)) => self.is_behind = false,
        }
    }

    fn skip(&mut self) {
        self.skipped += 1;
        if !self.is_behind {
            tracing::warn!(
                skipped = self.skipped,
                "hooks are too slow: they are not called for every row"
            );
        }
        self.is_behind = true;
    }

    /// Waits up to 5 s for the hooks to finish.
    pub(crate) async fn finish(&mut self) {
        if let Some(HookThread { queue, ended, .. }) = self.thread.take() {
            drop(queue);
            if tokio::time::timeout(FINISH_TIMEOUT, ended).await.is_err() {
                tracing::warn!("the hooks did not end in time");
            }
            if self.skipped > 0 {
                tracing::warn!(rows = self.skipped, "hooks were too slow for these rows");
            }
        }
    }
}
