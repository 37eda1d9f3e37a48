//! Settings, exit codes, and texts from outside.

use diesel_outbox::testing::LoopbackBroker;

use super::Doctor;

#[test]
fn settings_that_cannot_be_used_end_with_2() {
    let report = Doctor::of("postgres://app:hunter2@h/d", "stomp://guest:hunter2@h/")
        .set("OUTBOX_LEASE", "1s")
        .set("OUTBOX_CHUNK_SIZE", "many")
        .run();
    assert_eq!(report.code, 2, "{report:?}");
    report.has(
        "settings",
        "error",
        "chunk_size = \"many\" from environment variable",
    );
    report.has("settings", "error", "correct the setting");
    assert!(report.err.contains("errors, 0 warnings"), "{report:?}");
    assert!(!format!("{report:?}").contains("hunter2"), "{report:?}");
    let unknown = Doctor::of("h", "h").output(&["--subscriptions"]);
    assert_eq!(unknown.0, 2, "{unknown:?}");
}

#[cfg(feature = "sqlite")]
#[test]
fn settings_that_are_allowed_may_be_a_warning() {
    use diesel_outbox::migrations::Migrate;

    let database = crate::support::sqlite::<diesel::SqliteConnection>();
    let mut conn =
        <diesel::SqliteConnection as diesel::Connection>::establish(&database.url).unwrap();
    conn.migrate().unwrap();
    let broker = LoopbackBroker::start().unwrap();
    let url = broker.url();
    let doctor = Doctor::of(&database.url, &url).set("OUTBOX_INBOX_DAYS_TO_KEEP", "0");
    doctor.run().only(&["settings"]).has(
        "settings",
        "warning",
        "inbox_days_to_keep is 0, and the inbox is kept for 1 day",
    );
    let (code, out, err) = doctor.output(&["--strict"]);
    assert_eq!(code, 1, "{out}");
    assert!(
        err.starts_with("error: ") && err.ends_with("0 errors, 1 warning\n"),
        "{err}"
    );
    assert!(
        out.contains("\n           do: set inbox_days_to_keep"),
        "{out}"
    );

    Doctor::of(&database.url, &url)
        .set("OUTBOX_DEAD_LETTER", "none")
        .with(&[
            "--subscription",
            "/topic/a",
            "q",
            "--subscription",
            "/topic/a",
            "q",
        ])
        .with(&[
            "--subscription",
            "/topic/a",
            "r",
            "--subscription",
            "/queue/b",
            "c",
        ])
        .run()
        .has(
            "settings.subscription",
            "warning",
            "a message that cannot be handled is dropped",
        )
        .has(
            "settings.subscription",
            "error",
            "two subscriptions have the queue `q`",
        )
        .has(
            "settings.subscription",
            "error",
            "receive the same messages under the same consumer",
        )
        .has(
            "settings.subscription",
            "error",
            "`/queue/b` is the queue `b`",
        );
    Doctor::of(&database.url, &url)
        .set("OUTBOX_HEARTBEAT_SEND", "0")
        .run()
        .only(&["broker.heartbeats"])
        .has(
            "broker.heartbeats",
            "warning",
            "we send never, the broker every 10s",
        );

    let mut conn =
        <diesel::SqliteConnection as diesel::Connection>::establish(&database.url).unwrap();
    diesel::connection::SimpleConnection::batch_execute(
        &mut conn,
        "insert into published (id, destination, body) values ('1', '/nowhere/' || char(27) || '[31m', '{}')",
    )
    .unwrap();
    let report = Doctor::of(&database.url, &url).run();
    report
        .only(&["broker.route"])
        .has("broker.route", "error", "does not know such a destination");
    let (_, out, _) = Doctor::of(&database.url, &url).output(&[]);
    assert!(
        out.contains("broker.route /nowhere/\\u{1b}[31m: 1 waiting row, and"),
        "{out}"
    );
    assert!(
        !out.contains('\u{1b}') && !report.out.contains('\u{1b}'),
        "{out}"
    );
}

#[test]
fn without_a_database_the_broker_is_checked() {
    let broker = LoopbackBroker::start().unwrap();
    let url = broker.url();
    let report = Doctor::of("", &url).run();
    report
        .only(&["settings"])
        .has("broker.login", "ok", "accepted by diesel-outbox-loopback");
}
