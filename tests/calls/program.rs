//! The program `cli::calls` as a process: arguments, signals and exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use diesel_outbox::calls::Call;

use crate::acts::{Act, Await, Play, PlayWithin, Unknown};
use crate::place::{Place, Subject, wait_until};
use crate::support::http::get;
use crate::support::program::Program;

const CALLS: &str = env!("CARGO_BIN_EXE_outbox-test-calls");
const OUTBOX: &str = env!("CARGO_BIN_EXE_outbox");

/// Settings that make waits short.
const QUICK: &[(&str, &str)] = &[
    ("OUTBOX_POLL_INTERVAL", "20ms"),
    ("OUTBOX_RETRY_FIRST_DELAY", "10ms"),
    ("OUTBOX_CALL_LEASE", "1s"),
];

/// The result of a run of a program.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// It ended with this code, and its output has these texts.
    #[track_caller]
    fn ended(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        let said = format!("{}{}", self.out, self.err);
        for text in texts {
            assert!(said.contains(text), "no {text:?} in {self:#?}");
        }
        assert!(!said.contains("panicked"), "{self:#?}");
        assert!(!said.contains("hunter2"), "{self:#?}");
    }
}

fn command<C: Subject>(place: &Place<C>, arguments: &[&str]) -> Command {
    let mut command = Command::new(CALLS);
    command
        .env("DATABASE_URL", place.url())
        .envs(QUICK.iter().copied())
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end.
fn run<C: Subject>(place: &Place<C>, arguments: &[&str]) -> Ran {
    Ran::of(&mut command(place, arguments))
}

/// Starts the program.
pub(crate) fn start<C: Subject>(place: &Place<C>, arguments: &[&str]) -> Program {
    Program::spawn(&mut command(place, arguments))
}

fn outbox<C: Subject>(place: &Place<C>, arguments: &[&str]) -> Ran {
    let mut command = Command::new(OUTBOX);
    Ran::of(command.env("DATABASE_URL", place.url()).args(arguments))
}

/// A call that runs until its file exists.
struct Held {
    folder: tempfile::TempDir,
}

impl Held {
    /// Writes the call.
    fn new<C: Subject>(place: &Place<C>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let held = Self { folder };
        let conn = &mut place.connect();
        let act = Act::WaitFor(held.file());
        Play { n: 1, act }.write(conn).unwrap();
        held
    }

    fn file(&self) -> PathBuf {
        Path::new(self.folder.path()).join("return")
    }

    fn release(&self) {
        std::fs::write(self.file(), "").unwrap();
    }
}

pub(crate) fn once_executes_what_is_due_and_ends<C: Subject>(place: &Place<C>) {
    let conn = &mut place.connect();
    let act = || Act::Return;
    for n in 1..=3 {
        Play { n, act: act() }.write(conn).unwrap();
    }
    PlayWithin { n: 4, act: act() }.write(conn).unwrap();
    let hour = std::time::Duration::from_secs(3600);
    Play { n: 5, act: act() }.delay(hour).write(conn).unwrap();
    Unknown {}.write(conn).unwrap();
    let ran = run(place, &["--once"]);
    ran.ended(
        0,
        &[
            "executed  4 (",
            "failed    0",
            "waiting   2",
            "spans flushed",
        ],
    );
    assert_eq!(place.statuses(), [2, 2, 2, 2, 1, 1]);
    outbox(place, &["status", "--calls"]).ended(
        0,
        &["waiting   2", "  not due 1", "parked    0", "executed  4"],
    );
    // What is left on purpose is no failure; a failed attempt and a parked call are.
    run(place, &["--once"]).ended(0, &["executed  0"]);
    let act = || Act::Fail("the bank is closed".to_owned());
    Play { n: 7, act: act() }.write(conn).unwrap();
    let ran = run(place, &["--once", "--retry-first-delay=30s"]);
    let tracked = "tracked: test.play Some(\"the bank is closed\")";
    ran.ended(
        4,
        &[
            "failed    1",
            "1 failed and left for another attempt",
            tracked,
        ],
    );
    Play { n: 8, act: act() }.write(conn).unwrap();
    let ran = run(place, &["--once", "--retry-attempts=1"]);
    ran.ended(4, &["parked    1", "1 parked (`outbox retry --calls`"]);
    assert_eq!(ran.err.matches(tracked).count(), 1, "{ran:#?}");
}

pub(crate) fn workers_are_the_calls_that_run_at_once<C: Subject>(place: &Place<C>) {
    for n in 1..=8 {
        let act = Act::Meet(2);
        Play { n, act }.write(&mut place.connect()).unwrap();
    }
    let ran = run(place, &["--once", "--workers", "2"]);
    ran.ended(0, &["executed  8", "2 run"]);
    assert!(!ran.err.contains("3 run"), "{ran:#?}");
}

pub(crate) fn only_the_named_streams_are_executed<C: Subject>(place: &Place<C>) {
    let conn = &mut place.connect();
    for stream in ["mail", "bills", "mail"] {
        let call = Play {
            n: 1,
            act: Act::Return,
        };
        call.stream(stream).write(conn).unwrap();
    }
    let ran = run(place, &["--once", "--stream", "mail"]);
    ran.ended(0, &["executed  2", "waiting   1"]);
    assert_eq!(place.statuses(), [2, 1, 2]);
    run(place, &["--once", "--stream", "mial"]).ended(2, &["mial"]);
    assert_eq!(place.statuses(), [2, 1, 2]);
}

pub(crate) fn a_stopped_program_lets_its_call_end<C: Subject>(place: &Place<C>) {
    for once in [&["--workers=1"][..], &["--workers=1", "--once"]] {
        let held = Held::new(place);
        let conn = &mut place.connect();
        let act = Act::Return;
        let next = Play { n: 2, act }.write(conn).unwrap();
        let mut program = start(place, once);
        program.wait_for_line("call 1 began");
        outbox(place, &["status", "--calls"]).ended(0, &["waiting   2"]);
        program.signal("TERM");
        program.wait_for_line("stopping");
        held.release();
        assert_eq!(program.ended().code(), Some(0), "{:#?}", program.lines());
        let lines = program.lines().join("\n");
        assert!(!lines.contains("call 2 began"), "{lines}");
        // The other one is not leased any more.
        let status = outbox(place, &["status", "--calls"]);
        status.ended(0, &["waiting   1", "  not due 0"]);
        outbox(place, &["cancel", "--calls", &next.to_string()]).ended(0, &["1 cancelled"]);
    }
    assert_eq!(place.statuses(), [2, -1, 2, -1]);
}

pub(crate) fn calls_that_do_not_end_in_time_are_executed_again<C: Subject>(place: &Place<C>) {
    let held = Held::new(place);
    let limit = "--shutdown-timeout=100ms";
    for once in [&[limit][..], &[limit, "--once"]] {
        let mut program = start(place, once);
        program.wait_for_line("call 1 began");
        program.signal("TERM");
        assert_eq!(program.ended().code(), Some(3), "{:#?}", program.lines());
        let lines = program.lines().join("\n");
        assert!(lines.contains("1 calls did not finish in time"), "{lines}");
        // At the end of its lease it is due again.
        assert_eq!(place.statuses(), [1]);
        wait_until(|| {
            let status = outbox(place, &["status", "--calls"]);
            status
                .out
                .contains("  not due 0")
                .then_some(())
                .ok_or(status)
        });
    }
    let mut program = start(place, &[]);
    program.wait_for_line("call 1 began");
    program.signal("TERM");
    program.wait_for_line("stopping");
    program.signal("INT");
    // If the program has not seen the first signal yet, it sees both in the order of their numbers.
    let code = program.ended().code();
    assert!([Some(128 + 2), Some(128 + 15)].contains(&code), "{code:?}");
    assert_eq!(place.statuses(), [1]);
    held.release();
    let mut program = start(place, &[]);
    place.wait_for_statuses(&[2]);
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0), "{:#?}", program.lines());
}

