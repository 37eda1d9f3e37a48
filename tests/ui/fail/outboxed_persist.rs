//! `persist` with a value that is unknown, or with an order that needs rows.

use diesel_outbox::outboxed;

#[outboxed(persist = "never")]
fn unknown(_order: i64) {}

#[outboxed(persist = failures)]
fn unquoted(_order: i64) {}

#[outboxed(key = _order, persist = "failures")]
fn keyed(_order: i64) {}

#[outboxed(persist = "failures", ordered)]
fn ordered(_order: i64) {}

fn main() {}
