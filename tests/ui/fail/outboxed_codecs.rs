//! Names of codecs that the column cannot hold, or that are taken.

use diesel_outbox::calls::Codec;
use diesel_outbox::{BoxError, outboxed};
use serde::Serialize;
use serde::de::DeserializeOwned;

struct Empty;

impl Codec for Empty {
    const NAME: &'static str = "";

    fn encode<T: Serialize>(_: &T) -> Result<Vec<u8>, BoxError> {
        Ok(Vec::new())
    }

    fn decode<T: DeserializeOwned>(_: &[u8]) -> Result<T, BoxError> {
        Err("no bytes".into())
    }
}

struct Long;

impl Codec for Long {
    const NAME: &'static str = "ccccccccccccccccccccccccccccccccccccccccc";

    fn encode<T: Serialize>(_: &T) -> Result<Vec<u8>, BoxError> {
        Ok(Vec::new())
    }

    fn decode<T: DeserializeOwned>(_: &[u8]) -> Result<T, BoxError> {
        Err("no bytes".into())
    }
}

struct Json;

impl Codec for Json {
    const NAME: &'static str = "json";

    fn encode<T: Serialize>(_: &T) -> Result<Vec<u8>, BoxError> {
        Ok(Vec::new())
    }

    fn decode<T: DeserializeOwned>(_: &[u8]) -> Result<T, BoxError> {
        Err("no bytes".into())
    }
}

#[outboxed(encoding = Empty)]
fn empty(order: i64) {}

#[outboxed(encoding = Long)]
fn long(order: i64) {}

#[outboxed(encoding = Json)]
fn json(order: i64) {}

fn main() {}
