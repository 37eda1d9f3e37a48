//! Heart-beats in both directions.

use std::time::Duration;

use diesel_outbox::stomp::{Client, Error};

use crate::{Peer, listener, message, options, sent, within};

const INTERVAL: Duration = Duration::from_millis(100);

/// A connection that offers heart-beats of 100 ms; the broker offers `theirs`.
async fn beating(theirs: &str) -> (Client, Peer) {
    let listener = listener().await;
    let options = options(&listener).heartbeat(INTERVAL, INTERVAL);
    let broker = async {
        let mut peer = Peer::accept(&listener).await;
        peer.expect(
            b"CONNECT\naccept-version:1.1,1.2\nhost:/\nheart-beat:100,100\n\
              login:u\npasscode:p\n\n\0",
        )
        .await;
        peer.send(format!("CONNECTED\nversion:1.2\nheart-beat:{theirs}\n\n\0"))
            .await;
        peer
    };
    let (client, peer) = tokio::join!(within(Client::connect(&options)), broker);
    (client.unwrap(), peer)
}

#[tokio::test]
async fn the_client_sends_heartbeats_while_it_is_idle() {
    let (client, mut peer) = beating("0,50").await;
    peer.expect(b"\n\n\n").await;
    let receipt = client.send(message("/a"));
    peer.expect_after_beats(sent("/a", 1)).await;
    peer.expect(b"\n\n").await;
    peer.receipt(1).await;
    within(receipt).await.unwrap();
}

#[tokio::test]
async fn the_brokers_heartbeats_keep_the_connection_and_silence_ends_it() {
    let (client, mut peer) = beating("50,50").await;
    let pending = client.send(message("/a"));
    peer.expect_after_beats(sent("/a", 1)).await;
    // 100 ms are negotiated; the client waits for 700 ms.
    let started = tokio::time::Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        // The peer waits for the client's heart-beats, so this test does not sleep.
        peer.expect(b"\n").await;
        peer.send(b"\n").await;
    }
    assert!(!client.is_closed());

    let error = within(client.closed()).await;
    let Error::ConnectionLost { source: cause, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(matches!(**cause, Error::HeartbeatLost { .. }), "{error}");
    assert!(!error.is_closed_by_us());
    assert!(within(pending).await.unwrap_err().is_outcome_unknown());
    peer.rest().await;
}

/// During half a frame of the broker the client sends heart-beats, and each byte of the frame
/// counts as a sign of life.
#[tokio::test]
async fn the_client_sends_heartbeats_during_half_a_frame() {
    let (client, mut peer) = beating("50,50").await;
    let receipt = client.send(message("/a"));
    peer.expect_after_beats(sent("/a", 1)).await;
    let frame = b"RECEIPT\nreceipt-id:1\nx:a header that takes its time\n\n\0";
    for byte in frame.chunks(8) {
        peer.send(byte).await;
        peer.expect(b"\n\n").await;
    }
    within(receipt).await.unwrap();
    assert!(!client.is_closed());
}

/// The broker reads a frame of the client slowly: heart-beats follow once the whole frame is
/// written.
#[tokio::test]
async fn heartbeats_follow_a_frame_that_is_read_slowly() {
    let (client, mut peer) = beating("0,50").await;
    let mut frame = message("/a");
    frame.body = vec![b'x'; 16 << 20].into();
    let receipt = client.send(frame);
    let head = "SEND\ndestination:/a\nreceipt:1\ncontent-length:16777216\n\n";
    peer.expect_after_beats(head).await;
    let mut left = (16 << 20) + 1;
    while left > 0 {
        // No heart-beat may be inside the frame.
        let piece = left.min(2 << 20);
        let mut expected = vec![b'x'; piece];
        left -= piece;
        if left == 0 {
            expected[piece - 1] = 0;
        }
        peer.expect(expected).await;
        tokio::time::sleep(INTERVAL).await;
    }
    peer.expect(b"\n\n").await;
    peer.receipt(1).await;
    within(receipt).await.unwrap();
}
