//! Captures the log of a test.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

/// A second collector. With only one in the process, tracing caches call sites that are first hit
/// in a thread without a collector as disabled.
static OTHER: OnceLock<tracing::Dispatch> = OnceLock::new();

/// The captured lines of the log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Captures the log of this thread, and of the tasks it starts, from this level on.
    pub fn collect(&self, level: tracing::Level) -> tracing::subscriber::DefaultGuard {
        OTHER.get_or_init(|| {
            let other = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
            other.with_writer(io::sink).finish().into()
        });
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(level)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// The captured text.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The number of lines that contain `words`.
    pub fn count(&self, words: &str) -> usize {
        let text = self.text();
        text.lines().filter(|line| line.contains(words)).count()
    }

    /// The number of lines that say that the database is away, or still away, and contain `words`. " away"
    /// alone is also in an error of MySQL: "server has gone away".
    pub fn outages(&self, words: &str) -> usize {
        let text = self.text();
        let says = |line: &&str| line.contains("the database is not available");
        text.lines()
            .filter(says)
            .filter(|line| line.contains(words))
            .count()
    }
}
