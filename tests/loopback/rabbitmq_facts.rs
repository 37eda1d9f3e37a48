//! What RabbitMQ does that this library relies on, by hand-written frames: docs/servers.md names the versions.

use std::time::{Duration, Instant};

use crate::support::{self, amqp};
use crate::test_broker::TestBroker;
use crate::wire::{LOGIN, Wire};

/// A connection with a subscription to the test's queue.
fn subscribed(broker: &TestBroker) -> Wire {
    let mut wire = broker.login();
    let arguments = format!("{}x-expires:600000\n", broker.arguments());
    wire.subscribe("live", &format!("/topic/{}", broker.name), &arguments);
    wire
}

fn send(broker: &TestBroker, receipt: &str, more: &str, body: &str) -> String {
    format!(
        "SEND\ndestination:/topic/{}\npersistent:true\nreceipt:{receipt}\n{more}\n{body}\0",
        broker.name
    )
}

#[track_caller]
fn receipt_of(wire: &mut Wire) -> String {
    wire.hear().is("RECEIPT").header("receipt-id").to_owned()
}

/// One receipt for each SEND to one queue, in their order.
#[test]
fn receipts_of_one_queue_are_in_order() {
    let Some(broker) = TestBroker::rabbitmq() else {
        return;
    };
    drop(subscribed(&broker));
    let mut wire = broker.login();
    let sends: String = (0..200)
        .map(|n| send(&broker, &n.to_string(), "", "x"))
        .collect();
    wire.say(&sends);
    for n in 0..200 {
        assert_eq!(receipt_of(&mut wire), n.to_string());
    }
}

/// Only the number in an ack id counts, not its session.
#[test]
fn a_stale_ack_acknowledges_another_message() {
    let Some(broker) = TestBroker::rabbitmq() else {
        return;
    };
    let mut first = subscribed(&broker);
    for body in ["a", "b"] {
        first.say(&format!(
            "SEND\ndestination:/topic/{}\n\n{body}\0",
            broker.name
        ));
    }
    let (a, b) = (first.hear().is("MESSAGE"), first.hear().is("MESSAGE"));
    first.say(&format!("ACK\nid:{}\nreceipt:a\n\n\0", a.header("ack")));
    assert_eq!(receipt_of(&mut first), "a");
    drop(first);

    let mut second = subscribed(&broker);
    assert_eq!(second.hear().is("MESSAGE").body, "b");
    second.say(&format!("SEND\ndestination:/topic/{}\n\nc\0", broker.name));
    assert_eq!(second.hear().is("MESSAGE").body, "c");
    second.say(&format!("ACK\nid:{}\nreceipt:stale\n\n\0", b.header("ack")));
    assert_eq!(receipt_of(&mut second), "stale");
    drop(second);

    let mut third = subscribed(&broker);
    let left = third.hear().is("MESSAGE");
    assert_eq!(left.body, "b", "`c` was acknowledged");
    third.say(&format!("ACK\nid:{}\nreceipt:b\n\n\0", left.header("ack")));
    assert_eq!(receipt_of(&mut third), "b");
}

/// A queue that rejects: no ERROR and no receipt, the connection ends.
#[test]
fn a_rejected_publish_closes_without_an_error() {
    let Some(broker) = TestBroker::rabbitmq() else {
        return;
    };
    let url = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ").unwrap();
    amqp::Publisher::connect(&url).declare_full_at_one(&broker.name);
    let mut wire = broker.login();
    let mut send = |receipt: &str| {
        wire.say(&format!(
            "SEND\ndestination:/amq/queue/{}\npersistent:true\nreceipt:{receipt}\n\nx\0",
            broker.name
        ));
        wire.frame().map(|bytes| String::from_utf8(bytes).unwrap())
    };
    assert_eq!(send("1").unwrap(), "RECEIPT\nreceipt-id:1\n\n\0");
    assert_eq!(send("2"), None);
}

/// The receipt of COMMIT comes before that of the SEND in its transaction, so it confirms nothing.
#[test]
fn the_receipt_of_a_commit_confirms_nothing() {
    let Some(broker) = TestBroker::rabbitmq() else {
        return;
    };
    drop(subscribed(&broker));
    let mut wire = broker.login();
    wire.say("BEGIN\ntransaction:t\nreceipt:begin\n\n\0");
    assert_eq!(receipt_of(&mut wire), "begin");
    wire.say(&send(&broker, "send", "transaction:t\n", "x"));
    // Nothing comes before the COMMIT.
    wire.say("COMMIT\ntransaction:t\nreceipt:commit\n\n\0");
    assert_eq!(receipt_of(&mut wire), "commit");
    assert_eq!(receipt_of(&mut wire), "send");
}

#[test]
fn what_is_sent_after_a_disconnect_is_ignored() {
    let Some(broker) = TestBroker::rabbitmq() else {
        return;
    };
    drop(subscribed(&broker));
    let mut wire = broker.login();
    let late = send(&broker, "late", "", "late");
    wire.say(&format!("DISCONNECT\nreceipt:bye\n\n\0{late}"));
    assert_eq!(receipt_of(&mut wire), "bye");
    wire.is_closed();
    let mut wire = broker.login();
    wire.say(&send(&broker, "next", "", "next"));
    assert_eq!(receipt_of(&mut wire), "next");
    assert_eq!(subscribed(&broker).hear().is("MESSAGE").body, "next");
}

/// Without `prefetch-count` all messages are delivered at once.
#[test]
fn the_prefetch_is_unlimited() {
    const MESSAGES: usize = 1000;
    let Some(broker) = TestBroker::rabbitmq() else {
        return;
    };
    drop(subscribed(&broker));
    let mut wire = broker.login();
    let sends: String = (0..MESSAGES).map(|_| send(&broker, "r", "", "x")).collect();
    wire.say(&sends);
    for _ in 0..MESSAGES {
        receipt_of(&mut wire);
    }
    let mut consumer = subscribed(&broker);
    for _ in 0..MESSAGES {
        consumer.hear().is("MESSAGE");
    }
}

/// Heart-beats are whole seconds, and a client that is silent for three intervals is disconnected.
#[test]
fn a_silent_client_is_disconnected() {
    let Some(broker) = TestBroker::rabbitmq() else {
        return;
    };
    let mut wire = Wire::open(&broker.address);
    wire.say(&format!("{LOGIN}heart-beat:1400,0\n\n\0"));
    let connected = wire.hear().is("CONNECTED");
    let began = Instant::now();
    assert_eq!(connected.header("heart-beat"), "0,1000");
    wire.is_closed();
    let took = began.elapsed();
    let expected = Duration::from_secs(2)..Duration::from_secs(6);
    assert!(expected.contains(&took), "after {took:?}");
}

/// Of the headers of an AMQP publisher only texts and integers appear.
#[test]
fn headers_of_other_types_are_left_out() {
    let Some(broker) = TestBroker::rabbitmq() else {
        return;
    };
    let url = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ").unwrap();
    let mut wire = subscribed(&broker);
    amqp::Publisher::connect(&url).publish_table(
        &broker.name,
        b"\x04textS\0\0\0\x01x\x06numberI\0\0\0\x07\x04boolt\x01\x06doubled\0\0\0\0\0\0\0\0",
        b"x",
    );
    let message = wire.hear().is("MESSAGE");
    assert_eq!(message.header("text"), "x");
    assert_eq!(message.header("number"), "7");
    for missing in ["bool", "double"] {
        assert!(!message.headers.contains_key(missing), "{message:?}");
    }
}
