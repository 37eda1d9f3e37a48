//! A consumer on a plain socket: the upper bound of the rate.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::queue::Queue;

/// A connection with a subscription to a queue.
pub(crate) struct RawSocket {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    frame: Vec<u8>,
}

impl RawSocket {
    pub(crate) fn subscribed(queue: &Queue, prefetch: usize) -> Self {
        let (login, place) = queue
            .broker
            .url
            .trim_start_matches("stomp://")
            .trim_end_matches('/')
            .rsplit_once('@')
            .unwrap();
        let (user, password) = login.split_once(':').unwrap();
        let writer = TcpStream::connect(place).unwrap();
        writer.set_nodelay(true).unwrap();
        let reader = BufReader::with_capacity(64 * 1024, writer.try_clone().unwrap());
        let mut socket = Self {
            reader,
            writer,
            frame: Vec::new(),
        };
        let connect =
            format!("CONNECT\naccept-version:1.2\nhost:/\nlogin:{user}\npasscode:{password}\n\n\0");
        socket.writer.write_all(connect.as_bytes()).unwrap();
        assert_eq!(socket.next(), "CONNECTED");
        let subscribe = format!(
            "SUBSCRIBE\nid:1\nack:client-individual\nprefetch-count:{prefetch}\ndestination:/amq/queue/{}\n\n\0",
            queue.name
        );
        socket.writer.write_all(subscribe.as_bytes()).unwrap();
        socket
    }

    /// Reads a frame and returns its command; the body must not contain NUL.
    fn next(&mut self) -> &str {
        self.frame.clear();
        self.reader.read_until(0, &mut self.frame).unwrap();
        let text = std::str::from_utf8(&self.frame).unwrap().trim_start();
        text.lines().next().unwrap()
    }

    /// Receives a message and acknowledges it.
    pub(crate) fn take(&mut self) {
        assert_eq!(self.next(), "MESSAGE");
        let text = std::str::from_utf8(&self.frame).unwrap();
        let id = text.lines().find_map(|line| line.strip_prefix("ack:"));
        let ack = format!("ACK\nid:{}\n\n\0", id.unwrap());
        self.writer.write_all(ack.as_bytes()).unwrap();
    }
}

impl Drop for RawSocket {
    fn drop(&mut self) {
        // Its receipt shows that the broker has read everything before.
        let _ = self.writer.write_all(b"DISCONNECT\nreceipt:last\n\n\0");
        let _ = self.next();
    }
}

pub(crate) fn consume(queue: &Queue, messages: usize) -> Duration {
    let began = Instant::now();
    let mut socket = RawSocket::subscribed(queue, crate::PREFETCH);
    for _ in 0..messages {
        socket.take();
    }
    drop(socket);
    began.elapsed()
}
