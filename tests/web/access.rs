//! Who is let in.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};

use diesel::SqliteConnection;
use diesel_outbox::config::Config;
use diesel_outbox::web::{Dashboard, WebError};

use crate::client::Client;
use crate::served::{ANN, OUTBOX, Served, web, web_with_tokens};
use crate::subject::connect;
use crate::support;
use crate::support::TestDatabase;
use crate::support::program::{Program, wait_until};

const PASSWORD: &str = "correct horse: battery ☕";

fn database() -> TestDatabase {
    let database = support::sqlite::<SqliteConnection>();
    connect::<SqliteConnection>(&database);
    database
}

/// A user as `outbox hash-password` prints it.
pub(crate) fn hashed(name: &str, password: &str) -> String {
    let mut child = Command::new(OUTBOX)
        .args(["hash-password", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{password}").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stderr, b"");
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    line.trim_end().to_owned()
}

#[test]
fn a_random_password_is_printed_once_and_works() {
    let database = database();
    let folder = tempfile::tempdir().unwrap();
    let start = |name: &str| {
        let path = folder.path().join(name);
        let mut command = web(&database.url, &[]);
        command.env("RUST_LOG", "trace");
        let program = Program::spawn_with_output(&mut command, File::create(&path).unwrap());
        let served = Served::of(program);
        wait_until("the password is printed", || {
            fs::read_to_string(&path).unwrap().contains("password")
        });
        let output = fs::read_to_string(path).unwrap();
        let line = output.lines().find(|line| line.contains("password "));
        let (_, password) = line.unwrap().split_once("password ").unwrap();
        let (password, output) = (password.to_owned(), output.clone());
        assert_eq!(output.matches(&password).count(), 1, "{output}");
        assert!(
            output.starts_with(served.stranger.start.as_str()),
            "{output}"
        );
        (served, password)
    };
    let (served, password) = start("one");
    let stranger = &served.stranger;
    stranger
        .with_password("outbox", &password)
        .get("")
        .is(200)
        .says("outbox");
    let refused = stranger
        .get("")
        .is(401)
        .says("log in with a name and a password");
    let scheme = refused.header("www-authenticate").unwrap();
    assert!(scheme.starts_with("Basic realm="), "{scheme}");
    for (user, password) in [("outbox", "wrong"), ("ann", &password), ("outbox", "")] {
        let refused = stranger
            .with_password(user, password)
            .get("messages")
            .is(401);
        assert!(refused.header("www-authenticate").is_some());
    }
    let lines = served.stop();
    assert!(
        !lines.iter().any(|line| line.contains(&password)),
        "{lines:#?}"
    );
    let (other, another) = start("two");
    assert_ne!(password, another);
    other
        .stranger
        .with_password("outbox", &password)
        .get("")
        .is(401);
}

#[test]
fn other_machines_reach_only_pages_with_a_login() {
    let database = database();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let output = web(&database.url, &[])
            .args(["--web-listen", address])
            .output()
            .unwrap();
        // The flag is given twice.
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let output = Command::new(OUTBOX)
            .args(["web", "--listen", address])
            .env("DATABASE_URL", &database.url)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        for part in [
            "can be reached from other machines",
            "web_users",
            "127.0.0.1",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(output.stdout, b"");
    }
    let mut command = Command::new(OUTBOX);
    command
        .args(["web", "--listen", "0.0.0.0:0"])
        .env("DATABASE_URL", &database.url)
        .env("OUTBOX_WEB_TOKENS", format!("ann:{ANN}"));
    let mut served = Served::spawn(&mut command);
    served.program.wait_for_line("reverse proxy with TLS");
    served.ann.get("").is(200);
    served.stranger.get("").is(401);
}

#[test]
fn users_log_in_and_failures_are_slowed_down() {
    let database = database();
    let user = hashed("ann", PASSWORD);
    let (name, hash) = user.split_once(':').unwrap();
    assert_eq!(name, "ann");
    assert!(hash.starts_with("$argon2id$"), "{hash}");
    let mut command = web_with_tokens(&database.url, &[]);
    command
        .env("OUTBOX_WEB_USERS", &user)
        .env("RUST_LOG", "trace");
    let served = Served::spawn(&mut command);
    let stranger = &served.stranger;
    let ann = stranger.with_password("ann", PASSWORD);
    ann.get("").is(200).says("ann");
    served.ann.get("").is(200).says("ann");
    stranger.with(format!("Bearer {hash}")).get("").is(401);
    // Neither the names of users nor the credentials that are wrong are repeated.
    let wrong = |n: u32| stranger.with_password("ann", &format!("wrong-secret-{n}"));
    let mut slowed = None;
    for n in 0..10 {
        let refused = wrong(n).get("messages");
        if refused.status == 429 {
            slowed = Some(refused);
            break;
        }
        refused.is(401).lacks("wrong-secret").lacks("ann");
    }
    let slowed = slowed.unwrap().says("too many wrong passwords");
    let seconds: u64 = slowed.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(slowed.header("www-authenticate"), None);
    // Not even the right one is looked at, but who has logged in goes on.
    stranger.with_password("ben", PASSWORD).get("").is(429);
    ann.get("messages").is(200);
    served.ann.get("messages").is(200);
    stranger.get("").is(401);
    let lines = served.stop();
    let hash_end = hash.rsplit('$').next().unwrap();
    for secret in [PASSWORD, hash_end, "wrong-secret", ANN] {
        let found: Vec<&String> = lines.iter().filter(|line| line.contains(secret)).collect();
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// Attempts at the same time are no way around the pauses.
#[test]
fn attempts_at_the_same_time_are_slowed_down_too() {
    let database = database();
    let mut command = web(&database.url, &[]);
    command.env("OUTBOX_WEB_USERS", hashed("ann", PASSWORD));
    let served = Served::spawn(&mut command);
    let attempt = |n: u32| {
        let client = served.stranger.with_password("ann", &n.to_string());
        std::thread::spawn(move || client.get("").status)
    };
    let attempts: Vec<_> = (0..40).map(attempt).collect();
    let statuses: Vec<u16> = attempts.into_iter().map(|it| it.join().unwrap()).collect();
    let verified = statuses.iter().filter(|status| **status == 401).count();
    assert!((5..=8).contains(&verified), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)));
}

#[test]
fn wrong_settings_are_named_without_their_secrets() {
    let database = database();
    let (hash, short) = ("$argon2id$nonsense-hidden", "hidden-one");
    for (variable, value, expected) in [
        ("OUTBOX_WEB_USERS", format!("ann:{hash}"), "web_users"),
        ("OUTBOX_WEB_USERS", hash.to_owned(), "web_users"),
        ("OUTBOX_WEB_TOKENS", format!("ann:{short}"), "web_tokens"),
        ("OUTBOX_WEB_TOKENS", short.repeat(2), "web_tokens"),
    ] {
        let output = web(&database.url, &[])
            .env(variable, &value)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        let named = error.to_lowercase().contains(expected);
        assert!(
            named && !error.contains("hidden"),
            "{variable}={value}: {error}"
        );
    }
    let empty = Command::new(OUTBOX)
        .args(["hash-password", "ann"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(empty.status.code(), Some(2), "{empty:?}");
}

#[test]
fn pages_of_an_application_need_a_login_or_none_at_all() {
    let database = database();
    let config = || Config::builder().set("database_url", database.url.as_str());
    let open = config().build().unwrap();
    let error = Dashboard::new(&open).unwrap().router().unwrap_err();
    assert!(matches!(error, WebError::NoLogin), "{error:?}");
    assert!(error.to_string().contains("without_login"), "{error}");
    let closed = config()
        .set("web_tokens", format!("ann:{ANN}"))
        .build()
        .unwrap();
    let dashboard = Dashboard::new(&closed).unwrap();
    for text in [format!("{dashboard:?}"), format!("{closed:?}")] {
        assert!(!text.contains(ANN), "{text}");
    }
    assert!(dashboard.router().is_ok(), "outside of a runtime, too");
    let pool = diesel::r2d2::Pool::builder().max_size(3);
    let manager = diesel::r2d2::ConnectionManager::<SqliteConnection>::new(&database.url);
    let error = Dashboard::with_pool(pool.build(manager).unwrap(), &open).unwrap_err();
    assert!(matches!(error, WebError::Pool(_)), "{error:?}");
}

#[test]
fn a_program_without_tables_says_so() {
    let database = support::sqlite::<SqliteConnection>();
    let output = web_with_tokens(&database.url, &[]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("outbox migrate"), "{error}");
}

/// Requests without a login learn nothing, whatever the address.
#[test]
fn nothing_is_shown_without_a_login() {
    let database = database();
    let served = Served::start(&database, &[]);
    let stranger: &Client = &served.stranger;
    for page in [
        "",
        "messages",
        "message?id=x",
        "calls",
        "call",
        "inbox",
        "received",
        "dead-letters",
        "dead-letter",
        "job",
        "style.css",
        "script.js",
        "nothing",
        "change-rows",
    ] {
        stranger.get(page).is(401).says("log in with a name");
        let url = stranger.url(page);
        stranger.post(&url, &[], &[]).is(401);
    }
    stranger
        .request("HEAD", &stranger.url(""), &[], b"")
        .is(401);
    for method in ["PUT", "DELETE", "OPTIONS", "TRACE"] {
        stranger
            .request(method, &stranger.url(""), &[], b"")
            .is(405);
    }
}

/// Scripts read the address and the random password.
#[test]
fn what_is_printed_can_be_json() {
    let database = database();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("output");
    let mut command = web(&database.url, &["--json"]);
    let program = Program::spawn_with_output(&mut command, File::create(&path).unwrap());
    let served = Served::of(program);
    wait_until("the address is printed", || {
        fs::read_to_string(&path).unwrap().ends_with('\n')
    });
    let output = fs::read_to_string(path).unwrap();
    let document: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(document["url"], served.stranger.start.as_str());
    let text = |member: &str| document[member].as_str().unwrap();
    let client = served
        .stranger
        .with_password(text("user"), text("password"));
    client.get("").is(200);
    served.stop();
}
