//! A model that only one database can hold is saved on that one only.

use diesel::prelude::*;
use diesel_outbox::{Publish, SaveOn};

diesel::table! {
    stamps {
        id -> Integer,
        at -> TimestamptzSqlite,
    }
}

#[derive(Queryable, Selectable, Publish)]
#[diesel(table_name = stamps)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite))]
#[publish(destination = "/queue/stamps", fields(id))]
struct Stamp {
    id: i32,
    at: chrono::DateTime<chrono::Utc>,
}

#[derive(Insertable, Publish)]
#[diesel(table_name = stamps)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite))]
#[publish(model = Stamp)]
struct NewStamp {
    at: chrono::DateTime<chrono::Utc>,
}

/// What PostgreSQL alone can hold asks nothing of SQLite.
#[derive(Publish)]
#[diesel(table_name = no_such_table)]
#[diesel(check_for_backend(some::other::Backend))]
#[publish(destination = "/queue/elsewhere")]
struct Elsewhere {
    id: i32,
}

fn saves<T: SaveOn<SqliteConnection>>() {}

#[test]
fn is_saved_on_its_database() {
    saves::<Stamp>();
    saves::<NewStamp>();
    assert!(Elsewhere { id: 1 }.messages().is_ok());
}
