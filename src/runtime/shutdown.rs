//! Graceful shutdown, by signals or by the program itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

#[cfg(feature = "subscriber")]
use crate::runtime::process_group;

/// The exit code after a second signal; 0 before it.
static EXIT_CODE: AtomicI32 = AtomicI32::new(0);

/// The exit code that a second signal requested.
pub(crate) fn exit_code_at_once() -> Option<i32> {
    Some(EXIT_CODE.load(Ordering::SeqCst)).filter(|code| *code != 0)
}

/// A cloneable shutdown signal. Clones share the signal.
#[derive(Debug, Clone)]
pub struct Shutdown {
    requested: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Creates a signal that [`stop`](Self::stop) sets.
    #[must_use]
    pub fn new() -> Self {
        Self {
            requested: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Creates a signal that SIGTERM, SIGINT and SIGQUIT set. A second one of them ends the process at once,
    /// with 128 plus the signal's number as the exit code. It also ends the programs that the process runs
    /// for messages (`exec:`): these get SIGTERM, and SIGKILL after 2 s.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if the signal handlers cannot be installed.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut first = Signals::new([SIGTERM, SIGINT, SIGQUIT])?;
        let mut second = Signals::new([SIGTERM, SIGINT, SIGQUIT])?;
        let stopped = shutdown.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in first.forever() {
                    stopped.stop();
                    let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
                    tracing::info!(
                        signal = name,
                        "stopping; a second signal ends the process at once"
                    );
                }
            })?;
        // A separate thread that writes no log: a log that blocks does not delay it.
        std::thread::Builder::new()
            .name("second-signal".to_owned())
            .spawn(move || {
                if let Some(signal) = second.forever().nth(1) {
                    let code = 128 + signal;
                    // When its programs have ended, the subscriber may end before this thread does.
                    EXIT_CODE.store(code, Ordering::SeqCst);
                    #[cfg(feature = "subscriber")]
                    process_group::end_all();
                    signal_hook::low_level::exit(code);
                }
            })?;
        Ok(shutdown)
    }

    /// Requests the shutdown.
    pub fn stop(&self) {
        self.requested.send_replace(true);
    }

    /// Whether the shutdown was requested.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.requested.borrow()
    }

    /// Waits until the shutdown is requested.
    pub async fn requested(&self) {
        // This handle keeps the sender alive, so the wait ends only by a request.
        let _ = self.requested.subscribe().wait_for(|stop| *stop).await;
    }
}
