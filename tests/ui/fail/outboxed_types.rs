//! Types that are not those that a call needs.

use diesel_outbox::outboxed;

struct Client;

#[outboxed]
fn not_serialisable(client: Client) {}

// A type that is no connection has an error that lists the databases of the build, so it
// has no case here.

#[outboxed]
fn returns(order: i64) -> i64 {
    order
}

#[outboxed]
async fn returns_later(order: i64) -> Option<Vec<i64>> {
    Some(vec![order])
}

#[outboxed(key = amount)]
fn key(amount: f64) {}

#[outboxed(key = customer)]
fn unknown_key(order: i64) {}

fn main() {}
