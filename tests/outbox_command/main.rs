//! The program `outbox`, on each database.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod call_rows;
#[path = "../support/counts.rs"]
mod counts;
mod doctor;
mod ran;
mod rows;
mod status;

use outbox_test_support as support;

use diesel_outbox::admin;
use diesel_outbox::backend::Backend;

use call_rows::{a_call_is_shown, calls_are_executed_again_and_deleted, calls_are_listed};
use counts::Counts;
use ran::outbox;
use rows::{
    a_page_prints_the_command_for_the_next, a_row_is_shown_with_its_history,
    each_command_has_a_form_in_json, rows_are_changed_by_filters, rows_are_listed_by_filters,
    signed_rows_are_signed_again_with_the_keys, what_took_sql_is_a_command,
};
use status::{
    the_status_shows_calls_that_nobody_claims, the_status_shows_reasons_leases_and_streams,
};
use support::TestDatabase;

const WAITING: &str = "0192f0aa-0000-7000-8000-000000000001";
const FAILED: &str = "0192f0aa-0000-7000-8000-000000000002";
const ALSO_FAILED: &str = "0192f0aa-0000-7000-8000-000000000003";
const SENT: &str = "0192f0aa-0000-7000-8000-000000000004";

fn counts<C: Backend>(database: &TestDatabase) -> Counts {
    Counts::of(&mut C::establish(&database.url).unwrap())
}

fn write_rows<C: Backend>(database: &TestDatabase) {
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
    assert!(admin::status(&mut C::establish(&database.url).unwrap()).is_err());
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
    outbox(database, &["migrate"]).fails(1, "`received` exists already");
    conn.batch_execute("drop table received").unwrap();
    let gone = conn.batch_execute("select * from published");
    assert!(gone.is_err(), "nothing was made");
    outbox(database, &["migrate"]).says("applied");
}

fn rows_that_were_not_sent_are_not_removed<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied ");
    write_rows::<C>(database);
    let mut conn = C::establish(&database.url).unwrap();
    let refused = |reason: &str| {
        outbox(database, &["migrate", "--revert"]).fails(1, reason);
        assert_eq!(counts::<C>(database).sent, 1, "nothing was changed");
    };
    refused("not sent: 1 waiting, 0 leased by a relay, 2 parked");
    outbox(database, &["migrate", "--revert", "--print"]).says("-- Deletes all rows");
    outbox(database, &["migrate", "--force"]).fails(2, "--revert");
    let lease = std::time::Duration::from_secs(600);
    let claimed = conn
        .claim(
            diesel_outbox::backend::PUBLISHED,
            uuid::Uuid::new_v4(),
            lease,
            10,
        )
        .unwrap();
    assert_eq!(claimed.len(), 1);
    refused("not sent: 0 waiting, 1 leased by a relay, 2 parked");
    outbox(database, &["migrate", "--revert", "--force"]).says("reverted ");
    assert!(admin::status(&mut C::establish(&database.url).unwrap()).is_err());
    outbox(database, &["migrate"]).says("applied ");
    conn.batch_execute(
        "insert into published (id, destination, body, status)
         values ('0192f0aa-0000-7000-8000-000000000009', '/queue/a', '{}', 2)",
    )
    .unwrap();
    outbox(database, &["migrate", "--revert"]).says("reverted ");
}

fn parked_rows_are_sent_again_or_skipped<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    write_rows::<C>(database);
    outbox(database, &["status"])
        .says("waiting   1")
        .says("parked    2")
        .says("sent      1");
    outbox(database, &["retry", ALSO_FAILED]).says("1 to be sent again");
    assert_eq!(counts::<C>(database).parked, 1);
    outbox(database, &["retry", ALSO_FAILED]).fails(1, "not those of parked rows");
    outbox(database, &["retry", WAITING, FAILED]).fails(1, "1 of the ids");
    assert_eq!(counts::<C>(database).parked, 0, "the one that could be was");
    assert_eq!(counts::<C>(database).waiting, 3);
}

