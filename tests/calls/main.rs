//! Function calls from the outbox to their execution: one suite, on every database.
//!
//! Rules that were broken on purpose, and the cases that failed then:
//!
//! | rule | cases |
//! | --- | --- |
//! | leases are renewed | `leases::a_call_of_three_leases_runs_once` |
//! | an executor claims only names that it knows | `executions::unknown_names_wait_for_another_executor`, `program::once_executes_what_is_due_and_ends` |
//! | a row in a transaction is settled there | `transactions::a_lost_lease_commits_nothing`, `nothing_is_committed_without_the_settlement`, `the_effect_is_there_once` |
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../programs/acts.rs"]
mod acts;
mod call_info;
mod crashes;
mod encodings;
mod executions;
mod failures;
mod immediate;
mod leases;
mod limits;
mod not_installed;
mod order;
mod persist_failures;
mod place;
mod program;
mod signatures;
mod transactions;
mod wake;

use outbox_test_support as support;

macro_rules! suite {
    ($($module:ident: $($case:ident),*;)*) => {
        suite!(one "sqlite", diesel::SqliteConnection, on_sqlite, sqlite: $($module: $($case),*;)*);
        suite!(one "mysql", diesel::MysqlConnection, on_mysql, mysql: $($module: $($case),*;)*);
        suite!(one "postgres", diesel::PgConnection, on_postgres, postgres: $($module: $($case),*;)*);
    };
    (one $feature:literal, $connection:ty, $on:ident, $database:ident:
        $($module:ident: $($case:ident),*;)*) => {
        #[cfg(feature = $feature)]
        mod $on {
            $(mod $module {
                $(#[test]
                fn $case() {
                    let Some(database) = crate::place::$database() else { return };
                    crate::$module::$case(&crate::place::Place::<$connection>::new(database));
                })*
            })*
        }
    };
}

suite! {
    executions: each_kind_is_executed_once_and_recorded, what_is_rolled_back_never_runs,
        unknown_names_wait_for_another_executor, aliases_are_executed, a_correlation_id_is_carried_on,
        hooks_learn_of_each_execution, a_stop_waits_for_running_calls_and_releases_the_others,
        a_stop_releases_what_waits_for_a_thread, the_wait_for_a_thread_is_not_of_the_execution,
        done_calls_are_deleted_after_their_time, a_misspelled_stream_is_refused, two_executors_execute_nothing_twice,
        the_stream_of_a_function_is_known_without_rows, an_executor_of_a_stream_takes_only_its_calls, arguments_arrive_as_they_were_written,
        only_calls_executed_before_the_days_to_keep_are_deleted;
    failures: a_call_is_retried_until_it_succeeds, a_function_has_its_own_pauses,
        an_exhausted_call_blocks_its_key_unless_its_function_says_otherwise, an_exhausted_call_is_parked_with_its_reason,
        a_permanent_error_parks_at_once, a_panic_is_a_failed_attempt, an_async_call_is_dropped_at_its_limit,
        a_blocking_call_past_its_limit_still_counts, what_cannot_be_decoded_is_parked,
        an_expired_call_is_parked, infrastructure_costs_no_attempt;
    leases: a_call_of_three_leases_runs_once, an_expired_lease_is_taken_over;
    order: a_key_is_executed_in_order_over_two_executors, a_failing_key_holds_up_nothing_else,
        the_order_of_a_call_is_that_of_its_row,
        a_failure_in_an_ordered_stream_blocks_it_until_an_operator_acts;
    transactions: the_effect_is_there_once, a_failure_rolls_back_the_effect,
        a_lost_lease_commits_nothing, nothing_is_committed_without_the_settlement, a_function_that_ends_its_transaction_is_parked;
    signatures: a_changed_call_is_parked_and_not_run, unsigned_calls_run_unless_signatures_are_required,
        changed_calls_run_unless_signatures_are_required, calls_without_a_valid_signature_are_logged, calls_are_signed_only_with_keys,
        nothing_is_decoded_before_it_is_verified;
    encodings: bytes_are_executed, bytes_are_executed_after_the_commit, changed_bytes_are_parked,
        changed_bytes_are_parked_after_the_commit, bytes_that_cannot_be_decoded_are_parked;
    immediate: calls_run_in_the_order_of_writing_before_it_returns, what_is_rolled_back_is_not_executed,
        a_failure_is_recorded_and_an_executor_retries_it, in_another_transaction_calls_wait_for_an_executor,
        a_call_does_not_overtake_its_key, what_is_not_executed_here_waits, async_functions_run_on_the_runtime,
        a_long_call_keeps_its_lease, a_lost_lease_records_nothing, a_dead_process_is_taken_over,
        an_executor_shares_its_functions_and_is_woken, a_changed_row_is_not_executed;
    persist_failures: only_failures_get_a_row, nothing_runs_after_an_aborted_transaction,
        nothing_runs_after_a_refused_commit;
    call_info: an_executor_says_what_was_written, after_the_commit_it_says_the_same,
        a_call_without_options_has_none;
    limits: a_blocking_call_past_its_limit_is_logged_and_keeps_its_lease,
        a_call_past_its_limit_is_logged_after_the_commit,
        an_async_call_is_dropped_at_its_limit_after_the_commit, a_runtime_of_one_thread_executes_no_call,
        calls_after_the_first_thousand_wait, calls_without_rows_after_the_first_thousand_have_one;
    not_installed: calls_wait_for_an_executor;
    wake: a_commit_wakes_the_executor, a_commit_of_a_pool_wakes_the_executor, an_operator_wakes_the_executor;
    crashes: a_suspect_is_counted_and_parked, a_suspect_is_counted_before_it_starts_and_runs_alone, a_suspect_that_returns_is_cleared,
        an_outage_clears_no_suspect;
    program: once_executes_what_is_due_and_ends, workers_are_the_calls_that_run_at_once,
        only_the_named_streams_are_executed, a_stopped_program_lets_its_call_end,
        calls_that_do_not_end_in_time_are_executed_again, a_standstill_costs_no_attempt, wrong_settings_execute_nothing,
        a_database_that_fails_has_another_code, a_call_that_ends_its_process_is_parked,
        its_metrics_and_its_health_are_served;
}
