//! Each example runs to its end and says what it is there to say.
#![cfg(all(feature = "sqlite", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;

/// Cargo builds the examples beside the tests.
fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().unwrap().parent().unwrap();
    target.join("examples").join(name)
}

fn says(name: &str, lines: &[&str]) {
    let output = Command::new(path(name))
        .env_remove("DATABASE_URL")
        .env_remove("STOMP_URL")
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{name}:\n{out}\n{err}");
    for line in lines {
        assert!(out.contains(line), "{name}: no {line:?} in\n{out}\n{err}");
    }
}

#[test]
fn quickstart() {
    says(
        "quickstart",
        &["redelivered 2 messages", "rolled back order 3"],
    );
}

#[test]
fn calls() {
    says(
        "calls",
        &[
            "shop.charge: attempt 1 failed",
            "order 7: charged 1200 cents",
            "order 7: receipt written",
            "executed 2, failed attempts 1",
        ],
    );
}

#[test]
fn calls_axum() {
    says(
        "calls_axum",
        &[
            "HTTP/1.1 200 OK {\"id\":1,\"email\":\"ann@example.org\",\"total\":12}",
            "tracked: shop.send_mail, attempt 1: the mail server does not answer",
            "to ann@example.org: thank you for order 1",
            "executed 1, failed attempts 1",
        ],
    );
}

#[test]
fn orders() {
    says(
        "orders",
        &[
            "bob's order was rolled back: true",
            "  /topic/orders.v1 {\"customer\":\"ann\",\"id\":1,\"total\":13}",
            "  /topic/audit \"order 1 of ann\" insert",
            "  /topic/orders.gone {\"id\":1}",
            "sent 7",
        ],
    );
}

#[test]
fn custom_logic() {
    says(
        "custom_logic",
        &[
            "30 of ann's to bob: true",
            "300 of ann's to bob: false",
            "sent 3",
            "/topic/transfers.v2 {\"amount\":30,\"from\":1,\"to\":2}",
        ],
    );
}

#[test]
fn direct_send() {
    says(
        "direct_send",
        &[
            "the broker has ",
            "refused: ",
            "the destination is empty",
            "in the queue: 1",
        ],
    );
}

#[test]
fn subscribe_registry() {
    says(
        "subscribe_registry",
        &[
            "created: 2 done, 1 discarded",
            "cancelled: 1 done",
            "2 messages of bills",
        ],
    );
}

#[test]
fn self_managed() {
    says(
        "self_managed",
        &["sent 3", "1 imported, 1 duplicates, 1 discarded"],
    );
}

#[cfg(unix)]
#[test]
fn exec_callback() {
    says(
        "exec_callback",
        &[
            "2 done",
            "greeting {\"to\":\"ann\"}",
            "greeting {\"to\":\"bob\"}",
        ],
    );
}

#[test]
fn axum_service() {
    says(
        "axum_service",
        &[
            "HTTP/1.1 200 OK {\"id\":1,\"customer\":\"ann\",\"total\":12}",
            "billed \"ann\" for request-7",
            "sent 1, handled 1",
        ],
    );
}

#[test]
fn celery() {
    says(
        "celery",
        &[
            "written again: false",
            "/queue/shop shop.charge [[7,\"12.50\"],{},{",
            "sent 3",
            "charged 12.50 eur for order 7, attempt of task 00000000-0000-0000-0000-000000000007",
            "charged 3 usd for order 8",
            "2 done, 1 dead letters",
        ],
    );
}
