//! Addresses that cannot be used: no part of a password is shown, and no file is created.

use std::time::{Duration, Instant};

use crate::ran::files;
use crate::{OUTBOX, PUBLISH, SUBSCRIBE, program, ran};

const COMMANDS: [(&str, &[&str]); 8] = [
    (PUBLISH, &[]),
    (PUBLISH, &["--once"]),
    (SUBSCRIBE, &["log", "/queue/a"]),
    (OUTBOX, &["status"]),
    (OUTBOX, &["retry", "--all"]),
    (OUTBOX, &["clean", "--older-than", "1d"]),
    (OUTBOX, &["pause", "--stream", "s"]),
    (OUTBOX, &["migrate", "--revert"]),
];

/// Nothing listens at port 1.
const ADDRESSES: [&str; 24] = [
    "host=127.0.0.1 port=1 user=app password='hun:ter2' options='-c a:b'",
    "host=127.0.0.1 port=1 user=app password=hun:ter2",
    "password = hunter2 host = 127.0.0.1 port = 1",
    "host=127.0.0.1 port=1 user=app password='hunter2",
    "host=127.0.0.1 port=1 password=hun ter2",
    "host=127.0.0.1 port=1 pasword=hunter2",
    "host=127.0.0.1 port=hunter2",
    "host=127.0.0.1 user=app password=hunter2 hostt=x",
    "postgres://app:hun/ter2@127.0.0.1:1/d",
    "postgres://app:12/hunter2@127.0.0.1:1/d",
    "postgres://app:hun@ter2@127.0.0.1:1/d",
    "postgres://app:hun#ter2@127.0.0.1:1/d",
    "postgres://app:hun?ter2@127.0.0.1:1/d",
    "postgres://app:hun?a=ter2@127.0.0.1:1/d",
    "postgres://app:hun%ter2@127.0.0.1:1/d",
    "postgres://app:hun ter2@127.0.0.1:1/d",
    "postgresql://127.0.0.1:1/d?user=app&password=hun&ter2=x",
    "POSTGRES://app:hunter2@127.0.0.1:1/d",
    "postgres:app:hunter2@127.0.0.1:1/d",
    "postgres://app:hunter2",
    "mysql://app:hun/ter2@127.0.0.1:1/d",
    "mysql://app:12/hunter2@127.0.0.1:1/d",
    "app:hunter2@127.0.0.1:1/d",
    "hunter2@db.invalid:1/d",
];

#[test]
fn no_part_of_a_password_is_shown_and_no_file_is_made() {
    for address in ADDRESSES {
        let folder = tempfile::tempdir().unwrap();
        let commands = [(OUTBOX, &["migrate"][..])];
        for (path, arguments) in COMMANDS[1..4].iter().chain(&commands) {
            let mut command = program(path, arguments, address);
            command.env("OUTBOX_DATABASE_TIMEOUT", "1s");
            // The programs wait for a database that is not available.
            let arguments = [&["2", path][..], arguments].concat();
            let mut limited = std::process::Command::new("timeout");
            limited.args(arguments).current_dir(folder.path());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => limited.env(name, value),
                    None => limited.env_remove(name),
                };
            }
            let ran = ran(&mut limited);
            assert_ne!(ran.code, 0, "{address}: {ran:#?}");
            let shown = ran.all();
            for part in ["hun", "ter2"] {
                assert!(!shown.contains(part), "{address}: {shown}");
            }
            assert!(!shown.contains("panicked"), "{shown}");
        }
        assert!(files(folder.path()).is_empty(), "{address}");
    }
}

#[test]
fn no_part_of_a_brokers_password_is_shown() {
    let database = crate::support::sqlite::<diesel::SqliteConnection>();
    ran(&mut program(OUTBOX, &["migrate"], &database.url)).says("applied");
    for address in [
        "stomp://app:hun/ter2@127.0.0.1:1/",
        "stomp://app:hun@ter2@127.0.0.1:1/",
        "stomp://app:hun#ter2@127.0.0.1:1/",
        "stomp://app:hun?ter2@127.0.0.1:1/",
        "stomp://app:hun%ter2@127.0.0.1:1/",
        "stomp://app:hun%ffter2@127.0.0.1:1/",
        "stomp://app:hunter2",
        "app:hunter2@127.0.0.1:1",
        "hunter2",
        "stomp://127.0.0.1:1/,stomp://app:hunter2@127.0.0.1:2/",
        "failover:(stomp://app:hunter2@127.0.0.1:1/",
        "host=127.0.0.1 password=hunter2",
    ] {
        for (path, arguments) in [
            (PUBLISH, &["--once"][..]),
            (OUTBOX, &["dead-letters", "list", "q"]),
        ] {
            let mut command = program(path, arguments, &database.url);
            let ran = ran(command.env("STOMP_URL", address));
            assert!(matches!(ran.code, 1 | 2), "{address}: {ran:#?}");
            let shown = ran.all();
            for part in ["hun", "ter2"] {
                assert!(!shown.contains(part), "{address}: {shown}");
            }
        }
    }
}

