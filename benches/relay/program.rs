//! The program `publish`, and what the system says of it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
        assert!(self.0.wait().unwrap().success());
    }

    /// Waits for its end; the most memory that it had, in bytes.
    pub(crate) fn peak_memory(mut self) -> u64 {
        let mut peak = 0;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                assert!(status.success());
                return peak;
            }
            peak = peak.max(self.high_water().unwrap_or(0));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn high_water(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// The processor time that it has taken so far, in ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let field = |n: usize| -> u64 { fields.split(' ').nth(n).unwrap().parse().unwrap() };
        // The 14th and 15th of all fields: in user mode, in the kernel.
        field(11) + field(12)
    }

    pub(crate) fn stop(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
