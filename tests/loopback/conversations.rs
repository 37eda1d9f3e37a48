//! Conversations with the same result on each broker.

use crate::test_broker::TestBroker;
use crate::wire::{LOGIN, Wire};

pub(crate) fn a_login_is_answered(broker: &TestBroker) {
    let mut wire = Wire::open(&broker.address);
    wire.say(&format!("{LOGIN}heart-beat:0,0\n\n\0"));
    let connected = wire.hear().is("CONNECTED");
    assert_eq!(connected.header("version"), "1.2");
    assert_eq!(connected.header("heart-beat"), "0,0");
    assert!(connected.header("session").starts_with("session-"));
    assert!(connected.header("server").contains('/'), "name and version");
    wire.is_open();
}

pub(crate) fn a_wrong_password_is_refused(broker: &TestBroker) {
    let mut wire = Wire::open(&broker.address);
    wire.say("CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:no\n\n\0");
    let error = wire.hear().is("ERROR");
    assert_eq!(error.header("message"), "Bad CONNECT");
    assert!(
        error.body.contains("Access refused for user 'guest'"),
        "{error:?}"
    );
    wire.is_closed();
}

pub(crate) fn a_message_is_redelivered_and_then_dead_lettered(broker: &TestBroker) {
    let mut wire = broker.login();
    let name = &broker.name;
    // As a subscriber declares the dead-letter queue.
    wire.subscribe(
        "dead",
        &format!("/queue/DLQ.{name}"),
        &format!(
            "x-queue-name:DLQ.{name}\nx-dead-letter-exchange:\n\
             x-dead-letter-routing-key:DLQ.DLQ.DLQ.{name}\n"
        ),
    );
    wire.subscribe("live", &format!("/topic/{name}"), &broker.arguments());
    wire.say(&format!(
        "SEND\ndestination:/topic/{name}\nx-own:yes\ncontent-type:application/json\n\
         persistent:true\nreceipt:sent-1\ncontent-length:7\n\n{{\"n\":1}}\0"
    ));
    let (message, receipt) = wire.hear_two();
    assert_eq!(receipt.is("RECEIPT").header("receipt-id"), "sent-1");
    let message = message.is("MESSAGE");
    assert_eq!(message.body, "{\"n\":1}");
    assert_eq!(message.header("subscription"), "live");
    assert_eq!(message.header("destination"), format!("/topic/{name}"));
    assert_eq!(message.header("x-own"), "yes");
    assert_eq!(message.header("content-type"), "application/json");
    assert_eq!(message.header("content-length"), "7");
    assert_eq!(message.header("redelivered"), "false");
    assert!(!message.header("message-id").is_empty());

    // First requeued, then dead-lettered.
    wire.say(&format!("NACK\nid:{}\n\n\0", message.header("ack")));
    let again = wire.hear().is("MESSAGE");
    assert_eq!(again.header("redelivered"), "true");
    assert_eq!(again.header("subscription"), "live");
    assert_ne!(
        again.header("message-id"),
        message.header("message-id"),
        "new at each delivery"
    );
    wire.say(&format!(
        "NACK\nid:{}\nrequeue:false\nreceipt:given-up\n\n\0",
        again.header("ack")
    ));
    let (dead, receipt) = wire.hear_two();
    assert_eq!(receipt.is("RECEIPT").header("receipt-id"), "given-up");
    let dead = dead.is("MESSAGE");
    assert_eq!(dead.header("subscription"), "dead");
    assert_eq!(dead.header("x-own"), "yes");
    assert_eq!(dead.header("x-first-death-queue"), name);
    assert_eq!(dead.header("x-first-death-reason"), "rejected");
    wire.say(&format!(
        "ACK\nid:{}\nreceipt:done\n\n\0",
        dead.header("ack")
    ));
    assert_eq!(wire.hear().is("RECEIPT").header("receipt-id"), "done");
}

pub(crate) fn a_second_ack_closes(broker: &TestBroker) {
    let mut wire = broker.login();
    wire.subscribe(
        "live",
        &format!("/topic/{}", broker.name),
        &broker.arguments(),
    );
    wire.say(&format!(
        "SEND\ndestination:/topic/{}\n\nonce\0",
        broker.name
    ));
    let ack = wire.hear().is("MESSAGE").header("ack").to_owned();
    wire.say(&format!("ACK\nid:{ack}\n\n\0"));
    wire.is_open();
    wire.say(&format!("ACK\nid:{ack}\n\n\0"));
    wire.hear().is("ERROR");
    wire.is_closed();
}

