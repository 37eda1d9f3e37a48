//! Gives parked rows another destination.

use chrono::{DateTime, Utc};

use super::change::change;
use super::{Action, AdminError, Changed, Filter, RowDetails, RowState, Rows};
use crate::backend::{AsBackend, Backend, Listing, PUBLISHED, RowKey, shared_key, uuid};
use crate::column_widths as width;
use crate::signing::{self, Fields, Keys};

/// Sends parked rows to another destination: retries them with it, in the column `destination` and in the header
/// `dop-msg-destination`. The destination is complete: a version is a part of it. Their ids may be in any
/// spelling. All rows are changed in one transaction; a row that is not parked is left as it is, and returned as
/// such.
///
/// A signature covers the destination. A signed row is verified and signed again, with the keys of
/// [`signing`]; an unsigned row stays unsigned.
///
/// # Errors
///
/// If no row can have this destination, a signed row cannot be signed again ([`AdminError::Signed`],
/// [`AdminError::InvalidSignature`]), or the database fails. Nothing was changed then.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{Message, admin, migrations::Migrate};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// let id = Message::new("/queue/mial", 1).publish(conn)?;
/// admin::cancel(conn, [id])?;
/// assert_eq!(admin::redirect(conn, "/queue/mail", [id])?.rows, 1);
/// let row = admin::show(conn, id)?.ok_or("no such row")?.row;
/// assert_eq!(row.destination, "/queue/mail");
/// assert_eq!(row.state, admin::RowState::Waiting);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn redirect<C: AsBackend>(
    conn: &mut C,
    destination: &str,
    ids: impl IntoIterator<Item = impl ToString>,
) -> Result<Changed, AdminError> {
    check_destination(destination)?;
    change(Rows::Messages, conn, ids, |conn, id| {
        let found = conn.find(PUBLISHED, id)?;
        match found.filter(|found| found.row.state == RowState::Parked) {
            Some(found) => redirect_rows(conn, &Filter::new(), &[row_key(&found)], destination),
            None => Ok(0),
        }
    })
}

/// Fails if no row can have this destination.
pub(super) fn check_destination(destination: &str) -> Result<(), AdminError> {
    let fits = width::check(Some(destination), width::DESTINATION).is_ok();
    match fits && !destination.trim().is_empty() {
        true => Ok(()),
        false => Err(AdminError::Destination),
    }
}

/// Retries those of the rows that are parked and that the filter accepts, with another destination. Call it in a
/// transaction.
pub(super) fn redirect_rows<C: Backend>(
    conn: &mut C,
    filter: &Filter,
    rows: &[RowKey],
    destination: &str,
) -> Result<usize, AdminError> {
    // Locked, so that what is verified is what is signed.
    let rows = conn.lock_selected(PUBLISHED, filter, Action::Retry, rows)?;
    if rows.is_empty() {
        return Ok(0);
    }
    let signed = conn.signed_among(PUBLISHED, &rows)?;
    let signed = match signing::current() {
        _ if signed.is_empty() => Vec::new(),
        Some(keys) => verified(&keys, signed)?,
        None => {
            let id = signed.into_iter().next().map(|found| found.row.id);
            return Err(AdminError::Signed {
                id: id.unwrap_or_default(),
            });
        }
    };
    conn.redirect(&rows, destination)?;
    for (keys, found, due) in signed {
        let key = row_key(&found);
        let Some(now) = conn.find(PUBLISHED, &found.row.id)? else {
            continue;
        };
        // Of what was verified only the destination has changed, in its column and in a header.
        let row = RowDetails {
            headers: now.headers,
            row: now.row,
            ..found
        };
        let signature = keys.sign(&fields(&row, key), due);
        let signature = signature.map_err(|reason| invalid(&row, &reason))?;
        conn.set_signature(key, &signature.text)?;
    }
    Ok(conn.act_on(PUBLISHED, &Filter::new(), Action::Retry, &rows)?)
}

/// Rows with the times before which they are not sent, all of them as they were signed.
type Verified = Vec<(Keys, RowDetails, Option<DateTime<Utc>>)>;

fn verified(keys: &Keys, rows: Vec<RowDetails>) -> Result<Verified, AdminError> {
    let rows = rows.into_iter().map(|found| {
        let rule_gave_key = has_shared_key(&found);
        let fields = fields(&found, row_key(&found));
        let due = keys.verify(&fields, found.signature.as_deref(), rule_gave_key);
        let due = due.map_err(|reason| invalid(&found, &reason))?;
        Ok((keys.clone(), found, due))
    });
    rows.collect()
}

/// Whether a rule of a relay may have given the row its key, which is not signed then.
fn has_shared_key(found: &RowDetails) -> bool {
    let row = &found.row;
    let of_stream = row.stream.as_deref().map(|name| shared_key("stream", name));
    let of_destination = shared_key("destination", &row.destination);
    row.key.is_some() && (row.key == of_stream || row.key == Some(of_destination))
}

fn fields(found: &RowDetails, key: RowKey) -> Fields<'_> {
    Fields {
        table: PUBLISHED.name,
        id: key.id,
        target: &found.row.destination,
        json: Some(&found.body),
        encoded: None,
        headers: &found.headers,
        stream: found.row.stream.as_deref(),
        key: found.row.key.as_deref(),
    }
}

fn row_key(found: &RowDetails) -> RowKey {
    RowKey {
        seq: found.row.seq,
        id: uuid(&found.row.id).unwrap_or_default(),
    }
}

fn invalid(found: &RowDetails, reason: &dyn std::error::Error) -> AdminError {
    AdminError::InvalidSignature {
        id: found.row.id.clone(),
        reason: reason.to_string(),
    }
}
