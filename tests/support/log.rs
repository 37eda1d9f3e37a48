//! What is logged, where a case looks at it.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

/// While there is one collector in all, what is first logged in a thread without one is never
/// collected from then on. This is another one.
static OTHER: OnceLock<tracing::Dispatch> = OnceLock::new();

/// Lines of the log, as they are written.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Collects what is logged in this thread, and in the tasks that are begun by it, from this
    /// level on.
    pub(crate) fn collect(&self, level: tracing::Level) -> tracing::subscriber::DefaultGuard {
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

    /// What was logged.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// How many lines say `words`.
    pub(crate) fn count(&self, words: &str) -> usize {
        let text = self.text();
        text.lines().filter(|line| line.contains(words)).count()
    }
}
