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

/// Whether a notification with this payload may tell of rows in the outbox of `schema`. Triggers of
/// older versions name no schema.
#[cfg(feature = "postgres")]
pub(crate) fn tells_of(payload: &str, schema: Option<&str>) -> bool {
    payload.is_empty() || schema.is_none_or(|schema| schema == payload)
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
        let schema = crate::current_schema::current();
        for notification in self.notifications_iter() {
            any |= tells_of(&notification?.payload, schema.as_deref());
        }
        Ok(any)
    }
}

/// A commit writes to the database's file, or to its write-ahead log: their times and lengths tell,
/// without a lock or a statement. Two commits within one tick of the file system's clock look like
/// one; the plain poll behind this finds the second.
#[cfg(feature = "sqlite")]
impl Watch for diesel::SqliteConnection {
    const PAUSE: Duration = Duration::from_millis(20);

    type Seen = sqlite::Files;

    fn begin_watch(&mut self) -> diesel::QueryResult<()> {
        Ok(())
    }

    fn has_news(&mut self, seen: &mut sqlite::Files) -> diesel::QueryResult<bool> {
        #[derive(QueryableByName)]
        struct Database {
            #[diesel(sql_type = diesel::sql_types::Text)]
            file: String,
        }

        if seen.is_unknown() {
            let query = "select file from pragma_database_list where name = 'main'";
            let database: Database = diesel::sql_query(query).get_result(self)?;
            *seen = sqlite::Files::of(&database.file);
        }
        Ok(seen.have_changed())
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::path::PathBuf;
    use std::time::SystemTime;

    /// What a write changes.
    type Mark = Option<(SystemTime, u64)>;

    /// The files of a database, as they were at the last look.
    #[derive(Debug, Default)]
    pub struct Files(Vec<(PathBuf, Mark)>);

    impl Files {
        pub(super) fn of(database: &str) -> Self {
            let files = [database.to_owned(), format!("{database}-wal")];
            let files = files.map(PathBuf::from);
            let marked = |file: PathBuf| {
                let mark = mark(&file);
                (file, mark)
            };
            Self(files.into_iter().map(marked).collect())
        }

        pub(super) fn is_unknown(&self) -> bool {
            self.0.is_empty()
        }

        pub(super) fn have_changed(&mut self) -> bool {
            let mut any = false;
            for (file, seen) in &mut self.0 {
                let now = mark(file);
                any |= std::mem::replace(seen, now) != now;
            }
            any
        }
    }

    fn mark(file: &std::path::Path) -> Mark {
        let about = file.metadata().ok()?;
        Some((about.modified().ok()?, about.len()))
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