fn all_parked_rows_are_sent_again<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    write_rows::<C>(database);
    outbox(database, &["skip", FAILED]).says("1 skipped");
    outbox(database, &["skip", SENT]).fails(1, "not those of parked rows");
    assert_eq!(
        counts::<C>(database).parked,
        2,
        "skipped, and still to be seen"
    );
    outbox(database, &["retry", "--all"]).says("2 to be sent again");
    assert_eq!(counts::<C>(database).waiting, 3);
}

fn only_what_was_sent_is_deleted<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    write_rows::<C>(database);
    outbox(database, &["clean", "--older-than", "1h"]).says("deleted 0 sent and 0 received");
    outbox(database, &["clean", "--older-than", "0s"]).says("deleted 1 sent and 0 received");
    let after = counts::<C>(database);
    assert_eq!((after.waiting, after.parked, after.sent), (1, 2, 0));
}

fn calls_are_changed_as_messages_are<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    write_rows::<C>(database);
    let row = |id: &str, status: i32| {
        format!(
            "insert into outbox_calls (id, name, args, status, last_error)
             values ('{id}', 'charge', '{{}}', {status}, 'declined');"
        )
    };
    let all = [row(WAITING, 1), row(FAILED, -1), row(SENT, 2)];
    let mut conn = C::establish(&database.url).unwrap();
    conn.batch_execute(&all.concat()).unwrap();
    let before = counts::<C>(database);
    outbox(database, &["migrate", "--revert"]).fails(1, "2 waiting, 0 leased by a relay, 3 parked");
    outbox(database, &["status", "--calls"])
        .says("waiting   1")
        .says("parked    1")
        .says("executed  1")
        .says("oldest");
    outbox(database, &["skip", "--calls", FAILED]).says("1 skipped");
    outbox(database, &["retry", "--calls", FAILED]).says("1 to be executed again");
    // A message, and no call.
    outbox(database, &["retry", "--calls", ALSO_FAILED]).fails(1, "no row has this id");
    outbox(database, &["retry", "--calls", SENT]).fails(1, "(executed)");
    outbox(database, &["retry", "--calls", FAILED]).fails(1, "(waiting)");
    outbox(database, &["cancel", "--calls", FAILED, WAITING]).says("2 cancelled");
    outbox(database, &["retry", "--calls", "--all"]).says("2 to be executed again");
    let clean = ["clean", "--calls", "--older-than", "0s"];
    outbox(database, &clean).says("deleted 1 executed and 0 received");
    outbox(database, &["clean", "--calls", "--inbox-older-than", "1d"]).fails(2, "--older-than");
    outbox(database, &["status", "--calls"])
        .says("waiting   2")
        .says("executed  0");
    assert_eq!(
        counts::<C>(database),
        before,
        "the messages are as they were"
    );
}

fn the_inbox_is_deleted_if_it_is_named<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    write_rows::<C>(database);
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
    write_rows::<C>(database);
    outbox(database, &["pause", "--stream", "slow", "--stream", "late"]).says("paused slow");
    outbox(database, &["status"])
        .says("paused    late")
        .says("paused    slow");
    outbox(database, &["resume", "--stream", "slow"]).says("resumed slow");
    let status = outbox(database, &["status"]).says("paused    late");
    assert!(!status.out.contains("slow"), "{status:?}");
    outbox(database, &["cancel", WAITING]).says("1 cancelled");
    outbox(database, &["cancel", SENT]).fails(1, "not those of rows that wait");
    assert_eq!(counts::<C>(database).parked, 3);
    outbox(database, &["pause", "--help"]).says("no executor executes its calls");
    outbox(database, &["resume", "--help"]).says("its calls executed again");
    outbox(database, &["pause"]).fails(2, "--stream");
    outbox(database, &["pause", "--stream", ""]).fails(2, "1 to 100 characters");
}

fn mistakes_are_named<C: Backend>(database: &TestDatabase) {
    outbox(database, &["retry"]).fails(2, "<IDS>");
    outbox(database, &["retry", "not-an-id"]).fails(2, "not-an-id");
    outbox(database, &["retry", "--all", FAILED]).fails(2, "cannot be used with");
    outbox(database, &["clean"]).fails(2, "--older-than");
    outbox(database, &["clean", "--older-than", "soon"]).fails(2, "soon");
    outbox(database, &["tidy"]).fails(2, "tidy");
    let counts = admin::status(&mut C::establish(&database.url).unwrap());
    assert!(counts.is_err(), "nothing was made");
}

