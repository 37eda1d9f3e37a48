//! The statements on the two tables: one suite, on every database.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod calls;
mod claims;
mod inbox;
mod kind;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod locks;
#[cfg(feature = "mysql")]
mod logins;
mod maintenance;
mod parallel;
mod scopes;
mod second_table;
mod times;

use kind::Kind;
use outbox_test_support as support;

use std::time::Duration;

use diesel_outbox::Message;
use diesel_outbox::admin;
use diesel_outbox::backend::{Backend, PUBLISHED, RowKey};
use diesel_outbox::migrations::Migrate;
use uuid::Uuid;

/// A connection that the suite runs on.
trait Subject: Backend + Migrate {
    /// Runs a prepared statement, whose errors have their kind on every database.
    fn run(&mut self, statement: &str) -> diesel::QueryResult<usize>;
}

macro_rules! subject {
    ($feature:literal, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl Subject for $connection {
            fn run(&mut self, statement: &str) -> diesel::QueryResult<usize> {
                diesel::RunQueryDsl::execute(diesel::sql_query(statement), self)
            }
        }
    };
}

subject!("mysql", diesel::MysqlConnection);
subject!("postgres", diesel::PgConnection);
subject!("sqlite", diesel::SqliteConnection);

const MINUTE: Duration = Duration::from_secs(60);

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
fn write<C: Subject>(conn: &mut C, body: i64, key: Option<&str>) -> Uuid {
    Message::new("/queue/a", body)
        .key(key.map(str::to_owned))
        .publish(conn)
        .unwrap()
}

/// Returns the n-th written row.
fn nth(seq: i64, id: Uuid) -> RowKey {
    RowKey { seq, id }
}

/// Features that only servers have: locks of single rows, and a network to them.
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod with_row_locks {
    macro_rules! cases {
        ($feature:literal, $connection:ty, $database:ident: $($case:ident),*) => {
            #[cfg(feature = $feature)]
            mod $database {
                $(mod $case {
                    #[test]
                    fn of_messages() {
                        let Some(database) = crate::support::$database::<$connection>() else { return };
                        crate::locks::$case::<$connection, crate::kind::Messages>(&database.url);
                    }

                    #[test]
                    fn of_calls() {
                        let Some(database) = crate::support::$database::<$connection>() else { return };
                        crate::locks::$case::<$connection, crate::kind::Calls>(&database.url);
                    }
                })*
            }
        };
        ($($case:ident),* $(,)?) => {
            cases!("mysql", diesel::MysqlConnection, mysql: $($case),*);
            cases!("postgres", diesel::PgConnection, postgres: $($case),*);
        };
    }

    cases!(
        a_locked_row_holds_up_its_key_and_nothing_else,
        a_row_parked_during_a_claim_holds_up_its_key,
        a_row_locked_by_somebody_else_is_settled_later,
        a_lost_claim_is_given_back_beside_a_locked_row,
        locked_rows_are_cleaned_later,
        a_message_is_cancelled_in_a_long_transaction,
        an_operator_does_not_wait_for_a_locked_row_for_ever,
        a_claim_that_stalls_stops_no_other,
    );
}

/// Cases on each database; those after `of both` run on messages and on calls.
macro_rules! suite {
    (of both { $($both:ident: $($twice:ident),*;)* } $($module:ident: $($case:ident),*;)*) => {
        suite!(one "sqlite", diesel::SqliteConnection, on_sqlite, sqlite_database:
            { $($both: $($twice),*;)* } $($module: $($case),*;)*);
        suite!(one "mysql", diesel::MysqlConnection, on_mysql, mysql_database:
            { $($both: $($twice),*;)* } $($module: $($case),*;)*);
        suite!(one "postgres", diesel::PgConnection, on_postgres, postgres_database:
            { $($both: $($twice),*;)* } $($module: $($case),*;)*);
    };
    (one $feature:literal, $connection:ty, $on:ident, $database:ident:
        { $($both:ident: $($twice:ident),*;)* } $($module:ident: $($case:ident),*;)*) => {
        #[cfg(feature = $feature)]
        mod $on {
            $(mod $module {
                $(#[test]
                fn $case() {
                    let Some(database) = crate::$database() else { return };
                    crate::$module::$case::<$connection>(&database.url);
                })*
            })*
            $(mod $both {
                $(mod $twice {
                    #[test]
                    fn of_messages() {
                        let Some(database) = crate::$database() else { return };
                        crate::$both::$twice::<$connection, crate::kind::Messages>(&database.url);
                    }

                    #[test]
                    fn of_calls() {
                        let Some(database) = crate::$database() else { return };
                        crate::$both::$twice::<$connection, crate::kind::Calls>(&database.url);
                    }
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
    of both {
        claims: statements_on_no_rows_change_nothing, rows_come_in_their_order_and_once, a_lease_ends_by_itself,
        a_stale_token_changes_nothing, a_claim_whose_answer_was_lost_is_given_back,
        a_delayed_row_waits_and_may_be_cancelled, a_failing_row_holds_up_its_key_and_nothing_else,
        a_skipped_row_lets_its_key_go_on, a_retried_row_starts_anew,
        rows_under_our_own_leases_hold_up_no_own_key, a_row_passed_by_is_parked_and_its_key_goes_on,
        an_expired_row_says_so_and_is_out_of_the_way,
        a_claim_brings_no_more_bytes_than_there_is_room_for,
        a_claim_is_whole_whatever_the_session_says, a_body_too_large_to_be_sent_is_not_read,
        rows_that_have_not_failed_are_taken_by_themselves,
        an_id_in_any_spelling_is_settled_and_found;
        parallel: no_row_twice_and_no_key_out_of_order, a_claim_does_not_pass_an_unfinished_one,
            a_claim_says_how_long_each_row_has_waited;
    }
    scopes: a_part_of_the_outbox_is_claimed_alone, a_paused_stream_waits_and_holds_up_its_keys,
        a_destination_set_aside_waits_and_holds_up_its_keys, a_rule_gives_keys_to_rows_without_one,
        a_claim_from_further_on_keeps_the_order_of_keys, a_crowd_behind_a_row_is_claimed_in_order;
    times: times_count_by_the_databases_clock, a_clock_that_is_set_back_blocks_no_key,
        any_moment_and_time_is_kept_as_it_is_meant;
    calls: a_call_is_written_with_its_options, a_call_is_of_its_writers_transaction,
        calls_are_written_in_their_order, an_invalid_call_is_not_written,
        a_claim_of_known_names_is_quick_behind_a_blocked_key;
    second_table: a_second_table_has_the_same_lifecycle;
    inbox: a_message_is_remembered_once_for_each_consumer;
    maintenance: only_old_and_settled_rows_go, a_row_is_kept_from_when_it_was_sent, a_job_is_begun_once_in_its_interval,
        services_may_migrate_at_the_same_moment, missing_tables_are_noticed, counts_tell_what_is_there;
}
