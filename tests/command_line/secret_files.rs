//! Secrets from files, as containers mount them.

use std::path::{Path, PathBuf};

use diesel_outbox::testing::LoopbackBroker;

use crate::{OUTBOX, PUBLISH, program, ran};

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn addresses_are_read_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let database = crate::support::sqlite::<diesel::SqliteConnection>();
    let broker = LoopbackBroker::start().unwrap();
    ran(&mut program(OUTBOX, &["migrate"], &database.url)).says("applied");
    for end in ["", "\n", "\r\n"] {
        let url = file(folder.path(), "database", &format!("{}{end}", database.url));
        let stomp = file(folder.path(), "broker", &format!("{}{end}", broker.url()));
        for (database, broker) in [
            ("DATABASE_URL_FILE", "STOMP_URL_FILE"),
            ("OUTBOX_DATABASE_URL_FILE", "OUTBOX_STOMP_URL_FILE"),
        ] {
            let mut command = program(PUBLISH, &["--once"], "");
            command.env_remove("DATABASE_URL");
            ran(command.env(database, &url).env(broker, &stomp)).says("sent      0");
        }
        let flags = ["--database-url-file", url.to_str().unwrap(), "status"];
        ran(program(OUTBOX, &flags, "").env_remove("DATABASE_URL")).says("waiting   0");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_reported_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let good = file(
        folder.path(),
        "good",
        "postgres://app:hunter2@127.0.0.1:1/d\n",
    );
    let bad = file(
        folder.path(),
        "bad",
        "postgres://app:hun/ter2@127.0.0.1:1/d",
    );
    let lines = file(folder.path(), "lines", "postgres://app:hunter2@h/d\nmore\n");
    let empty = file(folder.path(), "empty", "\n");
    let missing = folder.path().join("missing");
    for (path, given, code, texts) in [
        (
            &missing,
            "",
            2,
            ["cannot read", "DATABASE_URL_FILE names: No such file"],
        ),
        (&empty, "", 2, ["cannot read", "it is empty"]),
        (
            &folder.path().to_owned(),
            "",
            2,
            ["cannot read", "directory"],
        ),
        (&"/dev/zero".into(), "", 2, ["cannot read", "64 KiB"]),
        (
            &lines,
            "",
            2,
            ["its value is not shown", "DATABASE_URL_FILE"],
        ),
        (&bad, "", 2, ["its value is not shown", "%2F"]),
        (&good, "shop.db", 2, ["DATABASE_URL_FILE", "are both set"]),
        (&good, "", 1, ["127.0.0.1", "refused"]),
    ] {
        let mut command = program(OUTBOX, &["status"], given);
        if given.is_empty() {
            command.env_remove("DATABASE_URL");
        }
        let ran = ran(command.env("DATABASE_URL_FILE", path));
        let ran = texts.iter().fold(ran, |ran, text| ran.fails(code, text));
        for part in ["hun", "ter2"] {
            assert!(!ran.all().contains(part), "{ran:#?}");
        }
    }
    // A later source replaces both.
    let database = crate::support::sqlite::<diesel::SqliteConnection>();
    ran(&mut program(OUTBOX, &["migrate"], &database.url)).says("applied");
    let mut command = program(OUTBOX, &["status", "--database-url", &database.url], "");
    ran(command.env("DATABASE_URL_FILE", &missing)).says("waiting   0");
}
