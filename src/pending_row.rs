//! Writing rows that are complete but for the database's present.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::backend::{Backend, outbox_write};
use crate::error::{Error, MessageError};
use crate::signing::{self, Keys};

/// A valid message or call with all its headers.
pub(crate) trait PendingRow: Sized {
    /// The row of its table.
    type Row;

    fn id(&self) -> Uuid;

    /// Whether the caller set the id, so that a row may have it already.
    fn has_own_id(&self) -> bool;

    /// Whether the database's present is needed.
    fn counts_from_the_present(&self) -> bool;

    /// The row; `now` is the database's present. `refuses_nul` is set if the database's JSON cannot hold
    /// U+0000.
    fn into_row(self, refuses_nul: bool, now: DateTime<Utc>) -> Result<Self::Row, Error>;

    /// Puts rows under the lease of the transaction that is open on this connection, if its calls are executed after
    /// the commit.
    fn lease<C: Backend>(_conn: &mut C, _rows: &mut [Self::Row]) -> Result<(), Error> {
        Ok(())
    }

    /// Signs the row. Sets `has_long_number` if its JSON has a number that MySQL may change.
    fn sign(row: Self::Row, keys: &Keys, has_long_number: &mut bool) -> Result<Self::Row, Error>;

    fn insert<C: Backend>(conn: &mut C, rows: &[Self::Row]) -> diesel::QueryResult<()>;

    /// Writes a row unless its id exists. Returns whether it was written.
    fn insert_if_new<C: Backend>(conn: &mut C, row: &Self::Row) -> diesel::QueryResult<bool>;
}

/// Writes rows, signed if there are keys. Queries the database's time if one of them has a relative time.
pub(crate) fn insert<C: Backend, P: PendingRow>(
    conn: &mut C,
    pending: Vec<P>,
) -> Result<(), Error> {
    let refuses_nul = conn.refuses_nul();
    let keys = signing::current();
    // Otherwise no row has a time of the writer's clock.
    let mut now = DateTime::UNIX_EPOCH;
    if pending.iter().any(P::counts_from_the_present) {
        now = conn.now()?;
    }
    let mut has_long_number = false;
    let mut own_ids = Vec::with_capacity(pending.len());
    let mut rows = Vec::with_capacity(pending.len());
    for one in pending {
        own_ids.push(one.has_own_id().then_some(one.id()));
        let row = one.into_row(refuses_nul, now)?;
        rows.push(match &keys {
            Some(keys) => P::sign(row, keys, &mut has_long_number)?,
            None => row,
        });
    }
    if has_long_number && conn.rounds_json()? {
        return Err(MessageError::Unsignable(
            "the body or the arguments cannot be signed: there is a number of more than 15 digits with a fraction or an exponent, which MySQL may \
             round: write it as a text"
                .to_owned(),
        )
        .into());
    }
    P::lease(conn, &mut rows)?;
    if own_ids.iter().all(Option::is_none) {
        return Ok(outbox_write::write(|| P::insert(conn, &rows))?);
    }
    // One statement each, in their order.
    for (row, own_id) in rows.iter().zip(own_ids) {
        match own_id {
            None => outbox_write::write(|| P::insert(conn, std::slice::from_ref(row)))?,
            Some(id) => {
                if !outbox_write::write(|| P::insert_if_new(conn, row))? {
                    return Err(Error::IdTaken(id));
                }
            }
        }
    }
    Ok(())
}
