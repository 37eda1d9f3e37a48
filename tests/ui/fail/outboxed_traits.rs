//! Types without the traits that an execution needs.

use std::marker::PhantomData;

use diesel_outbox::calls::State;
use diesel_outbox::outboxed;
use serde::{Deserialize, Serialize};

struct NoCodec;

#[outboxed(encoding = NoCodec)]
fn encoded(order: i64) {}

struct NoError;

#[outboxed]
fn returns(order: i64) -> Result<(), NoError> {
    Ok(())
}

#[outboxed]
async fn returns_later(order: i64) -> Result<(), NoError> {
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Local(PhantomData<*const u8>);

#[outboxed]
fn not_send(order: i64, local: Local) {}

#[outboxed]
fn not_sync(order: i64, cell: State<std::cell::Cell<u8>>) {}

#[outboxed]
async fn not_sync_later(order: i64, cell: State<std::cell::Cell<u8>>) {}

fn main() {}
