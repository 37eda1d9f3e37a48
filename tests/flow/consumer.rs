//! A subscriber that runs on a thread of its own.

use std::thread::JoinHandle;

use diesel_outbox::Shutdown;
use diesel_outbox::subscriber::{Subscriber, SubscriberStats};
use tokio::runtime::Runtime;

use crate::place::Subject;

/// A running subscriber.
pub(crate) struct Consumer {
    shutdown: Shutdown,
    thread: JoinHandle<SubscriberStats>,
}

impl Consumer {
    pub(crate) fn start(run: impl FnOnce(&Shutdown) -> SubscriberStats + Send + 'static) -> Self {
        let shutdown = Shutdown::new();
        let signal = shutdown.clone();
        let thread = std::thread::spawn(move || run(&signal));
        Self { shutdown, thread }
    }

    pub(crate) fn of<C: Subject>(subscriber: Subscriber<C>) -> Self {
        Self::start(move |shutdown| {
            let runtime = Runtime::new().unwrap();
            runtime.block_on(subscriber.run(shutdown)).unwrap()
        })
    }

    /// The same, with access to its log.
    #[cfg(feature = "testing")]
    pub(crate) fn logged_of<C: Subject>(subscriber: Subscriber<C>) -> (Self, crate::log::Log) {
        let log = crate::log::Log::default();
        let collected = log.clone();
        let consumer = Self::start(move |shutdown| {
            let _guard = collected.collect(tracing::Level::DEBUG);
            let runtime = Runtime::new().unwrap();
            runtime.block_on(subscriber.run(shutdown)).unwrap()
        });
        (consumer, log)
    }

    /// Asks it to stop, and does not wait.
    #[cfg(all(feature = "sqlite", feature = "testing"))]
    pub(crate) fn ask_to_stop(&self) {
        self.shutdown.stop();
    }

    /// Stops it gracefully.
    pub(crate) fn stop(self) -> SubscriberStats {
        self.shutdown.stop();
        self.thread.join().unwrap()
    }
}
