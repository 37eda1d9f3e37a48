//! From the outbox through a broker to the inbox: one suite, on every database with every broker.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]
// Some cases are for one database only.
#![cfg_attr(
    not(all(feature = "sqlite", feature = "postgres", feature = "mysql")),
    allow(dead_code)
)]

#[cfg(feature = "testing")]
mod blame;
mod blocking;
mod consumer;
#[path = "../support/counts.rs"]
mod counts;
#[cfg(all(any(feature = "postgres", feature = "mysql"), feature = "testing"))]
mod database;
mod dead_letter_listener;
#[cfg(all(feature = "sqlite", feature = "testing"))]
mod dead_letter_queue;
mod dead_letters;
mod dead_letters_api;
#[cfg(all(feature = "sqlite", feature = "testing"))]
mod destinations;
#[cfg(feature = "testing")]
mod disorder;
mod external;
#[cfg(feature = "testing")]
mod faults;
#[cfg(feature = "sqlite")]
mod flood;
#[cfg(feature = "testing")]
mod hooks;
mod letters;
#[cfg(all(any(feature = "postgres", feature = "mysql"), feature = "testing"))]
mod locks;
#[cfg(all(feature = "sqlite", feature = "testing"))]
mod long_frames;
#[cfg(feature = "testing")]
mod managed;
#[cfg(all(feature = "sqlite", feature = "testing"))]
mod many_headers;
#[cfg(all(feature = "postgres", feature = "testing"))]
mod own_language;
#[cfg(all(feature = "mysql", feature = "testing"))]
mod own_mariadb;
#[cfg(all(feature = "postgres", feature = "testing"))]
mod own_postgres;
#[cfg(all(feature = "postgres", feature = "testing"))]
mod own_start;
mod place;
#[cfg(feature = "testing")]
mod poisoned;
#[cfg(all(feature = "sqlite", feature = "testing"))]
mod queue_types;
#[cfg(all(feature = "sqlite", feature = "testing"))]
mod quorum_counts;
#[cfg(all(any(feature = "postgres", feature = "mysql"), feature = "testing"))]
mod refusals;
#[cfg(feature = "testing")]
mod retention;
#[cfg(feature = "testing")]
mod rules;
mod sending;
#[cfg(feature = "testing")]
mod service_pool;
#[cfg(feature = "testing")]
mod signatures;
#[cfg(all(any(feature = "postgres", feature = "mysql"), feature = "testing"))]
mod silence;
#[cfg(all(feature = "sqlite", feature = "testing"))]
mod slow_link;
#[cfg(feature = "testing")]
mod spelling;
#[cfg(feature = "testing")]
mod status;
#[cfg(feature = "sqlite")]
mod stranger;
#[cfg(all(any(feature = "postgres", feature = "mysql"), feature = "testing"))]
mod survivors;
#[cfg(feature = "sqlite")]
mod unreadable;
#[cfg(all(feature = "sqlite", feature = "testing"))]
mod virtual_host_limits;
#[cfg(feature = "testing")]
mod wake;
mod workers;

use outbox_test_support as support;
#[cfg(feature = "sqlite")]
use outbox_test_support::amqp;
#[cfg(feature = "testing")]
use outbox_test_support::log;

macro_rules! suite {
    ($($module:ident: $($case:ident),*;)*) => {
        suite!(@database "sqlite", on_sqlite, diesel::SqliteConnection, sqlite,
            $($module: $($case),*;)*);
        suite!(@database "mysql", on_mysql, diesel::MysqlConnection, mysql,
            $($module: $($case),*;)*);
        suite!(@database "postgres", on_postgres, diesel::PgConnection, postgres,
            $($module: $($case),*;)*);
    };
    (@database $feature:literal, $database:ident, $connection:ty, $open:ident,
        $($module:ident: $($case:ident),*;)*) => {
        #[cfg(feature = $feature)]
        mod $database {
            #[cfg(feature = "testing")]
            suite!(@broker loopback, $connection, $open, $($module: $($case),*;)*);
            suite!(@broker activemq, $connection, $open, $($module: $($case),*;)*);
            suite!(@broker rabbitmq, $connection, $open, $($module: $($case),*;)*);
        }
    };
    (@broker $broker:ident, $connection:ty, $open:ident, $($module:ident: $($case:ident),*;)*) => {
        mod $broker {
            $(mod $module {
                $(#[test]
                fn $case() {
                    use crate::place::{Place, brokers, databases};
                    let Some(broker) = brokers::$broker() else { return };
                    let Some(database) = databases::$open() else { return };
                    let place = Place::new::<$connection>(database, broker);
                    crate::$module::$case::<$connection>(&place);
                })*
            })*
        }
    };
}

