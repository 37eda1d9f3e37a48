//! Checks of the connection to the broker. They need no database: its lines are not looked at.

use super::Doctor;
use crate::support;

#[test]
fn a_broker_that_is_away_is_an_error() {
    Doctor::of("", "stomp://guest:hunter2@127.0.0.1:1/")
        .run()
        .only(&["settings", "broker.address"])
        .has("broker.address", "error", "start the broker with STOMP");
    let Some(rabbitmq) = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ") else {
        return;
    };
    // Another one takes its place.
    let both = format!("stomp://guest:guest@127.0.0.1:1/,{rabbitmq}");
    let report = Doctor::of("", &both).run();
    report.has("broker.address", "warning", "127.0.0.1:1").has(
        "broker.login",
        "ok",
        "accepted by RabbitMQ/",
    );
}

#[test]
fn a_login_that_is_refused_is_an_error() {
    let Some(rabbitmq) = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ") else {
        return;
    };
    let place = rabbitmq.rsplit_once('@').unwrap().1.trim_end_matches('/');
    let report = Doctor::of("", &format!("stomp://guest:hunter2@{place}/")).run();
    report.only(&["settings", "broker.login"]).has(
        "broker.login",
        "error",
        "correct the user and the password in stomp_url",
    );
    assert!(!format!("{report:?}").contains("hunter2"), "{report:?}");
    Doctor::of("", &format!("stomp://guest:guest@{place}/nowhere"))
        .run()
        .only(&["settings", "broker.virtual_host"])
        .has("broker.virtual_host", "error", "create the virtual host");
}

#[test]
fn activemq_answers_what_it_can() {
    let Some(activemq) = support::server("OUTBOX_TEST_ACTIVEMQ", "ActiveMQ") else {
        return;
    };
    Doctor::of("", &activemq)
        .with(&["--subscription", "/queue/outbox-doctor"])
        .with(&["--subscription", "/topic/outbox-doctor", "collected"])
        .run()
        .only(&["settings", "queue"])
        .has("broker.login", "ok", "accepted by ActiveMQ/")
        .has("broker.alarms", "ok", "the broker answers")
        .has("queue", "ok", "creates queues when they are used")
        .has(
            "queue",
            "warning",
            "look for the queue or the durable subscriber in the broker's console",
        );
}
