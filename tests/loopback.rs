//! The loopback broker, byte by byte: what it says is what RabbitMQ says in the same conversation.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use diesel_outbox::testing::LoopbackBroker;

const PATIENCE: Duration = Duration::from_secs(20);
const LOGIN: &str = "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n";

/// A socket that speaks STOMP with neither the client nor its codec.
struct Wire {
    socket: TcpStream,
    unread: Vec<u8>,
}

/// A frame as it was written, taken apart without unescaping.
#[derive(Debug, PartialEq, Eq)]
struct Raw {
    command: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Raw {
    #[track_caller]
    fn header(&self, name: &str) -> &str {
        match self.headers.get(name) {
            Some(value) => value,
            None => panic!("no {name} in {self:?}"),
        }
    }

    #[track_caller]
    fn is(self, command: &str) -> Self {
        assert_eq!(self.command, command, "{self:?}");
        self
    }
}

impl Wire {
    fn open(place: &str) -> Self {
        let socket = TcpStream::connect(place).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self {
            socket,
            unread: Vec::new(),
        }
    }

    fn login(place: &str) -> Self {
        let mut wire = Self::open(place);
        wire.say(&format!("{LOGIN}\n\0"));
        wire.hear().is("CONNECTED");
        wire
    }

    fn say(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).unwrap();
    }

    /// More of what comes; `false` at the end.
    fn read(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.socket.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&chunk[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}, after {:?}", self.unread),
        }
    }

    /// The bytes up to the next NUL outside a counted body.
    fn frame(&mut self) -> Option<Vec<u8>> {
        loop {
            let blank = self
                .unread
                .iter()
                .take_while(|byte| **byte == b'\n')
                .count();
            self.unread.drain(..blank);
            let text = String::from_utf8_lossy(&self.unread).into_owned();
            if let Some(head) = text.find("\n\n") {
                let counted = text[..head]
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length:"))
                    .map(|length| head + 2 + length.parse::<usize>().unwrap());
                let end = counted.or_else(|| text[head..].find('\0').map(|nul| head + nul));
                if let Some(end) = end.filter(|end| self.unread.len() > *end) {
                    assert_eq!(self.unread[end], 0, "{text:?}");
                    return Some(self.unread.drain(..=end).collect());
                }
            }
            if !self.read() {
                return None;
            }
        }
    }

    #[track_caller]
    fn hear(&mut self) -> Raw {
        let Some(bytes) = self.frame() else {
            panic!("the connection ended before a frame")
        };
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        Raw {
            command: lines.next().unwrap().to_owned(),
            headers: lines
                .rev()
                .map(|line| line.split_once(':').unwrap())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: body.trim_end_matches('\0').to_owned(),
        }
    }

    /// The next two, in the order of their commands.
    fn hear_two(&mut self) -> (Raw, Raw) {
        let (first, second) = (self.hear(), self.hear());
        if first.command <= second.command {
            (first, second)
        } else {
            (second, first)
        }
    }

    #[track_caller]
    fn is_closed(&mut self) {
        let next = self
            .frame()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!(next, None);
    }

    /// Still answers.
    fn is_open(&mut self) {
        self.say("BEGIN\ntransaction:still\nreceipt:still\n\n\0");
        let receipt = self.hear().is("RECEIPT");
        assert_eq!(receipt.header("receipt-id"), "still");
    }

    fn subscribe(&mut self, id: &str, destination: &str, more: &str) {
        self.say(&format!(
            "SUBSCRIBE\nid:{id}\ndestination:{destination}\nack:client-individual\n\
             durable:true\nauto-delete:false\nreceipt:made-{id}\n{more}\n\0"
        ));
        let receipt = self.hear().is("RECEIPT");
        assert_eq!(receipt.header("receipt-id"), format!("made-{id}"));
    }
}

/// Where a broker listens, and a name that no other case has.
struct Place {
    place: String,
    name: String,
    _broker: Option<LoopbackBroker>,
}