/// A long body through each broker. ActiveMQ, in memory and small, keeps each that went through a topic: one
/// is enough, if it is longer than a statement may be.
#[cfg(feature = "mysql")]
mod long {
    suite!(@broker activemq, diesel::MysqlConnection, mysql,
        blocking: a_body_of_any_length_is_handed_over;);
}

/// The cases that need a broker which breaks on demand.
#[cfg(feature = "testing")]
mod on_demand {
    macro_rules! cases {
        ($feature:literal, $connection:ty, $database:ident: $($case:ident),*) => {
            #[cfg(feature = $feature)]
            mod $database {
                suite!(@broker rabbitmq, $connection, $database,
                    blocking: a_body_of_any_length_is_handed_over;
                    poisoned: bad_rows_do_not_starve_good_ones;);
                suite!(@broker loopback, $connection, $database, faults: $($case),*;
                    blocking: a_body_of_any_length_is_handed_over, a_number_of_any_length_is_handed_over,
                        a_managed_callback_saves_a_body_of_any_length;
                    hooks: hooks_are_told_what_became_of_each_row,
                        a_hook_that_panics_or_blocks_harms_nothing,
                        a_slow_hook_keeps_no_more_than_its_share;
                    spelling: an_id_in_another_spelling_is_sent_once;
                    rules: a_failing_destination_is_set_aside, a_rule_orders_a_destination,
                        a_stream_may_park_and_go_on, an_unknown_stream_is_refused;
                    signatures: a_row_that_was_changed_is_parked,
                        a_name_that_is_there_twice_is_not_sent,
                        a_row_is_not_sent_before_its_signed_time,
                        without_require_a_row_is_sent_whatever_its_signature,
                        keys_are_replaced_while_rows_wait, a_key_that_a_rule_gives_is_no_change,
                        what_a_callback_publishes_is_signed, any_document_is_valid_as_it_is_stored,
                        a_document_that_is_too_deep_is_not_signed;
                    dead_letters: a_killed_replay_loses_nothing,
                        a_broker_that_stands_still_costs_no_story,
                        a_letter_is_sent_until_its_receipt_comes;
                    managed: a_panic_in_its_own_transaction_is_one_messages_failure,
                        a_transaction_that_is_left_open_is_rolled_back,
                        saving_twice_makes_no_duplicate, a_proof_holds_for_its_attempt_only,
                        an_error_after_its_commit_is_looked_at_by_a_person,
                        a_second_transaction_that_is_left_open_is_a_failure,
                        a_body_that_its_column_cannot_hold_is_left_out;
                    retention: a_relay_leaves_the_inbox_alone,
                        the_inbox_is_kept_as_long_as_any_subscriber_wants,
                        the_inbox_is_never_emptied_at_once,
                        cleaning_ends_whatever_is_sent_meanwhile;
                    disorder: a_callback_that_commits_is_given_up,
                        a_callback_that_rolls_back_is_given_up;
                    workers: what_runs_when_the_connection_is_lost_has_its_effect,
                        failing_over_and_over_kills_nobody, being_left_at_a_stop_kills_nobody;
                    status: a_monitor_shows_what_a_subscriber_does;
                    wake: a_commit_wakes_the_relay, an_operator_wakes_the_relay, the_process_itself_may_wake_it,
                        a_commit_of_a_pool_wakes_each_relay;
                    service_pool: rows_are_sent_and_the_settings_restored,
                        messages_are_handled_and_the_settings_restored,
                        a_commit_wakes_a_relay_with_a_pool,
                        an_exhausted_pool_is_waited_for, a_pool_that_is_too_small_is_refused;);
            }
        };
        ($($case:ident),*) => {
            cases!("sqlite", diesel::SqliteConnection, sqlite: $($case),*);
            cases!("mysql", diesel::MysqlConnection, mysql: $($case),*);
            cases!("postgres", diesel::PgConnection, postgres: $($case),*);
        };
    }

