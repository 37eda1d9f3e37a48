//! `diesel_outbox::admin`: one suite, on every database.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod calls;
mod changes;
mod inbox;
mod lists;
mod matching;
mod numbers;
mod redirect;
mod sampler;
mod status;

use outbox_test_support as support;

use diesel_outbox::Message;
use diesel_outbox::backend::Backend;
use diesel_outbox::migrations::Migrate;
use uuid::Uuid;

/// A connection that the suite runs on.
trait Subject: Backend + Migrate {
    /// The number that a query selects.
    fn number(&mut self, query: &str) -> i64;

    /// The texts that a query selects in its column `detail`.
    fn texts(&mut self, query: &str) -> Vec<String>;
}

macro_rules! subject {
    ($feature:literal, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl Subject for $connection {
            fn number(&mut self, query: &str) -> i64 {
                use diesel::RunQueryDsl;

                #[derive(diesel::QueryableByName)]
                struct Number {
                    #[diesel(sql_type = diesel::sql_types::BigInt)]
                    n: i64,
                }
                diesel::sql_query(query)
                    .get_result::<Number>(self)
                    .unwrap()
                    .n
            }

            fn texts(&mut self, query: &str) -> Vec<String> {
                use diesel::RunQueryDsl;

                #[derive(diesel::QueryableByName)]
                struct Line {
                    #[diesel(sql_type = diesel::sql_types::Text)]
                    detail: String,
                }
                let lines: Vec<Line> = diesel::sql_query(query).load(self).unwrap();
                lines.into_iter().map(|line| line.detail).collect()
            }
        }
    };
}

subject!("sqlite", diesel::SqliteConnection);
subject!("mysql", diesel::MysqlConnection);
subject!("postgres", diesel::PgConnection);

fn connect<C: Subject>(url: &str) -> C {
    let mut conn = C::establish(url).unwrap();
    if C::NAME == "SQLite" {
        conn.batch_execute("pragma busy_timeout = 20000; pragma synchronous = off")
            .unwrap();
    }
    conn.migrate().unwrap();
    conn
}

/// Writes a row and returns its id.
fn write<C: Subject>(conn: &mut C, body: i64) -> Uuid {
    Message::new("/queue/a", body).publish(conn).unwrap()
}

/// Writes this number of rows.
fn write_all<C: Subject>(conn: &mut C, rows: i64) -> Vec<Uuid> {
    (0..rows).map(|row| write(conn, row)).collect()
}

fn execute<C: Subject>(conn: &mut C, statements: &str) {
    conn.batch_execute(statements).unwrap();
}

/// Parks rows with a reason, as a relay does: their keys wait.
fn park<C: Subject>(conn: &mut C, ids: &[Uuid], reason: &str) {
    for id in ids {
        let reason = reason.replace('\'', "''");
        execute(
            conn,
            &format!(
                "update published set status = -1, retry = 50, last_error = '{reason}',
                     due_at = '9000-01-01 00:00:00.000000' where id = '{id}'"
            ),
        );
    }
}

macro_rules! suite {
    ($($module:ident: $($case:ident),*;)*) => {
        suite!("sqlite", diesel::SqliteConnection, on_sqlite, sqlite_database: $($module: $($case),*;)*);
        suite!("mysql", diesel::MysqlConnection, on_mysql, mysql_database: $($module: $($case),*;)*);
        suite!("postgres", diesel::PgConnection, on_postgres, postgres_database: $($module: $($case),*;)*);
    };
    ($feature:literal, $connection:ty, $on:ident, $database:ident:
        $($module:ident: $($case:ident),*;)*) => {
        #[cfg(feature = $feature)]
        mod $on {
            $(mod $module {
                $(#[test]
                fn $case() {
                    let Some(database) = crate::$database() else { return };
                    crate::$module::$case::<$connection>(&database.url);
                })*
            })*
        }
    };
}

#[cfg(feature = "sqlite")]
fn sqlite_database() -> Option<support::TestDatabase> {
    Some(support::sqlite::<diesel::SqliteConnection>())
}

#[cfg(feature = "mysql")]
fn mysql_database() -> Option<support::TestDatabase> {
    support::mysql::<diesel::MysqlConnection>()
}

#[cfg(feature = "postgres")]
fn postgres_database() -> Option<support::TestDatabase> {
    support::postgres::<diesel::PgConnection>()
}

suite! {
    calls: calls_are_listed_apart_from_messages, calls_are_changed_and_deleted;
    numbers: the_status_counts_rows_and_names_paused_streams, missing_tables_are_an_error_of_their_own,
        streams_are_paused_and_resumed, an_invalid_name_of_a_stream_changes_nothing,
        old_rows_are_deleted_in_batches;
    status: each_state_is_counted_apart, reasons_and_targets_are_listed_by_their_number,
        names_that_no_executor_claims_are_listed, the_age_is_that_of_the_first_row_that_can_be_claimed,
        holders_of_leases_have_names, sent_rows_are_not_read;
    sampler: a_sample_sets_the_gauges;
    lists: pages_have_every_row_once, rows_that_change_between_pages_move_no_other,
        rows_are_filtered_by_state, the_latest_rows_that_were_sent_come_first,
        a_page_of_sent_rows_is_found_by_an_index, filters_take_texts_literally, a_row_shows_where_it_stands,
        a_row_is_shown_by_its_id_in_any_spelling, a_pooled_connection_will_do;
    changes: parked_rows_are_retried, waiting_rows_are_cancelled, skipped_rows_block_no_key,
        ids_are_taken_in_any_spelling, all_parked_rows_are_retried,
        changes_belong_to_the_callers_transaction;
    matching: what_a_filter_accepts_is_changed_in_batches, only_rows_whose_state_allows_it_are_changed,
        rows_that_change_or_come_after_the_count_are_left, filters_select_by_id_and_age,
        changes_of_all_belong_to_the_callers_transaction, locked_rows_hold_up_no_others,
        calls_are_changed_by_filters_too;
    redirect: parked_rows_get_another_destination, all_rows_of_a_wrong_destination_are_mended,
        a_signed_row_is_signed_again, a_key_that_a_rule_gave_is_signed_then,
        sent_rows_are_sent_again_and_parked_ones_deleted;
    inbox: the_inbox_is_listed_and_shown, a_row_names_the_one_that_blocks_it;
}
