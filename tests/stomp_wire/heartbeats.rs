//! Heart-beats both ways.

use std::time::Duration;

use diesel_outbox::stomp::{Client, Error};

use crate::{Peer, listener, message, options, sent, within};

const INTERVAL: Duration = Duration::from_millis(100);

/// A connection with heart-beats of 100 ms as far as the broker has them too.
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
async fn ours_are_sent_while_nothing_else_is() {
    let (client, mut peer) = beating("0,50").await;
    peer.expect(b"\n\n\n").await;
    let receipt = client.send(message("/a"));
    peer.expect_after_beats(sent("/a", 1)).await;
    peer.expect(b"\n\n").await;
    peer.receipt(1).await;
    within(receipt).await.unwrap();
}

#[tokio::test]
async fn theirs_keep_the_connection_and_their_lack_ends_it() {
    let (client, mut peer) = beating("50,50").await;
    let pending = client.send(message("/a"));
    peer.expect_after_beats(sent("/a", 1)).await;
    // 100 ms are agreed on; the client waits for 700 ms.
    let started = tokio::time::Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        // Ours are what the peer waits for, so that nothing here sleeps.
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
    assert!(within(pending).await.unwrap_err().is_fate_unknown());
    peer.rest().await;
}

/// Half a frame of the broker is no reason to be silent, and each of its bytes a sign of life.
#[tokio::test]
async fn ours_are_sent_while_a_frame_is_half_way() {
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

/// So it is with a frame of ours that the broker reads in its own time: what it reads are signs of life,
/// and heart-beats follow when it has all.
#[tokio::test]
async fn ours_go_on_after_a_frame_that_is_read_slowly() {
    let (client, mut peer) = beating("0,50").await;
    let mut frame = message("/a");
    frame.body = vec![b'x'; 16 << 20].into();
    let receipt = client.send(frame);
    let head = "SEND\ndestination:/a\nreceipt:1\ncontent-length:16777216\n\n";
    peer.expect_after_beats(head).await;
    let mut left = (16 << 20) + 1;
    while left > 0 {
        // No heart-beat may come between.
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
