//! A hand-written loop: BEGIN, two INSERTs and COMMIT, each loop on its own connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel_outbox::schema::{Document, Id, received};
use serde_json::json;
use uuid::Uuid;

use crate::inbox::effects;
use crate::queue::Queue;
use crate::raw_socket::RawSocket;

#[derive(Insertable)]
#[diesel(table_name = received, treat_none_as_default_value = false)]
struct Row {
    id: Id,
    msg_id: String,
    headers: Document,
    body: Document,
}

/// Runs `loops` loops, and a plain consumer that receives a message for each transaction.
pub(crate) fn consume(database: &str, queue: &Queue, messages: usize, loops: usize) -> Duration {
    let began = Instant::now();
    let (sender, committed) = channel();
    let left = Arc::new(AtomicUsize::new(messages));
    let threads: Vec<_> = (0..loops)
        .map(|_| {
            let (sender, left, url) = (sender.clone(), Arc::clone(&left), database.to_owned());
            std::thread::spawn(move || {
                let mut conn = PgConnection::establish(&url).unwrap();
                let count = |left: usize| left.checked_sub(1);
                while left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, count)
                    .is_ok()
                {
                    transaction(&mut conn);
                    sender.send(()).unwrap();
                }
            })
        })
        .collect();
    drop(sender);
    let mut socket = RawSocket::subscribed(queue, crate::PREFETCH);
    for () in committed {
        socket.take();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    drop(socket);
    began.elapsed()
}

fn transaction(conn: &mut PgConnection) {
    let id = Uuid::new_v4().to_string();
    conn.transaction::<(), diesel::result::Error, _>(|conn| {
        diesel::insert_into(received::table)
            .values(Row {
                id: Id(Uuid::now_v7()),
                msg_id: id.clone(),
                headers: Document(json!({
                    "dop-msg-id": id, "dop-msg-destination": "/topic/orders",
                    "dop-msg-type": "Published", "content-type": "application/json"
                })),
                body: Document(json!({
                    "id": 1_234_567, "customer": "ann", "email": "ann@example.org",
                    "address": "12 Long Lane, Old Town", "total": 1250, "currency": "EUR",
                    "items": [1, 2, 3, 4, 5], "note": "leave at the door, please!"
                })),
            })
            .execute(conn)?;
        diesel::insert_into(effects::table)
            .values(effects::note.eq(&id))
            .execute(conn)?;
        Ok(())
    })
    .unwrap();
}
