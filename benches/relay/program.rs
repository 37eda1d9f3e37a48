//! Runs the program `publish` and reads its resource use from the operating system.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::process;

/// A process of `publish`.
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(database: &str, arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_publish"))
            .args(arguments)
            .env("DATABASE_URL", database)
            .env("STOMP_URL", crate::broker())
            .env("OUTBOX_LOG_LEVEL", "warn")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    pub(crate) fn finish(mut self) {
        // 4: rows that were due are left, those of a blocked key.
        let status = self.0.wait().unwrap();
        assert!(matches!(status.code(), Some(0 | 4)), "{status}");
    }

    /// Waits for its end and returns its peak memory, in bytes.
    pub(crate) fn peak_memory(mut self) -> u64 {
        let mut peak = 0;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                assert!(status.success());
                return peak;
            }
            peak = peak.max(process::peak_memory(&self.0.id().to_string()).unwrap_or(0));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The processor time so far, in ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        process::ticks(&self.0.id().to_string())
    }

    pub(crate) fn stop(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
