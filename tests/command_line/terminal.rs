//! Messages, names and errors cannot control a terminal or forge lines of the log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use diesel_outbox::testing::LoopbackBroker;

use crate::{OUTBOX, PUBLISH, SUBSCRIBE, program, ran};

/// Clears the screen, sets the title, and forges a line.
const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}2J\u{202e}b";

/// A program on a terminal of its own.
fn on_a_terminal(command: &Command) -> Command {
    let quoted = |word: &std::ffi::OsStr| {
        let word = word.to_string_lossy();
        format!("'{}'", word.replace('\'', "'\\''"))
    };
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(quoted).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &words.join(" "), "/dev/null"]);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    script
}

fn is_unsafe(text: &str) -> bool {
    text.contains(['\u{7}', '\u{9b}', '\u{202e}']) || text.contains("\u{1b}[2J")
}

#[test]
fn names_are_escaped_on_a_terminal_only() {
    let database = crate::support::sqlite::<diesel::SqliteConnection>();
    ran(&mut program(OUTBOX, &["migrate"], &database.url)).says("applied");
    let outbox = |arguments: &[&str]| program(OUTBOX, arguments, &database.url);
    let shown = ran(&mut on_a_terminal(&outbox(&["pause", "--stream", HOSTILE])));
    assert!(shown.out.contains("paused a\\u{1b}[2J"), "{shown:?}");
    assert!(!is_unsafe(&shown.all()), "{shown:?}");
    let shown = ran(&mut on_a_terminal(&outbox(&["status"])));
    assert!(shown.out.contains("paused    a\\u{1b}[2J"), "{shown:?}");
    assert!(!is_unsafe(&shown.all()), "{shown:?}");
    ran(&mut on_a_terminal(&outbox(&["status", "--raw"]))).says(HOSTILE);
    ran(&mut outbox(&["status"])).says(&format!("paused    {HOSTILE}\n"));
    // Errors go to standard error, usually a terminal or a log.
    let wrong = ran(&mut outbox(&["retry", HOSTILE]));
    assert!(!is_unsafe(&wrong.all()), "{wrong:?}");
    let wrong = ran(outbox(&["status"]).env("OUTBOX_CONSUMER", HOSTILE.repeat(20)));
    assert!(!is_unsafe(&wrong.all()), "{wrong:?}");
    let wrong = ran(&mut outbox(&["status", "--config", HOSTILE]));
    assert!(!is_unsafe(&wrong.all()), "{wrong:?}");
}

/// Ids, headers, errors and bodies of rows, in lists, in one row and in JSON.
#[test]
fn rows_are_escaped_on_a_terminal_only() {
    let database = crate::support::sqlite::<diesel::SqliteConnection>();
    ran(&mut program(OUTBOX, &["migrate"], &database.url)).says("applied");
    let mut conn = SqliteConnection::establish(&database.url).unwrap();
    let headers = serde_json::json!({ HOSTILE: HOSTILE }).to_string();
    let row = format!("e{HOSTILE}\nforged");
    conn.batch_execute(&format!(
        "insert into published (id, destination, body, headers, stream, key, status, last_error) values
             ('{HOSTILE}', '/queue/{HOSTILE}', '\"b{HOSTILE}\"', '{headers}', '{HOSTILE}', '{HOSTILE}', -1,
                 '{row}');
         insert into received (id, msg_id, consumer, headers, body) values
             ('{HOSTILE}', '{HOSTILE}', '{HOSTILE}', '{headers}', '\"b{HOSTILE}\"')"
    ))
    .unwrap();
    let outbox = |arguments: &[&str]| program(OUTBOX, arguments, &database.url);
    for arguments in [
        &["list"][..],
        &["list", "--inbox"],
        &["show", "--body", HOSTILE],
        &["show", "--body", "--inbox", HOSTILE],
        &["retry", "--all", "--dry-run"],
    ] {
        let shown = ran(&mut on_a_terminal(&outbox(arguments)));
        assert_eq!(shown.code, 0, "{shown:#?}");
        assert!(shown.out.contains("\\u{1b}[2J"), "{shown:#?}");
        assert!(!is_unsafe(&shown.all()), "{shown:#?}");
        assert!(
            !shown.out.lines().any(|line| line.starts_with("forged")),
            "{shown:#?}"
        );
        let is_view = arguments[0] != "retry";
        if is_view {
            let raw = ran(&mut on_a_terminal(&outbox(
                &[arguments, &["--raw"]].concat(),
            )));
            assert!(raw.out.contains("\u{1b}[2J"), "{raw:?}");
            ran(&mut outbox(arguments)).says(HOSTILE);
        }
        // JSON never has control characters, and says the same.
        for mut command in [outbox(arguments), on_a_terminal(&outbox(arguments))] {
            if command.get_program() == "script" {
                command = on_a_terminal(&outbox(&[arguments, &["--json"]].concat()));
            } else {
                command.arg("--json");
            }
            let json = ran(&mut command);
            assert!(!is_unsafe(&json.all()), "{json:?}");
            let read: serde_json::Value = serde_json::from_str(json.out.trim()).unwrap();
            assert!(read.to_string().contains("\\u001b[2J"), "{json:?}");
            assert!(!json.out.trim().contains('\n'), "{json:?}");
        }
    }
    for arguments in [
        &["show", "x\u{1b}[2J"][..],
        &["show", "--inbox", "x\u{1b}[2J"],
        &["delete", "x\u{1b}[2J"],
    ] {
        let wrong = ran(&mut outbox(arguments));
        assert!(wrong.code != 0 && !is_unsafe(&wrong.all()), "{wrong:?}");
    }
    let deleted = ran(&mut on_a_terminal(&outbox(&["delete", HOSTILE])));
    assert!(
        deleted.out.contains("1 deleted") && !is_unsafe(&deleted.all()),
        "{deleted:?}"
    );
}

