//! The loopback broker, byte by byte: it answers like RabbitMQ in the same conversation. And what RabbitMQ itself
//! does, in each version.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod conversations;
mod rabbitmq_facts;
mod scripts;
mod test_broker;
mod wire;

use outbox_test_support as support;

use diesel_outbox::testing::LoopbackBroker;

use wire::{LOGIN, Wire};

macro_rules! conversations {
    ($($case:ident),* $(,)?) => {
        mod loopback {
            $(#[test]
            fn $case() {
                let Some(broker) = crate::test_broker::TestBroker::loopback() else { return };
                crate::conversations::$case(&broker);
            })*
        }
        mod rabbitmq {
            $(#[test]
            fn $case() {
                let Some(broker) = crate::test_broker::TestBroker::rabbitmq() else { return };
                crate::conversations::$case(&broker);
            })*
        }
    };
}

conversations!(
    a_login_is_answered,
    a_wrong_password_is_refused,
    a_message_is_redelivered_and_then_dead_lettered,
    a_second_ack_closes,
    a_transaction_returns_messages_after_an_unsubscribe,
    other_arguments_close,
    a_bad_destination_does_not_close,
    a_message_id_on_a_send_is_refused,
    a_malformed_frame_closes_without_an_error,
    special_characters_are_escaped,
    unacknowledged_messages_are_redelivered,
    heartbeats_are_sent,
    disconnect_is_confirmed,
    the_highest_common_version_is_agreed_upon,
    without_a_common_version_the_login_is_refused,
    before_1_2_a_message_is_acknowledged_by_its_message_id,
);

/// Every byte that the loopback broker writes, for frames that no other broker needs to match.
#[test]
fn frames_are_written_as_the_specification_has_them() {
    let broker = LoopbackBroker::start().unwrap();
    let mut wire = Wire::open(&format!("127.0.0.1:{}", broker.port()));
    wire.say(&format!("{LOGIN}\n\0"));
    let expected = format!(
        "CONNECTED\nserver:diesel-outbox-loopback/{}\nsession:session-1\nheart-beat:0,0\n\
         version:1.2\n\n\0",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(String::from_utf8(wire.frame().unwrap()).unwrap(), expected);
    wire.say("SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\nreceipt:r\\c1\n\n\0");
    assert_eq!(wire.frame().unwrap(), b"RECEIPT\nreceipt-id:r\\c1\n\n\0");
    wire.say("SEND\ndestination:/queue/q\nx:1\ncontent-length:3\n\na\0b\0");
    let expected = "MESSAGE\nsubscription:0\ndestination:/queue/q\nmessage-id:T_0@@session-1@@1\n\
                    redelivered:false\nack:T_0@@session-1@@1\nx:1\ncontent-length:3\n\na\0b\0";
    assert_eq!(String::from_utf8(wire.frame().unwrap()).unwrap(), expected);
}
