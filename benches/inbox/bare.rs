//! A consumer on a bare socket: nothing is faster.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::queue::Queue;

/// A connection that is subscribed to a queue.
pub(crate) struct Bare {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    frame: Vec<u8>,
}

impl Bare {
    pub(crate) fn subscribed(queue: &Queue, prefetch: usize) -> Self {
        let url = crate::broker();
        let (login, place) = url
            .trim_start_matches("stomp://")
            .trim_end_matches('/')
            .rsplit_once('@')
            .unwrap();
        let (user, password) = login.split_once(':').unwrap();
        let writer = TcpStream::connect(place).unwrap();
        writer.set_nodelay(true).unwrap();
        let reader = BufReader::with_capacity(64 * 1024, writer.try_clone().unwrap());
        let mut bare = Self {
            reader,
            writer,
            frame: Vec::new(),
        };
        let connect =
            format!("CONNECT\naccept-version:1.2\nhost:/\nlogin:{user}\npasscode:{password}\n\n\0");
        bare.writer.write_all(connect.as_bytes()).unwrap();
        assert_eq!(bare.next(), "CONNECTED");
        let subscribe = format!(
            "SUBSCRIBE\nid:1\nack:client-individual\nprefetch-count:{prefetch}\ndestination:/amq/queue/{}\n\n\0",
            queue.name
        );
        bare.writer.write_all(subscribe.as_bytes()).unwrap();
        bare
    }

    /// Reads a frame, whose body holds no NUL here; its command.
    fn next(&mut self) -> &str {
        self.frame.clear();
        self.reader.read_until(0, &mut self.frame).unwrap();
        let text = std::str::from_utf8(&self.frame).unwrap().trim_start();
        text.lines().next().unwrap()
    }

    /// Takes a message and acknowledges it.
    pub(crate) fn take(&mut self) {
        assert_eq!(self.next(), "MESSAGE");
        let text = std::str::from_utf8(&self.frame).unwrap();
        let id = text.lines().find_map(|line| line.strip_prefix("ack:"));
        let ack = format!("ACK\nid:{}\n\n\0", id.unwrap());
        self.writer.write_all(ack.as_bytes()).unwrap();
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // Its receipt says that the broker has read all that came before.
        let _ = self.writer.write_all(b"DISCONNECT\nreceipt:last\n\n\0");
        let _ = self.next();
    }
}

pub(crate) fn consume(queue: &Queue, messages: usize) -> Duration {
    let began = Instant::now();
    let mut bare = Bare::subscribed(queue, crate::PREFETCH);
    for _ in 0..messages {
        bare.take();
    }
    drop(bare);
    began.elapsed()
}