#[test]
fn a_list_fits_the_terminal() {
    let database = crate::support::sqlite::<diesel::SqliteConnection>();
    ran(&mut program(OUTBOX, &["migrate"], &database.url)).says("applied");
    let id = "0192f0aa-0000-7000-8000-000000000001";
    let mut conn = SqliteConnection::establish(&database.url).unwrap();
    conn.batch_execute(&format!(
        "insert into published (id, destination, body, status, last_error)
         values ('{id}', '/topic/orders.created.in.some.far.place.v1', '{{}}', -1,
             'the broker refused the message because its queue has another argument')"
    ))
    .unwrap();
    let list = |columns: u32| {
        let mut command = Command::new("script");
        let line = format!("stty rows 40 cols {columns}; {OUTBOX} list");
        command.args(["-qec", &line, "/dev/null"]);
        ran(command.env("DATABASE_URL", &database.url))
    };
    for columns in [90, 120] {
        let shown = list(columns);
        let longest = shown
            .out
            .lines()
            .map(|line| line.trim_end().chars().count())
            .max();
        assert!(longest.unwrap() <= columns as usize, "{shown:#?}");
        assert!(shown.out.contains(id), "the id is whole: {shown:#?}");
        assert!(shown.out.lines().count() > 2, "{shown:#?}");
    }
    let wide = list(250);
    assert_eq!(wide.out.lines().count(), 2, "{wide:#?}");
    let piped = ran(&mut program(OUTBOX, &["list"], &database.url));
    assert_eq!(piped.out.lines().count(), 2, "{piped:#?}");
}

/// An error of the database with line breaks, and the output of a program started for a message.
#[test]
fn a_log_line_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let callback = folder.path().join("callback");
    std::fs::write(
        &callback,
        "#!/bin/sh\nprintf 'first\\rERROR forged\\033[2J\\007\\302\\2332J\\n'\n",
    )
    .unwrap();
    std::fs::set_permissions(&callback, std::fs::Permissions::from_mode(0o755)).unwrap();
    let callback = format!("exec:{}", callback.display());
    for format in ["text", "json"] {
        let database = crate::support::sqlite::<diesel::SqliteConnection>();
        let broker = LoopbackBroker::start().unwrap();
        ran(&mut program(OUTBOX, &["migrate"], &database.url)).says("applied");
        let mut conn = SqliteConnection::establish(&database.url).unwrap();
        conn.batch_execute(
            "insert into published (id, destination, body)
             values ('0192f0aa-0000-7000-8000-000000000001', '/topic/a', '{}')",
        )
        .unwrap();
        let run = |seconds: &str, path: &str, arguments: &[&str]| {
            let settings = ["--log-format", format, "--stomp-url", &broker.url()];
            let arguments = [&[seconds, path], arguments, &settings].concat();
            ran(&mut program("timeout", &arguments, &database.url))
        };
        let subscriber = std::thread::scope(|scope| {
            let subscriber = scope.spawn(|| run("3", SUBSCRIBE, &[&callback, "/topic/a"]));
            let patience = std::time::Duration::from_secs(20);
            assert!(broker.wait_for(patience, |view| view.subscriptions("a") > 0));
            run("20", PUBLISH, &["--once"]).says("sent      1");
            subscriber.join().unwrap()
        });
        assert!(subscriber.err.contains("forged"), "{subscriber:#?}");
        conn.batch_execute(
            "insert into published (id, destination, body)
             values ('0192f0aa-0000-7000-8000-000000000002', '/topic/a', '{}');
             create trigger no before update on published
             begin select raise(abort, 'first
ERROR forged'); end",
        )
        .unwrap();
        let relay = run("2", PUBLISH, &[]);
        assert!(relay.err.contains("forged"), "{relay:#?}");
        for line in subscriber.err.lines().chain(relay.err.lines()) {
            let start = if format == "json" {
                "{\"timestamp\""
            } else {
                "20"
            };
            assert!(line.starts_with(start), "a line of its own: {line:?}");
            assert!(!line.contains('\r') && !is_unsafe(line), "{line:?}");
        }
        if format == "json" {
            for line in subscriber.err.lines() {
                serde_json::from_str::<serde_json::Value>(line).unwrap();
            }
        }
    }
}

