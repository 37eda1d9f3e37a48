//! `outbox` as a person runs it, on each database.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "support/mod.rs"]
mod support;

use std::process::Command;

use diesel_outbox::backend::{Backend, Counts};

use support::TestDatabase;

const WAITING: &str = "0192f0aa-0000-7000-8000-000000000001";
const FAILED: &str = "0192f0aa-0000-7000-8000-000000000002";
const ALSO_FAILED: &str = "0192f0aa-0000-7000-8000-000000000003";
const SENT: &str = "0192f0aa-0000-7000-8000-000000000004";

/// What a run of the program came to.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        assert!(self.out.contains(text), "no {text:?} in {self:#?}");
        self
    }

    #[track_caller]
    fn fails(self, code: i32, text: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(text), "no {text:?} in {self:#?}");
    }
}

fn outbox(database: &TestDatabase, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_outbox"))
        .args(arguments)
        .env("DATABASE_URL", &database.url)
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn counts<C: Backend>(database: &TestDatabase) -> Counts {
    C::establish(&database.url).unwrap().counts().unwrap()
}

fn rows<C: Backend>(database: &TestDatabase) {
    let column = if C::NAME == "MySQL/MariaDB" {
        "`key`"
    } else {
        "key"
    };
    let row = |id: &str, status: i32, key: &str| {
        format!(
            "insert into published (id, destination, body, {column}, status, retry, last_error)
             values ('{id}', '/queue/a', '{{}}', {key}, {status}, 50, 'refused');"
        )
    };
    let all = [
        row(FAILED, -1, "'k'"),
        row(WAITING, 1, "'k'"),
        row(ALSO_FAILED, -1, "null"),
        row(SENT, 2, "null"),
    ];
    let mut conn = C::establish(&database.url).unwrap();
    conn.batch_execute(&all.concat()).unwrap();
}

fn tables_are_made_and_removed<C: Backend>(database: &TestDatabase) {
    outbox(database, &["status"]).fails(1, "run `outbox migrate`");
    outbox(database, &["migrate"]).says("applied ");
    outbox(database, &["migrate"]).says("nothing to do");
    outbox(database, &["status"]).says("waiting   0");
    outbox(database, &["migrate", "--revert"]).says("reverted ");
    outbox(database, &["migrate", "--revert"]).says("nothing to do");
    outbox(database, &["status"]).fails(1, "run `outbox migrate`");
    assert!(C::establish(&database.url).unwrap().counts().is_err());
}

fn the_printed_sql_makes_the_tables<C: Backend>(database: &TestDatabase) {
    let up = outbox(database, &["migrate", "--print"]).says("create table published");
    let down = outbox(database, &["migrate", "--print", "--revert"]).says("drop table");
    outbox(database, &["status"]).fails(1, "run `outbox migrate`");
    let mut conn = C::establish(&database.url).unwrap();
    conn.batch_execute(&up.out).unwrap();
    outbox(database, &["status"]).says("waiting   0");
    conn.batch_execute(&down.out).unwrap();
    outbox(database, &["status"]).fails(1, "run `outbox migrate`");
}

fn a_table_in_the_way_is_named<C: Backend>(database: &TestDatabase) {
    let mut conn = C::establish(&database.url).unwrap();
    conn.batch_execute("create table received (id integer primary key)")
        .unwrap();
    outbox(database, &["migrate"]).fails(1, "`received` is there already");
    conn.batch_execute("drop table received").unwrap();
    let gone = conn.batch_execute("select * from published");
    assert!(gone.is_err(), "nothing was made");
    outbox(database, &["migrate"]).says("applied");
}

fn parked_rows_are_sent_again_or_skipped<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    rows::<C>(database);
    outbox(database, &["status"])
        .says("waiting   1")
        .says("failed    2")
        .says("sent      1");
    outbox(database, &["retry", ALSO_FAILED]).says("1 to be sent again");
    assert_eq!(counts::<C>(database).failed, 1);
    outbox(database, &["retry", ALSO_FAILED]).fails(1, "not those of parked rows");
    outbox(database, &["retry", WAITING, FAILED]).fails(1, "1 of the ids");
    assert_eq!(counts::<C>(database).failed, 0, "the one that could be was");
    assert_eq!(counts::<C>(database).waiting, 3);
}

