//! Finds a saved row again without RETURNING.

use diesel::connection::SimpleConnection;
use diesel::dsl::{SqlTypeOf, sql};
use diesel::expression::SqlLiteral;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Integer, SmallInt, TinyInt, Unsigned};
use diesel::{MysqlConnection, QueryResult, Table};

/// The type of a column that AUTO_INCREMENT may fill.
#[diagnostic::on_unimplemented(
    message = "AUTO_INCREMENT cannot give a key of the type `{Self}`, so the saved row could not be found again on MySQL",
    note = "carry the key as a field: `id`, or what `#[diesel(primary_key(...))]` on this struct names"
)]
pub trait AutoIncrement {}

impl AutoIncrement for TinyInt {}
impl AutoIncrement for SmallInt {}
impl AutoIncrement for Integer {}
impl AutoIncrement for BigInt {}
impl AutoIncrement for Unsigned<TinyInt> {}
impl AutoIncrement for Unsigned<SmallInt> {}
impl AutoIncrement for Unsigned<Integer> {}
impl AutoIncrement for Unsigned<BigInt> {}

/// The saved row has another key in the database.
#[derive(Debug, thiserror::Error)]
#[error(
    "the saved row has another key in the database than the one it was selected by: a trigger or a \
     default such as `nextval(...)` has assigned it, or AUTO_INCREMENT has replaced 0; create the key \
     first and set it in the struct"
)]
struct OtherKey;

/// Returns the row that was selected after its INSERT.
pub fn found_again<T>(row: QueryResult<T>) -> QueryResult<T> {
    match row {
        Err(Error::NotFound) => Err(other_key()),
        other => other,
    }
}

/// Fails if the written row does not have its key.
pub fn same_key(is_there: bool) -> QueryResult<()> {
    is_there.then_some(()).ok_or_else(other_key)
}

fn other_key() -> Error {
    Error::QueryBuilderError(Box::new(OtherKey))
}

/// Makes `last_insert_id()` 0 until AUTO_INCREMENT assigns a key. Otherwise it keeps the value of an earlier
/// INSERT if the key comes from elsewhere.
pub fn forget_insert_id(conn: &mut MysqlConnection) -> QueryResult<()> {
    conn.batch_execute("do last_insert_id(0)")
}

/// The key that the last INSERT of this connection was assigned; NULL if none.
pub fn last_insert_id<T>() -> SqlLiteral<SqlTypeOf<T::PrimaryKey>>
where
    T: Table,
    T::PrimaryKey: diesel::Expression,
    SqlTypeOf<T::PrimaryKey>: AutoIncrement + diesel::sql_types::SqlType,
{
    sql("nullif(last_insert_id(), 0)")
}

/// Compiles if the column is the table's primary key.
pub fn is_primary_key<T, K>()
where
    T: Table<PrimaryKey = K>,
{
}
