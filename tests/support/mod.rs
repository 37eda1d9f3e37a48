//! What the suites share: a database for each test, on each server that is there.
#![allow(dead_code)] // each suite uses its own part of it

pub(crate) mod network;

use std::any::Any;

use diesel::prelude::*;

/// A database of a test's own, gone when it is dropped.
pub(crate) struct TestDatabase {
    /// Its address.
    pub(crate) url: String,
    _guard: Box<dyn Any + Send>,
}

/// The address in this variable. `None`, with a word on standard error, where it is not set and
/// nothing is required.
pub(crate) fn server(variable: &str, name: &str) -> Option<String> {
    if let Ok(url) = std::env::var(variable) {
        return Some(url);
    }
    let required = std::env::var_os("OUTBOX_TEST_REQUIRE_ALL").is_some();
    assert!(!required, "{variable} is not set; run `make test`");
    eprintln!("left out: {name} (set {variable}, or run `make test`)");
    None
}

/// An SQLite database in a file.
#[cfg(feature = "sqlite")]
pub(crate) fn sqlite() -> TestDatabase {
    use diesel::connection::SimpleConnection;
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("outbox.db").to_str().unwrap().to_owned();
    let mut conn = diesel::SqliteConnection::establish(&url).unwrap();
    conn.batch_execute("pragma journal_mode = wal").unwrap();
    TestDatabase {
        url,
        _guard: Box::new(folder),
    }
}

/// Drops a database on a server.
#[cfg(any(feature = "postgres", feature = "mysql"))]
struct DropAtEnd<C: Connection> {
    admin: String,
    name: String,
    statement: String,
    connection: std::marker::PhantomData<fn() -> C>,
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl<C: Connection> Drop for DropAtEnd<C> {
    fn drop(&mut self) {
        if let Ok(mut conn) = C::establish(&self.admin)
            && let Err(error) = conn.batch_execute(&self.statement)
        {
            eprintln!("the test's database {} stays: {error}", self.name);
        }
    }
}

/// A database with a name of its own; `{}` in the statements stands for the name.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn on_server<C: Connection + 'static>(admin: String, create: &str, drop: &str) -> TestDatabase {
    let name = format!("outbox_{}", uuid::Uuid::new_v4().simple());
    let mut server = C::establish(&admin).unwrap();
    server.batch_execute(&create.replace("{}", &name)).unwrap();
    let (base, _) = admin.rsplit_once('/').unwrap();
    TestDatabase {
        url: format!("{base}/{name}"),
        _guard: Box::new(DropAtEnd::<C> {
            statement: drop.replace("{}", &name),
            admin,
            name,
            connection: std::marker::PhantomData,
        }),
    }
}

/// A database on the PostgreSQL server of the tests.
#[cfg(feature = "postgres")]
pub(crate) fn postgres() -> Option<TestDatabase> {
    let admin = server("OUTBOX_TEST_POSTGRES", "PostgreSQL")?;
    Some(on_server::<PgConnection>(
        admin,
        "create database \"{}\"",
        "drop database if exists \"{}\" with (force)",
    ))
}

/// One whose texts hold less than Unicode.
#[cfg(feature = "postgres")]
pub(crate) fn postgres_in_latin1() -> Option<TestDatabase> {
    let admin = server("OUTBOX_TEST_POSTGRES", "PostgreSQL")?;
    Some(on_server::<PgConnection>(
        admin,
        "create database \"{}\" template template0 encoding 'LATIN1' locale 'C'",
        "drop database if exists \"{}\" with (force)",
    ))
}

/// A database on the MySQL or MariaDB server of the tests.
#[cfg(feature = "mysql")]
pub(crate) fn mysql() -> Option<TestDatabase> {
    let admin = server("OUTBOX_TEST_MYSQL", "MySQL/MariaDB")?;
    Some(on_server::<MysqlConnection>(
        admin,
        "create database `{}`",
        "drop database if exists `{}`",
    ))
}
