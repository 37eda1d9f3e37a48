//! Hand-written loops, each on one connection.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Jsonb};
use serde_json::Value;

use crate::functions::insert_effect;

/// Calls per claim.
const CLAIM: i64 = 100;

#[derive(QueryableByName)]
struct Call {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Jsonb)]
    args: Value,
}

impl Call {
    fn arguments(&self) -> (i64, &str) {
        let order = self.args["order"].as_i64().unwrap();
        (order, self.args["email"].as_str().unwrap())
    }
}

/// Claims 100 calls, executes them and settles them in one statement.
pub(crate) fn in_batches(url: &str) {
    let mut conn = PgConnection::establish(url).unwrap();
    loop {
        let calls: Vec<Call> = diesel::sql_query(
            "update outbox_calls it set lease_token = gen_random_uuid(), due_at = now() + interval '30 s'
            from (select seq from outbox_calls where status = 1 and due_at <= now()
                order by seq limit $1 for update skip locked) due
            where it.seq = due.seq and it.status = 1 returning it.seq, it.args",
        )
        .bind::<BigInt, _>(CLAIM)
        .load(&mut conn)
        .unwrap();
        if calls.is_empty() {
            return;
        }
        for call in &calls {
            std::hint::black_box(call.arguments());
        }
        let seqs: Vec<i64> = calls.iter().map(|call| call.seq).collect();
        diesel::sql_query(
            "update outbox_calls set status = 2, done_at = now(), lease_token = null
            where status = 1 and seq = any($1)",
        )
        .bind::<Array<BigInt>, _>(seqs)
        .execute(&mut conn)
        .unwrap();
    }
}

/// Takes, executes and settles each call in a transaction.
pub(crate) fn in_transactions(url: &str) {
    let mut conn = PgConnection::establish(url).unwrap();
    loop {
        let is_done = conn
            .transaction::<_, diesel::result::Error, _>(|conn| {
                let call: Option<Call> = diesel::sql_query(
                    "update outbox_calls it set status = 2, done_at = now()
                    from (select seq from outbox_calls where status = 1 and due_at <= now()
                        order by seq limit 1 for update skip locked) due
                    where it.seq = due.seq and it.status = 1 returning it.seq, it.args",
                )
                .get_result(conn)
                .optional()?;
                let Some(call) = call else { return Ok(true) };
                let (order, email) = call.arguments();
                insert_effect(conn, order, email)?;
                Ok(false)
            })
            .unwrap();
        if is_done {
            return;
        }
    }
}
