//! Tasks that a client of Celery calls, and a subscriber runs.

use diesel::prelude::*;
use diesel_outbox::{BoxError, Celery, CeleryTask, Meta, Registry, admin};
use serde_json::json;
use uuid::Uuid;

use crate::python::{Worker, call};
use crate::support::program::wait_until;
use crate::world::World;

/// def charge(order, amount, currency="eur", *, at=None, request=None)
#[derive(serde::Deserialize)]
struct Charge {
    order: i32,
    amount: String,
    currency: Option<String>,
    at: Option<chrono::DateTime<chrono::Utc>>,
    request: Option<Uuid>,
}

fn charge(
    conn: &mut SqliteConnection,
    Celery(charge): Celery<Charge>,
    meta: &Meta,
) -> Result<(), BoxError> {
    let currency = charge.currency.as_deref().unwrap_or("eur");
    let year = charge.at.map(|at| at.format("%Y").to_string());
    note(
        conn,
        meta.msg_id(),
        &format!(
            "{} {} {currency} {year:?} {:?}",
            charge.order, charge.amount, charge.request
        ),
    )?;
    Ok(())
}

fn ping(conn: &mut SqliteConnection, _: Celery<()>, meta: &Meta) -> QueryResult<()> {
    note(conn, meta.msg_id(), "ping")
}

pub(crate) fn note(conn: &mut SqliteConnection, id: &str, text: &str) -> QueryResult<()> {
    diesel::sql_query("insert into effects (id, note) values (?, ?)")
        .bind::<diesel::sql_types::Text, _>(id)
        .bind::<diesel::sql_types::Text, _>(text)
        .execute(conn)?;
    Ok(())
}

#[derive(Debug, PartialEq, QueryableByName)]
pub(crate) struct Effect {
    #[diesel(sql_type = diesel::sql_types::Text)]
    pub(crate) id: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    pub(crate) note: String,
}

pub(crate) fn effects(conn: &mut SqliteConnection) -> Vec<Effect> {
    diesel::sql_query("select id, note from effects order by rowid")
        .load(conn)
        .unwrap()
}

/// A world with a table for the effects of tasks.
pub(crate) fn world() -> Option<(World, SqliteConnection)> {
    let world = World::on_sqlite()?;
    let mut conn = world.connect::<SqliteConnection>();
    diesel::sql_query("create table effects (id text not null, note text not null)")
        .execute(&mut conn)
        .unwrap();
    Some((world, conn))
}

fn registry() -> Registry<SqliteConnection> {
    Registry::new()
        .on_celery("shop.charge", charge)
        .on_celery("shop.ping", ping)
}

#[test]
fn each_task_of_a_client_has_one_effect() {
    let Some((world, mut conn)) = world() else {
        return;
    };
    let twice = Uuid::new_v4().to_string();
    let ids = call(
        &world,
        &[
            json!({"task": "shop.charge", "args": [7, "12.50"]}),
            json!({"task": "shop.charge", "args": [8], "kwargs": {
                "currency": "usd",
                "amount": {"__type__": "decimal", "__value__": "1.10"},
                "at": {"__type__": "datetime", "__value__": "2026-11-28T10:40:26+02:00"},
                "request": {"__type__": "uuid", "__value__": {"hex": "841b848953be4a729294eea95d52d622"}},
            }}),
            json!({"task": "shop.charge", "kwargs": {"order": 9, "amount": "é"},
                "options": {"task_id": twice}}),
            json!({"task": "shop.charge", "kwargs": {"order": 9, "amount": "é"},
                "options": {"task_id": twice}}),
            json!({"task": "shop.ping", "options": {"expires": 600}}),
        ],
    );
    // After the client, which declares the queue.
    let config = world.settings().build().unwrap();
    let subscriber = world.subscribe(&registry(), &config);
    wait_until("all have their effect", || {
        effects(&mut conn)
            .iter()
            .any(|effect| effect.note == "ping")
    });
    let handled = subscriber.stop();
    assert_eq!((handled.done, handled.duplicates, handled.dead), (4, 1, 0));
    let notes = [
        "7 12.50 eur None None",
        "8 1.10 usd Some(\"2026\") Some(841b8489-53be-4a72-9294-eea95d52d622)",
        "9 é eur None None",
        "ping",
    ];
    let expected = [&ids[0], &ids[1], &twice, &ids[4]];
    let expected: Vec<Effect> = expected
        .into_iter()
        .zip(notes)
        .map(|(id, note)| Effect {
            id: id.clone(),
            note: note.to_owned(),
        })
        .collect();
    assert_eq!(effects(&mut conn), expected);
}

/// A task of ours calls one in Python, in the transaction of its inbox row.
#[test]
fn a_task_calls_the_next_one_in_python() {
    fn forward(
        conn: &mut SqliteConnection,
        Celery((order, queue)): Celery<(i32, String)>,
        meta: &Meta,
    ) -> Result<(), BoxError> {
        let root = meta.header("root_id").unwrap_or_default();
        let task = CeleryTask::new("shop.ship").queue(queue).args((order,));
        task.header("root_id", root).publish(conn)?;
        Ok(())
    }
    let Some((world, mut conn)) = world() else {
        return;
    };
    let args = json!([7, world.queue]);
    let ids = call(&world, &[json!({"task": "shop.forward", "args": args})]);
    let registry = Registry::new().on_celery("shop.forward", forward);
    let config = world.settings().build().unwrap();
    let subscriber = world.subscribe(&registry, &config);
    wait_until("the task is handled", || {
        admin::totals(&mut conn).unwrap().received == 1
    });
    // The worker has the same queue.
    assert_eq!(subscriber.stop().done, 1);
    assert_eq!(world.relay::<SqliteConnection>().sent, 1);
    let worker = Worker::start(&world, "");
    let ship = &worker.calls(1)[0];
    assert_eq!(ship["args"], json!([7]));
    assert_eq!(ship["root_id"], json!(ids[0]));
}