/// Of a transaction the COMMIT may follow the UNSUBSCRIBE; without one a NACK may not.
pub(crate) fn a_transaction_returns_messages_after_an_unsubscribe(broker: &TestBroker) {
    let mut wire = broker.login();
    let topic = format!("/topic/{}", broker.name);
    wire.subscribe("live", &topic, &broker.arguments());
    wire.say(&format!("SEND\ndestination:{topic}\n\nback\0"));
    let ack = wire.hear().is("MESSAGE").header("ack").to_owned();
    wire.say(&format!(
        "BEGIN\ntransaction:t\n\n\0NACK\nid:{ack}\nrequeue:true\ntransaction:t\n\n\0\
         UNSUBSCRIBE\nid:live\n\n\0COMMIT\ntransaction:t\nreceipt:back\n\n\0"
    ));
    assert_eq!(wire.hear().is("RECEIPT").header("receipt-id"), "back");
    wire.say(&format!("NACK\nid:{ack}\n\n\0"));
    let error = wire.hear().is("ERROR");
    assert_eq!(error.header("message"), "Subscription not found");
    wire.say(&format!(
        "SUBSCRIBE\nid:again\ndestination:{topic}\nack:client-individual\ndurable:true\n\
         auto-delete:false\n{}\n\0",
        broker.arguments()
    ));
    let again = wire.hear().is("MESSAGE");
    assert_eq!(again.body, "back");
    assert_eq!(again.header("redelivered"), "true");
}

pub(crate) fn other_arguments_close(broker: &TestBroker) {
    let mut wire = broker.login();
    wire.subscribe(
        "live",
        &format!("/topic/{}", broker.name),
        &broker.arguments(),
    );
    let mut other = broker.login();
    other.say(&format!(
        "SUBSCRIBE\nid:other\ndestination:/topic/{0}\nack:client-individual\ndurable:true\n\
         auto-delete:false\nx-queue-name:{0}\nx-dead-letter-exchange:\n\
         x-dead-letter-routing-key:elsewhere\n\n\0",
        broker.name
    ));
    let error = other.hear().is("ERROR");
    assert_eq!(error.header("message"), "precondition_failed");
    assert!(
        error
            .body
            .contains("inequivalent arg 'x-dead-letter-routing-key'"),
        "{error:?}"
    );
    other.is_closed();
    wire.is_open();
}

pub(crate) fn a_bad_destination_does_not_close(broker: &TestBroker) {
    let mut wire = broker.login();
    wire.say("SEND\ndestination:/nowhere/a\nreceipt:bad\n\nx\0");
    let error = wire.hear().is("ERROR");
    assert_eq!(error.header("message"), "Unknown destination");
    assert!(!error.headers.contains_key("receipt-id"), "{error:?}");
    wire.is_open();
}

pub(crate) fn a_message_id_on_a_send_is_refused(broker: &TestBroker) {
    let mut wire = broker.login();
    wire.say(&format!(
        "SEND\ndestination:/topic/{}\nmessage-id:mine\n\nx\0",
        broker.name
    ));
    let error = wire.hear().is("ERROR");
    assert!(
        error.body.contains("'message-id' is not allowed on 'SEND'"),
        "{error:?}"
    );
}

pub(crate) fn a_malformed_frame_closes_without_an_error(broker: &TestBroker) {
    let mut wire = broker.login();
    wire.say("SEND\nno-colon-in-this-line\n\nx\0");
    wire.is_closed();
}

pub(crate) fn special_characters_are_escaped(broker: &TestBroker) {
    let mut wire = broker.login();
    wire.subscribe(
        "live",
        &format!("/topic/{}", broker.name),
        &broker.arguments(),
    );
    wire.say(&format!(
        "SEND\ndestination:/topic/{}\nx-own:a\\cb\\nc\\\\d\n\nbody\0",
        broker.name
    ));
    let message = wire.hear().is("MESSAGE");
    assert_eq!(message.header("x-own"), "a\\cb\\nc\\\\d");
}

