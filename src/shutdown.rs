//! Stopping gracefully: signals, or the program's own wish.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use tokio::sync::watch;

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

    /// A wish that SIGTERM, SIGINT and SIGQUIT utter. A second signal ends the process at once,
    /// with 128 and the signal's number as the exit code.
    ///
    /// # Errors
    ///
    /// When the signals cannot be listened to.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGQUIT] {
            // In this order: the first signal must not meet the flag that it sets itself.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))?;
            flag::register(signal, Arc::clone(&asked))?;
        }
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT])?;
        let heard = shutdown.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
                    tracing::info!(signal = name, "stopping; a second signal ends it at once");
                    heard.stop();
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