fn all_parked_rows_are_sent_again<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    rows::<C>(database);
    outbox(database, &["skip", FAILED]).says("1 skipped");
    outbox(database, &["skip", SENT]).fails(1, "not those of parked rows");
    assert_eq!(
        counts::<C>(database).failed,
        2,
        "skipped, and still to be seen"
    );
    outbox(database, &["retry", "--all"]).says("2 to be sent again");
    assert_eq!(counts::<C>(database).waiting, 3);
}

fn only_what_was_sent_is_deleted<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    rows::<C>(database);
    outbox(database, &["clean", "--older-than", "1h"]).says("deleted 0 sent and 0 received");
    outbox(database, &["clean", "--older-than", "0s"]).says("deleted 1 sent and 0 received");
    let after = counts::<C>(database);
    assert_eq!((after.waiting, after.failed, after.sent), (1, 2, 0));
}

fn the_inbox_is_deleted_if_it_is_named<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    rows::<C>(database);
    let mut conn = C::establish(&database.url).unwrap();
    conn.batch_execute(&format!(
        "insert into received (id, msg_id, added) values ('{SENT}', 'm', '2001-01-01 00:00:00.000000');
         insert into outbox_deliveries (msg_id, begun) values ('n', 3)"
    ))
    .unwrap();
    outbox(database, &["clean", "--older-than", "0s"]).says("deleted 1 sent and 0 received");
    assert_eq!(counts::<C>(database).received, 1);
    outbox(database, &["clean", "--inbox-older-than", "20000d"]).says("0 sent and 0 received");
    outbox(database, &["clean", "--inbox-older-than", "1d"]).says("0 sent and 1 received");
    assert_eq!(counts::<C>(database).received, 0);
}

fn streams_are_paused_and_rows_cancelled<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    rows::<C>(database);
    outbox(database, &["pause", "--stream", "slow", "--stream", "late"]).says("paused slow");
    outbox(database, &["status"])
        .says("paused    late")
        .says("paused    slow");
    outbox(database, &["resume", "--stream", "slow"]).says("resumed slow");
    let status = outbox(database, &["status"]).says("paused    late");
    assert!(!status.out.contains("slow"), "{status:?}");
    outbox(database, &["cancel", WAITING]).says("1 cancelled");
    outbox(database, &["cancel", SENT]).fails(1, "not those of rows that wait");
    assert_eq!(counts::<C>(database).failed, 3);
    outbox(database, &["pause"]).fails(2, "--stream");
    outbox(database, &["pause", "--stream", ""]).fails(2, "at most 100 characters");
}

fn mistakes_are_named<C: Backend>(database: &TestDatabase) {
    outbox(database, &["retry"]).fails(2, "<IDS>");
    outbox(database, &["retry", "not-an-id"]).fails(2, "not-an-id");
    outbox(database, &["retry", "--all", FAILED]).fails(2, "cannot be used with");
    outbox(database, &["clean"]).fails(2, "--older-than");
    outbox(database, &["clean", "--older-than", "soon"]).fails(2, "soon");
    outbox(database, &["tidy"]).fails(2, "tidy");
    let counts = C::establish(&database.url).unwrap().counts();
    assert!(counts.is_err(), "nothing was made");
}

macro_rules! on_each_database {
    ($($case:ident),* $(,)?) => {
        on_each_database!(@ "sqlite", sqlite, diesel::SqliteConnection, Some(crate::support::sqlite()); $($case),*);
        on_each_database!(@ "mysql", mysql, diesel::MysqlConnection, crate::support::mysql(); $($case),*);
        on_each_database!(@ "postgres", postgres, diesel::PgConnection, crate::support::postgres(); $($case),*);
    };
    (@ $feature:literal, $module:ident, $connection:ty, $open:expr; $($case:ident),*) => {
        #[cfg(feature = $feature)]
        mod $module {
            $(#[test]
            fn $case() {
                let Some(database) = $open else { return };
                crate::$case::<$connection>(&database);
            })*
        }
    };
}

on_each_database!(
    tables_are_made_and_removed,
    the_printed_sql_makes_the_tables,
    a_table_in_the_way_is_named,
    parked_rows_are_sent_again_or_skipped,
    all_parked_rows_are_sent_again,
    only_what_was_sent_is_deleted,
    the_inbox_is_deleted_if_it_is_named,
    streams_are_paused_and_rows_cancelled,
    mistakes_are_named,
);
