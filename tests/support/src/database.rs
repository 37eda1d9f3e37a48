//! A database for one test.

use std::any::Any;

use diesel::connection::Connection;

use crate::server;

/// The database of one test; dropped with this value.
pub struct TestDatabase {
    /// The database's URL.
    pub url: String,
    _guard: Box<dyn Any + Send>,
}

impl TestDatabase {
    /// One of a server that ends with the test.
    pub fn at(url: String) -> Self {
        Self {
            url,
            _guard: Box::new(()),
        }
    }
}

/// An SQLite database in a file.
pub fn sqlite<C: Connection>() -> TestDatabase {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("outbox.db").to_str().unwrap().to_owned();
    let mut conn = C::establish(&url).unwrap();
    conn.batch_execute("pragma journal_mode = wal").unwrap();
    TestDatabase {
        url,
        _guard: Box::new(folder),
    }
}

/// Drops a database on a server.
struct DropAtEnd<C: Connection> {
    admin: String,
    name: String,
    statement: String,
    connection: std::marker::PhantomData<fn() -> C>,
}

impl<C: Connection> Drop for DropAtEnd<C> {
    fn drop(&mut self) {
        if let Ok(mut conn) = C::establish(&self.admin)
            && let Err(error) = conn.batch_execute(&self.statement)
        {
            eprintln!("could not drop the test's database {}: {error}", self.name);
        }
    }
}

/// A database with a unique name; `{}` in the statements stands for the name.
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
pub fn postgres<C: Connection + 'static>() -> Option<TestDatabase> {
    let admin = server("OUTBOX_TEST_POSTGRES", "PostgreSQL")?;
    Some(on_server::<C>(
        admin,
        "create database \"{}\"",
        "drop database if exists \"{}\" with (force)",
    ))
}

/// A PostgreSQL database with the encoding LATIN1.
pub fn postgres_in_latin1<C: Connection + 'static>() -> Option<TestDatabase> {
    let admin = server("OUTBOX_TEST_POSTGRES", "PostgreSQL")?;
    Some(on_server::<C>(
        admin,
        "create database \"{}\" template template0 encoding 'LATIN1' locale 'C'",
        "drop database if exists \"{}\" with (force)",
    ))
}

/// A database on the MySQL or MariaDB server of the tests.
pub fn mysql<C: Connection + 'static>() -> Option<TestDatabase> {
    let admin = server("OUTBOX_TEST_MYSQL", "MySQL/MariaDB")?;
    Some(on_server::<C>(
        admin,
        "create database `{}`",
        "drop database if exists `{}`",
    ))
}

/// Whether MySQL's client library is linked, and not MariaDB's. Neither Diesel nor a MariaDB server reports it.
pub fn has_mysqls_client_library() -> bool {
    let mapped = std::fs::read_to_string("/proc/self/maps").unwrap();
    // MySQL's is compiled in, or a file of another name.
    !mapped.contains("/libmariadb.so")
}
