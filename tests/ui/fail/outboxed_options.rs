//! Options that are not understood, or make no sense.

use diesel_outbox::outboxed;

#[outboxed(nam = "shop.charge")]
fn unknown(order: i64) {}

#[outboxed(name = "a", stream = "s", name = "b")]
fn twice(order: i64) {}

#[outboxed(name)]
fn no_value(order: i64) {}

#[outboxed(name = "", stream = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
fn empty_and_long(order: i64) {}

#[outboxed(alias = "")]
fn none(order: i64) {}

#[outboxed(alias = "own", alias = "a", alias = "a")]
fn own(order: i64) {}

#[outboxed(ordered = true)]
fn valued(order: i64) {}

#[outboxed(key = "order")]
fn quoted(order: i64) {}

#[outboxed(timeout = "0s")]
fn nothing(order: i64) {}

#[outboxed(timeout = "soon")]
fn words(order: i64) {}

#[outboxed(encoding = "xml")]
fn encoded(order: i64) {}

#[outboxed]
struct NotAFunction;

fn main() {}