impl Place {
    fn loopback() -> Option<Self> {
        let broker = LoopbackBroker::start().unwrap();
        Some(Self {
            place: format!("127.0.0.1:{}", broker.port()),
            _broker: Some(broker),
            name: unique_name(),
        })
    }

    fn rabbitmq() -> Option<Self> {
        let url = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ")?;
        let rest = url.split_once("://").unwrap().1;
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        Some(Self {
            place: rest.split('/').next().unwrap().to_owned(),
            name: unique_name(),
            _broker: None,
        })
    }

    fn login(&self) -> Wire {
        Wire::login(&self.place)
    }

    /// The queue arguments of a subscriber, as header lines.
    fn arguments(&self) -> String {
        format!(
            "x-queue-name:{0}\nx-dead-letter-exchange:\nx-dead-letter-routing-key:DLQ.{0}\n",
            self.name
        )
    }
}

fn unique_name() -> String {
    format!("outbox-test-{}", uuid::Uuid::new_v4().simple())
}

macro_rules! conversations {
    ($($case:ident),* $(,)?) => {
        mod loopback {
            $(#[test]
            fn $case() {
                let Some(place) = crate::Place::loopback() else { return };
                crate::$case(&place);
            })*
        }
        mod rabbitmq {
            $(#[test]
            fn $case() {
                let Some(place) = crate::Place::rabbitmq() else { return };
                crate::$case(&place);
            })*
        }
    };
}

conversations!(
    a_login_is_answered,
    a_wrong_password_is_refused,
    a_message_goes_round_and_ends_at_the_dead_letters,
    a_second_ack_closes,
    other_arguments_close,
    a_bad_destination_does_not_close,
    a_message_id_on_a_send_is_refused,
    a_malformed_frame_closes_without_a_word,
    special_characters_are_escaped,
    what_was_not_acknowledged_comes_again,
    hearts_beat,
    disconnect_is_confirmed,
    the_highest_common_version_is_agreed_upon,
    without_a_common_version_nobody_comes_in,
    before_1_2_a_message_is_acknowledged_by_its_message_id,
);

fn a_login_is_answered(place: &Place) {
    let mut wire = Wire::open(&place.place);
    wire.say(&format!("{LOGIN}heart-beat:0,0\n\n\0"));
    let connected = wire.hear().is("CONNECTED");
    assert_eq!(connected.header("version"), "1.2");
    assert_eq!(connected.header("heart-beat"), "0,0");
    assert!(connected.header("session").starts_with("session-"));
    assert!(connected.header("server").contains('/'), "name and version");
    wire.is_open();
}

fn a_wrong_password_is_refused(place: &Place) {
    let mut wire = Wire::open(&place.place);
    wire.say("CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:no\n\n\0");
    let error = wire.hear().is("ERROR");
    assert_eq!(error.header("message"), "Bad CONNECT");
    assert!(
        error.body.contains("Access refused for user 'guest'"),
        "{error:?}"
    );
    wire.is_closed();
}

