//! Reports the state of a program to systemd, or to another service manager that sets `NOTIFY_SOCKET`: `sd_notify(3)`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::{NotifyState, notify};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::health::Health;
use crate::backend::Backend;
use crate::runtime::shutdown::Shutdown;

/// How often the health is checked until the program is ready, and afterwards.
const UNTIL_READY: Duration = Duration::from_millis(500);
const AFTERWARDS: Duration = Duration::from_secs(10);
/// The parts of the watchdog's interval: one lost notification must not end the program.
const FEEDS: u32 = 3;
/// The longest text that is reported, in characters.
const LONGEST_STATUS: usize = 200;

/// A service manager that waits for notifications of this process.
pub(super) struct ServiceManager(());

impl ServiceManager {
    /// The service manager that has started this process, if it wants notifications.
    pub(super) fn from_env() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET").map(|_| Self(()))
    }

    /// Reports in the background until the process ends: `READY=1` when the program is ready for the first time,
    /// `STATUS=` with its health, `STOPPING=1` at the stop, and `WATCHDOG=1` while its loops turn.
    pub(super) fn report<C: Backend>(self, health: Arc<Health<C>>, shutdown: &Shutdown) {
        if let Some(interval) = sd_notify::watchdog_enabled() {
            tokio::spawn(feed(Arc::clone(&health), interval / FEEDS));
        }
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.requested() => {
                    send(|| notify(&[NotifyState::Stopping, NotifyState::Status("stopping")])).await;
                }
                () = show(&health) => {}
            }
        });
    }
}

/// Feeds the watchdog. It goes on during a stop, which may take `shutdown_timeout`.
async fn feed<C: Backend>(health: Arc<Health<C>>, pause: Duration) {
    loop {
        if health.live().is_empty() {
            send(|| notify(&[NotifyState::Watchdog])).await;
        }
        sleep(pause).await;
    }
}

/// Reports the health whenever it changes.
async fn show<C: Backend>(health: &Health<C>) {
    let mut is_ready = false;
    let mut last = None;
    loop {
        let mut problems = health.live();
        problems.extend(health.ready().await);
        let is_well = problems.is_empty();
        let status = match is_well {
            true => "ready".to_owned(),
            false => problems.join("; ").chars().take(LONGEST_STATUS).collect(),
        };
        if last.as_ref() != Some(&status) {
            let becomes_ready = is_well && !is_ready;
            is_ready |= is_well;
            last = Some(status.clone());
            send(move || match becomes_ready {
                true => notify(&[NotifyState::Ready, NotifyState::Status(&status)]),
                false => notify(&[NotifyState::Status(&status)]),
            })
            .await;
        }
        sleep(if is_ready { AFTERWARDS } else { UNTIL_READY }).await;
    }
}

/// Sends on a thread of its own: it waits if the service manager does not read.
async fn send(notify: impl FnOnce() -> io::Result<()> + Send + 'static) {
    if let Ok(Err(error)) = spawn_blocking(notify).await {
        tracing::debug!(error = %error, "could not notify the service manager");
    }
}
