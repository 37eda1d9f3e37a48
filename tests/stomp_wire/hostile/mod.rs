//! The ways in which a peer can misbehave. The client reports the reason, ends, and keeps no more
//! than its limits in memory.

use std::time::{Duration, Instant};

use diesel_outbox::stomp::codec::DecodeError;
use diesel_outbox::stomp::{Client, Error, Limits, Options, Subscribe, Subscription};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::network::{Mode, Network};
use crate::{Peer, listener, message, not_sent, options, pair, pair_with, sent, within};

mod connected;
mod connecting;

/// What the sockets' buffers at both ends may hold, in bytes; on Linux each holds several MiB.
const IN_SOCKETS: usize = 24 << 20;
const SHORT: Duration = Duration::from_millis(300);
const SMALL: Limits = Limits {
    head: 4096,
    headers: 16,
    body: 64 * 1024,
};

/// A peer that has read CONNECT.
async fn asked(listener: &TcpListener) -> Peer {
    let mut peer = Peer::accept(listener).await;
    while within(peer.stream.read_u8()).await.unwrap() != 0 {}
    peer
}

/// The error of connecting if these bytes answer CONNECT and the connection stays open.
async fn answered(change: impl FnOnce(Options) -> Options, bytes: &[u8]) -> Error {
    let listener = listener().await;
    let options = change(options(&listener));
    let broker = async {
        let mut peer = asked(&listener).await;
        peer.send(bytes).await;
        // The client closes.
        peer.until_closed().await;
    };
    let (result, ()) = tokio::join!(within(Client::connect(&options)), broker);
    result.map(drop).unwrap_err()
}

/// The error of connecting if CONNECT is answered by `first`, then by `again` forever; and the
/// number of bytes that could be written.
async fn flooded(limits: Limits, first: &[u8], again: &[u8]) -> (Error, usize) {
    let listener = listener().await;
    let options = options(&listener).limits(limits).connected_timeout(SHORT);
    let (first, again) = (first.to_vec(), again.to_vec());
    let broker = tokio::spawn(async move {
        let mut peer = asked(&listener).await;
        peer.send(first).await;
        peer.flood(&again).await
    });
    let result = within(Client::connect(&options)).await;
    (result.map(drop).unwrap_err(), within(broker).await.unwrap())
}

impl Peer {
    /// Writes this repeatedly until the client closes; returns the number of bytes.
    async fn flood(&mut self, piece: &[u8]) -> usize {
        let mut length = 0;
        while within(self.stream.write_all(piece)).await.is_ok() {
            length += piece.len();
        }
        length
    }

    /// Writes this repeatedly until the client stops reading. Returns how often it was written
    /// completely and the rest of the last one.
    async fn until_stalled<'a>(&mut self, piece: &'a [u8]) -> (usize, &'a [u8]) {
        let mut count = 0;
        let mut left = piece;
        while let Ok(written) = timeout(SHORT, self.stream.write(left)).await {
            left = &left[written.unwrap()..];
            if left.is_empty() {
                (left, count) = (piece, count + 1);
            }
        }
        (count, left)
    }

    /// Waits until the client closes, in whatever way.
    async fn until_closed(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(1..) = within(self.stream.read(&mut bytes)).await {}
    }
}

/// How a connection with a frame in flight ends if the peer sends this and leaves it open.
async fn said(change: impl FnOnce(Options) -> Options, bytes: &[u8]) -> Error {
    let (client, mut peer) = pair_with(change).await;
    let pending = client.send(message("/a"));
    peer.expect(sent("/a", 1)).await;
    peer.send(bytes).await;
    let error = ends(&client, &mut peer).await;
    assert!(within(pending).await.unwrap_err().is_outcome_unknown());
    error
}

/// Waits until the client closes and returns the reason.
async fn ends(client: &Client, peer: &mut Peer) -> Error {
    let error = within(client.closed()).await;
    assert!(client.is_closed() && !error.is_closed_by_us());
    peer.until_closed().await;
    cause(error)
}

fn cause(error: Error) -> Error {
    match error {
        Error::ConnectionLost { source, .. } => (*source).clone(),
        Error::ConnectLost { source, .. } => (*source).clone(),
        other => panic!("{other:?}"),
    }
}

/// Compares with the text of [`DecodeError`].
#[track_caller]
fn assert_decode(error: &Error, expected: &DecodeError) {
    assert!(matches!(error, Error::Decode(_)), "{error:?}");
    assert_eq!(error.to_string(), expected.to_string());
}

async fn subscribed(client: &Client, peer: &mut Peer) -> Subscription {
    let subscribe = Subscribe {
        destination: "/s".to_owned(),
        ..Subscribe::default()
    };
    let broker = async {
        let mut byte = b'\n';
        // After any heart-beats, up to its end.
        while byte != 0 {
            byte = within(peer.stream.read_u8()).await.unwrap();
        }
        peer.receipt(1).await;
    };
    let (subscription, ()) = tokio::join!(within(client.subscribe(subscribe)), broker);
    subscription.unwrap()
}

/// Checks that the connection still works: a frame with this number gets its receipt.
async fn works(client: &Client, peer: &mut Peer, number: u64) {
    let receipt = client.send(message("/works"));
    peer.expect_after_beats(sent("/works", number)).await;
    peer.receipt(number).await;
    within(receipt).await.unwrap();
}

fn delivery(subscription: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "MESSAGE\nsubscription:{subscription}\ndestination:/s\nmessage-id:1\nack:1\n\
         content-length:{}\n\n",
        body.len()
    );
    [head.as_bytes(), body, b"\0\n"].concat()
}
