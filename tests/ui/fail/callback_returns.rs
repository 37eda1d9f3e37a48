use diesel::prelude::*;
use diesel_outbox::{Payload, Registry};

fn amount(_: &mut SqliteConnection, _: &Payload) -> i64 {
    12
}

fn amount_or_error(_: &mut SqliteConnection, _: &Payload) -> QueryResult<i64> {
    Ok(12)
}

fn main() {
    let _ = Registry::<SqliteConnection>::new().on("amount", amount);
    let _ = Registry::<SqliteConnection>::new().on("amount", amount_or_error);
}
