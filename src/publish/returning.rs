//! What a database without RETURNING needs instead.

use crate::backend::Backend;

/// A connection on which statements return the rows that they write.
#[diagnostic::on_unimplemented(
    message = "`publish_all` needs statements that return rows, which Diesel does not have on `{Self}`",
    note = "write the rows one by one with `save`, or write them by statements of your own in `diesel_outbox::save(conn, |conn| ...)`, or call `diesel_outbox::publish(conn, &model)` for each"
)]
pub trait Returning: Backend {}

#[cfg(feature = "postgres")]
impl Returning for diesel::PgConnection {}
#[cfg(feature = "sqlite")]
impl Returning for diesel::SqliteConnection {}

#[cfg(feature = "mysql")]
pub use mysql::{is_primary_key, last_insert_id};

#[cfg(feature = "mysql")]
mod mysql {
    use diesel::Table;
    use diesel::dsl::{SqlTypeOf, sql};
    use diesel::expression::SqlLiteral;
    use diesel::sql_types::{BigInt, Integer, SmallInt, TinyInt, Unsigned};

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

    /// The key that the last INSERT of this connection was given.
    pub fn last_insert_id<T>() -> SqlLiteral<SqlTypeOf<T::PrimaryKey>>
    where
        T: Table,
        T::PrimaryKey: diesel::Expression,
        SqlTypeOf<T::PrimaryKey>: AutoIncrement + diesel::sql_types::SqlType,
    {
        sql("last_insert_id()")
    }

    /// Compiles where the column is the table's primary key.
    pub fn is_primary_key<T, K>()
    where
        T: Table<PrimaryKey = K>,
    {
    }
}
