//! A program under test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longest wait for anything in this suite.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where programs run: the addresses that they get.
pub trait Place {
    fn database_url(&self) -> &str;
    fn broker_url(&self) -> &str;
}

/// A program that runs, and the lines that it logs. It is killed when this is dropped.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    /// Starts one of the crate's programs at this place.
    pub fn start(place: &impl Place, path: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(path);
        command
            .env("DATABASE_URL", place.database_url())
            .env("STOMP_URL", place.broker_url())
            // The broker is to forget the queues of the tests.
            .env("OUTBOX_QUEUE_HEADERS", "x-expires:600000")
            .env("OUTBOX_DEAD_LETTER_HEADERS", "x-expires:600000");
        Self::spawn(command.args(arguments).stdin(Stdio::null()))
    }

    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_with_output(command, Stdio::null())
    }

    /// [`spawn`](Self::spawn) with this standard output.
    pub fn spawn_with_output(command: &mut Command, output: impl Into<Stdio>) -> Self {
        let mut child = command
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that holds this text.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {text:?} among {:#?}", self.seen),
            }
        }
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the address at which it serves its metrics.
    pub fn metrics_address(&mut self) -> String {
        let line = self.wait_for_line("serving metrics and health");
        let (_, address) = line.split_once("address=").unwrap();
        address.trim().to_owned()
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        self.child.stdin = None;
    }

    /// Kills it as the kernel would: with no chance to clean up.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// All lines; the program has to have ended.
    pub fn lines(&mut self) -> &[String] {
        self.seen.extend(self.lines.iter());
        &self.seen
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.seen.extend(self.lines.iter());
            let last = self.seen.len().saturating_sub(40);
            eprintln!("what the program said last: {:#?}", &self.seen[last..]);
        }
    }
}

/// Asks again and again, for what sends no word of its own.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Waits until nothing is left to do; longer than [`PATIENCE`] as long as it becomes less.
pub fn wait_while_it_goes_on(what: &str, mut left: impl FnMut() -> usize) {
    let mut least = usize::MAX;
    let mut since = Instant::now();
    loop {
        let now = left();
        if now == 0 {
            return;
        }
        if now < least {
            (least, since) = (now, Instant::now());
        }
        assert!(
            since.elapsed() < PATIENCE,
            "in vain: {what}, {now} are left"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}
