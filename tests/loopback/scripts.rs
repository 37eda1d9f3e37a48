//! Sends the same frames to both brokers and compares the bytes of their answers.

use crate::test_broker::TestBroker;
use crate::wire::{Raw, Wire};

/// Frames to send, and the commands of the expected answers; `end` is the end of the connection.
/// NAME is the broker's unique name, ID the last message's `message-id`, MEANS the header that
/// acknowledges it.
type Script = &'static [(&'static str, &'static str)];

const SUBSCRIBE: &str = "SUBSCRIBE\nid:s-1\ndestination:/topic/NAME\nack:client-individual\n\
    x-queue-name:NAME\ndurable:false\nauto-delete:true\nreceipt:r\\c1\n\n\0";
const SEND: &str = "SEND\ndestination:/topic/NAME\n\nx\0";

const A_ROUND: Script = &[
    (SUBSCRIBE, "RECEIPT"),
    (
        "SEND\nx-own:a\\cb\\nc\\\\d\\re\ndestination:/topic/NAME\n spaced :  y\nraw:a:b\nempty:\n\
         content-type:text/plain\ntwice:1\ntwice:2\npersistent:true\ncorrelation-id:c\n\
         content-length:3\n\na\0b\0",
        "MESSAGE",
    ),
    (
        "NACK\nMEANS:ID\nsubscription:s-1\nreceipt:2\n\n\0",
        "RECEIPT MESSAGE",
    ),
    (
        "ACK\nMEANS:ID\nsubscription:another\nreceipt:3\n\n\0",
        "RECEIPT",
    ),
    (
        "SEND\r\ndestination:/topic/NAME\r\npersistent:false\r\n\r\n\0",
        "MESSAGE",
    ),
    ("ACK\nMEANS:ID\nreceipt:4\n\n\0", "RECEIPT"),
    ("UNSUBSCRIBE\nid:s-1\nreceipt:5\n\n\0", "RECEIPT"),
    ("UNSUBSCRIBE\nid:s-1\nreceipt:6\n\n\0", "ERROR"),
    ("UNSUBSCRIBE\nreceipt:7\n\n\0", "ERROR"),
    ("DISCONNECT\nreceipt:8\n\n\0", "RECEIPT end"),
];

const A_SUBSCRIPTION_WITHOUT_ID: Script = &[
    (
        "SUBSCRIBE\ndestination:/topic/NAME\nack:client\nx-queue-name:NAME\ndurable:false\n\
         auto-delete:true\nreceipt:1\n\n\0",
        "RECEIPT",
    ),
    (SEND, "MESSAGE"),
    ("ACK\nMEANS:ID\nreceipt:2\n\n\0", "RECEIPT"),
    (
        "UNSUBSCRIBE\ndestination:/topic/NAME\nreceipt:3\n\n\0",
        "RECEIPT",
    ),
    (
        "UNSUBSCRIBE\ndestination:/topic/NAME\nreceipt:4\n\n\0",
        "ERROR",
    ),
];

const NOTHING_TO_ACKNOWLEDGE: Script = &[
    (
        "SUBSCRIBE\nid:auto\ndestination:/topic/NAME\nx-queue-name:NAME\ndurable:false\n\
         auto-delete:true\nreceipt:1\n\n\0",
        "RECEIPT",
    ),
    (SEND, "MESSAGE"),
    ("ACK\nother:ID\nreceipt:2\n\n\0", "ERROR"),
    ("NACK\nMEANS:nonsense\nreceipt:3\n\n\0", "ERROR"),
    ("ACK\nMEANS:T_no@@none@@1\nreceipt:4\n\n\0", "ERROR"),
    ("ACK\nMEANS:ID\nreceipt:5\n\n\0", "RECEIPT ERROR end"),
];

const AN_ACK_AFTER_THE_END: Script = &[
    (SUBSCRIBE, "RECEIPT"),
    (SEND, "MESSAGE"),
    ("UNSUBSCRIBE\nid:s-1\nreceipt:2\n\n\0", "RECEIPT"),
    ("ACK\nMEANS:ID\nreceipt:3\n\n\0", "ERROR"),
    ("BEGIN\ntransaction:t\nreceipt:4\n\n\0", "RECEIPT"),
];

