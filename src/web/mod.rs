//! Pages for operators in a browser: how far the outbox is behind, what failed and why, and actions on one row or on
//! all that a filter accepts.
//!
//! The program `outbox web` serves them; [`Dashboard`] and [`router`] make them a part of an application on axum. The
//! page [`guide::web`](crate::guide::web) describes them.
//!
//! Everything is rendered on the server; a small script renews the numbers. Nothing is loaded from another host. Each
//! change is a POST from one of the pages, and is logged with its user. Bodies and the values of headers are shown
//! on request only, and those of some names (`web_redact`) never.

pub(crate) mod access;
mod dashboard;
mod document;
mod error;
mod failure;
pub(crate) mod guard;
mod jobs;
mod pages;
mod parameters;
mod pending;
mod processes;
mod redaction;
pub(crate) mod routes;
mod row_query;
mod samples;
mod site;
mod store;
mod visit;

pub use access::{User, UsersError, hash_password};
pub use dashboard::{Dashboard, router};
pub use error::WebError;