fn a_message_goes_round_and_ends_at_the_dead_letters(place: &Place) {
    let mut wire = place.login();
    let name = &place.name;
    // As a subscriber declares the queue of dead letters.
    wire.subscribe(
        "dead",
        &format!("/queue/DLQ.{name}"),
        &format!(
            "x-queue-name:DLQ.{name}\nx-dead-letter-exchange:\n\
             x-dead-letter-routing-key:DLQ.DLQ.DLQ.{name}\n"
        ),
    );
    wire.subscribe("live", &format!("/topic/{name}"), &place.arguments());
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

    // Put back, then given up.
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

fn a_second_ack_closes(place: &Place) {
    let mut wire = place.login();
    wire.subscribe(
        "live",
        &format!("/topic/{}", place.name),
        &place.arguments(),
    );
    wire.say(&format!(
        "SEND\ndestination:/topic/{}\n\nonce\0",
        place.name
    ));
    let ack = wire.hear().is("MESSAGE").header("ack").to_owned();
    wire.say(&format!("ACK\nid:{ack}\n\n\0"));
    wire.is_open();
    wire.say(&format!("ACK\nid:{ack}\n\n\0"));
    wire.hear().is("ERROR");
    wire.is_closed();
}

fn other_arguments_close(place: &Place) {
    let mut wire = place.login();
    wire.subscribe(
        "live",
        &format!("/topic/{}", place.name),
        &place.arguments(),
    );
    let mut other = place.login();
    other.say(&format!(
        "SUBSCRIBE\nid:other\ndestination:/topic/{0}\nack:client-individual\ndurable:true\n\
         auto-delete:false\nx-queue-name:{0}\nx-dead-letter-exchange:\n\
         x-dead-letter-routing-key:elsewhere\n\n\0",
        place.name
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

fn a_bad_destination_does_not_close(place: &Place) {
    let mut wire = place.login();
    wire.say("SEND\ndestination:/nowhere/a\nreceipt:bad\n\nx\0");
    let error = wire.hear().is("ERROR");
    assert_eq!(error.header("message"), "Unknown destination");
    assert!(!error.headers.contains_key("receipt-id"), "{error:?}");
    wire.is_open();
}

fn a_message_id_on_a_send_is_refused(place: &Place) {
    let mut wire = place.login();
    wire.say(&format!(
        "SEND\ndestination:/topic/{}\nmessage-id:mine\n\nx\0",
        place.name
    ));
    let error = wire.hear().is("ERROR");
    assert!(
        error.body.contains("'message-id' is not allowed on 'SEND'"),
        "{error:?}"
    );
}

fn a_malformed_frame_closes_without_a_word(place: &Place) {
    let mut wire = place.login();
    wire.say("SEND\nno-colon-in-this-line\n\nx\0");
    wire.is_closed();
}

fn special_characters_are_escaped(place: &Place) {
    let mut wire = place.login();
    wire.subscribe(
        "live",
        &format!("/topic/{}", place.name),
        &place.arguments(),
    );
    wire.say(&format!(
        "SEND\ndestination:/topic/{}\nx-own:a\\cb\\nc\\\\d\n\nbody\0",
        place.name
    ));
    let message = wire.hear().is("MESSAGE");
    assert_eq!(message.header("x-own"), "a\\cb\\nc\\\\d");
}

fn what_was_not_acknowledged_comes_again(place: &Place) {
    let mut first = place.login();
    first.subscribe(
        "live",
        &format!("/topic/{}", place.name),
        &place.arguments(),
    );
    first.say(&format!(
        "SEND\ndestination:/topic/{}\n\nheld\0",
        place.name
    ));
    first.hear().is("MESSAGE");
    drop(first);
    let mut second = place.login();
    second.subscribe(
        "live",
        &format!("/topic/{}", place.name),
        &place.arguments(),
    );
    let message = second.hear().is("MESSAGE");
    assert_eq!(message.header("redelivered"), "true");
    assert_eq!(message.body, "held");
    second.say(&format!("ACK\nid:{}\n\n\0", message.header("ack")));
    second.is_open();
}

fn hearts_beat(place: &Place) {
    let mut wire = Wire::open(&place.place);
    // We want one each second, and send none.
    wire.say(&format!("{LOGIN}heart-beat:0,1000\n\n\0"));
    let connected = wire.hear().is("CONNECTED");
    let (sends, expects) = connected.header("heart-beat").split_once(',').unwrap();
    assert_ne!(sends, "0");
    assert_eq!(expects, "0");
    wire.unread.clear();
    assert!(wire.read());
    assert_eq!(wire.unread[0], b'\n');
}

fn disconnect_is_confirmed(place: &Place) {
    let mut wire = place.login();
    wire.say("DISCONNECT\nreceipt:bye\n\n\0");
    assert_eq!(wire.hear().is("RECEIPT").header("receipt-id"), "bye");
    wire.is_closed();
}

fn the_highest_common_version_is_agreed_upon(place: &Place) {
    for (accepted, agreed) in [
        ("", "1.0"),
        ("accept-version:1.0\n", "1.0"),
        ("accept-version:1.1\n", "1.1"),
        ("accept-version:1.2,1.0,1.1\n", "1.2"),
        ("accept-version:1.0,1.1,1.7\n", "1.1"),
    ] {
        for command in ["CONNECT", "STOMP"] {
            let mut wire = Wire::open(&place.place);
            wire.say(&format!(
                "{command}\n{accepted}host:/\nlogin:guest\npasscode:guest\n\n\0"
            ));
            let connected = wire.hear().is("CONNECTED");
            assert_eq!(connected.header("version"), agreed, "{accepted}");
        }
    }
}

fn without_a_common_version_nobody_comes_in(place: &Place) {
    let mut wire = Wire::open(&place.place);
    wire.say("CONNECT\naccept-version:1.3\nhost:/\nlogin:guest\npasscode:guest\n\n\0");
    let error = wire.hear().is("ERROR");
    assert_eq!(error.header("message"), "Version mismatch");
    assert_eq!(error.header("version"), "1.0,1.1,1.2");
    assert_eq!(error.body, "Supported versions are 1.0,1.1,1.2\n");
}

fn before_1_2_a_message_is_acknowledged_by_its_message_id(place: &Place) {
    for version in ["1.0", "1.1"] {
        let mut wire = Wire::open(&place.place);
        wire.say(&format!(
            "CONNECT\naccept-version:{version}\nhost:/\nlogin:guest\npasscode:guest\n\n\0"
        ));
        wire.hear().is("CONNECTED");
        wire.subscribe(
            "live",
            &format!("/topic/{}", place.name),
            &place.arguments(),
        );
        wire.say(&format!("SEND\ndestination:/topic/{}\n\nx\0", place.name));
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

/// Frames to say, and the commands of what is heard then; `end` is the end of the connection. NAME
/// is the place's, ID the last message's `message-id`, MEANS the header by which it is acknowledged.
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

/// What a broker says to a script, except for its own name, the session's and the place's.
fn transcript(place: &Place, version: &str, script: Script) -> Vec<String> {
    let login =
        format!("CONNECT\naccept-version:{version}\nhost:/\nlogin:guest\npasscode:guest\n\n\0");
    let means = if version == "1.2" { "id" } else { "message-id" };
    let mut wire = Wire::open(&place.place);
    let mut session = String::from("no session yet");
    let mut id = String::new();
    let mut said = Vec::new();
    for (frame, answers) in [(login.as_str(), "CONNECTED")].iter().chain(script) {
        wire.say(
            &frame
                .replace("NAME", &place.name)
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
                    // Of a body that has such names in it; `frame` has seen that it is right.
                    Some(("content-length", _)) if command == "ERROR" => "content-length:LENGTH",
                    _ => line,
                })
                .collect::<Vec<_>>()
                .join("\n");
            said.push(
                text.replace(&session, "SESSION")
                    .replace(&place.name, "NAME"),
            );
        }
    }
    said
}

/// Byte by byte, in each version.
#[test]
fn both_brokers_say_the_same() {
    let Some(rabbitmq) = Place::rabbitmq() else {
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
            let loopback = Place::loopback().unwrap();
            assert_eq!(
                transcript(&loopback, version, script),
                transcript(&rabbitmq, version, script),
                "in {version}: the loopback broker on the left, RabbitMQ on the right"
            );
        }
    }
}

/// The first frame of a connection, and what is answered. (RabbitMQ closes some only after ten seconds.)
#[test]
fn both_brokers_let_the_same_in() {
    let Some(rabbitmq) = Place::rabbitmq() else {
        return;
    };
    let loopback = Place::loopback().unwrap();
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
        let answer = |place: &Place| {
            let mut wire = Wire::open(&place.place);
            wire.say(first);
            let mut answer = wire.hear();
            answer.headers.remove("server");
            answer.headers.remove("session");
            answer
        };
        assert_eq!(answer(&loopback), answer(&rabbitmq), "to {first:?}");
    }
}

/// Each byte that the loopback broker writes, where no other broker has to agree.
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
