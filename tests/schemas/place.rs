//! A database with schemas.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_outbox::in_schema;
use diesel_outbox::migrations::Migrate;

use crate::support::{self, TestDatabase};

/// A database of the case's own; `None` if the server is left out.
pub(crate) struct Place(TestDatabase);

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

impl Place {
    /// With these schemas beside `public`.
    pub(crate) fn new(schemas: &[&str]) -> Option<Self> {
        let place = Self(support::postgres::<diesel::PgConnection>()?);
        let mut conn = place.connect("public");
        for schema in schemas {
            conn.batch_execute(&format!("create schema if not exists \"{schema}\""))
                .unwrap();
        }
        Some(place)
    }

    /// With an outbox in each of these schemas.
    pub(crate) fn with_outboxes(schemas: &[&str]) -> Option<Self> {
        let place = Self::new(schemas)?;
        for schema in schemas {
            in_schema(schema, || place.connect("nowhere").migrate().unwrap());
        }
        Some(place)
    }

    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    /// The address of a session with this search path.
    pub(crate) fn url_with(&self, search_path: &str) -> String {
        format!("{}?options=-csearch_path%3D{search_path}", self.0.url)
    }

    pub(crate) fn connect(&self, search_path: &str) -> PgConnection {
        PgConnection::establish(&self.url_with(search_path)).unwrap()
    }

    /// The one number that a query selects.
    pub(crate) fn number(&self, query: &str) -> i64 {
        number(&mut self.connect("public"), query)
    }

    /// How many rows a table has.
    pub(crate) fn rows(&self, table: &str) -> i64 {
        self.number(&format!("select count(*) as n from {table}"))
    }

    /// How many relations, functions and types there are in a schema.
    pub(crate) fn objects(&self, schema: &str) -> i64 {
        self.number(&format!(
            "select (select count(*) from pg_class where relnamespace = '{schema}'::regnamespace)
                + (select count(*) from pg_proc where pronamespace = '{schema}'::regnamespace) as n"
        ))
    }
}

pub(crate) fn number(conn: &mut PgConnection, query: &str) -> i64 {
    let number: Number = diesel::sql_query(query).get_result(conn).unwrap();
    number.n
}