const MISTAKES: Script = &[
    ("SEND\ndestination:/nowhere/a\nreceipt:1\n\nx\0", "ERROR"),
    ("SEND\nreceipt:2\n\nx\0", "ERROR"),
    ("SEND\ndestination:/queue/a\nmessage-id:1\n\nx\0", "ERROR"),
    ("SUBSCRIBE\nid:1\nreceipt:3\n\n\0", "ERROR"),
    (
        "SUBSCRIBE\nid:1\ndestination:/topic/NAME\nack:never\n\n\0",
        "ERROR",
    ),
    ("BEGIN\nreceipt:4\n\n\0", "ERROR"),
    ("COMMIT\ntransaction:t\nreceipt:5\n\n\0", "ERROR"),
    (
        "SEND\ndestination:/topic/NAME\ntransaction:t\n\nx\0",
        "ERROR",
    ),
    ("BEGIN\ntransaction:t\nreceipt:6\n\n\0", "RECEIPT"),
    ("BEGIN\ntransaction:t\nreceipt:7\n\n\0", "RECEIPT"),
    (
        "SEND\ndestination:/amq/queue/NAME\nreceipt:8\n\nlost\0",
        "RECEIPT",
    ),
    ("NONSENSE\nreceipt:9\n\n\0", "ERROR"),
    ("BEGIN\ntransaction: t\nreceipt: 10\n\n\0", "RECEIPT"),
    (
        "SEND\ndestination:/exchange/NAME/a\nreceipt:11\n\nx\0",
        "ERROR end",
    ),
];

const A_SECOND_LOGIN: Script = &[("CONNECT\n\n\0", "end")];

const AN_UNDEFINED_ESCAPE: Script = &[("SEND\ndestination:/topic/NAME\nx:\\t\n\nx\0", "end")];

/// The broker's answers to a script, without its own name, the session and NAME.
fn transcript(broker: &TestBroker, version: &str, script: Script) -> Vec<String> {
    let login =
        format!("CONNECT\naccept-version:{version}\nhost:/\nlogin:guest\npasscode:guest\n\n\0");
    let means = if version == "1.2" { "id" } else { "message-id" };
    let mut wire = Wire::open(&broker.address);
    let mut session = String::from("no session yet");
    let mut id = String::new();
    let mut said = Vec::new();
    for (frame, answers) in [(login.as_str(), "CONNECTED")].iter().chain(script) {
        wire.say(
            &frame
                .replace("NAME", &broker.name)
                .replace("MEANS", means)
                .replace("ID", &id),
        );
        for expected in answers.split(' ') {
            let bytes = wire.frame().unwrap_or_else(|| b"end\n".to_vec());
            let text = String::from_utf8(bytes).unwrap();
            let (command, _) = text.split_once('\n').unwrap();
            assert_eq!(command, expected, "in {version}, after {frame:?}: {text}");
            let value = |name: &str| {
                text.lines()
                    .find_map(|line| Some(line.strip_prefix(name)?.to_owned()))
            };
            if let Some(value) = value("session:") {
                session = value;
            }
            if let Some(value) = value("message-id:") {
                id = value;
            }
            let text = text
                .split('\n')
                .map(|line| match line.split_once(':') {
                    Some(("server", _)) => "server:SERVER",
                    // The body contains these names; `frame` has checked its length.
                    Some(("content-length", _)) if command == "ERROR" => "content-length:LENGTH",
                    _ => line,
                })
                .collect::<Vec<_>>()
                .join("\n");
            said.push(
                text.replace(&session, "SESSION")
                    .replace(&broker.name, "NAME"),
            );
        }
    }
    said
}

/// The headers of a MESSAGE that are not the sender's own.
const OF_THE_BROKER: [&str; 9] = [
    "subscription",
    "destination",
    "message-id",
    "redelivered",
    "ack",
    "correlation-id",
    "persistent",
    "content-type",
    "content-length",
];

