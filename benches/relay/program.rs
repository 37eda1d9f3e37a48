//! Runs the program `publish` and reads its resource use from the operating system.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::broker::Broker;
use crate::process;

/// A process of `publish`, and what reads its metrics.
pub(crate) struct Program {
    child: Child,
    scraper: Option<Scraper>,
}

impl Program {
    pub(crate) fn start(database: &str, broker: &Broker, arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_publish"))
            .args(arguments)
            .env("DATABASE_URL", database)
            .env("STOMP_URL", &broker.url)
            .env("OUTBOX_LOG_LEVEL", "warn")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            scraper: None,
        }
    }

    /// The same, with `--metrics-listen`. A thread reads `/metrics` every second until the program ends.
    pub(crate) fn start_with_metrics(database: &str, broker: &Broker, arguments: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let arguments = [arguments, &["--metrics-listen", &address]].concat();
        let mut program = Self::start(database, broker, &arguments);
        program.scraper = Some(Scraper::start(address));
        program
    }

    pub(crate) fn finish(mut self) {
        // 4: rows that were due are left, those of a blocked key.
        let status = self.child.wait().unwrap();
        assert!(matches!(status.code(), Some(0 | 4)), "{status}");
        if let Some(scraper) = self.scraper {
            scraper.finish();
        }
    }

    /// Waits for its end and returns its peak memory, in bytes.
    pub(crate) fn peak_memory(mut self) -> u64 {
        let mut peak = 0;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success());
                return peak;
            }
            peak = peak.max(process::peak_memory(&self.child.id().to_string()).unwrap_or(0));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The processor time so far, in ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        process::ticks(&self.child.id().to_string())
    }

    pub(crate) fn stop(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Reads the metrics of a process every second, as a monitoring system does less often.
struct Scraper {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<u32>,
}

impl Scraper {
    fn start(address: String) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut scrapes = 0;
            while stopped.recv_timeout(Duration::from_secs(1)).is_err() {
                // An error: the process has ended in the meantime.
                let answer = scrape(&address).unwrap_or_default();
                scrapes += u32::from(answer.starts_with("HTTP/1.1 200 "));
            }
            scrapes
        });
        Self { stop, thread }
    }

    fn finish(self) {
        let _ = self.stop.send(());
        let scrapes = self.thread.join().unwrap();
        assert!(scrapes > 0, "the metrics were read");
    }
}

fn scrape(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
