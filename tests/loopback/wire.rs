//! A socket that sends and receives hand-written STOMP.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const LOGIN: &str = "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n";

/// A socket that uses neither the client nor its codec.
pub(crate) struct Wire {
    socket: TcpStream,
    pub(crate) unread: Vec<u8>,
}

/// A frame as it was sent, split without unescaping.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) command: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Raw {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        match self.headers.get(name) {
            Some(value) => value,
            None => panic!("no {name} in {self:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn is(self, command: &str) -> Self {
        assert_eq!(self.command, command, "{self:?}");
        self
    }
}

impl Wire {
    pub(crate) fn open(address: &str) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self {
            socket,
            unread: Vec::new(),
        }
    }

    pub(crate) fn login(address: &str) -> Self {
        let mut wire = Self::open(address);
        wire.say(&format!("{LOGIN}\n\0"));
        wire.hear().is("CONNECTED");
        wire
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).unwrap();
    }

    /// Reads more bytes; `false` at the end.
    pub(crate) fn read(&mut self) -> bool {
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

    /// Takes the bytes up to the next NUL outside a counted body.
    pub(crate) fn frame(&mut self) -> Option<Vec<u8>> {
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
    pub(crate) fn hear(&mut self) -> Raw {
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

    /// Receives two frames and sorts them by command.
    pub(crate) fn hear_two(&mut self) -> (Raw, Raw) {
        let (first, second) = (self.hear(), self.hear());
        if first.command <= second.command {
            (first, second)
        } else {
            (second, first)
        }
    }

    #[track_caller]
    pub(crate) fn is_closed(&mut self) {
        let next = self
            .frame()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!(next, None);
    }

    /// Checks that the broker still answers.
    pub(crate) fn is_open(&mut self) {
        self.say("BEGIN\ntransaction:still\nreceipt:still\n\n\0");
        let receipt = self.hear().is("RECEIPT");
        assert_eq!(receipt.header("receipt-id"), "still");
    }

    pub(crate) fn subscribe(&mut self, id: &str, destination: &str, more: &str) {
        self.say(&format!(
            "SUBSCRIBE\nid:{id}\ndestination:{destination}\nack:client-individual\n\
             durable:true\nauto-delete:false\nreceipt:made-{id}\n{more}\n\0"
        ));
        let receipt = self.hear().is("RECEIPT");
        assert_eq!(receipt.header("receipt-id"), format!("made-{id}"));
    }
}