/// A frame of the loopback broker, which answers as RabbitMQ 3 does, with what RabbitMQ 4 writes differently:
/// it sorts the sender's headers by name. (RabbitMQ 3 reverses them.)
fn as_from_rabbitmq_4(frame: &str) -> String {
    let (head, body) = frame.split_once("\n\n").unwrap_or((frame, ""));
    if !head.starts_with("MESSAGE\n") {
        return frame.to_owned();
    }
    let name = |line: &str| line.split_once(':').map(|(name, _)| name.to_owned());
    let is_own = |line: &&str| name(line).is_some_and(|name| !OF_THE_BROKER.contains(&&*name));
    let mut own: Vec<&str> = head.lines().filter(is_own).collect();
    own.sort_by_key(|line| name(line));
    let mut own = own.into_iter();
    let lines: Vec<&str> = head
        .lines()
        .map(|line| {
            if is_own(&line) {
                own.next().unwrap()
            } else {
                line
            }
        })
        .collect();
    format!("{}\n\n{body}", lines.join("\n"))
}

/// The same for a refused login: RabbitMQ 4 ends its text without a line break.
fn as_answered_by_rabbitmq_4(mut answer: Raw) -> Raw {
    if answer.body.starts_with("Access refused") {
        answer.body = answer.body.trim_end_matches('\n').to_owned();
        let length = answer.body.len().to_string();
        answer.headers.insert("content-length".to_owned(), length);
    }
    answer
}

/// Byte by byte, in each version.
#[test]
fn both_brokers_answer_with_the_same_bytes() {
    let Some(rabbitmq) = TestBroker::rabbitmq() else {
        return;
    };
    for version in ["1.0", "1.1", "1.2"] {
        for script in [
            A_ROUND,
            A_SUBSCRIPTION_WITHOUT_ID,
            NOTHING_TO_ACKNOWLEDGE,
            AN_ACK_AFTER_THE_END,
            MISTAKES,
            A_SECOND_LOGIN,
            AN_UNDEFINED_ESCAPE,
        ] {
            let loopback = TestBroker::loopback().unwrap();
            let mut expected = transcript(&loopback, version, script);
            if rabbitmq.is_rabbitmq_4 {
                expected = expected
                    .iter()
                    .map(|frame| as_from_rabbitmq_4(frame))
                    .collect();
            }
            assert_eq!(
                expected,
                transcript(&rabbitmq, version, script),
                "in {version}: the loopback broker on the left, RabbitMQ on the right"
            );
        }
    }
}

/// The first frame of a connection and its answer. (RabbitMQ closes some only after 10 s.)
#[test]
fn both_brokers_accept_the_same_logins() {
    let Some(rabbitmq) = TestBroker::rabbitmq() else {
        return;
    };
    let loopback = TestBroker::loopback().unwrap();
    for first in [
        "CONNECT\n\n\0",
        "STOMP\r\naccept-version:1.1\r\nheart-beat:0,0\r\n\r\n\0",
        "CONNECT\naccept-version:1.1, 1.2\nhost:/\nlogin:guest\npasscode:guest\n\n\0",
        "CONNECT\nlogin: guest\npasscode: guest\n\n\0",
        "CONNECT\naccept-version:1.1\nlogin: guest\npasscode: guest\n\n\0",
        "CONNECT\naccept-version:\n\n\0",
        "CONNECT\naccept-version:2.0\nlogin:guest\npasscode:no\n\n\0",
        "CONNECT\nhost:nowhere\nlogin:guest\npasscode:guest\n\n\0",
        "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:no\n\n\0",
        "SEND\ndestination:/queue/a\n\nx\0",
    ] {
        let answer = |broker: &TestBroker| {
            let mut wire = Wire::open(&broker.address);
            wire.say(first);
            let mut answer = wire.hear();
            answer.headers.remove("server");
            answer.headers.remove("session");
            answer
        };
        let mut expected = answer(&loopback);
        if rabbitmq.is_rabbitmq_4 {
            expected = as_answered_by_rabbitmq_4(expected);
        }
        assert_eq!(expected, answer(&rabbitmq), "to {first:?}");
    }
}
