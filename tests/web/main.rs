//! The pages for operators: the program `outbox web` on each database, and the pages in an application on axum.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod access;
mod actions;
mod browser;
mod client;
mod dead_letters;
mod document;
mod hidden;
mod hostile;
mod lists;
mod overview;
mod paths;
#[cfg(feature = "postgres")]
mod reading;
mod requests;
mod served;
#[cfg(feature = "postgres")]
mod stops;
mod subject;

use outbox_test_support as support;

macro_rules! on_each_database {
    ($($module:ident: $($case:ident),*;)*) => {
        on_each_database!(@ "sqlite", on_sqlite, diesel::SqliteConnection, Some(crate::support::sqlite::<diesel::SqliteConnection>()); $($module: $($case),*;)*);
        on_each_database!(@ "mysql", on_mysql, diesel::MysqlConnection, crate::support::mysql::<diesel::MysqlConnection>(); $($module: $($case),*;)*);
        on_each_database!(@ "postgres", on_postgres, diesel::PgConnection, crate::support::postgres::<diesel::PgConnection>(); $($module: $($case),*;)*);
    };
    (@ $feature:literal, $on:ident, $connection:ty, $open:expr; $($module:ident: $($case:ident),*;)*) => {
        #[cfg(feature = $feature)]
        mod $on {
            $(mod $module {
                $(#[test]
                fn $case() {
                    let Some(database) = $open else { return };
                    crate::$module::$case::<$connection>(&database);
                })*
            })*
        }
    };
}

on_each_database! {
    actions: one_row_is_changed_from_its_page, a_row_that_has_changed_meanwhile_is_left,
        selected_rows_are_changed, all_that_match_are_changed_as_they_were_counted,
        streams_are_paused_and_resumed;
    hidden: bodies_and_values_are_shown_on_request_but_not_those_of_some_names;
    hostile: texts_from_outside_are_never_markup;
    lists: pages_have_every_row_once, filters_are_in_the_address,
        an_id_leads_to_its_row_and_a_row_to_what_blocks_it, the_inbox_is_listed;
    overview: the_numbers_are_those_of_the_rows;
}
