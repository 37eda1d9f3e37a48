//! Messages that a subscriber cannot run as tasks go to the dead letters, with the reason.

use std::collections::BTreeMap;

use diesel::SqliteConnection;
use diesel_outbox::{Celery, Meta, Registry};
use serde_json::json;

use crate::clients::{effects, note, world};
use crate::python::call;
use crate::support::amqp::Publisher;

fn charge(
    conn: &mut SqliteConnection,
    Celery((order,)): Celery<(i32,)>,
    meta: &Meta,
) -> diesel::QueryResult<()> {
    note(conn, meta.msg_id(), &order.to_string())
}

#[test]
fn what_cannot_run_goes_to_the_dead_letters_with_its_reason() {
    let Some((world, mut conn)) = world() else {
        return;
    };
    let task = "shop.charge";
    let cases = [
        (
            json!({"task": task, "args": [7], "options": {"serializer": "pickle"}}),
            "task_serializer = \"json\"",
        ),
        (
            json!({"task": task, "args": [7], "options": {"compression": "gzip"}}),
            "unset task_compression",
        ),
        (
            json!({"task": "shop.unknown", "args": [7]}),
            "no task is named `shop.unknown`; there are: shop.charge",
        ),
        (
            json!({"task": task, "args": ["x"]}),
            "the arguments of the task: invalid type",
        ),
        (
            json!({"task": task, "args": [7, 8]}),
            "the arguments of the task: ",
        ),
        (
            json!({"task": task, "kwargs": {"order": 7}}),
            "the arguments of the task: invalid type: map, expected positional arguments only",
        ),
        (
            json!({"task": task, "args": [7], "options": {"link": [{"task": "a"}]}}),
            "the task has `callbacks`",
        ),
        (
            json!({"task": task, "args": [7], "options": {"chain": [{"task": "a"}]}}),
            "the task has `chain`",
        ),
        (
            json!({"task": task, "args": [7], "options": {"eta": "tomorrow"}}),
            "the header `eta` is not a time: `tomorrow`",
        ),
    ];
    let calls: Vec<_> = cases.iter().map(|(call, _)| call.clone()).collect();
    let ids = call(&world, &calls);
    // No task at all, a body that is not one, and a task that has expired: RabbitMQ itself drops those of a
    // client, which sets the expiry of the message too.
    let mut publisher = Publisher::connect(&world.broker);
    publisher.publish(&world.queue, &[(b"id", b"none")], b"[[], {}, {}]");
    let odd: &[(&[u8], &[u8])] = &[(b"id", b"odd"), (b"task", b"shop.charge")];
    publisher.publish(&world.queue, odd, b"{}");
    let late: &[(&[u8], &[u8])] = &[
        (b"id", b"late"),
        (b"task", b"shop.charge"),
        (b"expires", b"2020-01-01T00:00:00"),
    ];
    publisher.publish(&world.queue, late, b"[[7], {}, {}]");
    publisher.close();

    let registry = Registry::new().on_celery(task, charge);
    let config = world.settings().build().unwrap();
    let subscriber = world.subscribe(&registry, &config);
    let found: BTreeMap<String, String> = world.dead_letters(cases.len() + 3).into_iter().collect();
    for (id, (call, expected)) in ids.iter().zip(&cases) {
        assert!(found[id].contains(expected), "{call}: {}", found[id]);
    }
    assert!(
        found["none"].contains("no header `task`"),
        "{}",
        found["none"]
    );
    assert!(
        found["odd"].contains("not `[args, kwargs, embed]`"),
        "{}",
        found["odd"]
    );
    let late = "the task expired at 2020-01-01T00:00:00+00:00";
    assert_eq!(found["late"], late);
    let handled = subscriber.stop();
    assert_eq!((handled.done, handled.dead), (0, cases.len() as u64 + 3));
    assert!(effects(&mut conn).is_empty());
}
