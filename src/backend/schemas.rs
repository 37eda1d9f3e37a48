//! Which schema the outbox is in.

#[cfg(feature = "postgres")]
use diesel::prelude::*;

/// The schema of our outbox.
#[doc(hidden)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Its name; `None` if the database has no schemas, or the search path has none for us.
    pub schema: Option<String>,
    /// Whether it has a table `published`.
    pub has_outbox: bool,
    /// Other schemas of the search path that have a table `published`.
    pub others: Vec<String>,
}

/// Finds the schema of the outbox; not for use by hand.
#[doc(hidden)]
pub trait Schemas {
    /// The schema of this name, or without one the first of the search path that has a table
    /// `published` or in which the user may create tables.
    fn find_schema(&mut self, named: Option<&str>) -> diesel::QueryResult<Found>;
}

#[cfg(feature = "mysql")]
impl Schemas for diesel::MysqlConnection {
    fn find_schema(&mut self, _: Option<&str>) -> diesel::QueryResult<Found> {
        Ok(Found::default())
    }
}

#[cfg(feature = "sqlite")]
impl Schemas for diesel::SqliteConnection {
    fn find_schema(&mut self, _: Option<&str>) -> diesel::QueryResult<Found> {
        Ok(Found::default())
    }
}

/// The schemas of the search path in their order, without those of PostgreSQL itself.
#[cfg(feature = "postgres")]
const SEARCH_PATH: &str = "\
select n.nspname::text as name,
    exists (select from pg_catalog.pg_class c
        where c.relnamespace = n.oid and c.relname = 'published') as has_outbox,
    has_schema_privilege(n.oid, 'create') as may_create
from unnest(current_schemas(false)) with ordinality as p (name, place)
join pg_catalog.pg_namespace n on n.nspname = p.name
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by p.place";

#[cfg(feature = "postgres")]
#[derive(QueryableByName)]
struct Schema {
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    has_outbox: bool,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    may_create: bool,
}

#[cfg(feature = "postgres")]
impl Schemas for diesel::PgConnection {
    fn find_schema(&mut self, named: Option<&str>) -> QueryResult<Found> {
        let mut path: Vec<Schema> = diesel::sql_query(SEARCH_PATH).load(self)?;
        let is_ours = |schema: &Schema| match named {
            Some(named) => schema.name == named,
            None => schema.has_outbox || schema.may_create,
        };
        let ours = path.iter().position(is_ours).map(|at| path.remove(at));
        let others = path.into_iter().filter(|schema| schema.has_outbox);
        Ok(Found {
            has_outbox: ours.as_ref().is_some_and(|schema| schema.has_outbox),
            schema: named.map(str::to_owned).or(ours.map(|schema| schema.name)),
            others: others.map(|schema| schema.name).collect(),
        })
    }
}
