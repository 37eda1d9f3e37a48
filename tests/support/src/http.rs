//! A client for the pages of a program.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Its head, in lower case.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The value of a line of metrics, by what stands before it.
    pub fn value(&self, series: &str) -> Option<f64> {
        let value = self.body.lines().find_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            (name == series).then_some(value)
        });
        value.map(|value| value.parse().unwrap())
    }
}

/// Requests a page from an address such as `127.0.0.1:9464`.
pub fn get(address: &str, path: &str) -> Answer {
    request(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n"),
    )
}

/// Sends a request, which has no body; its last line is added.
pub fn request(address: &str, head: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}
