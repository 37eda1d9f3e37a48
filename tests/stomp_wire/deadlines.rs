//! Frames with a deadline: after it, no complete frame arrives.

use std::time::Duration;

use bytes::Bytes;
use diesel_outbox::stomp::{Client, Error, NotSentReason, Receipt, SendFrame};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, sleep};

use crate::{message, pair, tls, within};

/// More than the sockets' buffers at both ends hold, in bytes.
const BODY: usize = 48 << 20;
const TIME: Duration = Duration::from_secs(2);

/// A frame without a deadline, a large one with a deadline, and one after it.
fn send(client: &Client) -> [Receipt; 3] {
    let large = SendFrame {
        body: Bytes::from(vec![b'x'; BODY]),
        not_after: Some(Instant::now() + TIME),
        ..message("/large")
    };
    [message("/first"), large, message("/behind")].map(|frame| client.send(frame))
}

/// At most the first frame arrived completely, and it may be confirmed or not. The others fail.
async fn only_the_first_may_be_there(client: &Client, receipts: [Receipt; 3], read: &[u8]) {
    let error = within(client.closed()).await;
    assert!(error.is_closed_by_us(), "{error}");
    let Error::ConnectionLost { source, .. } = error else {
        panic!("{error:?}");
    };
    assert!(matches!(*source, Error::DeadlineExceeded), "{source}");
    let [first, large, behind] = receipts;
    assert!(within(first).await.unwrap_err().is_outcome_unknown());
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

/// Reads `piece` bytes at a time with a pause after each, until the other side closes.
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
async fn a_peer_that_reads_slowly_gets_no_complete_frame() {
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
async fn a_peer_that_reads_too_late_gets_no_complete_frame() {
    let (client, peer) = pair().await;
    let receipts = send(&client);
    within(client.closed()).await;
    let read = read_slowly(peer.stream, 1 << 20, Duration::ZERO).await;
    only_the_first_may_be_there(&client, receipts, &read).await;
}

#[tokio::test]
async fn a_peer_with_tls_gets_no_complete_frame() {
    let (client, stream) = tls::pair().await;
    let receipts = send(&client);
    let reading = tokio::spawn(read_slowly(stream, 16 * 1024, Duration::from_millis(2)));
    within(client.closed()).await;
    let read = within(reading).await.unwrap();
    assert!(!read.is_empty());
    only_the_first_may_be_there(&client, receipts, &read).await;
}

/// After a frame was written before its deadline, the deadline no longer matters.
#[tokio::test]
async fn a_frame_written_in_time_keeps_waiting_for_its_receipt() {
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
