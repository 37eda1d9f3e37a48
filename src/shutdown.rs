//! Stopping gracefully: signals, or the program's own wish.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

use crate::process_group;

/// The exit code after a second signal; 0 before it.
static AT_ONCE: AtomicI32 = AtomicI32::new(0);

/// The exit code that a second signal asks for.
pub(crate) fn exit_code_at_once() -> Option<i32> {
    Some(AT_ONCE.load(Ordering::SeqCst)).filter(|code| *code != 0)
}

/// The wish to stop, as seen by those who are to heed it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    wished: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A wish that nobody has uttered yet; [`stop`](Self::stop) does.
    #[must_use]
    pub fn new() -> Self {
        Self {
            wished: Arc::new(watch::Sender::new(false)),
        }
    }

    /// A wish that SIGTERM, SIGINT and SIGQUIT utter. A second signal ends the process at once, with
    /// 128 and the signal's number as the exit code, and with it the programs that it runs for
    /// messages (`exec:`): these get SIGTERM, and SIGKILL after 2 s.
    ///
    /// # Errors
    ///
    /// When the signals cannot be listened to.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut first = Signals::new([SIGTERM, SIGINT, SIGQUIT])?;
        let mut second = Signals::new([SIGTERM, SIGINT, SIGQUIT])?;
        let heard = shutdown.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in first.forever() {
                    heard.stop();
                    let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
                    tracing::info!(signal = name, "stopping; a second signal ends it at once");
                }
            })?;
        // A thread of its own, which writes nothing: a log that blocks does not hold it up.
        std::thread::Builder::new()
            .name("second-signal".to_owned())
            .spawn(move || {
                if let Some(signal) = second.forever().nth(1) {
                    let code = 128 + signal;
                    // Without its programs the subscriber may come to its own end first.
                    AT_ONCE.store(code, Ordering::SeqCst);
                    process_group::end_all();
                    signal_hook::low_level::exit(code);
                }
            })?;
        Ok(shutdown)
    }

    /// Utters the wish.
    pub fn stop(&self) {
        self.wished.send_replace(true);
    }

    /// Whether the wish was uttered.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.wished.borrow()
    }

    /// Waits for the wish.
    pub async fn wished(&self) {
        // The sender lives as long as we do, so this ends by the wish only.
        let _ = self.wished.subscribe().wait_for(|stop| *stop).await;
    }
}
