//! Notices commits by the database's files.
//!
//! A commit writes to the database's file, or to its write-ahead log. Their modification times and
//! lengths show it without a lock or a statement. Two commits within one tick of the file system's
//! clock look like one; the relay's poll finds the second.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use diesel::prelude::*;

/// What a write changes: modification time and length.
type Mark = Option<(SystemTime, u64)>;

/// The files of a database, as they were at the last check.
#[derive(Debug, Default)]
pub struct Files(Vec<(PathBuf, Mark)>);

impl Files {
    fn of(database: &str) -> Self {
        let files = [database.to_owned(), format!("{database}-wal")];
        let files = files.map(PathBuf::from);
        let marked = |file: PathBuf| {
            let mark = mark(&file);
            (file, mark)
        };
        Self(files.into_iter().map(marked).collect())
    }

    fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }

    fn have_changed(&mut self) -> bool {
        let mut any = false;
        for (file, seen) in &mut self.0 {
            let now = mark(file);
            any |= std::mem::replace(seen, now) != now;
        }
        any
    }
}

fn mark(file: &Path) -> Mark {
    let about = file.metadata().ok()?;
    Some((about.modified().ok()?, about.len()))
}

pub(super) fn has_news(conn: &mut SqliteConnection, seen: &mut Files) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Database {
        #[diesel(sql_type = diesel::sql_types::Text)]
        file: String,
    }

    if seen.is_unknown() {
        let query = "select file from pragma_database_list where name = 'main'";
        let database: Database = diesel::sql_query(query).get_result(conn)?;
        *seen = Files::of(&database.file);
    }
    Ok(seen.have_changed())
}