/// Puts a message into a queue of RabbitMQ, byte by byte.
fn send(broker: &str, destination: &str, headers: &str, body: &[u8]) {
    let rest = broker.split_once("://").unwrap().1;
    let (user, place) = rest.rsplit_once('@').unwrap_or(("guest:guest", rest));
    let (login, passcode) = user.split_once(':').unwrap();
    let (place, host) = place.split_once('/').unwrap_or((place, ""));
    let host = if host.is_empty() { "/" } else { host };
    let mut stream = TcpStream::connect(place).unwrap();
    let connect = format!(
        "CONNECT\naccept-version:1.2\nhost:{host}\nlogin:{login}\npasscode:{passcode}\n\n\0"
    );
    stream.write_all(connect.as_bytes()).unwrap();
    let head = format!(
        "SEND\ndestination:{destination}\n{headers}receipt:1\ncontent-length:{}\n\n",
        body.len()
    );
    stream
        .write_all(&[head.as_bytes(), body, b"\0"].concat())
        .unwrap();
    let mut answers = BufReader::new(stream);
    let mut frame = Vec::new();
    while !String::from_utf8_lossy(&frame).contains("RECEIPT") {
        frame.clear();
        assert!(answers.read_until(0, &mut frame).unwrap() > 0);
    }
    let _ = answers.get_mut().write_all(b"DISCONNECT\n\n\0");
    let _ = answers.get_mut().shutdown(std::net::Shutdown::Write);
    let _ = answers.read_to_end(&mut frame);
}

#[test]
fn dead_letters_are_escaped_on_a_terminal_only() {
    let Some(broker) = crate::support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ") else {
        return;
    };
    let queue = format!("outbox-test-{}", uuid::Uuid::new_v4().simple());
    let body = format!("{{\"text\": \"{HOSTILE}\"}}\nsecond line");
    let headers = format!("x-expires:60000\ndop-msg-id:id{HOSTILE}\noutbox-error:e{HOSTILE}\n");
    let destination = format!("/queue/DLQ.{queue}");
    send(&broker, &destination, &headers, body.as_bytes());
    let dead_letters = |arguments: &[&str]| {
        let arguments = [&["dead-letters"], arguments].concat();
        let mut command = program(OUTBOX, &arguments, "unused.db");
        command.env("STOMP_URL", &broker);
        command
    };
    for what in ["list", "show"] {
        let shown = ran(&mut on_a_terminal(&dead_letters(&[what, &queue])));
        assert!(shown.out.contains("ida\\u{1b}[2J"), "{shown:?}");
        assert!(shown.out.contains("ea\\u{1b}[2J"), "{shown:?}");
        assert!(!is_unsafe(&shown.all()), "{shown:?}");
        let raw = ran(&mut on_a_terminal(&dead_letters(&[what, &queue, "--raw"])));
        assert!(raw.out.contains(&format!("id{HOSTILE}")), "{raw:?}");
        let piped = ran(&mut dead_letters(&[what, &queue])).says(&format!("id{HOSTILE}"));
        assert!(piped.out.contains(&format!("e{HOSTILE}")), "{piped:?}");
        let json = ran(&mut on_a_terminal(&dead_letters(&[what, &queue, "--json"])));
        assert!(!is_unsafe(&json.all()), "{json:?}");
        let read: serde_json::Value = serde_json::from_str(json.out.trim()).unwrap();
        assert_eq!(read["id"], format!("id{HOSTILE}"));
        assert_eq!(read["error"], format!("e{HOSTILE}"));
        let by_pipe = dead_letters(&[what, &queue])
            .stdout(std::process::Stdio::piped())
            .spawn();
        let mut by_pipe = by_pipe.unwrap();
        drop(by_pipe.stdout.take());
        assert_eq!(by_pipe.wait().unwrap().code(), Some(0), "{what}");
    }
    ran(&mut dead_letters(&["show", &queue])).says(&body);
    // Bytes that are not text.
    send(
        &broker,
        &destination,
        "x-expires:60000\n",
        b"\xff\x00\x1b[2J",
    );
    let piped = dead_letters(&["show", &queue]).output().unwrap();
    let bytes = b"\xff\x00\x1b[2J";
    assert!(piped.stdout.windows(bytes.len()).any(|part| part == bytes));
    let shown = ran(&mut on_a_terminal(&dead_letters(&["show", &queue])));
    assert!(
        shown.out.contains("(6 bytes that are not text"),
        "{shown:?}"
    );
    assert!(!is_unsafe(&shown.all()), "{shown:?}");
    let json =
        ran(&mut dead_letters(&["show", &queue, "--json"])).says("\"body_hex\":\"ff001b5b324a\"");
    assert_eq!(json.out.lines().count(), 2, "{json:?}");
    ran(&mut dead_letters(&[
        "drop",
        &queue,
        "--all",
        "--dry-run",
        "--json",
    ]))
    .says("{\"total\":2,\"selected\":2,\"changed\":0,\"unreadable\":0,\"dry_run\":true}\n");
    ran(&mut dead_letters(&["drop", &queue, "--all"])).says("2 deleted");
}
