//! The databases: the contract that each of them implements, and what is the same on all of them.
//!
//! A database is a module here that implements [`Dialect`], a line in the list below with its `mod`, a
//! feature, a folder of SQL in `migrations/`, and a line in the derive's list.

/// Contains the only list of databases; [`databases!`] and [`KNOWN`] are generated from it.
macro_rules! list_databases {
    ($dollar:tt $($module:ident, $feature:literal, $connection:ty, $name:literal,
        [$($scheme:literal),*];)*) => {
        /// Expands a macro for each database that is compiled in, with `module: Connection` and
        /// the other arguments.
        macro_rules! databases {
            ($dollar each:ident $dollar($dollar given:tt)*) => {
                $(#[cfg(feature = $feature)]
                $dollar each! { $module: $connection $dollar($dollar given)* })*
            };
        }

        /// All databases, whether compiled in or not.
        #[cfg(any(feature = "relay", feature = "subscriber"))]
        pub(crate) const KNOWN: &[Known] = &[$(Known {
            name: $name,
            feature: $feature,
            schemes: &[$($scheme),*],
        }),*];

        $(#[cfg(feature = $feature)]
        impl sealed::Sealed for $connection {}

        #[cfg(feature = $feature)]
        impl Backend for $connection {
            const NAME: &'static str = $name;
        })*
    };
}

list_databases! { $
    postgres, "postgres", diesel::PgConnection, "PostgreSQL", ["postgres", "postgresql"];
    mysql, "mysql", diesel::MysqlConnection, "MySQL/MariaDB", ["mysql", "mariadb"];
    sqlite, "sqlite", diesel::SqliteConnection, "SQLite", ["sqlite", "file"];
}
pub(crate) use databases;

#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod address;
#[allow(dead_code)] // not every database needs it
mod claim;
mod claimed;
mod dialect;
#[cfg(any(feature = "relay", feature = "subscriber"))]
mod fault;
mod inbox;
pub(crate) mod inbox_listing;
#[cfg(feature = "cli")]
#[allow(dead_code)] // not every database needs it
pub(crate) mod inspection;
mod last_error;
pub(crate) mod lease_token;
pub(crate) mod lifecycle;
mod maintenance;
mod moments;
mod names;
#[cfg(any(feature = "relay", feature = "subscriber"))]
#[allow(dead_code)] // not every database needs it
mod network_url;
mod new_call_row;
mod new_row;
pub(crate) mod outbox_write;
mod qualify;
mod returning;
#[allow(dead_code)] // not every feature needs it
pub(crate) mod rights;
pub(crate) mod row_state;
mod schemas;
mod scope;
mod server;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod session;
mod storage;
mod trail;
mod watch;

use diesel::r2d2::{ConnectionManager, PooledConnection, R2D2Connection};

#[cfg(any(feature = "relay", feature = "subscriber"))]
pub use address::{Address, AddressError};
#[doc(hidden)]
pub use claimed::{CallColumns, Claim, Claimed, LeasedCall, LockedRow, Room, RowKey, Wait};
#[doc(hidden)]
pub use dialect::Dialect;
#[cfg(feature = "subscriber")]
pub(crate) use dialect::digest;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) use fault::{
    Fault, fault, is_contention, is_infrastructure, is_interrupted, is_of_a_connection, is_refusal,
    is_unexplained, is_unknown, is_unsent,
};
#[doc(hidden)]
pub use inbox::{CommitError, Inbox, NewReceived, RedeliveryState};
#[doc(hidden)]
pub use inbox_listing::InboxListing;
#[doc(hidden)]
pub use last_error::LastError;
#[cfg(feature = "testing")]
pub(crate) use lifecycle::SUCCEEDED;
#[doc(hidden)]
pub use lifecycle::{
    Backlog, CALLS, COUNT_LIMIT, CountedName, Execution, Failure, FailureAction, LeasedRows,
    Lifecycle, LifecycleTable, Listing, PUBLISHED, ParkedRows, RowCounts, Selected, Selection,
    UnclaimedRows, WaitingRows, WrittenRows,
};
#[doc(hidden)]
pub use maintenance::{Maintenance, Table};
pub(crate) use moments::after;
pub(crate) use moments::never;
#[cfg(feature = "cli")]
pub(crate) use names::is_uuid;
pub(crate) use names::uuid;
#[doc(hidden)]
pub use new_call_row::NewCallRow;
#[doc(hidden)]
pub use new_row::NewPublished;
pub(crate) use returning::Returning;
#[doc(hidden)]
pub use rights::{FoundTable, Grantee, Needed};
pub use rights::{MissingRights, RowSecurity};
#[doc(hidden)]
pub use schemas::{Found, Tables};
pub(crate) use scope::shared_key;
#[doc(hidden)]
pub use scope::{Freshness, Scope};
pub use server::{TooOld, Unsuitable};
#[doc(hidden)]
pub use storage::Storage;
#[doc(hidden)]
pub use trail::{Change, Trail};
#[doc(hidden)]
pub use watch::Listened;

/// A database that this crate supports.
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) struct Known {
    /// Its name in error messages.
    pub(crate) name: &'static str,
    /// The feature of this crate that compiles it in.
    pub(crate) feature: &'static str,
    /// The schemes of its URLs.
    pub(crate) schemes: &'static [&'static str],
}

/// A Diesel connection that can hold the tables of this crate: `PgConnection`,
/// `MysqlConnection`, `SqliteConnection`.
pub trait Backend:
    sealed::Sealed
    + Dialect
    + Storage
    + Lifecycle
    + Execution
    + Listing
    + Selection
    + Backlog
    + Inbox
    + InboxListing
    + Maintenance
    + Trail
    + R2D2Connection
    + Send
    + Sized
    + 'static
{
    /// The name of the database in error messages.
    const NAME: &'static str;
}

/// A [`Backend`] connection, or a type that contains one, such as r2d2's pooled connection.
pub trait AsBackend {
    /// The connection inside.
    type Connection: Backend;

    /// The connection inside, mutable.
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
    /// Prevents implementations of the storage contract outside of this crate.
    pub trait Sealed {}
}
