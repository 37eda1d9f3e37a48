//! How MySQL and MariaDB store the SQL types of [`schema`](crate::schema).

use std::fmt::Debug;
use std::io::Write;

use chrono::NaiveDateTime;
use diesel::deserialize::{self, FromSql};
use diesel::mysql::{Mysql, MysqlValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Datetime, Text};
use serde::Serialize;

use crate::schema::{Document, Id, Json, Moment, Utc, Uuid};

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

impl<T: Serialize + Debug> ToSql<Json, Mysql> for Document<T> {
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