/// An address in the wrong place of the command line.
#[test]
fn an_argument_that_is_not_known_is_not_shown_if_it_may_hold_a_password() {
    let url = "postgres://app:hunter2@127.0.0.1:1/d";
    for arguments in [
        &["status", url][..],
        &["status", "--databse-url=postgres://app:hunter2@127.0.0.1/d"],
        &["stat", "--database-url", url],
        &[url],
        &["dead-letters", url],
        &["clean", "--older-than", url],
    ] {
        let ran = ran(&mut program(OUTBOX, arguments, "x.db")).fails(2, "--help");
        assert!(!ran.err.contains("hunter2"), "{ran:#?}");
    }
    let ran = ran(&mut program(PUBLISH, &[url], "x.db")).fails(2, "***");
    assert!(!ran.err.contains("hunter2"), "{ran:#?}");
}

/// Only `outbox migrate` creates the file of a database.
#[test]
fn a_mistyped_path_leaves_no_file_behind() {
    let folder = tempfile::tempdir().unwrap();
    for address in [
        "shop.db",
        "sqlite:shop.db",
        "sqlite://shop.db",
        "file:shop.db",
        "./a b?c#d%e",
    ] {
        for (path, arguments) in COMMANDS {
            let began = Instant::now();
            let mut command = program(path, arguments, address);
            ran(command.current_dir(&folder)).fails(1, "there is no file `");
            assert!(
                began.elapsed() < Duration::from_secs(3),
                "{path} {arguments:?}"
            );
        }
        assert!(files(folder.path()).is_empty(), "{address}");
    }
    let outbox = |arguments: &[&str], address: &str| {
        ran(program(OUTBOX, arguments, address).current_dir(&folder))
    };
    outbox(&["migrate", "--print"], "shop.db").says("create table");
    assert!(files(folder.path()).is_empty());
    outbox(&["migrate"], "shop.db").says("applied");
    for address in ["shop.db", "sqlite:shop.db", "file:shop.db", "./shop.db"] {
        outbox(&["status"], address).says("waiting   0");
    }
    outbox(&["migrate"], "./a b?c#d%e").says("applied");
    outbox(&["status"], "./a b?c#d%e").says("waiting   0");
    assert!(files(folder.path()).contains(&"a b?c#d%e".to_owned()));
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::time::{Duration, Instant};

    use crate::ran::files;
    use crate::{OUTBOX, PUBLISH, SUBSCRIBE, program, ran};

    /// libpq's keywords for the address of a test's database.
    fn keywords(url: &str) -> String {
        let rest = url.split_once("://").unwrap().1;
        let (user, place) = rest.rsplit_once('@').unwrap();
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let (host, name) = place.split_once('/').unwrap();
        let (host, port) = host.split_once(':').unwrap_or((host, "5432"));
        format!(
            "host={host} port={port} user={user} password='{password}' dbname={name} \
             application_name='a:b' options='-c search_path=public'"
        )
    }

    #[test]
    fn the_keyword_form_is_an_address() {
        let Some(database) = crate::support::postgres::<diesel::PgConnection>() else {
            return;
        };
        let broker = diesel_outbox::testing::LoopbackBroker::start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let address = keywords(&database.url);
        let run = |path: &str, arguments: &[&str]| {
            let mut command = program(path, arguments, &address);
            ran(command.env("STOMP_URL", broker.url()).current_dir(&folder))
        };
        run(OUTBOX, &["migrate"]).says("applied");
        run(OUTBOX, &["--database-schema", "public", "status"]).says("waiting   0");
        let once = run(PUBLISH, &["--once"]).says("sent      0");
        assert!(once.err.contains("database=\"***\""), "{once:#?}");
        assert!(files(folder.path()).is_empty());
    }

    /// One line with what to do, at once.
    #[test]
    fn a_missing_role_and_a_missing_database_are_reported_with_advice() {
        let Some(database) = crate::support::postgres::<diesel::PgConnection>() else {
            return;
        };
        let place = database.url.rsplit_once('@').unwrap().1;
        let (server, _) = database.url.rsplit_once('/').unwrap();
        let role = format!("postgres://nobody:x@{place}");
        for (address, texts) in [
            (role.as_str(), ["nobody", "check the user and the password"]),
            (
                &format!("{server}/no_such_database"),
                ["\"no_such_database\" does not exist", "create the database"],
            ),
        ] {
            for (path, arguments) in [
                (PUBLISH, &[][..]),
                (PUBLISH, &["--once"]),
                (SUBSCRIBE, &["log", "/queue/a"]),
                (OUTBOX, &["status"]),
                (OUTBOX, &["migrate"]),
            ] {
                let began = Instant::now();
                let ran = ran(&mut program(path, arguments, address));
                let took = began.elapsed();
                let ran = texts.iter().fold(ran, |ran, text| ran.fails(1, text));
                let errors = ran.err.lines().filter(|line| line.starts_with("error: "));
                assert_eq!(errors.count(), 1, "{ran:#?}");
                let others = ran.err.lines().filter(|line| !line.contains("INFO"));
                assert_eq!(others.count(), 1, "{ran:#?}");
                assert!(!ran.err.contains("***ist"), "{ran:#?}");
                assert!(
                    took < Duration::from_secs(3),
                    "{path} {arguments:?}: {took:?}"
                );
            }
        }
    }
}
