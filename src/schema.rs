//! The tables `published` and `received`, and the three SQL types that make one `table!` serve
//! every database.
//!
//! The built-in SQL types do not suffice: `Jsonb` is a BLOB on SQLite, `Uuid` is PostgreSQL's
//! alone. The wrappers here are texts where the database has no such type.

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::query_builder::QueryId;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::SqlType;

/// A uuid: `uuid` on PostgreSQL, its hyphenated text elsewhere.
#[derive(Debug, Clone, Copy, Default, SqlType, QueryId)]
#[diesel(postgres_type(oid = 2950, array_oid = 2951))]
#[diesel(mysql_type(name = "String"))]
#[diesel(sqlite_type(name = "Text"))]
pub struct Uuid;

/// JSON: `jsonb` on PostgreSQL, `json` on MySQL and MariaDB, text on SQLite.
#[derive(Debug, Clone, Copy, Default, SqlType, QueryId)]
#[diesel(postgres_type(oid = 3802, array_oid = 3807))]
#[diesel(mysql_type(name = "String"))]
#[diesel(sqlite_type(name = "Text"))]
pub struct Json;

/// A moment: `timestamptz` on PostgreSQL, `datetime(6)` in UTC on MySQL and MariaDB, a UTC text of
/// fixed width on SQLite; microseconds.
#[derive(Debug, Clone, Copy, Default, SqlType, QueryId)]
#[diesel(postgres_type(oid = 1184, array_oid = 1185))]
#[diesel(mysql_type(name = "DateTime"))]
#[diesel(sqlite_type(name = "Text"))]
pub struct Utc;

/// A uuid in a column of type [`Uuid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Uuid)]
pub struct Id(pub uuid::Uuid);

/// A document in a column of type [`Json`].
#[derive(Debug, Clone, PartialEq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Json)]
pub struct Document(pub serde_json::Value);

/// A moment in a column of type [`Utc`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, AsExpression, FromSqlRow)]
#[diesel(sql_type = Utc)]
pub struct Moment(pub chrono::DateTime<chrono::Utc>);

