//! The storage contract: the statements on `published` and `received` are below this module.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod claim;
mod claimed;
mod dialect;
mod inbox;
mod names;
mod outbox;
mod qualify;
mod schemas;
mod scope;
mod server;
mod upkeep;
mod watch;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use chrono::{DateTime, TimeZone, Utc};
use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, PooledConnection, R2D2Connection};
use serde_json::Value;
use uuid::Uuid;

use crate::db::LastError;
use crate::schema::{Document, Id, Moment, published};

#[doc(hidden)]
pub use claimed::{Claim, Claimed, LockedRow, Room, RowKey};
#[doc(hidden)]
pub(crate) use dialect::digest;
#[doc(hidden)]
pub use inbox::{Arrival, Begun, CommitError, Inbox};
pub(crate) use names::is_uuid;
#[cfg(feature = "testing")]
pub(crate) use outbox::SUCCEEDED;
#[doc(hidden)]
pub use outbox::{Failure, Outbox, Verdict};
use qualify::RunQueryDsl;
#[cfg(feature = "postgres")]
pub(crate) use qualify::{here, lock_key, quoted};
#[doc(hidden)]
pub use schemas::{Found, Schemas};
#[doc(hidden)]
pub use scope::{Freshness, Scope};

pub use server::TooOld;
pub(crate) use server::check as check_version;
#[doc(hidden)]
pub use upkeep::Upkeep;
pub use upkeep::{Counts, Table};
#[doc(hidden)]
pub use watch::Watch;
#[cfg(feature = "postgres")]
pub(crate) use watch::tells_of;

/// A Diesel connection that this crate can keep its tables on: `PgConnection`,
/// `MysqlConnection`, `SqliteConnection`.
pub trait Backend:
    Storage + Outbox + Inbox + Upkeep + Watch + Schemas + R2D2Connection + Send + Sized + 'static
{
    /// The name of the database in messages.
    const NAME: &'static str;
}

/// A [`Backend`] connection, or what holds one, such as r2d2's pooled connection.
pub trait AsBackend {
    /// The connection inside.
    type Connection: Backend;

    /// The connection inside.
    fn as_backend(&mut self) -> &mut Self::Connection;
}

impl<C: Backend> AsBackend for C {
    type Connection = C;

    fn as_backend(&mut self) -> &mut C {
        self
    }
}

impl<C: Backend> AsBackend for PooledConnection<ConnectionManager<C>> {
    type Connection = C;

    fn as_backend(&mut self) -> &mut C {
        self
    }
}

mod sealed {
    /// Keeps the storage contract to the connections of this crate.
    pub trait Sealed {}
}

/// What the crate does on a connection; not for use by hand.
#[doc(hidden)]
pub trait Storage: sealed::Sealed {
    /// Whether the database's JSON cannot hold U+0000.
    fn refuses_nul(&self) -> bool;

    /// Whether the server closes the connection for a statement that is too long.
    fn limits_statements(&self) -> bool;

    /// How many bytes a statement and its values may take together.
    fn longest_statement(&mut self) -> QueryResult<usize>;

    /// The session's last error, if the server keeps it; to be asked before any other statement.
    fn last_error(&mut self) -> Option<LastError>;

    /// The present moment by the database's clock.
    fn present(&mut self) -> QueryResult<DateTime<Utc>>;

    /// Runs `work` in a transaction, or in a savepoint where one is open.
    fn atomically<T, E>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E>
    where
        E: From<diesel::result::Error>;

    /// Writes rows to the outbox.
    fn insert_published(&mut self, rows: &[NewPublished]) -> QueryResult<()>;
}

/// A row for the outbox.
#[doc(hidden)]
#[derive(Debug, Insertable)]
#[diesel(table_name = published, treat_none_as_default_value = false)]
pub struct NewPublished {
    id: Id,
    version: Option<String>,
    destination: String,
    body: Document,
    headers: Document,
    expires_at: Moment,
    stream: Option<String>,
    key: Option<String>,
    due_at: Moment,
}

impl NewPublished {
    #[allow(clippy::too_many_arguments)] // the columns, in their order
    pub(crate) fn new(
        id: Uuid,
        version: Option<String>,
        destination: String,
        body: Value,
        headers: Value,
        expires_at: Option<DateTime<Utc>>,
        stream: Option<String>,
        key: Option<String>,
        due_at: Option<DateTime<Utc>>,
    ) -> Self {
        Self {
            id: Id(id),
            version,
            destination,
            body: Document(body),
            headers: Document(headers),
            expires_at: Moment(expires_at.unwrap_or_else(never)),
            stream,
            key,
            // Not the writer's present, so that its clock never delays a row.
            due_at: Moment(due_at.unwrap_or(DateTime::UNIX_EPOCH)),
        }
    }
}

/// The moment at which nothing expires: the year 9000.
pub(crate) fn never() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(9000, 1, 1, 0, 0, 0)
        .single()
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Rows in one INSERT, well below the limit of bound values: 32,766 on SQLite, 65,535 on
/// the others.
const ROWS_IN_ONE_INSERT: usize = 500;
/// A statement for one row is prepared once for a connection; Diesel prepares one for several rows
/// each time anew, which costs as much as a second row.
const ROWS_ONE_BY_ONE: usize = 2;

macro_rules! storage {
    ($feature:literal, $name:literal, $connection:ty, refuses_nul: $refuses_nul:literal,
     begin: $begin:ident) => {
        #[cfg(feature = $feature)]
        impl sealed::Sealed for $connection {}

        #[cfg(feature = $feature)]
        impl Backend for $connection {
            const NAME: &'static str = $name;
        }

        #[cfg(feature = $feature)]
        impl Storage for $connection {
            fn refuses_nul(&self) -> bool {
                $refuses_nul
            }

            fn limits_statements(&self) -> bool {
                <Self as dialect::Dialect>::LIMITS_STATEMENTS
            }

            fn longest_statement(&mut self) -> QueryResult<usize> {
                dialect::Dialect::longest_statement(self)
            }

            fn last_error(&mut self) -> Option<LastError> {
                dialect::Dialect::last_error(self)
            }

            fn present(&mut self) -> QueryResult<DateTime<Utc>> {
                dialect::Dialect::now(self)
            }

            fn atomically<T, E>(
                &mut self,
                work: impl FnOnce(&mut Self) -> Result<T, E>,
            ) -> Result<T, E>
            where
                E: From<diesel::result::Error>,
            {
                let status = AnsiTransactionManager::transaction_manager_status_mut(self);
                if matches!(status.transaction_depth(), Ok(None)) {
                    self.$begin(work)
                } else {
                    self.transaction(work)
                }
            }

            fn insert_published(&mut self, rows: &[NewPublished]) -> QueryResult<()> {
                if rows.len() <= ROWS_ONE_BY_ONE {
                    for row in rows {
                        diesel::insert_into(published::table)
                            .values(row)
                            .execute(self)?;
                    }
                    return Ok(());
                }
                for rows in rows.chunks(ROWS_IN_ONE_INSERT) {
                    diesel::insert_into(published::table)
                        .values(rows)
                        .execute(self)?;
                }
                Ok(())
            }
        }
    };
}

storage!("postgres", "PostgreSQL", diesel::PgConnection, refuses_nul: true, begin: transaction);
storage!("mysql", "MySQL/MariaDB", diesel::MysqlConnection, refuses_nul: false, begin: transaction);
// A deferred transaction that turns into a writer may fail at once where an immediate one waits.
storage!("sqlite", "SQLite", diesel::SqliteConnection, refuses_nul: false,
    begin: immediate_transaction);