    cases!(
        without_its_receipt_no_row_is_settled,
        a_row_that_is_refused_by_name_fails_alone,
        a_row_at_which_the_broker_closes_fails_alone,
        while_the_broker_is_away_rows_wait,
        a_stalled_broker_is_waited_for,
        cut_connections_lose_nothing_and_keep_the_order,
        several_relays_share_the_work,
        nothing_is_sent_after_the_end_of_a_lease,
        a_refused_login_ends_the_relay_at_the_start_only,
        a_subscriber_outlives_its_broker,
        a_slow_callback_costs_no_heart_beat,
        a_deleted_queue_is_subscribed_to_again,
        what_runs_when_its_queue_is_deleted_has_its_effect
    );

    #[cfg(feature = "postgres")]
    mod with_postgres {
        suite!(@broker loopback, diesel::PgConnection, postgres,
            spelling: a_row_that_takes_no_outcome_is_left_alone;
            locks: locked_rows_stop_no_other, what_became_of_a_locked_row_is_recorded_later,
                a_relay_that_runs_once_does_not_wait_for_locks;
            database:
            a_relay_outlives_its_database, a_lost_database_is_not_the_messages_fault,
            an_attempt_that_lost_everything_is_not_counted,
            an_external_callback_runs_once_though_its_connections_are_closed,
            what_is_done_is_kept_until_the_database_is_back,
            what_cannot_be_remembered_does_not_hold_up_a_stop,
            a_connection_closed_while_idle_costs_no_attempt,
            a_relay_whose_connections_are_closed_has_no_outage,
            going_on_after_a_failed_statement_is_a_failure,
            what_waits_behind_many_blocked_rows_is_sent,
            no_transaction_waits_for_the_broker, a_former_primary_is_left;
            silence: a_relay_replaces_its_silent_connections, a_worker_that_is_stuck_is_replaced,
                a_stop_does_not_wait_for_a_silent_database, a_callback_may_take_its_time,
                a_message_that_another_holds_costs_one_thread;
            service_pool: killed_connections_are_replaced, a_lost_connection_is_not_the_messages_fault,
                a_silent_database_is_outlived, a_pool_of_a_former_primary_is_left;
            managed: what_was_committed_before_the_connection_died_counts;
            blame: a_full_disk_is_nobodys_fault_however_often, words_of_a_message_are_no_outage, words_of_a_trigger_are_no_outage,
                who_loses_the_database_alone_has_failed, too_many_values_are_the_messages_own,
                a_deadlock_is_nobodys_fault_in_any_language,
                what_the_server_says_is_nobodys_fault,
                what_a_statement_meets_is_nobodys_fault;);

        mod latin1 {
            suite!(@broker loopback, diesel::PgConnection, postgres_in_latin1,
                managed: a_body_that_the_encoding_cannot_hold_is_left_out;
                blame: an_id_that_the_database_cannot_hold_is_given_up;);
        }
    }

