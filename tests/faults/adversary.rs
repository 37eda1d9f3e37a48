//! Causes faults and repairs them.

use std::process::Command;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::amqp::Publisher;
use crate::consumer::Consumer;
use crate::support::network::{Mode, Network};
use crate::victim::Victim;
use crate::world::{Subject, World};

/// Longer than each time limit of the processes, which have to replace such a connection themselves.
const SILENCE: Duration = Duration::from_secs(20);

/// A kind of fault.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    Kill,
    /// A request to stop, by SIGTERM; then another process takes its place.
    Terminate,
    /// SIGSTOP, and after a time SIGCONT.
    Stop,
    BreakBroker,
    CutBroker,
    StallBroker,
    SwallowBroker,
    RestartBroker,
    /// A full queue or a memory alarm.
    FillBroker,
    BreakDatabase,
    CutDatabase,
    StallDatabase,
    /// Only a time limit distinguishes a silent connection from a slow one.
    SilenceDatabase,
    /// The same for a shorter time: functions have no time limit of their own.
    LoseDatabase,
    RestartDatabase,
    LockRows,
    CloseIdle,
    /// A message that no STOMP client can read whole.
    Unreadable,
}

/// The faults of publishers and subscribers, each as often as it is here.
pub(crate) const OF_MESSAGES: &[Fault] = &[
    Fault::Kill,
    Fault::Kill,
    Fault::Kill,
    Fault::Stop,
    Fault::Stop,
    Fault::BreakBroker,
    Fault::CutBroker,
    Fault::StallBroker,
    Fault::SwallowBroker,
    Fault::SwallowBroker,
    Fault::BreakDatabase,
    Fault::CutDatabase,
    Fault::StallDatabase,
    Fault::RestartBroker,
    Fault::RestartDatabase,
    Fault::FillBroker,
    Fault::SilenceDatabase,
    Fault::LockRows,
    Fault::LockRows,
    Fault::CloseIdle,
    Fault::Unreadable,
    Fault::Unreadable,
];

/// The faults of executors.
pub(crate) const OF_CALLS: &[Fault] = &[
    Fault::Kill,
    Fault::Kill,
    Fault::Kill,
    Fault::Terminate,
    Fault::Terminate,
    Fault::Stop,
    Fault::Stop,
    Fault::BreakDatabase,
    Fault::BreakDatabase,
    Fault::CutDatabase,
    Fault::CutDatabase,
    Fault::StallDatabase,
    Fault::LoseDatabase,
    Fault::RestartDatabase,
    Fault::LockRows,
    Fault::CloseIdle,
];

/// The number of faults of each kind. A fault of all victims counts once for each.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) kills: usize,
    pub(crate) terminations: usize,
    pub(crate) stops: usize,
    pub(crate) broker_cuts: usize,
    pub(crate) broker_stalls: usize,
    pub(crate) broker_swallows: usize,
    pub(crate) database_cuts: usize,
    pub(crate) database_stalls: usize,
    pub(crate) database_silences: usize,
    pub(crate) row_locks: usize,
    pub(crate) idle_closes: usize,
    /// Ids of messages that no STOMP client can read whole.
    pub(crate) unreadable: Vec<String>,
    pub(crate) broker_restarts: usize,
    pub(crate) database_restarts: usize,
    pub(crate) full_queues: usize,
    pub(crate) alarms: usize,
}

impl Report {
    /// Faults that affect one victim each.
    pub(crate) fn faults(&self) -> usize {
        self.kills
            + self.terminations
            + self.stops
            + self.broker_cuts
            + self.broker_stalls
            + self.broker_swallows
            + self.database_cuts
            + self.database_stalls
            + self.database_silences
            + self.row_locks
            + self.idle_closes
            + self.unreadable.len()
            + self.broker_restarts
            + self.database_restarts
            + self.full_queues
            + self.alarms
    }
}

pub(crate) struct Adversary<'a> {
    world: &'a World,
    /// The consumer, which can be stopped for a time.
    consumer: Option<&'a Consumer>,
    victims: Vec<Victim>,
    faults: &'static [Fault],
    random: StdRng,
    report: Report,
    /// Whether the servers belong to the suite, so that it may restart and administer them.
    owns_postgres: bool,
    owns_rabbitmq: bool,
    /// Locks rows for this time.
    lock_rows: fn(&World, Duration),
    /// Ends the idle sessions.
    close_idle: fn(&World),
}

