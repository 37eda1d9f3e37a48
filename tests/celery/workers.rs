//! Tasks that are written to the outbox, and run by a worker of Celery.

use std::time::Duration;

use chrono::Utc;
use diesel::RunQueryDsl;
use diesel_outbox::backend::Backend;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::{CeleryTask, admin};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::python::Worker;
use crate::support::TestDatabase;
use crate::support::program::wait_until;
use crate::world::World;

macro_rules! on_each_database {
    ($($case:ident),*) => {
        on_each_database!(@one "sqlite", sqlite, diesel::SqliteConnection,
            Some(crate::support::sqlite::<diesel::SqliteConnection>()), $($case),*);
        on_each_database!(@one "mysql", mysql, diesel::MysqlConnection,
            crate::support::mysql::<diesel::MysqlConnection>(), $($case),*);
        on_each_database!(@one "postgres", postgres, diesel::PgConnection,
            crate::support::postgres::<diesel::PgConnection>(), $($case),*);
    };
    (@one $feature:literal, $module:ident, $connection:ty, $database:expr, $($case:ident),*) => {
        #[cfg(feature = $feature)]
        mod $module {
            $(#[test]
            fn $case() {
                super::$case::<$connection>($database);
            })*
        }
    };
}

on_each_database!(a_worker_runs_what_was_committed);