    #[cfg(feature = "mysql")]
    mod with_mysql {
        suite!(@broker loopback, diesel::MysqlConnection, mysql,
            locks: locked_rows_stop_no_other, what_became_of_a_locked_row_is_recorded_later,
                a_relay_that_runs_once_does_not_wait_for_locks;
            database:
            a_relay_outlives_its_database, a_lost_database_is_not_the_messages_fault,
            an_attempt_that_lost_everything_is_not_counted,
            an_external_callback_runs_once_though_its_connections_are_closed,
            what_is_done_is_kept_until_the_database_is_back,
            what_cannot_be_remembered_does_not_hold_up_a_stop,
            a_connection_closed_while_idle_costs_no_attempt,
            a_relay_whose_connections_are_closed_has_no_outage;
            refusals: a_connection_without_the_required_tls_is_refused,
                an_expired_password_ends_a_program_at_its_start;
            disorder: ddl_in_a_callback_is_noticed, ddl_in_a_managed_callback_is_noticed;
            silence: a_relay_replaces_its_silent_connections, a_worker_that_is_stuck_is_replaced,
                a_stop_does_not_wait_for_a_silent_database, a_callback_may_take_its_time,
                a_message_that_another_holds_costs_one_thread;
            service_pool: killed_connections_are_replaced, a_lost_connection_is_not_the_messages_fault,
                a_silent_database_is_outlived;
            managed: what_was_committed_before_the_connection_died_counts;
            blame: a_full_disk_is_nobodys_fault_however_often, words_of_a_message_are_no_outage, words_of_a_trigger_are_no_outage,
                who_loses_the_database_alone_has_failed,
                a_snapshot_that_is_out_of_date_is_nobodys_fault,
                locks_are_nobodys_fault_in_any_language,
                a_deadlock_is_nobodys_fault_in_any_language,
                what_a_statement_meets_is_nobodys_fault;);
    }

    #[cfg(feature = "sqlite")]
    mod with_sqlite {
        suite!(@broker loopback, diesel::SqliteConnection, sqlite, blame:
            words_of_a_message_are_no_outage, what_a_statement_meets_is_nobodys_fault,
            a_full_disk_is_nobodys_fault_however_often;);
    }
}

/// Cases that need a lot of memory or messages, and no database.
#[cfg(feature = "sqlite")]
mod large {
    #[cfg(feature = "testing")]
    suite!(@broker loopback, diesel::SqliteConnection, sqlite,
        dead_letters: a_long_queue_is_read_to_its_end, many_letters_are_read_to_their_end;);
    suite!(@broker rabbitmq, diesel::SqliteConnection, sqlite,
        dead_letters: a_long_queue_is_read_to_its_end, many_letters_are_read_to_their_end;);
}

/// Messages of AMQP publishers, with any database.
#[cfg(feature = "sqlite")]
mod foreign {
    suite!(@broker rabbitmq, diesel::SqliteConnection, sqlite,
        unreadable: they_go_to_the_dead_letters, where_nobody_wants_them_they_are_acknowledged,
            from_a_queue_of_others_their_letters_are_ours,
            a_length_that_the_sender_makes_up_is_not_heeded;);
    #[cfg(feature = "testing")]
    mod letters {
        suite!(@broker rabbitmq, diesel::SqliteConnection, sqlite, dead_letter_queue: letters_find_their_queue_though_it_was_deleted,
            letters_go_to_a_queue_that_others_have_declared,
            a_subscription_takes_a_queue_that_others_have_declared,
            a_queue_of_others_without_letters_is_warned_of,
            letters_find_their_queue_though_it_has_expired, a_full_queue_loses_no_message,
            letters_outlive_what_deletes_the_queue_of_their_messages;
            many_headers: a_letter_with_many_headers_keeps_them,
                a_letter_from_a_queue_of_others_says_what_it_lacks,
                a_replay_says_which_letter_has_too_many_headers,
                a_row_with_many_headers_says_why_it_is_refused;
            virtual_host_limits: messages_are_kept_if_the_dead_letter_queue_cannot_be_declared,
                a_second_connection_that_is_refused_is_told;
            queue_types: quorum_queues_may_be_the_default,
                a_quorum_queue_gives_up_a_message_after_its_limit,
                at_least_once_dead_lettering_loses_nothing,
                a_callback_beyond_the_consumer_timeout_has_one_effect, an_ignored_argument_is_warned_of,
                a_stream_is_refused;
            quorum_counts: reading_loses_no_dead_letter, a_start_loses_no_dead_letter,
                an_orderly_stop_counts_up_to_4_2, a_stop_between_attempts_counts_up_to_4_2,
                an_unfinished_callback_counts, a_replay_counts_for_the_first_message, the_end_of_a_process_counts;);
        suite!(@broker loopback, diesel::SqliteConnection, sqlite,
        dead_letter_queue: letters_find_their_queue_though_it_was_deleted,
            a_replay_to_a_queue_that_is_deleted_loses_no_letter,
            a_letter_that_the_broker_refuses_is_left_to_it,
            a_letter_that_is_refused_for_no_known_reason_is_sent_again,
            a_message_that_would_be_dropped_is_kept;
        long_frames: a_dead_letter_that_is_too_long_is_left_to_the_broker,
            a_replay_says_which_message_is_too_long,
            a_row_that_is_too_long_names_the_limit;
        letters: a_list_says_what_letters_lack;);
    }

