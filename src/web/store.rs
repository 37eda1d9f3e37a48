//! The database as the pages use it, whichever it is.

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;

use crate::admin::pooled::{self, ChangedRows, PooledError, Read};
use crate::admin::{
    self, Action, Changed, Cursor, Filter, InboxFilter, Matching, Page, ReceivedDetails,
    ReceivedRow, Row, RowDetails, Rows, Status, Stream, Totals,
};
use crate::backend::{Backend, Change, WrittenRows};
use crate::db::{Db, DbError};

/// The result of an operation.
pub(super) type Answer<'a, T> = BoxFuture<'a, Result<T, PooledError>>;

/// The numbers of the overview.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    pub(super) messages: Status,
    pub(super) calls: Status,
    pub(super) totals: Totals,
    pub(super) streams: Vec<Stream>,
}

/// The numbers of a sample.
#[derive(Debug, Clone)]
pub(super) struct Sampled {
    pub(super) status: Status,
    pub(super) written: WrittenRows,
}

/// Which page of a list.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) after: Option<Cursor>,
    pub(super) limit: usize,
}

/// A change of all rows that a filter accepts.
#[derive(Debug, Clone)]
pub(super) struct FilteredChange {
    pub(super) of: Rows,
    pub(super) action: Action,
    pub(super) filter: Filter,
    /// With [`Action::Retry`]: the new destination.
    pub(super) destination: Option<String>,
}

/// Changes with the times of their ends, the latest first.
pub(super) type Changes = Vec<(DateTime<Utc>, Change)>;

/// The operations of the pages.
pub(super) trait Store: Send + Sync + 'static {
    /// Fails if the tables cannot be used.
    fn check(&self) -> BoxFuture<'_, Result<(), DbError>>;

    fn numbers(&self) -> Answer<'_, Read<Numbers>>;

    /// The numbers of messages and of calls, with those that were written since a time.
    fn sample(&self, since: Option<DateTime<Utc>>) -> Answer<'_, Read<[Sampled; 2]>>;

    /// Rows in the order of writing.
    fn list(&self, of: Rows, filter: Filter, part: Part) -> Answer<'_, Read<Page<Row>>>;

    /// Rows that were sent or executed, the latest first.
    fn list_done(&self, of: Rows, filter: Filter, part: Part) -> Answer<'_, Read<Page<Row>>>;

    fn find(&self, of: Rows, id: String) -> Answer<'_, Read<Option<RowDetails>>>;

    fn list_inbox(&self, filter: InboxFilter, part: Part) -> Answer<'_, Read<Page<ReceivedRow>>>;

    fn find_received(&self, id: String) -> Answer<'_, Read<Vec<ReceivedDetails>>>;

    fn set_paused(&self, stream: String, is_paused: bool) -> Answer<'_, ()>;

    /// Changes rows by their ids.
    fn act(&self, of: Rows, action: Action, ids: Vec<String>) -> Answer<'_, Changed>;

    /// Retries messages by their ids, with another destination.
    fn redirect(&self, destination: String, ids: Vec<String>) -> Answer<'_, Changed>;

    /// Counts the rows of a change, and reads the first ones.
    fn count(
        &self,
        change: FilteredChange,
        listed: usize,
    ) -> Answer<'_, Read<(Matching, Vec<Row>)>>;

    /// Records a change in the table of changes.
    fn record(&self, change: Change) -> Answer<'_, ()>;

    /// The last changes, the latest first.
    fn last_changes(&self, limit: i64) -> Answer<'_, Read<Changes>>;

    /// Changes the rows that were counted. It has no time limit.
    fn apply(&self, matching: Matching, changed: ChangedRows) -> Answer<'_, u64>;
}

