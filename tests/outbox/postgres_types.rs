//! Types that bodies and keys may be of.

use std::str::FromStr;

use bigdecimal::BigDecimal;
use chrono::{DateTime, NaiveDate, Utc};
use diesel::connection::SimpleConnection;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::serialize::{self, Output, ToSql};
use diesel_outbox::schema::{Document, published};
use diesel_outbox::{Publish, Save};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

diesel::table! {
    invoices (number) {
        number -> Uuid,
        state -> Text,
        amount -> Numeric,
        due -> Nullable<Date>,
        paid_at -> Nullable<Timestamptz>,
        note -> Nullable<Text>,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, AsExpression, FromSqlRow)]
#[diesel(sql_type = diesel::sql_types::Text)]
#[serde(rename_all = "lowercase")]
enum State {
    Open,
    Paid,
}

impl ToSql<diesel::sql_types::Text, Pg> for State {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let text = match self {
            Self::Open => "open",
            Self::Paid => "paid",
        };
        ToSql::<diesel::sql_types::Text, Pg>::to_sql(text, out)
    }
}

impl FromSql<diesel::sql_types::Text, Pg> for State {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        match <String as FromSql<diesel::sql_types::Text, Pg>>::from_sql(value)?.as_str() {
            "open" => Ok(Self::Open),
            "paid" => Ok(Self::Paid),
            other => Err(other.to_owned().into()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Identifiable, AsChangeset, Publish)]
#[diesel(table_name = invoices, primary_key(number), treat_none_as_null = true)]
#[diesel(check_for_backend(Pg))]
#[publish(destination = "/topic/invoices", key = number)]
struct Invoice {
    number: Uuid,
    state: State,
    amount: BigDecimal,
    due: Option<NaiveDate>,
    paid_at: Option<DateTime<Utc>>,
    note: Option<String>,
}

#[test]
fn values_are_as_serde_writes_them() {
    let Some(mut db) = super::postgres() else {
        return;
    };
    let conn = &mut db.conn;
    conn.batch_execute(
        "create table invoices (number uuid primary key, state text not null,
         amount numeric not null, due date, paid_at timestamptz, note text)",
    )
    .unwrap();
    let invoice = Invoice {
        number: Uuid::from_u128(7),
        state: State::Open,
        amount: BigDecimal::from_str("12345678901234567890.10").unwrap(),
        due: NaiveDate::from_ymd_opt(2026, 11, 21),
        paid_at: None,
        note: Some("soon gone".to_owned()),
    };
    let mut invoice = invoice.save(conn).unwrap();
    invoice.state = State::Paid;
    invoice.paid_at = DateTime::from_timestamp(1_795_000_000, 0);
    invoice.note = None;
    let invoice = invoice.save(conn).unwrap();
    assert_eq!(invoices::table.first::<Invoice>(conn).unwrap(), invoice);

    let rows: Vec<(Option<String>, Document)> = published::table
        .order(published::seq)
        .select((published::key, published::body))
        .load(conn)
        .unwrap();
    let id = "00000000-0000-0000-0000-000000000007";
    assert!(rows.iter().all(|(key, _)| key.as_deref() == Some(id)));
    assert_eq!(
        rows[1].1.0,
        json!({
            "id": id,
            "state": "paid",
            "amount": "12345678901234567890.10",
            "due": "2026-11-21",
            "paid_at": "2026-11-18T11:06:40Z",
            "note": null,
        })
    );
}
