//! The addresses of the pages. All are in one directory, so that links are relative.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use super::failure::PageFailure;
use super::guard;
#[cfg(feature = "cli")]
use super::pages::checks;
use super::pages::{
    assets, dead_letters, inbox, job, overview, row, row_change, rows, stream_change, trail,
};
use super::site::Site;

/// The pages.
pub(crate) fn router(site: Arc<Site>) -> Router {
    let pages = Router::new()
        .route("/", get(overview::page))
        .route("/messages", get(rows::messages))
        .route("/message", get(row::message))
        .route("/calls", get(rows::calls))
        .route("/call", get(row::call))
        .route("/inbox", get(inbox::list))
        .route("/received", get(inbox::message))
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letter", get(dead_letters::message))
        .route("/change-rows", post(row_change::ask))
        .route("/change-dead-letters", post(dead_letters::ask))
        .route("/confirm", post(row_change::confirm))
        .route("/change-stream", post(stream_change::change))
        .route("/job", get(job::page))
        .route("/trail", get(trail::page));
    // They are those of a program.
    #[cfg(feature = "cli")]
    let pages = pages.route("/checks", get(checks::page));
    pages
        .route(assets::STYLE, get(assets::style))
        .route(assets::SCRIPT, get(assets::script))
        .fallback(async || PageFailure::not_found("there is no such page"))
        .layer(from_fn_with_state(Arc::clone(&site), guard::check))
        .with_state(site)
}
