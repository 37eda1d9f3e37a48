//! The addresses of the pages. All are in one directory, so that links are relative.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tracing::Instrument;

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
    let dead_letters = Router::new()
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letter", get(dead_letters::message))
        .route("/change-dead-letters", post(dead_letters::ask))
        .layer(from_fn(to_the_end));
    let pages = Router::new()
        .merge(dead_letters)
        .route("/", get(overview::page))
        .route("/messages", get(rows::messages))
        .route("/message", get(row::message))
        .route("/calls", get(rows::calls))
        .route("/call", get(row::call))
        .route("/inbox", get(inbox::list))
        .route("/received", get(inbox::message))
        .route("/change-rows", post(row_change::ask))
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

/// Ends a pass over dead letters although the browser has gone: it may be sending copies (`admin::dead_letters`), whose
/// originals have to be removed.
async fn to_the_end(request: Request, next: Next) -> Response {
    let answered = tokio::spawn(next.run(request).in_current_span()).await;
    answered.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // The runtime ends.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    })
}
