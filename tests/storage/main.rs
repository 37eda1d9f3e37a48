//! What the programs do with the two tables: one suite, on every database.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod claims;
mod inbox;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod locks;
mod parallel;
mod upkeep;

use std::time::Duration;

use diesel_outbox::Message;
use diesel_outbox::backend::{Backend, RowKey};
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

/// The row that was the n-th to be written.
fn nth(seq: i64, id: Uuid) -> RowKey {
    RowKey { seq, id }
}

/// What only servers have: locks of single rows, and a network to them.
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod with_row_locks {
    macro_rules! cases {
        ($feature:literal, $connection:ty, $database:ident: $($case:ident),*) => {
            #[cfg(feature = $feature)]
            mod $database {
                $(#[test]
                fn $case() {
                    let Some(database) = crate::support::$database() else { return };
                    crate::locks::$case::<$connection>(&database.url);
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

macro_rules! suite {
    ($($module:ident: $($case:ident),*;)*) => {
        #[cfg(feature = "sqlite")]
        mod on_sqlite {
            $(mod $module {
                $(#[test]
                fn $case() {
                    let database = crate::support::sqlite();
                    crate::$module::$case::<diesel::SqliteConnection>(&database.url);
                })*
            })*
        }

        #[cfg(feature = "mysql")]
        mod on_mysql {
            $(mod $module {
                $(#[test]
                fn $case() {
                    let Some(database) = crate::support::mysql() else { return };
                    crate::$module::$case::<diesel::MysqlConnection>(&database.url);
                })*
            })*
        }

        #[cfg(feature = "postgres")]
        mod on_postgres {
            $(mod $module {
                $(#[test]
                fn $case() {
                    let Some(database) = crate::support::postgres() else { return };
                    crate::$module::$case::<diesel::PgConnection>(&database.url);
                })*
            })*
        }
    };
}

suite! {
    claims: rows_come_in_their_order_and_once, a_lease_ends_by_itself, a_stale_token_changes_nothing, a_claim_whose_answer_was_lost_is_given_back, a_part_of_the_outbox_is_claimed_alone,
        a_paused_stream_waits_and_holds_up_its_keys, a_delayed_row_waits_and_may_be_cancelled,
        a_failing_row_holds_up_its_key_and_nothing_else, a_skipped_row_lets_its_key_go_on,
        a_retried_row_starts_anew, a_destination_set_aside_waits_and_holds_up_its_keys,
        a_rule_gives_keys_to_rows_without_one, a_claim_from_further_on_keeps_the_order_of_keys,
        rows_under_our_own_leases_hold_up_no_own_key, a_row_passed_by_is_parked_and_its_key_goes_on, an_expired_row_says_so_and_is_out_of_the_way,
        a_claim_brings_no_more_bytes_than_there_is_room_for,
        a_claim_is_whole_whatever_the_session_says, a_body_too_large_to_be_sent_is_not_read,
        rows_that_have_not_failed_are_taken_by_themselves,
        an_id_in_any_spelling_is_settled_and_found, times_count_by_the_databases_clock;
    parallel: no_row_twice_and_no_key_out_of_order, a_claim_does_not_pass_an_unfinished_one;
    inbox: a_message_is_remembered_once_for_each_consumer;
    upkeep: only_old_and_settled_rows_go, a_job_is_begun_once_in_its_interval,
        services_may_migrate_at_the_same_moment, missing_tables_are_noticed, counts_tell_what_is_there;
}