/// A time limit passes while the program runs.
pub(crate) fn a_standstill_costs_no_attempt<C: Subject>(place: &Place<C>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("return");
    let limit = Await::TIMEOUT.unwrap();
    let conn = &mut place.connect();
    Await { file: file.clone() }.write(conn).unwrap();
    let mut program = start(place, &["--call-lease=1m"]);
    program.wait_for_line("it waits");
    program.signal("STOP");
    std::thread::sleep(limit * 2);
    std::fs::write(file, "").unwrap();
    program.signal("CONT");
    place.wait_for_statuses(&[2]);
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0), "{:#?}", program.lines());
    let rows = conn.rows();
    assert_eq!(rows[0].retry, 0, "{rows:?} {:#?}", program.lines());
}

pub(crate) fn wrong_settings_execute_nothing<C: Subject>(place: &Place<C>) {
    let act = Act::Return;
    Play { n: 1, act }.write(&mut place.connect()).unwrap();
    let other = "oracle://u:hunter2@h/d";
    let another = match C::NAME {
        "SQLite" => "postgres://u:hunter2@h/d",
        _ => "/tmp/outbox.db",
    };
    for (arguments, text) in [
        (&["--workers", "0"][..], "1..=1000"),
        (&["--call-workers", "0"], "call-workers"),
        (&["--call-lease", "soon"], "call-lease"),
        (&["--workrs", "2"], "--workers"),
        (&["--database-url", other], "unknown scheme `oracle`"),
        (&["--database-url", another], C::NAME),
        (&["--verify-signatures", "require"], "signing_keys"),
    ] {
        for once in [&["--once"][..], &[]] {
            let arguments = [arguments, once].concat();
            run(place, &arguments).ended(2, &[text]);
        }
    }
    for (registry, text) in [
        ("empty", "the registry of calls is empty"),
        ("twice", "two functions have the name `test.play`"),
    ] {
        let mut command = command(place, &[]);
        Ran::of(command.env("TEST_REGISTRY", registry)).ended(2, &[text]);
    }
    assert_eq!(place.statuses(), [1]);
    let help = run(place, &["--help"]);
    help.ended(0, &["Usage: ", "--once", "--workers", "Exit codes"]);
}