impl<'a> Adversary<'a> {
    pub(crate) fn new<C: Subject>(
        world: &'a World,
        victims: Vec<Victim>,
        consumer: Option<&'a Consumer>,
        faults: &'static [Fault],
        seed: usize,
    ) -> Self {
        let own = std::env::var("OUTBOX_TEST_OWN").unwrap_or_default();
        // Restarts take long: only in long runs.
        let is_long = std::env::var_os("OUTBOX_TEST_FAULTS").is_some();
        let owns = |name: &str| is_long && own.split(' ').any(|own| own == name);
        Self {
            owns_postgres: owns("postgres") && world.database.url.starts_with("postgres"),
            owns_rabbitmq: owns("rabbitmq"),
            world,
            consumer,
            victims,
            faults,
            random: StdRng::seed_from_u64(u64::try_from(seed).unwrap()),
            report: Report::default(),
            lock_rows: lock_rows::<C>,
            close_idle: close_idle::<C>,
        }
    }

    /// Causes a fault, waits, and repairs it.
    pub(crate) fn strike(&mut self) {
        self.wait(50..400);
        // Callbacks may have ended some victims.
        self.victims.iter_mut().for_each(Victim::revive);
        let one = self.random.random_range(0..self.victims.len());
        let all = self.victims.len();
        match self.faults[self.random.random_range(0..self.faults.len())] {
            Fault::Terminate => {
                self.victims[one].replace();
                self.report.terminations += 1;
            }
            Fault::Stop => {
                self.victims[one].signal("STOP");
                // Sometimes longer than the lease.
                self.wait(200..6_000);
                self.victims[one].signal("CONT");
                self.report.stops += 1;
            }
            Fault::BreakBroker => {
                let mode = Mode::BreaksAfter(self.random.random_range(1..20_000));
                self.on_broker(one, |network| network.set(mode));
                self.wait(100..500);
                self.on_broker(one, |network| network.set(Mode::Well));
                self.report.broker_cuts += 1;
            }
            Fault::CutBroker => {
                self.on_broker(one, Network::cut);
                self.report.broker_cuts += 1;
            }
            Fault::StallBroker => {
                self.on_broker(one, |network| network.set(Mode::Stalled));
                self.wait(100..4_000);
                self.on_broker(one, |network| network.set(Mode::Well));
                self.report.broker_stalls += 1;
            }
            Fault::SwallowBroker => {
                self.on_broker(one, |network| network.set(Mode::Swallowing));
                self.wait(50..3_000);
                // What was swallowed is lost: the connection cannot continue.
                self.on_broker(one, |network| {
                    network.cut();
                    network.set(Mode::Well);
                });
                self.report.broker_swallows += 1;
            }
            Fault::BreakDatabase => {
                self.on_database(one, |network, random| {
                    network.set(Mode::BreaksAfter(random.random_range(1..20_000)));
                });
                self.wait(100..500);
                self.on_database(one, |network, _| network.set(Mode::Well));
                self.report.database_cuts += 1;
            }
            Fault::CutDatabase => {
                self.on_database(one, |network, _| network.cut());
                self.report.database_cuts += 1;
            }
            Fault::StallDatabase => {
                self.on_database(one, |network, _| network.set(Mode::Stalled));
                self.wait(100..3_000);
                self.on_database(one, |network, _| network.set(Mode::Well));
                self.report.database_stalls += 1;
            }
            Fault::RestartBroker if self.owns_rabbitmq => {
                servers(&["restart", "rabbitmq"]);
                self.report.broker_restarts += all;
            }
            Fault::RestartDatabase if self.owns_postgres => {
                servers(&["restart", "postgres"]);
                self.report.database_restarts += all;
            }
            Fault::FillBroker
                if self.owns_rabbitmq
                    && let Some(consumer) = self.consumer
                    && self.random.random_bool(0.5) =>
            {
                self.fill_the_queue(consumer);
                self.report.full_queues += all;
            }
            Fault::FillBroker if self.owns_rabbitmq => {
                let watermark = |value: &str| {
                    servers(&["rabbitmqctl", "set_vm_memory_high_watermark", value]);
                };
                watermark("0.000001");
                self.wait(500..3_000);
                watermark("0.4");
                self.report.alarms += all;
            }
            Fault::SilenceDatabase => {
                self.on_database(one, |network, _| network.silence_for(SILENCE));
                self.report.database_silences += 1;
            }
            Fault::LoseDatabase => {
                self.on_database(one, |network, _| network.silence());
                self.wait(500..4_000);
                self.on_database(one, |network, _| network.cut());
                self.report.database_silences += 1;
            }
            Fault::LockRows => {
                let time = Duration::from_millis(self.random.random_range(100..5_000));
                (self.lock_rows)(self.world, time);
                self.report.row_locks += 1;
            }
            Fault::CloseIdle => {
                (self.close_idle)(self.world);
                self.report.idle_closes += all;
            }
            Fault::Unreadable if self.consumer.is_none() => self.send_unreadable(),
            Fault::Kill
            | Fault::RestartBroker
            | Fault::RestartDatabase
            | Fault::FillBroker
            | Fault::Unreadable => {
                self.victims[one].kill();
                self.report.kills += 1;
            }
        }
    }

