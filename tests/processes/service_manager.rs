//! What a service manager, a load balancer and Kubernetes learn of the programs, and of one that is stuck.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use super::World;
use super::program::{PATIENCE, Place, Program, wait_until};
use super::support::http::get;
use super::support::network::{Mode, Network};

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");
const SUBSCRIBE: &str = env!("CARGO_BIN_EXE_subscribe");
const LISTEN: &str = "--metrics-listen=127.0.0.1:0";

/// A socket as systemd makes it.
struct Notifications {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Notifications {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { socket, folder }
    }

    /// A program with its notifications, and a watchdog that has to be fed every 600 ms.
    fn command(&self, world: &World, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("DATABASE_URL", world.database_url())
            .env("STOMP_URL", world.broker_url())
            .env("OUTBOX_QUEUE_HEADERS", "x-expires:600000")
            .env("OUTBOX_DEAD_LETTER_HEADERS", "x-expires:600000")
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .env("WATCHDOG_USEC", "600000")
            .stdin(Stdio::null());
        command
    }

    /// The next notification; `None` if none comes in this time.
    fn next(&self, patience: Duration) -> Option<String> {
        let mut text = [0; 4096];
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let length = self.socket.recv(&mut text).ok()?;
        Some(String::from_utf8(text[..length].to_vec()).unwrap())
    }

    /// Waits for a notification with this line. Returns those before it.
    fn wait_for(&self, line: &str) -> Vec<String> {
        let (deadline, mut before) = (Instant::now() + PATIENCE, Vec::new());
        while Instant::now() < deadline {
            if let Some(next) = self.next(Duration::from_secs(1)) {
                if next.lines().any(|it| it == line) {
                    return before;
                }
                before.push(next);
            }
        }
        panic!("no {line:?} after {before:?}");
    }
}

#[test]
fn a_service_manager_is_notified() {
    let Some(world) = World::new() else { return };
    for (program, arguments) in [
        (PUBLISH, vec![]),
        (SUBSCRIBE, vec!["store", "/topic/x", world.name.as_str()]),
    ] {
        let notifications = Notifications::new();
        // A broker that answers later.
        let network = Network::to(&world.broker);
        network.set(Mode::Away);
        let mut command = notifications.command(&world, program, &arguments);
        command.env("STOMP_URL", network.address_for(&world.broker));
        let mut program = Program::spawn(&mut command);
        let part = match arguments.is_empty() {
            true => "relay".to_owned(),
            false => format!("subscriber of {}", world.name),
        };
        let before = notifications.wait_for(&format!("STATUS={part}: not connected to the broker"));
        assert!(!before.concat().contains("READY=1"), "{before:?}");
        notifications.wait_for("WATCHDOG=1");
        network.set(Mode::Well);
        notifications.wait_for("READY=1");
        notifications.wait_for("WATCHDOG=1");
        program.signal("TERM");
        let before = notifications.wait_for("STOPPING=1");
        assert!(
            !before.concat().contains("READY=1"),
            "only once: {before:?}"
        );
        assert_eq!(program.ended().code(), Some(0));
    }
}

#[test]
fn readiness_follows_the_broker_and_the_database() {
    let Some(world) = World::new() else { return };
    let broker = Network::to(&world.broker);
    let database = Network::to(&world.database.url);
    let mut command = Command::new(PUBLISH);
    command
        .args([LISTEN, "--database-timeout=200ms", "--maximum-backoff=1s"])
        .env("DATABASE_URL", database.address_for(&world.database.url))
        .env("STOMP_URL", broker.address_for(&world.broker));
    let mut relay = Program::spawn(&mut command);
    let address = relay.metrics_address();
    let becomes = |status: u16, text: &str| {
        wait_until(text, || {
            let ready = get(&address, "/health/ready");
            (ready.status, ready.body.contains(text)) == (status, true)
        });
        let live = get(&address, "/health/live");
        assert_eq!((live.status, live.body.as_str()), (200, "live\n"));
    };
    becomes(200, "ready");
    broker.set(Mode::Away);
    becomes(503, "relay: not connected to the broker");
    broker.set(Mode::Well);
    becomes(200, "ready");
    database.set(Mode::Away);
    becomes(503, "database: no");
    database.set(Mode::Well);
    becomes(200, "ready");
}

/// A process that is killed when this is dropped, however the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads lines until one holds this text.
fn read_until(lines: &mut BufReader<ChildStderr>, text: &str) -> String {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "no {text:?}");
    }
    line
}

#[test]
fn a_relay_that_is_stuck_is_not_alive() {
    let Some(world) = World::new() else { return };
    let notifications = Notifications::new();
    // Nobody reads the log any more: the pipe is full, and the relay's loop waits to write a line.
    let flags = [
        LISTEN,
        "--live-timeout=15s",
        "--log-level=info,diesel_outbox::relay::observer=debug",
    ];
    let mut command = notifications.command(&world, PUBLISH, &flags);
    let mut relay = Killed(
        command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut log = BufReader::new(relay.0.stderr.take().unwrap());
    let line = read_until(&mut log, "serving metrics and health");
    let address = line.split_once("address=").unwrap().1.trim().to_owned();
    notifications.wait_for("READY=1");
    world.write(2_000);
    let live = || get(&address, "/health/live");
    assert_eq!(live().status, 200);
    wait_until("it is not alive", || live().status == 503);
    assert_eq!(live().body, "relay: no turn of its loop in 15s\n");
    // The watchdog gets nothing from now on; what nobody has read is still in the socket.
    let unread = std::iter::from_fn(|| notifications.next(Duration::from_millis(500)));
    assert!(unread.take(100).count() < 100);
    assert_eq!(notifications.next(Duration::from_secs(1)), None);
    // The log is read again.
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = log.read_to_end(&mut rest);
    });
    wait_until("it is alive", || live().status == 200);
    notifications.wait_for("WATCHDOG=1");
    wait_until("all is sent", || world.counts().sent == 2_000);
}
