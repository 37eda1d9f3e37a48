//! The inbox: what was received, and under whose name.

use std::borrow::Cow;

use diesel::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::Storage;
use super::dialect::Dialect;
use crate::schema::{Document, Id, received};

/// A message on its way into `received`.
#[doc(hidden)]
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = received)]
pub struct Arrival {
    id: Id,
    msg_id: String,
    consumer: String,
    headers: Option<Document>,
    body: Option<Document>,
    retry: i32,
}

impl Arrival {
    pub(crate) fn new(
        msg_id: String,
        consumer: String,
        headers: Value,
        body: Option<Value>,
        retry: i32,
    ) -> Self {
        Self {
            id: Id(Uuid::now_v7()),
            msg_id,
            consumer,
            headers: Some(Document(headers)),
            body: body.map(Document),
            retry,
        }
    }

    /// The same without what the columns may be unable to hold.
    pub(crate) fn bare(&self) -> Self {
        Self {
            headers: None,
            body: None,
            ..self.clone()
        }
    }

    /// Drops documents that this connection's columns cannot hold.
    pub(crate) fn fitted<C: Storage>(mut self, conn: &C) -> Self {
        if conn.refuses_nul() {
            let fits = |document: &Document| !crate::message::holds_nul(&document.0);
            self.headers = self.headers.filter(fits);
            self.body = self.body.filter(fits);
        }
        self
    }
}

/// What a subscriber does with `received`; not for use by hand.
#[doc(hidden)]
pub trait Inbox {
    /// Whether the message had its effect already.
    fn is_received(&mut self, msg_id: &str, consumer: &str) -> QueryResult<bool>;

    /// Remembers the message: a unique violation where it is remembered already.
    fn insert_received(&mut self, arrival: &Arrival) -> QueryResult<()>;
}

macro_rules! inbox {
    ($feature:literal, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl Inbox for $connection {
            fn is_received(&mut self, msg_id: &str, consumer: &str) -> QueryResult<bool> {
                let row = received::table
                    .filter(received::msg_id.eq(Self::told_apart(msg_id)))
                    .filter(received::consumer.eq(consumer));
                diesel::select(diesel::dsl::exists(row)).get_result(self)
            }

            fn insert_received(&mut self, arrival: &Arrival) -> QueryResult<()> {
                let told_apart = match Self::told_apart(&arrival.msg_id) {
                    Cow::Borrowed(_) => Cow::Borrowed(arrival),
                    Cow::Owned(msg_id) => Cow::Owned(Arrival {
                        msg_id,
                        ..arrival.clone()
                    }),
                };
                diesel::insert_into(received::table)
                    .values(told_apart.as_ref())
                    .execute(self)
                    .map(drop)
            }
        }
    };
}

inbox!("postgres", diesel::PgConnection);
inbox!("mysql", diesel::MysqlConnection);
inbox!("sqlite", diesel::SqliteConnection);
