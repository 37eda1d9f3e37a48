//! How a connection runs our statements, which contain plain table names: on PostgreSQL
//! they are qualified with the schema of the outbox on their way to the server.
//!
//! A file with statements on our tables imports this [`RunQueryDsl`] instead of Diesel's.

use diesel::helper_types::Limit;
use diesel::query_dsl::methods::{ExecuteDsl, LimitDsl, LoadQuery};
use diesel::{Connection, QueryResult};

/// A connection that can run our statements.
pub(super) trait Statements: Connection {
    /// The type of a statement on its way to the server.
    type Statement<Q>;

    /// Makes a statement mean the tables of our outbox.
    fn statement<Q>(query: Q) -> Self::Statement<Q>;
}

/// Diesel's methods of this name, for statements on our tables.
pub(super) trait RunQueryDsl<C: Statements>: Sized {
    fn execute(self, conn: &mut C) -> QueryResult<usize>
    where
        C::Statement<Self>: ExecuteDsl<C>,
    {
        ExecuteDsl::execute(C::statement(self), conn)
    }

    fn load<'query, U>(self, conn: &mut C) -> QueryResult<Vec<U>>
    where
        C::Statement<Self>: LoadQuery<'query, C, U>,
    {
        diesel::RunQueryDsl::load(C::statement(self), conn)
    }

    fn get_result<'query, U>(self, conn: &mut C) -> QueryResult<U>
    where
        C::Statement<Self>: LoadQuery<'query, C, U>,
    {
        diesel::RunQueryDsl::get_result(C::statement(self), conn)
    }

    fn first<'query, U>(self, conn: &mut C) -> QueryResult<U>
    where
        Self: LimitDsl,
        C::Statement<Limit<Self>>: LoadQuery<'query, C, U>,
    {
        diesel::RunQueryDsl::get_result(C::statement(self.limit(1)), conn)
    }
}

impl<Q, C: Statements> RunQueryDsl<C> for Q {}

/// Makes a connection run our statements unchanged: its database has no schemas.
#[allow(unused_macros)]
macro_rules! unqualified {
    ($connection:ty) => {
        impl $crate::backend::qualify::Statements for $connection {
            type Statement<Q> = Q;

            fn statement<Q>(query: Q) -> Q {
                query
            }
        }
    };
}
#[allow(unused_imports)]
pub(super) use unqualified;
