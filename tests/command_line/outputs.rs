//! Output and log lines that cannot be written.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use diesel_outbox::admin;
use diesel_outbox::testing::LoopbackBroker;

use crate::support::TestDatabase;
use crate::{OUTBOX, PUBLISH, SUBSCRIBE, program, ran};

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

fn with_rows(rows: usize) -> TestDatabase {
    let database = crate::support::sqlite::<diesel::SqliteConnection>();
    ran(&mut program(OUTBOX, &["migrate"], &database.url)).says("applied");
    let row = |number: usize| {
        format!(
            "insert into published (id, destination, body)
             values ('0192f0aa-0000-7000-8000-{number:012}', '/topic/a', '{{}}');"
        )
    };
    let statements: String = (0..rows).map(row).collect();
    let mut conn = SqliteConnection::establish(&database.url).unwrap();
    conn.batch_execute(&format!("begin; {statements} commit"))
        .unwrap();
    database
}

#[test]
fn a_log_that_cannot_be_written_costs_no_message() {
    for format in ["text", "json"] {
        for to in [|| full().into(), closed] {
            let database = with_rows(50);
            let broker = LoopbackBroker::start().unwrap();
            let settings = ["--log-level", "trace", "--log-format", format];
            let begin = |path: &str, arguments: &[&str]| -> Command {
                let mut command = program(path, &[arguments, &settings].concat(), &database.url);
                command
                    .env("STOMP_URL", broker.url())
                    .stdout(Stdio::null())
                    .stderr(to());
                command
            };
            let mut subscriber = begin(SUBSCRIBE, &["log", "/topic/a"]).spawn().unwrap();
            let patience = Duration::from_secs(20);
            assert!(broker.wait_for(patience, |view| view.subscriptions("a") > 0));
            let status = begin(PUBLISH, &["--once"]).status().unwrap();
            assert_eq!(status.code(), Some(0), "{format}");
            let mut conn = SqliteConnection::establish(&database.url).unwrap();
            let mut counts = || admin::totals(&mut conn).unwrap();
            assert_eq!(counts().sent, 50);
            for _ in 0..1000 {
                if counts().received == 50 {
                    break;
                }
                assert!(subscriber.try_wait().unwrap().is_none(), "it has ended");
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(counts().received, 50);
            let id = subscriber.id().to_string();
            Command::new("kill").args(["-TERM", &id]).status().unwrap();
            assert_eq!(subscriber.wait().unwrap().code(), Some(0), "{format}");
        }
    }
}

/// The exit code of a failing program is right even if nothing can be written.
#[test]
fn an_error_that_cannot_be_written_keeps_its_exit_code() {
    for (arguments, code) in [(&["status"][..], 1), (&["nonsense"], 2)] {
        for to in [|| full().into(), closed] {
            let mut command = program(OUTBOX, arguments, "/no/such/file.db");
            let status = command.stderr(to()).status().unwrap();
            assert_eq!(status.code(), Some(code), "{arguments:?}");
        }
    }
}

#[test]
fn a_closed_pipe_ends_a_command_quietly_with_its_work_done() {
    let database = with_rows(3);
    let broker = LoopbackBroker::start().unwrap();
    let id = "0192f0aa-0000-7000-8000-000000000000";
    for (path, arguments) in [
        (OUTBOX, &["migrate", "--print"][..]),
        (OUTBOX, &["migrate"]),
        (OUTBOX, &["status"]),
        (OUTBOX, &["pause", "--stream", "a", "--stream", "b"]),
        (OUTBOX, &["cancel", id]),
        (OUTBOX, &["retry", "--all"]),
        (OUTBOX, &["clean", "--older-than", "1d"]),
        (PUBLISH, &["--once"]),
        (OUTBOX, &["--help"]),
    ] {
        let mut command = program(path, arguments, &database.url);
        let command = command.env("STOMP_URL", broker.url()).stdout(closed());
        let output = command.stderr(Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {err}");
        let is_log = |line: &str| line.contains("INFO");
        assert!(err.lines().all(is_log), "{arguments:?}: {err}");
    }
    let status = ran(&mut program(OUTBOX, &["status"], &database.url));
    let status = status.says("paused    a").says("paused    b");
    status.says("sent      3");
}

#[test]
fn a_full_disk_is_an_error() {
    let database = with_rows(0);
    for arguments in [&["status"][..], &["migrate", "--print"]] {
        let mut command = program(OUTBOX, arguments, &database.url);
        let output = command
            .stdout(full())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = output.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains("could not write to standard output"), "{err}");
    }
}
