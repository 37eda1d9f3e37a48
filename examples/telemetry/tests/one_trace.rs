//! An order, its bill and its receipt are one trace, and only the headers carry it from process to process.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use diesel_outbox::testing::LoopbackBroker;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_outbox-example-telemetry");

fn attribute<'a>(span: &'a Value, name: &str) -> &'a str {
    let value = span["attributes"][name].as_str();
    value.unwrap_or_else(|| panic!("{name} of {span}"))
}

fn command(part: &str, database: &Path, broker: &LoopbackBroker) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg(part)
        .env("DATABASE_URL", database)
        .env("STOMP_URL", broker.url())
        .stdout(Stdio::piped());
    command
}

#[test]
fn one_trace_over_all_processes() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shop.db");
    let broker = LoopbackBroker::start().unwrap();
    let mut spans: Vec<Value> = Vec::new();
    let mut ended = |child: std::process::Child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        spans.extend(
            lines
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()),
        );
    };
    let start = |part| command(part, &database, &broker).spawn().unwrap();
    ended(start("order"));
    let billing = start("billing");
    let is_there = broker.wait_for(Duration::from_secs(30), |view| view.has_queue("billing"));
    assert!(is_there);
    ended(start("relay"));
    ended(billing);
    ended(start("calls"));

    let find = |name: &str| {
        let mut found = spans.iter().filter(|span| span["name"] == name);
        let span = found
            .next()
            .unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
        assert!(found.next().is_none(), "{name} twice in {spans:#?}");
        span
    };
    let path = |span: &Value| {
        let mut names = Vec::new();
        let mut next = span["parent"].clone();
        while !next.is_null() {
            let parent = spans.iter().find(|it| it["span"] == next).unwrap();
            names.push(parent["name"].as_str().unwrap().to_owned());
            next = parent["parent"].clone();
        }
        names
    };
    let create = find("create /topic/orders.v1");
    let send = find("send /topic/orders.v1");
    let process = find("process /topic/orders.v1");
    let bill = find("bill the customer");
    let create_call = find("create shop.receipt");
    let process_call = find("process shop.receipt");
    let mail = find("mail the receipt");
    let order = find("place an order");
    assert!(order["parent"].is_null());
    for (span, service, parents) in [
        (create, "shop", vec![]),
        (send, "relay", vec!["create /topic/orders.v1"]),
        (process, "billing", vec!["create /topic/orders.v1"]),
        (
            bill,
            "billing",
            vec![
                "correlated",
                "process /topic/orders.v1",
                "create /topic/orders.v1",
            ],
        ),
        (create_call, "shop", vec![]),
        (process_call, "calls", vec!["create shop.receipt"]),
        (
            mail,
            "calls",
            vec!["correlated", "process shop.receipt", "create shop.receipt"],
        ),
    ] {
        assert_eq!(span["trace"], order["trace"], "{span}");
        assert_eq!(span["service"], service, "{span}");
        let parents = [parents, vec!["place an order"]].concat();
        assert_eq!(path(span), parents, "{span}");
    }
    for (span, kind, system) in [
        (create, "Producer", "stomp"),
        (send, "Client", "stomp"),
        (process, "Consumer", "stomp"),
        (create_call, "Producer", "outbox"),
        (process_call, "Consumer", "outbox"),
    ] {
        assert_eq!(span["kind"], kind, "{span}");
        assert_eq!(attribute(span, "messaging.system"), system);
        let (operation, destination) = span["name"].as_str().unwrap().split_once(' ').unwrap();
        assert_eq!(attribute(span, "messaging.operation.name"), operation);
        assert_eq!(attribute(span, "messaging.operation.type"), operation);
        assert_eq!(attribute(span, "messaging.destination.name"), destination);
    }
    for (span, creation) in [
        (send, create),
        (process, create),
        (process_call, create_call),
    ] {
        let id = attribute(creation, "messaging.message.id");
        assert_eq!(attribute(span, "messaging.message.id"), id);
        assert_eq!(
            span["links"],
            serde_json::json!([creation["span"]]),
            "{span}"
        );
    }
    let queue = "messaging.destination.subscription.name";
    assert_eq!(attribute(process, queue), "billing");
    assert_eq!(attribute(process, "outbox.outcome"), "done");
    assert_eq!(attribute(process_call, "outbox.outcome"), "done");
    assert_eq!(process["status"], "Unset");
}