macro_rules! on_each_database {
    ($($case:ident),* $(,)?) => {
        on_each_database!(@ "sqlite", sqlite, diesel::SqliteConnection, Some(crate::support::sqlite::<diesel::SqliteConnection>()); $($case),*);
        on_each_database!(@ "mysql", mysql, diesel::MysqlConnection, crate::support::mysql::<diesel::MysqlConnection>(); $($case),*);
        on_each_database!(@ "postgres", postgres, diesel::PgConnection, crate::support::postgres::<diesel::PgConnection>(); $($case),*);
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
    a_call_is_shown,
    calls_are_changed_as_messages_are,
    calls_are_executed_again_and_deleted,
    calls_are_listed,
    rows_that_were_not_sent_are_not_removed,
    parked_rows_are_sent_again_or_skipped,
    all_parked_rows_are_sent_again,
    the_status_shows_calls_that_nobody_claims,
    the_status_shows_reasons_leases_and_streams,
    only_what_was_sent_is_deleted,
    the_inbox_is_deleted_if_it_is_named,
    streams_are_paused_and_rows_cancelled,
    mistakes_are_named,
    a_page_prints_the_command_for_the_next,
    a_row_is_shown_with_its_history,
    each_command_has_a_form_in_json,
    rows_are_changed_by_filters,
    rows_are_listed_by_filters,
    signed_rows_are_signed_again_with_the_keys,
    what_took_sql_is_a_command,
);

/// A writer who commits while a revert waits for the tables stops the revert. SQLite has one writer
/// at a time.
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod no_row_is_committed_into_a_revert {
    use diesel::prelude::*;

    use crate::ran::{outbox, outbox_at};
    use crate::support::TestDatabase;
    use crate::{WAITING, counts};

    #[derive(QueryableByName)]
    struct Number {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }

    macro_rules! case {
        ($feature:literal, $name:ident, $connection:ty, $waiting:literal) => {
            #[cfg(feature = $feature)]
            #[test]
            fn $name() {
                let Some(database) = crate::support::$name::<$connection>() else {
                    return;
                };
                let waiting = || -> i64 {
                    let mut conn = <$connection>::establish(&database.url).unwrap();
                    let number: Number = diesel::sql_query($waiting).get_result(&mut conn).unwrap();
                    number.n
                };
                stops_it::<$connection>(&database, waiting);
            }
        };
    }

    case!(
        "postgres",
        postgres,
        diesel::PgConnection,
        "select count(*) as n from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'"
    );
    case!(
        "mysql",
        mysql,
        diesel::MysqlConnection,
        "select count(*) as n from information_schema.processlist
         where db = database() and state like 'Waiting for%lock'"
    );

    fn stops_it<C: diesel_outbox::backend::Backend>(
        database: &TestDatabase,
        waiting: impl Fn() -> i64,
    ) {
        outbox(database, &["migrate"]).says("applied ");
        let mut conn = C::establish(&database.url).unwrap();
        for (table, columns) in [
            ("outbox_calls", "name, args"),
            ("published", "destination, body"),
        ] {
            conn.batch_execute("delete from outbox_calls").unwrap();
            conn.batch_execute(&format!(
                "begin; insert into {table} (id, {columns}) values ('{WAITING}', 'a', '{{}}')"
            ))
            .unwrap();
            let url = database.url.clone();
            let revert = std::thread::spawn(move || outbox_at(&url, &["migrate", "--revert"]));
            while waiting() == 0 {
                assert!(!revert.is_finished(), "{:?}", revert.join());
                std::thread::park_timeout(std::time::Duration::from_millis(5));
            }
            conn.batch_execute("commit").unwrap();
            let refused = "not sent: 1 waiting, 0 leased by a relay, 0 parked";
            revert.join().unwrap().fails(1, refused);
        }
        assert_eq!(counts::<C>(database).waiting, 1);
        outbox(database, &["status"]).says("waiting   1");
    }
}

/// Each command uses the schema that is named, or the first one in the search path that is ours.
#[cfg(feature = "postgres")]
mod schemas {
    use diesel::connection::SimpleConnection;
    use diesel::{Connection, PgConnection};

    use crate::ran::outbox_at;
    use crate::{FAILED, SENT, WAITING};

    #[test]
    fn each_command_means_one_schema() {
        let Some(database) = crate::support::postgres::<diesel::PgConnection>() else {
            return;
        };
        let mut conn = PgConnection::establish(&database.url).unwrap();
        conn.batch_execute("create schema tenant").unwrap();
        let url = format!("{}?options=-csearch_path%3Dtenant,public", database.url);
        let theirs = |arguments: &[&str]| outbox_at(&database.url, arguments);
        let by_path = |arguments: &[&str]| outbox_at(&url, arguments);
        let named = |arguments: &[&str]| {
            let schema = ["--database-schema", "tenant"];
            outbox_at(&database.url, &[&schema, arguments].concat())
        };
        theirs(&["migrate"]).says("applied ");
        by_path(&["status"]).fails(1, "in the schema `tenant` (the schema `public`");
        named(&["status"]).fails(1, "in the schema `tenant`");
        by_path(&["migrate", "--revert"]).says("nothing to do");
        by_path(&["migrate"]).says("applied ");
        named(&["migrate"]).says("nothing to do");
        for (schema, id) in [("public", FAILED), ("tenant", WAITING), ("tenant", SENT)] {
            conn.batch_execute(&format!(
                "insert into {schema}.published (id, destination, body) values ('{id}', '/queue/a', '{{}}')"
            ))
            .unwrap();
        }
        by_path(&["status"]).says("waiting   2");
        named(&["status"]).says("waiting   2");
        theirs(&["status"]).says("waiting   1");
        named(&["cancel", FAILED]).fails(1, "1 of the ids are not those of rows that wait");
        named(&["cancel", WAITING]).says("1 cancelled");
        named(&["skip", WAITING]).says("1 skipped");
        named(&["pause", "--stream", "s"]).says("paused s");
        let status = theirs(&["status"]).says("waiting   1");
        assert!(!status.out.contains("paused"), "{status:?}");
        named(&["retry", "--all"]).says("1 to be sent again");
        conn.batch_execute(
            "update tenant.published set status = 2; update public.published set status = 2",
        )
        .unwrap();
        named(&["clean", "--older-than", "0s"]).says("deleted 2 sent");
        theirs(&["status"]).says("sent      1");
        named(&["migrate", "--revert"]).says("reverted ");
        theirs(&["status"]).says("sent      1");
    }

    #[test]
    fn the_printed_sql_names_the_schema() {
        let Some(database) = crate::support::postgres::<diesel::PgConnection>() else {
            return;
        };
        let mut conn = PgConnection::establish(&database.url).unwrap();
        conn.batch_execute("create schema \"Tenant 1\"").unwrap();
        let named = |arguments: &[&str]| {
            let schema = ["--database-schema", "Tenant 1"];
            outbox_at(&database.url, &[&schema, arguments].concat())
        };
        let up = named(&["migrate", "--print"]).says("create table \"Tenant 1\".published (");
        let down = named(&["migrate", "--print", "--revert"]).says("-- Deletes all rows");
        conn.batch_execute("set search_path = nowhere").unwrap();
        conn.batch_execute(&up.out).unwrap();
        named(&["status"]).says("waiting   0");
        outbox_at(&database.url, &["status"]).fails(1, "in the schema `public`");
        conn.batch_execute(&down.out).unwrap();
        named(&["status"]).fails(1, "in the schema `Tenant 1`: run `outbox migrate`");
        named(&["migrate"]).says("applied ");
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn a_database_without_schemas_refuses_one() {
        let database = crate::support::sqlite::<diesel::SqliteConnection>();
        outbox_at(&database.url, &["--database-schema", "tenant", "status"])
            .fails(2, "only PostgreSQL has schemas");
    }
}