impl<C: Backend> Store for Db<C> {
    fn check(&self) -> BoxFuture<'_, Result<(), DbError>> {
        Box::pin(self.check_tables())
    }

    fn numbers(&self) -> Answer<'_, Read<Numbers>> {
        read(self, |conn| {
            Ok(Numbers {
                messages: Rows::Messages.status(conn)?,
                calls: Rows::Calls.status(conn)?,
                totals: admin::totals(conn)?,
                streams: admin::streams(conn)?,
            })
        })
    }

    fn sample(&self, since: Option<DateTime<Utc>>) -> Answer<'_, Read<[Sampled; 2]>> {
        read(self, move |conn: &mut C| {
            let since = match since {
                Some(since) => since,
                None => conn.now()?,
            };
            let mut of = |rows: Rows| {
                Ok::<_, admin::AdminError>(Sampled {
                    status: rows.status(conn)?,
                    written: conn.count_written(rows.table(), since)?,
                })
            };
            Ok([of(Rows::Messages)?, of(Rows::Calls)?])
        })
    }

    fn list(&self, of: Rows, filter: Filter, part: Part) -> Answer<'_, Read<Page<Row>>> {
        read(self, move |conn| {
            of.list(conn, &filter, part.after.as_ref(), part.limit)
        })
    }

    fn list_done(&self, of: Rows, filter: Filter, part: Part) -> Answer<'_, Read<Page<Row>>> {
        read(self, move |conn| {
            of.list_done(conn, &filter, part.after.as_ref(), part.limit)
        })
    }

    fn find(&self, of: Rows, id: String) -> Answer<'_, Read<Option<RowDetails>>> {
        read(self, move |conn| of.show(conn, id))
    }

    fn list_inbox(&self, filter: InboxFilter, part: Part) -> Answer<'_, Read<Page<ReceivedRow>>> {
        read(self, move |conn| {
            admin::list_inbox(conn, &filter, part.after.as_ref(), part.limit)
        })
    }

    fn find_received(&self, id: String) -> Answer<'_, Read<Vec<ReceivedDetails>>> {
        read(self, move |conn| admin::show_inbox(conn, id))
    }

    fn set_paused(&self, stream: String, is_paused: bool) -> Answer<'_, ()> {
        change(self, move |conn| match is_paused {
            true => admin::pause_stream(conn, &stream),
            false => admin::resume_stream(conn, &stream),
        })
    }

    fn act(&self, of: Rows, action: Action, ids: Vec<String>) -> Answer<'_, Changed> {
        change(self, move |conn| of.act(conn, action, ids))
    }

    fn redirect(&self, destination: String, ids: Vec<String>) -> Answer<'_, Changed> {
        change(self, move |conn| admin::redirect(conn, &destination, ids))
    }

    fn count(
        &self,
        change: FilteredChange,
        listed: usize,
    ) -> Answer<'_, Read<(Matching, Vec<Row>)>> {
        read(self, move |conn| {
            let matching = change.of.matching(conn, change.action, &change.filter)?;
            let matching = match change.destination {
                Some(destination) => matching.redirected_to(destination)?,
                None => matching,
            };
            let first = matching.first(conn, listed)?;
            Ok((matching, first))
        })
    }

    fn record(&self, entry: Change) -> Answer<'_, ()> {
        change(self, move |conn: &mut C| Ok(conn.record_change(&entry)?))
    }

    fn last_changes(&self, limit: i64) -> Answer<'_, Read<Changes>> {
        read(self, move |conn: &mut C| Ok(conn.last_changes(limit)?))
    }

    fn apply(&self, matching: Matching, changed: ChangedRows) -> Answer<'_, u64> {
        Box::pin(async move {
            let counted = changed.clone();
            pooled::change(&self.unlimited(), &changed, move |conn| {
                matching.apply(conn, |rows| counted.set(rows))
            })
            .await
        })
    }
}

/// Reads, with the time by the clock of the database.
fn read<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    work: impl FnOnce(&mut C) -> Result<T, admin::AdminError> + Send + 'static,
) -> Answer<'_, Read<T>> {
    Box::pin(pooled::read_at(db, work))
}

fn change<C: Backend, T: Send + 'static>(
    db: &Db<C>,
    work: impl FnOnce(&mut C) -> Result<T, admin::AdminError> + Send + 'static,
) -> Answer<'_, T> {
    Box::pin(async move { pooled::change(db, &ChangedRows::default(), work).await })
}
