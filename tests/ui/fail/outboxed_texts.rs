//! Texts that a column cannot hold, and values of the wrong kind.

use diesel_outbox::outboxed;

#[outboxed(
    name = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
    alias = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)]
fn long(order: i64) {}

#[outboxed(stream = "")]
fn no_stream(order: i64) {}

#[outboxed(name = "a\0", alias = "b\0", stream = "c\0")]
fn nul(order: i64) {}

#[outboxed(timeout = 5)]
fn seconds(order: i64) {}

#[outboxed(encoding = 5)]
fn numbered(order: i64) {}

#[outboxed]
fn sometimes(#[cfg_attr(test, serde(default))] order: i64) {}

#[outboxed]
unsafe extern "C" fn variadic(order: i64, _: ...) {}

fn main() {}
