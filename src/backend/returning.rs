//! Databases whose statements return the rows that they write.

use super::Backend;

/// A connection on which statements return the rows that they write.
#[diagnostic::on_unimplemented(
    message = "`publish_all` needs statements that return rows, which Diesel does not have on `{Self}`",
    note = "write the rows one by one with `save`, or write them by statements of your own in `diesel_outbox::save(conn, |conn| ...)`, or call `diesel_outbox::publish(conn, &model)` for each"
)]
pub trait Returning: Backend {}
