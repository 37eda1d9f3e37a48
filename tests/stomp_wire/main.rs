//! The client's bytes, against a hand-written peer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod certificates;
mod connect;
mod connection_end;
mod connector;
mod deadlines;
mod defects;
mod frames;
mod heartbeats;
mod hostile;
mod property;
mod receipts;
mod tls;
mod versions;

#[path = "../fuzz/pieces.rs"]
mod pieces;

use outbox_test_support::log;
use outbox_test_support::network;

use std::time::Duration;

use diesel_outbox::stomp::{Client, Error, Options, SendFrame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// The time limit of each wait; only a hang takes longer.
pub const LIMIT: Duration = Duration::from_secs(20);

pub async fn within<F: Future>(future: F) -> F::Output {
    timeout(LIMIT, future).await.expect("timed out")
}

/// The broker's side of a connection.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
}

impl Peer {
    pub async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = within(listener.accept()).await.unwrap();
        Self { stream }
    }

    /// Reads as many bytes as expected and compares them.
    pub async fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut bytes = vec![0; expected.len()];
        let mut length = 0;
        while length < bytes.len() && bytes[..length] == expected[..length] {
            match within(self.stream.read(&mut bytes[length..]))
                .await
                .unwrap()
            {
                0 => break,
                more => length += more,
            }
        }
        assert_eq!(
            bytes[..length].escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }

    /// As [`expect`](Self::expect), after any number of heart-beats.
    pub async fn expect_after_beats(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut byte = [b'\n'];
        while byte == *b"\n" {
            within(self.stream.read_exact(&mut byte)).await.unwrap();
        }
        assert_eq!(byte, expected[..1]);
        self.expect(&expected[1..]).await;
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    pub async fn receipt(&mut self, id: u64) {
        self.send(format!("RECEIPT\nreceipt-id:{id}\n\n\0\n")).await;
    }

    /// All bytes until the client closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        within(self.stream.read_to_end(&mut bytes)).await.unwrap();
        bytes
    }
}

pub async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

pub fn options(listener: &TcpListener) -> Options {
    let address = listener.local_addr().unwrap();
    Options::from_url(&format!("stomp://u:p@{address}"))
        .unwrap()
        .heartbeat(Duration::ZERO, Duration::ZERO)
}

/// Accepts a connection that was made with [`options`].
pub async fn accept(listener: &TcpListener) -> Peer {
    let mut peer = Peer::accept(listener).await;
    peer.expect(
        b"CONNECT\naccept-version:1.1,1.2\nhost:/\nheart-beat:0,0\nlogin:u\npasscode:p\n\n\0",
    )
    .await;
    peer.send(b"CONNECTED\nversion:1.2\nserver:Peer/1\nheart-beat:0,0\n\n\0\n")
        .await;
    peer
}

/// A connection and its peer.
pub async fn pair_with(change: impl FnOnce(Options) -> Options) -> (Client, Peer) {
    let listener = listener().await;
    let options = change(options(&listener));
    let (client, peer) = tokio::join!(within(Client::connect(&options)), accept(&listener));
    (client.unwrap(), peer)
}

pub async fn pair() -> (Client, Peer) {
    pair_with(|options| options).await
}

pub fn message(destination: &str) -> SendFrame {
    SendFrame {
        destination: destination.to_owned(),
        ..SendFrame::default()
    }
}

/// The bytes of [`message`].
pub fn sent(destination: &str, receipt: u64) -> String {
    format!("SEND\ndestination:{destination}\nreceipt:{receipt}\ncontent-length:0\n\n\0")
}

/// The reason of a frame that was not written, as text.
pub fn not_sent(result: Result<(), Error>) -> String {
    match result {
        Err(Error::NotSent { reason }) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}