    /// With the limits that it has if none are configured.
    #[cfg(feature = "testing")]
    mod default_limits {
        suite!(@broker rabbitmq_with_its_defaults, diesel::SqliteConnection, sqlite,
            long_frames: rabbitmq_moves_a_message_whose_dead_letter_is_too_long,
                rabbitmq_refuses_a_row_that_is_too_long;);
    }

    #[cfg(feature = "testing")]
    mod queues {
        suite!(@broker rabbitmq, diesel::SqliteConnection, sqlite,
            destinations: each_row_on_rabbitmq, what_a_broker_does_not_know_is_refused,
                a_send_that_would_declare_a_consumed_queue_says_what_to_do;
            letters: a_list_says_what_letters_lack;);
        suite!(@broker activemq, diesel::SqliteConnection, sqlite,
            destinations: each_row_on_activemq, what_a_broker_does_not_know_is_refused;);
    }
}

suite! {
    blocking: a_message_has_its_effect_once, ids_may_differ_by_a_space_or_a_case, a_failing_callback_ends_at_the_dead_letters,
        a_panic_is_the_failure_of_one_message, a_discarded_message_leaves_no_row,
        a_managed_callback_proves_what_it_did, a_row_of_any_kind_of_callback_has_its_attempts, a_proof_without_a_commit_is_a_failure,
        any_body_is_handed_over,
        what_a_callback_publishes_is_correlated,
        a_queue_collects_while_nobody_listens;
    dead_letters: a_body_that_does_not_fit_is_given_up_at_once, a_letter_tells_its_story,
        where_nobody_wants_them_they_are_dropped, the_letters_are_looked_at_and_sent_back,
        a_terminal_sees_how_far_it_is;
    dead_letters_api: a_service_lists_replays_and_deletes, what_cannot_be_is_an_error_of_its_own;
    letters: those_of_the_broker_lack_a_reason, a_writers_headers_survive_a_replay;
    workers: as_many_block_as_there_are_workers, as_many_wait_as_there_are_workers, keys_keep_their_order_side_by_side,
        one_that_fails_holds_up_no_other, a_message_that_comes_twice_at_once_has_one_effect,
        a_wish_to_stop_waits_for_all_that_block, a_wish_to_stop_waits_for_all_that_run;
    external: a_program_gets_body_and_headers, a_header_that_no_variable_can_carry_is_left_out, a_program_may_discard_or_fail,
        a_program_is_asked_before_it_is_killed, a_program_that_has_ended_is_not_waited_for,
        a_program_ends_with_a_subscriber_that_is_dropped,
        an_async_callback_holds_no_connection;
    sending: a_relay_sends_what_was_saved_and_nothing_else, an_expired_row_is_parked,
        a_producer_sends_without_an_outbox, the_first_broker_that_answers_is_taken, a_row_too_large_for_the_broker_is_parked, old_rows_are_deleted_once_in_the_interval;
}
