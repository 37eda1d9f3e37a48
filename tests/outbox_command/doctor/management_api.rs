//! Answers of the management API that no test may cause on a broker that others use.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use super::Doctor;
use crate::support;

/// A management API that gives the answer of a function to each path; it ends with the test's process.
fn api(answer: fn(&str) -> (u16, &'static str)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                    break;
                }
                lines.push(line);
            }
            let path = lines
                .first()
                .and_then(|line| line.split(' ').nth(1))
                .unwrap_or("");
            let (status, body) = answer(path);
            let length = body.len();
            let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n");
            // The client may not wait for it.
            let _ = stream
                .get_mut()
                .write_all(format!("{head}{body}").as_bytes());
        }
    });
    format!("http://127.0.0.1:{port}/")
}

#[test]
fn alarms_and_refusals_are_reported() {
    let Some(rabbitmq) = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ") else {
        return;
    };
    let run = |url: &str| {
        Doctor::of("", &rabbitmq)
            .set("OUTBOX_MANAGEMENT_URL", url)
            .run()
    };
    // The form of RabbitMQ 3.10.
    let alarmed = api(|path| match path {
        "/api/health/checks/alarms" => (
            503,
            r#"{"status":"failed","reason":"resource alarm(s) in effect","alarms":
                [{"node":"rabbit@a","resource":"memory"}]}"#,
        ),
        _ => (200, "{}"),
    });
    run(&alarmed)
        .only(&["settings", "broker.alarms"])
        .has(
            "broker.alarms",
            "error",
            "the broker has an alarm: memory on rabbit@a",
        )
        .has("broker.alarms", "error", "free memory or disk space");
    let refusing = api(|_| (401, r#"{"error":"not_authorised"}"#));
    run(&refusing)
        .only(&["settings", "broker.management"])
        .has(
            "broker.management",
            "warning",
            "`rabbitmqctl set_user_tags USER management`",
        )
        .has("broker.alarms", "ok", "the broker answers after a message");
    let strange = api(|_| (200, "<html>"));
    run(&strange).only(&["settings", "broker.management"]).has(
        "broker.management",
        "warning",
        "its answer cannot be read",
    );
    let broken = api(|path| match path {
        "/api/whoami" => (200, "{}"),
        _ => (500, ""),
    });
    let report = Doctor::of("", &rabbitmq)
        .set("OUTBOX_MANAGEMENT_URL", &broken)
        .with(&["--subscription", "/topic/a", "b"])
        .run();
    report
        .only(&["settings", "queue"])
        .has("queue", "warning", "it answers with the status 500");
    // That of another broker, which does not have the virtual host.
    let other = api(|path| match path {
        "/api/whoami" => (200, "{}"),
        _ => (404, r#"{"error":"Object Not Found","reason":"Not Found"}"#),
    });
    let report = Doctor::of("", &rabbitmq)
        .set("OUTBOX_MANAGEMENT_URL", &other)
        .with(&["--subscription", "/topic/a", "b"])
        .run();
    report
        .only(&["settings", "broker.management", "queue"])
        .has(
            "broker.management",
            "warning",
            "another broker than stomp_url",
        )
        .has("queue", "warning", "rabbitmqctl list_queues");
}