pub(crate) fn a_database_that_fails_has_another_code<C: Subject>(place: &Place<C>) {
    // Nothing listens at port 1.
    let nowhere = match place.url().split_once("://") {
        Some((scheme, _)) => format!("{scheme}://u:hunter2@127.0.0.1:1/d"),
        None => "/no/such/folder/outbox.db".to_owned(),
    };
    run(place, &["--once", "--database-url", &nowhere]).ended(1, &["error: "]);
    // Without `--once` it waits for a server. A file does not come by itself.
    if C::NAME == "SQLite" {
        run(place, &["--database-url", &nowhere]).ended(1, &["there is no file"]);
    } else {
        let mut program = start(place, &["--database-url", &nowhere]);
        program.wait_for_line("is not available");
        program.signal("TERM");
        assert_eq!(program.ended().code(), Some(0), "{:#?}", program.lines());
    }
    outbox(place, &["migrate", "--revert"]).ended(0, &["reverted"]);
    for once in [&["--once"][..], &[]] {
        run(place, once).ended(1, &["run `outbox migrate`"]);
    }
}

/// Calls that end their process are parked after `delivery_limit` restarts, and all others are executed.
pub(crate) fn a_call_that_ends_its_process_is_parked<C: Subject>(place: &Place<C>) {
    const LIMIT: u32 = 2;
    const OTHERS: i64 = 20;
    let conn = &mut place.connect();
    let (limit, deadly) = (format!("--delivery-limit={LIMIT}"), [7, 12]);
    for n in 1..=OTHERS + 2 {
        let act = match deadly.contains(&n) {
            true => Act::Abort,
            false => Act::Return,
        };
        match n % 2 {
            0 => PlayWithin { n, act }.write(conn),
            _ => Play { n, act }.write(conn),
        }
        .unwrap();
    }
    let start = || start(place, &["--workers=4", &limit]);
    let mut program = start();
    let mut deaths = 0;
    wait_until(|| {
        if program.has_ended() {
            use std::os::unix::process::ExitStatusExt;
            assert_eq!(program.ended().signal(), Some(6), "{:#?}", program.lines());
            deaths += 1;
            program = start();
        }
        let statuses = place.statuses();
        let is_done = !statuses.contains(&1);
        is_done.then_some(()).ok_or(statuses)
    });
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0), "{:#?}", program.lines());
    // Executions that are not alone are not counted.
    let counted = 2 * LIMIT;
    assert!((counted + 1..=counted + 2).contains(&deaths), "{deaths}");
    for (n, row) in (1..).zip(conn.rows()) {
        let is_deadly = deadly.contains(&n);
        assert_eq!(row.status, if is_deadly { -1 } else { 2 }, "{n}: {row:?}");
        // No other call has lost an attempt.
        assert_eq!(row.retry, i32::from(is_deadly), "{n}: {row:?}");
        let reason =
            is_deadly.then_some("its process ended while it was executed, 2 times in a row");
        assert_eq!(row.last_error.as_deref(), reason, "{n}");
    }
    outbox(place, &["status", "--calls"]).ended(0, &["parked    2", "executed  20"]);
}

