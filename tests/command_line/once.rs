//! The exit code of `publish --once`.

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use diesel_outbox::testing::LoopbackBroker;

use crate::ran::Ran;
use crate::support::TestDatabase;
use crate::{OUTBOX, PUBLISH, program, ran};

struct Place {
    database: TestDatabase,
    broker: LoopbackBroker,
}

impl Place {
    fn new() -> Self {
        let database = crate::support::sqlite::<diesel::SqliteConnection>();
        ran(&mut program(OUTBOX, &["migrate"], &database.url)).says("applied");
        let broker = LoopbackBroker::start().unwrap();
        broker.reject_sends_to("/queue/bad");
        Self { database, broker }
    }

    fn row(&self, number: u32, destination: &str, more: &str) {
        let mut conn = SqliteConnection::establish(&self.database.url).unwrap();
        conn.batch_execute(&format!(
            "insert into published (id, destination, body, key, stream, due_at)
             values ('0192f0aa-0000-7000-8000-{number:012}', '{destination}', '{{}}', {more})"
        ))
        .unwrap();
    }

    fn once(&self, arguments: &[&str]) -> Ran {
        let arguments = [&["--once"], arguments].concat();
        let mut command = program(PUBLISH, &arguments, &self.database.url);
        ran(command.env("STOMP_URL", self.broker.url()))
    }
}

const NOW: &str = "'1970-01-01 00:00:00.000000'";

#[test]
fn it_is_4_if_a_row_was_parked_or_is_left() {
    let place = Place::new();
    let plain = format!("null, null, {NOW}");
    place.row(1, "/queue/good", &plain);
    place.once(&[]).says("sent      1");
    // Rows that wait: not due, or of a paused stream.
    place.row(2, "/queue/good", "null, null, '8000-01-01 00:00:00.000000'");
    place.row(3, "/queue/good", &format!("null, 'slow', {NOW}"));
    place.row(4, "/queue/other", &format!("null, 'fast', {NOW}"));
    let pause = ["pause", "--stream", "slow"];
    ran(&mut program(OUTBOX, &pause, &place.database.url)).says("paused");
    place
        .once(&["--destination", "/queue/good"])
        .says("waiting   3");
    place.once(&[]).says("sent      1");
    // One that fails and is tried again.
    place.row(5, "/queue/bad", &format!("'k', null, {NOW}"));
    place.row(6, "/queue/good", &format!("'k', null, {NOW}"));
    let later = ["--retry-first-delay", "1h", "--retry-maximum-delay", "1h"];
    let failed = place.once(&later);
    assert!(failed.out.contains("failed    1"), "{failed:#?}");
    failed
        .fails(4, "not all rows were sent: 1 failed and left")
        .fails(4, "1 due and left: blocked");
    // It is not due, and still blocks its key.
    place
        .once(&[])
        .fails(4, "not all rows were sent: 1 due and left");
    let mut conn = SqliteConnection::establish(&place.database.url).unwrap();
    let due = format!("update published set due_at = {NOW} where destination = '/queue/bad'");
    conn.batch_execute(&due).unwrap();
    place
        .once(&["--retry-attempts", "1", "--when-exhausted", "park"])
        .fails(4, "1 parked (`outbox retry` sends them again)");
    place.once(&[]).says("waiting   2");
}

#[test]
fn ids_that_are_left_alone_are_named_with_their_states() {
    let place = Place::new();
    let id = |number: u32| format!("0192f0aa-0000-7000-8000-{number:012}");
    place.row(1, "/queue/good", &format!("null, null, {NOW}"));
    place.once(&[]).says("sent      1");
    place.row(2, "/queue/bad", &format!("null, null, {NOW}"));
    place.once(&["--retry-attempts", "1"]).fails(4, "1 parked");
    place.row(3, "/queue/good", &format!("null, null, {NOW}"));
    let outbox = |command: &str| {
        let ids = [
            id(1),
            id(2),
            id(3),
            id(4),
            id(2).to_uppercase(),
            "x\u{1b}".to_owned(),
        ];
        let arguments = std::iter::once(command).chain(ids.iter().map(String::as_str));
        let arguments: Vec<&str> = arguments.collect();
        ran(&mut program(OUTBOX, &arguments, &place.database.url))
    };
    let skipped = outbox("skip");
    assert!(skipped.out.contains("2 skipped"), "{skipped:#?}");
    let skipped = skipped.fails(1, "4 of the ids are not those of parked rows: ");
    for named in [
        format!("`{}` (sent)", id(1)),
        format!("`{}` (waiting)", id(3)),
        format!("`{}` (no row has this id)", id(4)),
        "`x\\u{1b}` (no row has this id)".to_owned(),
    ] {
        assert!(skipped.err.contains(&named), "{skipped:#?}");
    }
    let cancelled = outbox("cancel");
    assert!(cancelled.out.contains("1 cancelled"), "{cancelled:#?}");
    let named = format!("`{}` (parked)", id(2));
    cancelled.fails(1, &named);
}
