//! An AMQP 0-9-1 publisher for RabbitMQ: it can send what a STOMP frame cannot carry.

use std::io::{Read, Write};
use std::net::TcpStream;

/// The maximum frame size in bytes: RabbitMQ's default.
const FRAME: u32 = 131_072;
const END: u8 = 0xce;

/// A connection with one channel.
pub struct Publisher {
    stream: TcpStream,
}

impl Publisher {
    /// Connects to the RabbitMQ with this STOMP URL, as guest.
    pub fn connect(stomp_url: &str) -> Self {
        let port = std::env::var("OUTBOX_TEST_AMQP_PORT").unwrap_or_else(|_| "5672".to_owned());
        let place = stomp_url.rsplit('@').next().unwrap();
        let place = place.trim_start_matches("stomp://");
        let host = place.split([':', '/']).next().unwrap();
        let stream = TcpStream::connect(format!("{host}:{port}")).unwrap();
        let mut publisher = Self { stream };
        publisher.stream.write_all(b"AMQP\0\0\x09\x01").unwrap();
        publisher.read();
        let login = [
            &long(b"")[..],
            &short(b"PLAIN"),
            &long(b"\0guest\0guest"),
            &short(b"C"),
        ];
        publisher.method(0, (10, 11), &login.concat());
        publisher.read();
        let tuned = [&2047_u16.to_be_bytes()[..], &FRAME.to_be_bytes(), &[0, 0]];
        publisher.method(0, (10, 31), &tuned.concat());
        publisher.method(0, (10, 40), &[&short(b"/")[..], &short(b""), &[0]].concat());
        publisher.read();
        publisher.method(1, (20, 10), &short(b""));
        publisher.read();
        publisher
    }

    /// Publishes to a queue. Headers are bytes and may repeat.
    pub fn publish(&mut self, queue: &str, headers: &[(&[u8], &[u8])], body: &[u8]) {
        let table: Vec<u8> = headers
            .iter()
            .flat_map(|(name, value)| [short(name), vec![b'S'], long(value)].concat())
            .collect();
        self.publish_table(queue, &table, body);
    }

    /// The same with headers of any type, as they are in the frame.
    pub fn publish_table(&mut self, queue: &str, table: &[u8], body: &[u8]) {
        let place = [&[0, 0][..], &short(b""), &short(queue.as_bytes()), &[0]];
        self.method(1, (60, 40), &place.concat());
        let mut head = [60_u16.to_be_bytes(), [0, 0]].concat();
        head.extend((body.len() as u64).to_be_bytes());
        // Property flags: headers only.
        head.extend(0x2000_u16.to_be_bytes());
        head.extend(long(table));
        self.frame(2, 1, &head);
        for piece in body.chunks(FRAME as usize - 8) {
            self.frame(3, 1, piece);
        }
    }

    /// Declares a queue that takes one message, and refuses more (`x-overflow: reject-publish`).
    pub fn declare_full_at_one(&mut self, queue: &str) {
        let arguments = [
            &short(b"x-max-length")[..],
            b"I",
            &1_i32.to_be_bytes(),
            &short(b"x-overflow"),
            b"S",
            &long(b"reject-publish"),
            &short(b"x-expires"),
            b"I",
            &600_000_i32.to_be_bytes(),
        ];
        let durable = [2];
        let parts = [&[0, 0][..], &short(queue.as_bytes()), &durable];
        let arguments = [&parts.concat()[..], &long(&arguments.concat())].concat();
        self.method(1, (50, 10), &arguments);
        self.read();
    }

    /// Deletes a queue with all that is in it.
    pub fn delete(&mut self, queue: &str) {
        let arguments = [&[0, 0][..], &short(queue.as_bytes()), &[0]];
        self.method(1, (50, 40), &arguments.concat());
        self.read();
    }

    /// Waits until the broker has processed everything, then closes.
    pub fn close(mut self) {
        self.method(
            1,
            (20, 40),
            &[&[0, 0][..], &short(b""), &[0, 0, 0, 0]].concat(),
        );
        self.read();
    }

    fn method(&mut self, channel: u16, (class, method): (u16, u16), arguments: &[u8]) {
        let head = [class.to_be_bytes(), method.to_be_bytes()].concat();
        self.frame(1, channel, &[&head[..], arguments].concat());
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let mut bytes = vec![kind];
        bytes.extend(channel.to_be_bytes());
        bytes.extend(long(payload));
        bytes.push(END);
        self.stream.write_all(&bytes).unwrap();
    }

    /// Whether this queue exists.
    pub fn has(mut self, queue: &str) -> bool {
        // Passive: the queue is not created.
        let arguments = [&[0, 0][..], &short(queue.as_bytes()), &[1], &long(b"")];
        self.method(1, (50, 10), &arguments.concat());
        self.read().starts_with(&[0, 50, 0, 11])
    }

    fn read(&mut self) -> Vec<u8> {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut rest = vec![0; length as usize + 1];
        self.stream.read_exact(&mut rest).unwrap();
        rest
    }
}

fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

fn long(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}
