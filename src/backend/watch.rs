//! How a relay that waits learns of new rows before it looks again.

use std::time::Duration;

#[cfg(any(feature = "sqlite", feature = "mysql"))]
use diesel::prelude::*;

/// Looks for news on a connection of its own; not for use by hand.
#[doc(hidden)]
pub trait Watch: Sized {
    /// Whether the database tells of new rows by itself, to who listens to `outbox`.
    const NOTIFIES: bool = false;

    /// How long to wait between two looks.
    const PAUSE: Duration;

    /// What the last look saw.
    type Seen: Default;

    /// Prepares the connection.
    fn begin_watch(&mut self) -> diesel::QueryResult<()>;

    /// Whether something may have been written since the last look. Costs next to nothing.
    fn has_news(&mut self, seen: &mut Self::Seen) -> diesel::QueryResult<bool>;
}

/// Diesel reads what the server has sent, without asking it anything.
#[cfg(feature = "postgres")]
impl Watch for diesel::PgConnection {
    const NOTIFIES: bool = true;

    // Only where one cannot wait for notifications.
    const PAUSE: Duration = Duration::from_millis(20);

    type Seen = ();

    fn begin_watch(&mut self) -> diesel::QueryResult<()> {
        diesel::connection::SimpleConnection::batch_execute(self, "listen outbox")
    }

    fn has_news(&mut self, (): &mut ()) -> diesel::QueryResult<bool> {
        let mut any = false;
        for notification in self.notifications_iter() {
            notification?;
            any = true;
        }
        Ok(any)
    }
}

/// SQLite counts the commits of others, <https://www.sqlite.org/pragma.html#pragma_data_version>.
#[cfg(feature = "sqlite")]
impl Watch for diesel::SqliteConnection {
    const PAUSE: Duration = Duration::from_millis(20);

    type Seen = Option<i64>;

    fn begin_watch(&mut self) -> diesel::QueryResult<()> {
        Ok(())
    }

    fn has_news(&mut self, seen: &mut Option<i64>) -> diesel::QueryResult<bool> {
        #[derive(QueryableByName)]
        struct Version {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            data_version: i64,
        }

        let version: Version = diesel::sql_query("pragma data_version").get_result(self)?;
        let before = seen.replace(version.data_version);
        Ok(before.is_some_and(|before| before != version.data_version))
    }
}

/// The number that the last row was given: read from memory, and past it nothing is new.
#[cfg(feature = "mysql")]
impl Watch for diesel::MysqlConnection {
    const PAUSE: Duration = Duration::from_millis(60);

    type Seen = Option<i64>;

    fn begin_watch(&mut self) -> diesel::QueryResult<()> {
        Ok(())
    }

    fn has_news(&mut self, seen: &mut Option<i64>) -> diesel::QueryResult<bool> {
        use crate::schema::published;

        let last: Option<i64> = published::table
            .select(diesel::dsl::max(published::seq))
            .get_result(self)?;
        let before = std::mem::replace(seen, last);
        Ok(before != last && last.is_some())
    }
}
