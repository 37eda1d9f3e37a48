//! A `publish` process, with a network of its own to the broker and to the database.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::WINDOW;
use crate::network::Network;
use crate::world::{Subject, World};

pub(crate) struct Publisher {
    child: Child,
    pub(crate) broker: Network,
    /// None where the database is a file.
    pub(crate) database: Option<Network>,
    database_url: String,
    broker_url: String,
    log: std::path::PathBuf,
}

impl Publisher {
    pub(crate) fn start<C: Subject>(world: &World, number: usize) -> Self {
        let broker = Network::to(&world.broker);
        let database = (C::NAME != "SQLite").then(|| Network::to(&world.database.url));
        let database_url = match &database {
            Some(network) => network.address_for(&world.database.url),
            None => world.database.url.clone(),
        };
        let broker_url = broker.address_for(&world.broker);
        let log = std::env::temp_dir().join(format!("{}-{number}.log", world.queue));
        let child = spawn(&database_url, &broker_url, &log);
        Self {
            child,
            broker,
            database,
            database_url,
            broker_url,
            log,
        }
    }

    /// Kills it as the kernel would, and starts another one in its place.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.database_url, &self.broker_url, &self.log);
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Asks it to stop, which it does.
    pub(crate) fn stop(mut self) {
        assert!(
            self.child.try_wait().unwrap().is_none(),
            "it has ended by itself"
        );
        self.signal("TERM");
        let deadline = Instant::now() + Duration::from_secs(60);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not stop");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{status}");
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(40);
            eprintln!("what a publisher said last:\n{}", lines[last..].join("\n"));
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

fn spawn(database: &str, broker: &str, log: &std::path::Path) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    Command::new(env!("CARGO_BIN_EXE_publish"))
        .env("DATABASE_URL", database)
        .env("STOMP_URL", broker)
        .args(["--window", &WINDOW.to_string(), "--chunk-size", "100"])
        .args(["--lease", "4s", "--receipt-timeout", "2s"])
        .args(["--connect-timeout", "3s", "--database-timeout", "2s"])
        .args(["--maximum-backoff", "1s", "--poll-interval", "100ms"])
        .args([
            "--retry-first-delay",
            "100ms",
            "--retry-maximum-delay",
            "1s",
        ])
        .args(["--retry-attempts", "1000", "--breaker-pause", "1s"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