fn a_worker_runs_what_was_committed<C: Backend + Migrate>(database: Option<TestDatabase>) {
    let Some(world) = World::new::<C>(database) else {
        return;
    };
    let conn = &mut world.connect::<C>();
    let args = json!([
        "it's \"é\" \u{1F980}\n\\", 1.5, 2.0, -0.1, i64::MIN, u64::MAX, true, false, null, "",
        [[], {}], {"a": {"b": [1]}}
    ]);
    let kwargs = json!({
        "text": "x", "none": null,
        "price": {"__type__": "decimal", "__value__": "12.50"},
    });
    let id = Uuid::new_v4();
    let task = || {
        CeleryTask::new("shop.charge")
            .queue(&world.queue)
            .header("x-own", "yes")
            .id(id)
    };
    let written = task().args(&args).kwargs(&kwargs).publish_if_new(conn);
    assert!(written.unwrap());
    // A write that is retried, and one that is rolled back.
    assert!(!task().publish_if_new(conn).unwrap());
    let rolled_back: Result<(), diesel_outbox::Error> = conn.transaction(|conn| {
        CeleryTask::new("shop.charge")
            .queue(&world.queue)
            .publish(conn)?;
        Err(diesel::result::Error::RollbackTransaction.into())
    });
    rolled_back.unwrap_err();
    // Before any worker: the queue is declared, and the worker that comes later can use it.
    assert_eq!(world.relay::<C>().sent, 1);

    let mut worker = Worker::start(&world, "");
    let ship = CeleryTask::new("shop.ship").queue(&world.queue).args((7,));
    ship.kwargs(json!({"express": true})).publish(conn).unwrap();
    assert_eq!(world.relay::<C>().sent, 1);
    let calls = worker.calls(2);
    let (charge, ship) = (&calls[0], &calls[1]);
    assert_eq!(charge["task"], "shop.charge");
    assert_eq!(charge["args"], args);
    let read = json!({"text": "x", "none": null, "price": "12.50"});
    assert_eq!(charge["kwargs"], read);
    assert_eq!(charge["types"]["price"], "Decimal");
    for name in ["id", "root_id", "correlation_id"] {
        assert_eq!(charge[name], id.to_string(), "{name}");
    }
    assert_eq!(charge["retries"], 0);
    assert_eq!(charge["eta"], Value::Null);
    assert_eq!(charge["header"], "yes");
    let repr = charge["argsrepr"].as_str().unwrap();
    assert!(repr.starts_with(r#"('it\'s "é" "#), "{repr}");
    assert_eq!(
        (&ship["args"], &ship["kwargsrepr"]),
        (&json!([7]), &json!("{'express': True}"))
    );
    assert!(!worker.has_ended());
}

/// The worker waits for an eta, and runs nothing that has expired by then.
#[test]
fn eta_and_expiry_hold() {
    let Some(world) = World::on_sqlite() else {
        return;
    };
    let conn = &mut world.connect::<diesel::SqliteConnection>();
    let mut worker = Worker::start(&world, "");
    let task = |n: i32| {
        CeleryTask::new("shop.charge")
            .queue(&world.queue)
            .args((n,))
    };
    let second = |n: i64| Utc::now() + chrono::Duration::seconds(n);
    let eta = second(3);
    task(1).eta(eta).publish(conn).unwrap();
    task(2)
        .eta(second(3))
        .expires(second(2))
        .publish(conn)
        .unwrap();
    task(3)
        .eta(second(5))
        .expires(second(600))
        .publish(conn)
        .unwrap();
    task(4).expires(second(-1)).publish(conn).unwrap();
    let relayed = world.relay::<diesel::SqliteConnection>();
    assert_eq!((relayed.sent, relayed.parked), (3, 1));
    worker.wait_for_line("Discarding revoked task: shop.charge");
    let calls = worker.calls(2);
    assert_eq!(
        (&calls[0]["args"], &calls[1]["args"]),
        (&json!([1]), &json!([3]))
    );
    let time = calls[0]["time"].as_f64().unwrap();
    let due = eta.timestamp_millis() as f64 / 1_000.0;
    assert!(time >= due, "{time} {due}");
}

/// Delivery is at least once: both calls have the same id, by which the task can see it.
#[test]
fn a_task_that_is_sent_again_runs_again_with_its_id() {
    let Some(world) = World::on_sqlite() else {
        return;
    };
    let conn = &mut world.connect::<diesel::SqliteConnection>();
    let worker = Worker::start(&world, "");
    let task = CeleryTask::new("shop.charge").queue(&world.queue);
    let id = task.publish(conn).unwrap();
    assert_eq!(world.relay::<diesel::SqliteConnection>().sent, 1);
    // As if the relay had been killed before it could record the receipt.
    let again = "update published set status = 1, sent_at = null";
    diesel::sql_query(again).execute(conn).unwrap();
    assert_eq!(world.relay::<diesel::SqliteConnection>().sent, 1);
    for call in worker.calls(2) {
        assert_eq!(call["id"], id.to_string());
    }
}

#[test]
fn tasks_of_one_key_reach_a_worker_in_their_order() {
    const TASKS: usize = 200;
    let Some(world) = World::on_sqlite() else {
        return;
    };
    let conn = &mut world.connect::<diesel::SqliteConnection>();
    let worker = Worker::start(&world, "");
    for n in 0..TASKS {
        let task = CeleryTask::new("shop.charge").queue(&world.queue);
        task.args((n,)).key("one".to_owned()).publish(conn).unwrap();
    }
    let later = CeleryTask::new("shop.charge").queue(&world.queue);
    later.delay(Duration::from_secs(600)).publish(conn).unwrap();
    assert_eq!(world.relay::<diesel::SqliteConnection>().sent, TASKS as u64);
    let order: Vec<Value> = worker
        .calls(TASKS)
        .iter()
        .map(|call| call["args"][0].clone())
        .collect();
    assert_eq!(order, (0..TASKS).map(|n| json!(n)).collect::<Vec<_>>());
}

/// A queue with arguments is refused without a loss, and is reached as an existing one.
#[test]
fn a_quorum_queue_is_an_existing_queue() {
    let Some(world) = World::on_sqlite() else {
        return;
    };
    let conn = &mut world.connect::<diesel::SqliteConnection>();
    let worker = Worker::start(&world, "quorum");
    let task = || CeleryTask::new("shop.charge");
    let id = task().queue(&world.queue).publish(conn).unwrap();
    wait_until("it is refused", || {
        world.relay::<diesel::SqliteConnection>();
        let row = admin::show(conn, id).unwrap();
        row.and_then(|row| row.row.error)
            .is_some_and(|error| error.contains("/amq/queue/"))
    });
    let id = task().existing_queue(&world.queue).publish(conn).unwrap();
    world.relay::<diesel::SqliteConnection>();
    assert_eq!(worker.calls(1)[0]["id"], id.to_string());
}
