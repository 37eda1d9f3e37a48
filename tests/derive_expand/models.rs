//! The models that both halves of the tests use.

use diesel::prelude::*;
use diesel_outbox::Publish;

use crate::schema::{lines, orders, products, tags};

#[derive(Queryable, Selectable, Publish, Debug, Clone, PartialEq)]
#[diesel(table_name = orders)]
#[publish(destination = "/topic/orders", fields(total, customer), version = "v1")]
#[publish(destination = "/topic/orders.audit", serializer = Order::audit, key = id)]
#[publish(destination = "/queue/all", key = note)]
#[publish(destination = "/queue/named", fields(id), key = self::first_character)]
pub(crate) struct Order {
    pub(crate) id: i32,
    pub(crate) customer: String,
    pub(crate) total: i64,
    pub(crate) note: Option<String>,
}

impl Order {
    fn audit(&self) -> impl serde::Serialize + '_ {
        (&self.customer, self.total)
    }
}

fn first_character(order: &Order) -> Option<char> {
    order.customer.chars().next()
}

#[derive(Insertable, Publish)]
#[diesel(table_name = orders)]
#[publish(model = Order)]
pub(crate) struct NewOrder<'a> {
    pub(crate) customer: &'a str,
    pub(crate) total: i64,
}

pub(crate) fn order() -> Order {
    Order {
        id: 3,
        customer: "ann".into(),
        total: 12,
        note: None,
    }
}

#[derive(Publish, Debug, Clone, PartialEq, Queryable)]
#[diesel(table_name = lines)]
#[diesel(primary_key(order_id, line))]
#[publish(destination = "/queue/lines")]
#[publish(destination = "/queue/lines.short", fields(line))]
pub(crate) struct Line {
    pub(crate) line: i32,
    pub(crate) order_id: i32,
    pub(crate) amount: i64,
}

/// Written as text, so that a field's value and its column's differ.
#[derive(diesel::expression::AsExpression, Debug)]
#[diesel(sql_type = diesel::sql_types::Text)]
pub(crate) struct Upper(String);

impl From<String> for Upper {
    fn from(text: String) -> Self {
        Self(text.to_uppercase())
    }
}

impl diesel::serialize::ToSql<diesel::sql_types::Text, diesel::sqlite::Sqlite> for Upper {
    fn to_sql<'b>(
        &'b self,
        out: &mut diesel::serialize::Output<'b, '_, diesel::sqlite::Sqlite>,
    ) -> diesel::serialize::Result {
        diesel::serialize::ToSql::<diesel::sql_types::Text, diesel::sqlite::Sqlite>::to_sql(
            self.0.as_str(),
            out,
        )
    }
}

#[derive(Publish, Debug, Clone, PartialEq)]
#[diesel(table_name = products)]
#[diesel(primary_key(code))]
#[diesel(check_for_backend(diesel::sqlite::Sqlite))]
#[publish(destination = "/queue/products")]
#[publish(destination = "/queue/products.short", fields(sku, r#type))]
pub(crate) struct Product {
    #[diesel(column_name = code)]
    pub(crate) sku: String,
    #[diesel(column_name = "type_")]
    pub(crate) r#type: String,
    #[diesel(skip_update)]
    pub(crate) price: i64,
    #[diesel(skip_insertion)]
    pub(crate) stock: i64,
    #[diesel(serialize_as = Upper)]
    pub(crate) label: String,
}

pub(crate) fn product() -> Product {
    Product {
        sku: "p1".into(),
        r#type: "book".into(),
        price: 10,
        stock: 1,
        label: "new".into(),
    }
}

#[derive(Publish, Debug, Clone)]
#[diesel(primary_key(code, label))]
#[publish(destination = "/queue/tags")]
pub(crate) struct Tag {
    pub(crate) code: String,
    pub(crate) label: String,
}