    /// The broker refuses what does not fit the queue.
    fn fill_the_queue(&mut self, consumer: &Consumer) {
        // A queue that gets its limit before its overflow behaviour drops messages in between.
        self.policy(r#"{"overflow": "reject-publish"}"#);
        consumer.pause(true);
        self.policy(r#"{"overflow": "reject-publish", "max-length": 1}"#);
        self.wait(500..2_000);
        servers(&["rabbitmqctl", "clear_policy", "full"]);
        consumer.pause(false);
    }

    /// Sends to the subscriber's queue, between the other messages.
    fn send_unreadable(&mut self) {
        let id = uuid::Uuid::new_v4().to_string();
        let bad: (&[u8], &[u8]) = match self.random.random_range(0..3) {
            0 => (b"x", b"\xff\xfe"),
            1 => (b"na\xc3me", b"value"),
            _ => (b"", b"value"),
        };
        let mut publisher = Publisher::connect(self.world.broker());
        let headers = [bad, (b"dop-msg-id", id.as_bytes())];
        publisher.publish(&self.world.queue, &headers, b"1");
        publisher.close();
        self.report.unreadable.push(id);
    }

    fn policy(&self, definition: &str) {
        let pattern = format!("^{}$", self.world.queue);
        let policy = ["rabbitmqctl", "set_policy", "--apply-to", "queues", "full"];
        servers(&[&policy[..], &[&pattern, definition]].concat());
    }

    fn on_broker(&self, one: usize, act: impl FnOnce(&Network)) {
        let broker = self.victims[one].broker.as_ref();
        act(broker.expect("only worlds with a broker have its faults"));
    }

    fn on_database(&mut self, one: usize, act: impl FnOnce(&Network, &mut StdRng)) {
        match &self.victims[one].database {
            Some(network) => act(network, &mut self.random),
            // A file has no network: the next worst fault.
            None => self.victims[one].kill(),
        }
    }

    fn wait(&mut self, milliseconds: std::ops::Range<u64>) {
        std::thread::sleep(Duration::from_millis(
            self.random.random_range(milliseconds),
        ));
    }

    /// The victims, and the faults that they had.
    pub(crate) fn leave(self) -> (Vec<Victim>, Report) {
        (self.victims, self.report)
    }
}

fn lock_rows<C: Subject>(world: &World, time: Duration) {
    let mut conn = world.connect::<C>();
    // Another fault may close the adversary's own session.
    if conn.lock_rows(world.kind).is_ok() {
        std::thread::sleep(time);
        let _ = conn.batch_execute("rollback");
    }
}

fn close_idle<C: Subject>(world: &World) {
    let _ = world.connect::<C>().close_idle();
}

/// Servers that belong to the suite.
fn servers(arguments: &[&str]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/servers");
    let output = Command::new(script).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}
