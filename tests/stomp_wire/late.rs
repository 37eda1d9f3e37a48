//! Frames that are not wholly written when their time is over: no whole one arrives any more.

use std::time::Duration;

use bytes::Bytes;
use diesel_outbox::stomp::{Client, Error, NotSentReason, Receipt, SendFrame};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, sleep};

use crate::{message, pair, tls, within};

/// More than the systems at both ends hold of a connection.
const BODY: usize = 48 << 20;
const TIME: Duration = Duration::from_secs(2);

/// One that may take any time, a large one that may not, and one behind it.
fn send(client: &Client) -> [Receipt; 3] {
    let large = SendFrame {
        body: Bytes::from(vec![b'x'; BODY]),
        not_after: Some(Instant::now() + TIME),
        ..message("/large")
    };
    [message("/first"), large, message("/behind")].map(|frame| client.send(frame))
}

/// Nothing of it came whole but the first: that one is the broker's or not, who knows; the others
/// are not.
async fn only_the_first_may_be_there(client: &Client, receipts: [Receipt; 3], read: &[u8]) {
    let error = within(client.closed()).await;
    assert!(error.is_closed_by_us(), "{error}");
    let Error::ConnectionLost { source, .. } = error else {
        panic!("{error:?}");
    };
    assert!(matches!(*source, Error::Late), "{source}");
    let [first, large, behind] = receipts;
    assert!(within(first).await.unwrap_err().is_fate_unknown());
    let error = within(large).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::NotSent {
                reason: NotSentReason::CutOff
            }
        ),
        "{error:?}"
    );
    let error = within(behind).await.unwrap_err();
    assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
    let ends = read.iter().filter(|byte| **byte == 0).count();
    assert!(ends <= 1, "{ends} frames in {} bytes", read.len());
}

/// Reads so much at a time, with a pause behind each, until the other side is gone.
async fn read_slowly(mut stream: impl AsyncRead + Unpin, piece: usize, pause: Duration) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; piece];
    while let Ok(length @ 1..) = within(stream.read(&mut buffer)).await {
        bytes.extend_from_slice(&buffer[..length]);
        sleep(pause).await;
    }
    bytes
}

#[tokio::test]
async fn a_peer_that_reads_slowly_gets_no_whole_one() {
    let (client, peer) = pair().await;
    let receipts = send(&client);
    let reading = tokio::spawn(read_slowly(
        peer.stream,
        64 * 1024,
        Duration::from_millis(20),
    ));
    within(client.closed()).await;
    let read = within(reading).await.unwrap();
    assert!(!read.is_empty());
    only_the_first_may_be_there(&client, receipts, &read).await;
}

#[tokio::test]
async fn a_peer_that_reads_only_later_gets_no_whole_one() {
    let (client, peer) = pair().await;
    let receipts = send(&client);
    within(client.closed()).await;
    let read = read_slowly(peer.stream, 1 << 20, Duration::ZERO).await;
    only_the_first_may_be_there(&client, receipts, &read).await;
}

#[tokio::test]
async fn nor_does_one_with_tls() {
    let (client, stream) = tls::pair().await;
    let receipts = send(&client);
    let reading = tokio::spawn(read_slowly(stream, 16 * 1024, Duration::from_millis(2)));
    within(client.closed()).await;
    let read = within(reading).await.unwrap();
    assert!(!read.is_empty());
    only_the_first_may_be_there(&client, receipts, &read).await;
}

/// What is written in time is nobody's concern any more.
#[tokio::test]
async fn one_that_is_in_time_is_waited_for() {
    for has_tls in [false, true] {
        let (client, mut stream): (Client, Box<dyn Stream>) = if has_tls {
            let (client, stream) = tls::pair().await;
            (client, Box::new(stream))
        } else {
            let (client, peer) = pair().await;
            (client, Box::new(peer.stream))
        };
        let frame = SendFrame {
            not_after: Some(Instant::now() + TIME),
            ..message("/a")
        };
        let receipt = client.send(frame);
        let expected = crate::sent("/a", 1);
        let mut bytes = vec![0; expected.len()];
        within(stream.read_exact(&mut bytes)).await.unwrap();
        assert_eq!(bytes, expected.as_bytes());
        sleep(2 * TIME).await;
        assert!(!client.is_closed());
        let answer = b"RECEIPT\nreceipt-id:1\n\n\0";
        within(tokio::io::AsyncWriteExt::write_all(&mut stream, answer))
            .await
            .unwrap();
        within(receipt).await.unwrap();
    }
}

trait Stream: AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<S: AsyncRead + tokio::io::AsyncWrite + Unpin> Stream for S {}
