//! The tables `published` and `received`, and the three SQL types that let one `table!` serve
//! every database.
//!
//! The built-in SQL types do not suffice: `Jsonb` is a BLOB on SQLite, and `Uuid` exists on PostgreSQL
//! only. On a database without the type, the types here are text.

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::query_builder::QueryId;
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

/// A time: `timestamptz` on PostgreSQL, `datetime(6)` in UTC on MySQL and MariaDB, a UTC text of
/// fixed width on SQLite; in microseconds.
#[derive(Debug, Clone, Copy, Default, SqlType, QueryId)]
#[diesel(postgres_type(oid = 1184, array_oid = 1185))]
#[diesel(mysql_type(name = "DateTime"))]
#[diesel(sqlite_type(name = "Text"))]
pub struct Utc;

/// A uuid in a column of type [`Uuid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Uuid)]
pub struct Id(pub uuid::Uuid);

/// A document in a column of type [`Json`]. Any value that serialises can be written.
#[derive(Debug, Clone, PartialEq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Json)]
pub struct Document<T = serde_json::Value>(pub T);

/// A time in a column of type [`Utc`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, AsExpression, FromSqlRow)]
#[diesel(sql_type = Utc)]
pub struct Moment(pub chrono::DateTime<chrono::Utc>);

diesel::table! {
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    use super::{Json, Utc, Uuid};

    /// The outbox: a row for each message, written in the transaction of the business write.
    published (id) {
        /// The message's id; a UUIDv7 if this crate wrote it.
        id -> Uuid,
        /// The version, with which the destination ends.
        version -> Nullable<Text>,
        /// The destination, including `.version`.
        destination -> Text,
        /// The message's body.
        body -> Json,
        /// The message's headers, complete.
        headers -> Json,
        /// When the row was written.
        added -> Utc,
        /// After this time the row is parked with the reason `expired`.
        expires_at -> Utc,
        /// The number of failed attempts; outages do not count.
        retry -> Integer,
        /// -1 parked, 1 waiting, 2 sent.
        status -> Integer,
        /// The order of writing, assigned by the database.
        seq -> BigInt,
        /// The stream that the row belongs to.
        stream -> Nullable<Text>,
        /// The ordering key.
        key -> Nullable<Text>,
        /// Not sent before this time; while a relay has leased the row, the end of its lease.
        due_at -> Utc,
        /// The token of the relay's lease.
        lease_token -> Nullable<Uuid>,
        /// When the broker's receipt was recorded.
        sent_at -> Nullable<Utc>,
        /// Why the last attempt failed, or why the row is parked.
        last_error -> Nullable<Text>,
        /// The row's signature, if its writer signs: `docs/signing.md`.
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
        /// The consumer that handled it; empty for the whole service.
        consumer -> Text,
        /// The message's headers.
        headers -> Nullable<Json>,
        /// The message's body; NULL if the column cannot hold it.
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

// Not part of the API, unlike the two tables of messages.
mod own_tables {
    diesel::table! {
        /// Jobs that one of several processes does, and the retention that subscribers need.
        outbox_jobs (name) {
            /// The job's name.
            name -> diesel::sql_types::Text,
            /// When the last attempt began.
            begun -> crate::schema::Utc,
        }
    }

    diesel::table! {
        /// Streams that were paused or looked up; a stream without a row is not paused.
        outbox_streams (name) {
            /// The stream's name.
            name -> diesel::sql_types::Text,
            /// Whether its rows wait until it is resumed.
            paused -> diesel::sql_types::Bool,
        }
    }

    diesel::table! {
        /// Redelivered messages, and how many of their attempts were started and not finished.
        outbox_deliveries (msg_id, consumer) {
            /// The message's id, as in `received`.
            msg_id -> diesel::sql_types::Text,
            /// The consumer, as in `received`.
            consumer -> diesel::sql_types::Text,
            /// The number of attempts that were started.
            begun -> diesel::sql_types::Integer,
            /// When the last attempt began.
            last_begun -> crate::schema::Utc,
        }
    }

    diesel::table! {
        use diesel::sql_types::{BigInt, Nullable, Text};

        /// Who changed what on the pages for operators.
        outbox_trail (id) {
            /// A UUIDv7.
            id -> Text,
            /// When the change ended.
            added -> crate::schema::Utc,
            /// The user.
            name -> Text,
            /// The change, such as `retry`.
            action -> Text,
            /// What was changed, such as `messages`.
            target -> Text,
            /// Which of them.
            details -> Text,
            /// The number of rows or messages that were changed.
            changed -> BigInt,
            /// Why the change failed, if it did.
            error -> Nullable<Text>,
        }
    }

    diesel::table! {
        use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
        use crate::schema::{Json, Utc, Uuid};

        /// Function calls: a row for each call, written in the transaction of the caller.
        outbox_calls (id) {
            /// The call's id, a UUIDv7 unless the caller chose one.
            id -> Uuid,
            /// The function's name.
            name -> Text,
            /// The arguments by the name of the parameter; NULL if `payload` has them.
            args -> Nullable<Json>,
            /// The arguments in another encoding than JSON.
            payload -> Nullable<Binary>,
            /// The name of the arguments' encoding.
            encoding -> Text,
            /// The correlation id, the trace and the caller's own headers.
            headers -> Json,
            /// When the row was written.
            added -> Utc,
            /// After this time the row is parked with the reason `expired`.
            expires_at -> Utc,
            /// The number of failed attempts; outages do not count.
            retry -> Integer,
            /// -1 parked, 1 waiting, 2 done.
            status -> Integer,
            /// The order of writing, assigned by the database.
            seq -> BigInt,
            /// The stream that the row belongs to.
            stream -> Nullable<Text>,
            /// The ordering key.
            key -> Nullable<Text>,
            /// Not executed before this time; while an executor has leased the row, the end of its lease.
            due_at -> Utc,
            /// The token of the executor's lease.
            lease_token -> Nullable<Uuid>,
            /// When the execution was recorded.
            done_at -> Nullable<Utc>,
            /// Why the last attempt failed, or why the row is parked.
            last_error -> Nullable<Text>,
            /// The row's signature, if its writer signs: `docs/signing.md`.
            signature -> Nullable<Text>,
            /// Executions that ended with their process.
            crashes -> Integer,
        }
    }
}
pub(crate) use own_tables::{
    outbox_calls, outbox_deliveries, outbox_jobs, outbox_streams, outbox_trail,
};