pub(crate) fn unacknowledged_messages_are_redelivered(broker: &TestBroker) {
    let mut first = broker.login();
    first.subscribe(
        "live",
        &format!("/topic/{}", broker.name),
        &broker.arguments(),
    );
    first.say(&format!(
        "SEND\ndestination:/topic/{}\n\nheld\0",
        broker.name
    ));
    first.hear().is("MESSAGE");
    drop(first);
    let mut second = broker.login();
    second.subscribe(
        "live",
        &format!("/topic/{}", broker.name),
        &broker.arguments(),
    );
    let message = second.hear().is("MESSAGE");
    assert_eq!(message.header("redelivered"), "true");
    assert_eq!(message.body, "held");
    second.say(&format!("ACK\nid:{}\n\n\0", message.header("ack")));
    second.is_open();
}

pub(crate) fn heartbeats_are_sent(broker: &TestBroker) {
    let mut wire = Wire::open(&broker.address);
    // The client wants a heart-beat each second and sends none.
    wire.say(&format!("{LOGIN}heart-beat:0,1000\n\n\0"));
    let connected = wire.hear().is("CONNECTED");
    let (sends, expects) = connected.header("heart-beat").split_once(',').unwrap();
    assert_ne!(sends, "0");
    assert_eq!(expects, "0");
    wire.unread.clear();
    assert!(wire.read());
    assert_eq!(wire.unread[0], b'\n');
}

pub(crate) fn disconnect_is_confirmed(broker: &TestBroker) {
    let mut wire = broker.login();
    wire.say("DISCONNECT\nreceipt:bye\n\n\0");
    assert_eq!(wire.hear().is("RECEIPT").header("receipt-id"), "bye");
    wire.is_closed();
}

pub(crate) fn the_highest_common_version_is_agreed_upon(broker: &TestBroker) {
    for (accepted, agreed) in [
        ("", "1.0"),
        ("accept-version:1.0\n", "1.0"),
        ("accept-version:1.1\n", "1.1"),
        ("accept-version:1.2,1.0,1.1\n", "1.2"),
        ("accept-version:1.0,1.1,1.7\n", "1.1"),
    ] {
        for command in ["CONNECT", "STOMP"] {
            let mut wire = Wire::open(&broker.address);
            wire.say(&format!(
                "{command}\n{accepted}host:/\nlogin:guest\npasscode:guest\n\n\0"
            ));
            let connected = wire.hear().is("CONNECTED");
            assert_eq!(connected.header("version"), agreed, "{accepted}");
        }
    }
}

pub(crate) fn without_a_common_version_the_login_is_refused(broker: &TestBroker) {
    let mut wire = Wire::open(&broker.address);
    wire.say("CONNECT\naccept-version:1.3\nhost:/\nlogin:guest\npasscode:guest\n\n\0");
    let error = wire.hear().is("ERROR");
    assert_eq!(error.header("message"), "Version mismatch");
    assert_eq!(error.header("version"), "1.0,1.1,1.2");
    assert_eq!(error.body, "Supported versions are 1.0,1.1,1.2\n");
}

pub(crate) fn before_1_2_a_message_is_acknowledged_by_its_message_id(broker: &TestBroker) {
    for version in ["1.0", "1.1"] {
        let mut wire = Wire::open(&broker.address);
        wire.say(&format!(
            "CONNECT\naccept-version:{version}\nhost:/\nlogin:guest\npasscode:guest\n\n\0"
        ));
        wire.hear().is("CONNECTED");
        wire.subscribe(
            "live",
            &format!("/topic/{}", broker.name),
            &broker.arguments(),
        );
        wire.say(&format!("SEND\ndestination:/topic/{}\n\nx\0", broker.name));
        let message = wire.hear().is("MESSAGE");
        assert!(!message.headers.contains_key("ack"), "{message:?}");
        wire.say(&format!(
            "NACK\nmessage-id:{}\nsubscription:live\n\n\0",
            message.header("message-id")
        ));
        let again = wire.hear().is("MESSAGE");
        assert_eq!(again.header("redelivered"), "true");
        wire.say(&format!(
            "ACK\nmessage-id:{}\nsubscription:live\nreceipt:done\n\n\0",
            again.header("message-id")
        ));
        assert_eq!(wire.hear().is("RECEIPT").header("receipt-id"), "done");
    }
}