pub(crate) fn its_metrics_and_its_health_are_served<C: Subject>(place: &Place<C>) {
    let conn = &mut place.connect();
    for n in 1..=3 {
        let act = Act::Return;
        Play { n, act }.write(conn).unwrap();
    }
    let act = Act::Return;
    PlayWithin { n: 4, act }.write(conn).unwrap();
    let act = Act::Fail("the bank is closed".to_owned());
    Play { n: 5, act }.write(conn).unwrap();
    Unknown {}.write(conn).unwrap();
    let mut program = start(
        place,
        &["--metrics-listen=127.0.0.1:0", "--retry-attempts=1"],
    );
    let address = program.metrics_address();
    let expected = [
        ("outbox_calls_executed_total{name=\"test.play\"}", 3.0),
        (
            "outbox_calls_executed_total{name=\"test.play_within\"}",
            1.0,
        ),
        ("outbox_calls_executed_total{name=\"__other__\"}", 0.0),
        (
            "outbox_calls_failed_total{name=\"test.play\",reason=\"error\"}",
            1.0,
        ),
        (
            "outbox_calls_failed_total{name=\"test.play\",reason=\"panic\"}",
            0.0,
        ),
        (
            "outbox_call_duration_seconds_count{name=\"test.play\"}",
            4.0,
        ),
        (
            "outbox_parked_total{destination=\"test.play\",reason=\"exhausted\"}",
            1.0,
        ),
        ("outbox_database_errors_total{kind=\"statement\"}", 0.0),
        // The one that this program does not know.
        ("outbox_rows{state=\"due\"}", 1.0),
        ("outbox_rows{state=\"parked\"}", 1.0),
        ("outbox_in_flight", 0.0),
    ];
    wait_until(|| {
        let scraped = get(&address, "/metrics");
        let is_done = expected
            .iter()
            .all(|(series, value)| scraped.value(series) == Some(*value));
        is_done.then_some(()).ok_or(scraped)
    });
    let scraped = get(&address, "/metrics");
    let age = scraped.value("outbox_oldest_pending_age_seconds{stream=\"\"}");
    assert!(age.is_some_and(|age| age > 0.0 && age < 60.0), "{age:?}");
    assert!(
        scraped
            .value("outbox_published_total{destination=\"__other__\"}")
            .is_none()
    );
    for page in ["/health/live", "/health/ready"] {
        assert_eq!(get(&address, page).status, 200, "{page}");
    }
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0), "{:#?}", program.lines());
}
