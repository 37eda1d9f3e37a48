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
#[derive(Debug)]
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
            name: String::from("it"),
        })
    }

    fn rabbitmq() -> Option<Self> {
        let url = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ")?;
        let rest = url.split_once("://").unwrap().1;
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        Some(Self {
            place: rest.split('/').next().unwrap().to_owned(),
            name: format!("outbox-test-{}", uuid::Uuid::new_v4().simple()),
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
