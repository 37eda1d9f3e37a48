//! The storage contract: every statement that this crate runs is below this module.

use diesel::r2d2::{ConnectionManager, PooledConnection, R2D2Connection};

mod sealed {
    /// Keeps the storage contract to the connections of this crate.
    pub trait Sealed {}
}

/// A Diesel connection that this crate can keep its tables on.
pub trait Backend: sealed::Sealed + R2D2Connection + Send + Sized + 'static {}

#[cfg(feature = "postgres")]
impl sealed::Sealed for diesel::PgConnection {}
#[cfg(feature = "postgres")]
impl Backend for diesel::PgConnection {}
#[cfg(feature = "sqlite")]
impl sealed::Sealed for diesel::SqliteConnection {}
#[cfg(feature = "sqlite")]
impl Backend for diesel::SqliteConnection {}

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
