//! A task with an eta or a countdown waits in the outbox, and runs once when it is due.

use diesel::prelude::*;
use diesel_outbox::{Celery, Meta, Registry, admin};
use serde_json::json;

use crate::clients::{effects, note, world};
use crate::python::call;
use crate::support::program::wait_until;

fn charge(
    conn: &mut SqliteConnection,
    Celery((order,)): Celery<(i32,)>,
    meta: &Meta,
) -> QueryResult<()> {
    let id = meta.header("id").unwrap_or_default();
    let has_eta = meta.header("eta").is_some();
    let expires = meta.header("expires").is_some();
    note(conn, id, &format!("{order} {has_eta} {expires}"))
}

#[test]
fn a_task_with_an_eta_runs_once_when_it_is_due() {
    let Some((world, mut conn)) = world() else {
        return;
    };
    let calls = [
        json!({"task": "shop.charge", "args": [7], "options": {"countdown": 600, "task_id": "seven"}}),
        json!({"task": "shop.charge", "args": [7], "options": {"countdown": 600, "task_id": "seven"}}),
        json!({"task": "shop.charge", "args": [8], "options": {"eta": "2020-01-01T00:00:00", "expires": 900}}),
    ];
    call(&world, &calls);
    let registry = Registry::new().on_celery("shop.charge", charge);
    // The strictest choice of id headers: by it, the task that comes back has the id of the first message.
    let config = world
        .settings()
        .set("msg_id_headers", "id")
        .build()
        .unwrap();
    let subscriber = world.subscribe(&registry, &config);
    wait_until("the task that is due runs", || {
        !effects(&mut conn).is_empty()
    });
    let notes = |conn: &mut SqliteConnection| -> Vec<String> {
        effects(conn)
            .into_iter()
            .map(|effect| effect.note)
            .collect()
    };
    assert_eq!(notes(&mut conn), ["8 true true"]);
    wait_until("the other one waits", || {
        admin::totals(&mut conn).unwrap().received == 2
    });
    assert_eq!(world.relay::<SqliteConnection>().sent, 0, "it is not due");

    diesel::sql_query("update published set due_at = added")
        .execute(&mut conn)
        .unwrap();
    assert_eq!(
        world.relay::<SqliteConnection>().sent,
        1,
        "the duplicate left no second row"
    );
    wait_until("the task runs", || effects(&mut conn).len() == 2);
    // Sent twice, it has its effect once.
    diesel::sql_query("update published set status = 1, sent_at = null")
        .execute(&mut conn)
        .unwrap();
    assert_eq!(world.relay::<SqliteConnection>().sent, 1);
    call(&world, &[json!({"task": "shop.charge", "args": [9]})]);
    wait_until("all are handled", || effects(&mut conn).len() == 3);
    let handled = subscriber.stop();
    assert_eq!((handled.done, handled.duplicates, handled.dead), (4, 2, 0));
    assert_eq!(
        notes(&mut conn),
        ["8 true true", "7 false false", "9 false false"]
    );
    assert_eq!(effects(&mut conn)[1].id, "seven");
}