diesel::table! {
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    use super::{Json, Utc, Uuid};

    /// The outbox: a row for each message, written in the transaction of the business write.
    published (id) {
        /// The message's id, a UUIDv7 when this crate wrote it.
        id -> Uuid,
        /// The version that the destination ends with.
        version -> Nullable<Text>,
        /// Where the message goes, `.version` included.
        destination -> Text,
        /// The message's body.
        body -> Json,
        /// The message's headers, complete.
        headers -> Json,
        /// When the row was written.
        added -> Utc,
        /// Past this moment the row is parked with the reason `expired`.
        expires_at -> Utc,
        /// How many attempts failed by the row's own fault.
        retry -> Integer,
        /// -1 failed, 1 waiting, 2 sent.
        status -> Integer,
        /// The order of writing, given by the database.
        seq -> BigInt,
        /// The part of the outbox that the row belongs to.
        stream -> Nullable<Text>,
        /// The ordering key.
        key -> Nullable<Text>,
        /// Not sent before this moment; while a relay holds the row, the end of its lease.
        due_at -> Utc,
        /// The token of the relay's lease.
        lease_token -> Nullable<Uuid>,
        /// When the broker's receipt was recorded.
        sent_at -> Nullable<Utc>,
        /// Why the last attempt failed, or why the row is parked.
        last_error -> Nullable<Text>,
        /// A signature of the row; not used yet.
        signature -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::{Integer, Nullable, Text};
    use super::{Json, Utc, Uuid};

    /// The inbox: a row for each message that had its effect.
    received (id) {
        /// The row's id.
        id -> Uuid,
        /// The message's id; unique together with `consumer`.
        msg_id -> Nullable<Text>,
        /// Whose effect it was; empty for the whole service's.
        consumer -> Text,
        /// The message's headers.
        headers -> Nullable<Json>,
        /// The message's body; NULL where the column cannot hold it.
        body -> Nullable<Json>,
        /// When the row was written.
        added -> Utc,
        /// As in `published`; not used.
        expires_at -> Utc,
        /// Attempts before the one that succeeded.
        retry -> Integer,
        /// 2 when the callback's transaction committed.
        status -> Integer,
    }
}

diesel::table! {
    /// Jobs that one of several processes does, and what subscribers say of themselves.
    outbox_jobs (name) {
        /// The job's name.
        name -> diesel::sql_types::Text,
        /// When it was begun last.
        begun -> crate::schema::Utc,
    }
}

diesel::table! {
    /// What is to be done with a stream; one that is not here is sent.
    outbox_streams (name) {
        /// The stream's name.
        name -> diesel::sql_types::Text,
        /// Whether its rows wait until it goes on.
        paused -> diesel::sql_types::Bool,
    }
}

diesel::table! {
    /// Messages that came again, and how often they were begun since without coming to their end.
    outbox_deliveries (msg_id, consumer) {
        /// The message's id, as in `received`.
        msg_id -> diesel::sql_types::Text,
        /// Whose effect it is to be, as in `received`.
        consumer -> diesel::sql_types::Text,
        /// How often it was begun.
        begun -> diesel::sql_types::Integer,
        /// When it was begun last.
        last_begun -> crate::schema::Utc,
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use diesel::pg::{Pg, PgValue};
    use diesel::sql_types::{Jsonb, Timestamptz, Uuid as PgUuid};

    use super::*;

    impl ToSql<Uuid, Pg> for Id {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
            ToSql::<PgUuid, Pg>::to_sql(&self.0, out)
        }
    }

    impl FromSql<Uuid, Pg> for Id {
        fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
            FromSql::<PgUuid, Pg>::from_sql(value).map(Self)
        }
    }

    impl ToSql<Json, Pg> for Document {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
            ToSql::<Jsonb, Pg>::to_sql(&self.0, out)
        }
    }

    impl FromSql<Json, Pg> for Document {
        fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
            FromSql::<Jsonb, Pg>::from_sql(value).map(Self)
        }
    }

    impl ToSql<Utc, Pg> for Moment {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
            ToSql::<Timestamptz, Pg>::to_sql(&self.0, &mut out.reborrow())
        }
    }

    impl FromSql<Utc, Pg> for Moment {
        fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
            FromSql::<Timestamptz, Pg>::from_sql(value).map(Self)
        }
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    use std::io::Write;

    use chrono::NaiveDateTime;
    use diesel::mysql::{Mysql, MysqlValue};
    use diesel::serialize::IsNull;
    use diesel::sql_types::{Datetime, Text};

    use super::*;

    impl ToSql<Uuid, Mysql> for Id {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
            write!(out, "{}", self.0.hyphenated())?;
            Ok(IsNull::No)
        }
    }

    impl FromSql<Uuid, Mysql> for Id {
        fn from_sql(value: MysqlValue<'_>) -> deserialize::Result<Self> {
            let text = <String as FromSql<Text, Mysql>>::from_sql(value)?;
            Ok(Self(uuid::Uuid::parse_str(&text)?))
        }
    }

    impl ToSql<Json, Mysql> for Document {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
            serde_json::to_writer(out, &self.0)?;
            Ok(IsNull::No)
        }
    }

    impl FromSql<Json, Mysql> for Document {
        fn from_sql(value: MysqlValue<'_>) -> deserialize::Result<Self> {
            Ok(Self(serde_json::from_slice(value.as_bytes())?))
        }
    }

    impl ToSql<Utc, Mysql> for Moment {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
            ToSql::<Datetime, Mysql>::to_sql(&self.0.naive_utc(), &mut out.reborrow())
        }
    }

    impl FromSql<Utc, Mysql> for Moment {
        fn from_sql(value: MysqlValue<'_>) -> deserialize::Result<Self> {
            let moment = <NaiveDateTime as FromSql<Datetime, Mysql>>::from_sql(value)?;
            Ok(Self(moment.and_utc()))
        }
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use chrono::NaiveDateTime;
    use diesel::serialize::IsNull;
    use diesel::sql_types::Text;
    use diesel::sqlite::{Sqlite, SqliteValue};

    use super::*;

    /// One width, so that texts compare as times.
    const WRITTEN: &str = "%Y-%m-%d %H:%M:%S%.6f";
    const READ: &str = "%Y-%m-%d %H:%M:%S%.f";

    impl ToSql<Uuid, Sqlite> for Id {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
            out.set_value(self.0.hyphenated().to_string());
            Ok(IsNull::No)
        }
    }

    impl FromSql<Uuid, Sqlite> for Id {
        fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
            let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
            Ok(Self(uuid::Uuid::parse_str(&text)?))
        }
    }

    impl ToSql<Json, Sqlite> for Document {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
            out.set_value(serde_json::to_string(&self.0)?);
            Ok(IsNull::No)
        }
    }

    impl FromSql<Json, Sqlite> for Document {
        fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
            let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
            Ok(Self(serde_json::from_str(&text)?))
        }
    }

    impl ToSql<Utc, Sqlite> for Moment {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
            out.set_value(self.0.naive_utc().format(WRITTEN).to_string());
            Ok(IsNull::No)
        }
    }

    impl FromSql<Utc, Sqlite> for Moment {
        fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
            let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
            Ok(Self(NaiveDateTime::parse_from_str(&text, READ)?.and_utc()))
        }
    }
}
