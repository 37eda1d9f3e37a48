use diesel::prelude::*;
use diesel_outbox::{Publish, PublishDsl};

diesel::table! {
    orders (id) {
        id -> Integer,
        total -> BigInt,
    }
}

#[derive(Queryable, Selectable, Publish)]
#[diesel(table_name = orders)]
#[publish(destination = "/topic/orders")]
struct Order {
    id: i32,
    total: i64,
}

fn all(conn: &mut MysqlConnection) -> Result<Vec<Order>, diesel_outbox::Error> {
    diesel::insert_into(orders::table)
        .values(orders::total.eq(1))
        .publish_all(conn)
}

fn main() {}
