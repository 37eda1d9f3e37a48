//! Pages that say what went wrong.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::pages::layout;
use super::row_query::BadFilter;
use crate::admin::dead_letters::DeadLettersError;
use crate::admin::pooled::PooledError;
use crate::db::DbError;
use crate::terminal;

/// Why a page cannot be shown.
#[derive(Debug)]
pub(super) struct PageFailure {
    status: StatusCode,
    title: &'static str,
    text: String,
}

impl PageFailure {
    pub(super) fn new(status: StatusCode, title: &'static str, text: impl ToString) -> Self {
        Self {
            status,
            title,
            text: terminal::one_line(&text.to_string()),
        }
    }

    /// The request cannot be understood.
    pub(super) fn bad(text: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Not understood", text)
    }

    /// Nothing has this address.
    pub(super) fn not_found(text: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found", text)
    }

    /// The request is not allowed.
    pub(super) fn forbidden(text: impl ToString) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Not allowed", text)
    }
}

impl IntoResponse for PageFailure {
    fn into_response(self) -> Response {
        let page = layout::bare(self.title, &self.text);
        (self.status, layout::html(page)).into_response()
    }
}

impl From<BadFilter> for PageFailure {
    fn from(error: BadFilter) -> Self {
        Self::bad(error)
    }
}

impl From<PooledError> for PageFailure {
    fn from(error: PooledError) -> Self {
        match &error {
            PooledError::Admin(_) | PooledError::Refused { .. } => {
                Self::new(StatusCode::CONFLICT, "Not possible", error)
            }
            PooledError::Locked { .. } => Self::new(StatusCode::CONFLICT, "Rows are locked", error),
            PooledError::Database(DbError::Silent { .. }) => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "The database takes too long",
                format!(
                    "{error}. A filter that matches few of many sent rows reads all of them: limit it with newer-than."
                ),
            ),
            PooledError::Database(database) if !database.is_outage() => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The database refused",
                error,
            ),
            PooledError::Database(_) | PooledError::Interrupted { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The database is not available",
                error,
            ),
        }
    }
}

impl From<DeadLettersError> for PageFailure {
    fn from(error: DeadLettersError) -> Self {
        match &error {
            DeadLettersError::NotAQueue(_) => Self::bad(error),
            _ => Self::new(
                StatusCode::BAD_GATEWAY,
                "The dead letters cannot be read",
                error,
            ),
        }
    }
}
