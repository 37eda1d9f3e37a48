//! Checks of the connection to the broker. They need no database: its lines are not looked at.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

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

/// A peer that accepts each login and confirms each frame.
fn artemis() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("stomp://guest:guest@{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || confirm(socket));
        }
    });
    url
}

fn confirm(mut socket: TcpStream) {
    let mut frames = BufReader::new(socket.try_clone().unwrap()).split(0);
    while let Some(Ok(frame)) = frames.next() {
        let text = String::from_utf8_lossy(&frame);
        let answer = match text.lines().find_map(|line| line.strip_prefix("receipt:")) {
            Some(id) => format!("RECEIPT\nreceipt-id:{id}\n\n\0"),
            None if text.trim_start().starts_with("CONNECT\n") => {
                "CONNECTED\nversion:1.2\nserver:ActiveMQ-Artemis/2.40.0\n\n\0".to_owned()
            }
            None => continue,
        };
        if socket.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn an_unknown_broker_is_a_warning() {
    let report = Doctor::of("", &artemis()).run();
    report
        .has(
            "broker.login",
            "warning",
            "accepted by ActiveMQ-Artemis/2.40.0",
        )
        .has("broker.login", "warning", "was not tested");
}
