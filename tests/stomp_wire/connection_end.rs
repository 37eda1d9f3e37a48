//! How a connection ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use diesel_outbox::stomp::{Client, Error, ErrorKind, SendFrame, Subscribe, Subscription};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::{Peer, message, pair, pair_with, sent, within};

async fn subscribed(client: &Client, peer: &mut Peer) -> Subscription {
    let subscribe = Subscribe {
        destination: "/s".to_owned(),
        ..Subscribe::default()
    };
    let broker = async {
        peer.expect(SUBSCRIBE_1).await;
        peer.receipt(1).await;
    };
    let (subscription, ()) = tokio::join!(within(client.subscribe(subscribe)), broker);
    subscription.unwrap()
}

const SUBSCRIBE_1: &[u8] =
    b"SUBSCRIBE\ndestination:/s\nid:sub-1\nack:client-individual\nreceipt:1\n\n\0";

fn cause(error: &Error) -> &Error {
    match error {
        Error::ConnectionLost { source: cause, .. } => cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn error_then_close() {
    let (client, mut peer) = pair().await;
    let mut subscription = subscribed(&client, &mut peer).await;
    let pending = client.send(message("/a"));
    peer.expect(sent("/a", 2)).await;
    peer.send(b"ERROR\nmessage:not_found\n\nNOT_FOUND - no exchange 'a'\n\0\n")
        .await;
    drop(peer);
    let error = within(pending).await.unwrap_err();
    assert!(error.is_outcome_unknown() && !error.names_receipt());
    assert_eq!(error.error_frame().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "the connection to the broker was lost: the broker closed the connection, after the \
         error not_found: NOT_FOUND - no exchange 'a'"
    );
    assert!(within(subscription.next()).await.is_none());
    assert!(within(client.closed()).await.error_frame().is_some());

    // Later frames are not written, and their errors contain the reason.
    let error = client.send(message("/b")).await.unwrap_err();
    assert!(matches!(error, Error::NotSent { .. }) && error.error_frame().is_some());
    assert!(subscription.unsubscribe().await.is_err());
    assert!(client.disconnect().await.is_err());
}

/// RabbitMQ 4.3 at times sends two ERRORs, of which the second one has the reason.
#[tokio::test]
async fn the_reason_may_come_after_a_processing_error() {
    let (client, mut peer) = pair().await;
    let pending = client.send(message("/a"));
    peer.expect(sent("/a", 1)).await;
    peer.send(b"ERROR\nmessage:Processing error\n\nProcessing error\n\0\n")
        .await;
    peer.send(
        b"ERROR\nmessage:precondition_failed\n\nPRECONDITION_FAILED - inequivalent arg 'x'\n\0\n",
    )
    .await;
    drop(peer);
    let error = within(pending).await.unwrap_err();
    let frame = error.error_frame().unwrap();
    assert_eq!(frame.kind(), ErrorKind::DeclaredOtherwise, "{error}");
}

/// RabbitMQ 3.10 does this after an unknown destination. Its RECEIPT for a SUBSCRIBE after the
/// ERROR that refused it must not count.
#[tokio::test]
async fn error_and_no_close() {
    let (client, mut peer) = pair().await;
    let refused = client.subscribe(Subscribe {
        destination: "/s".to_owned(),
        ..Subscribe::default()
    });
    let broker = async {
        peer.expect(SUBSCRIBE_1).await;
        let bad = client.send(message("/bad"));
        let good = client.send(message("/good"));
        peer.expect(sent("/bad", 2) + &sent("/good", 3)).await;
        peer.send(b"ERROR\nmessage:Unknown destination\n\n\0\n")
            .await;
        peer.receipt(1).await;
        peer.receipt(3).await;
        within(good).await.unwrap();
        // Nothing more is written.
        let queued = client.send(message("/queued"));
        let error = within(bad).await.unwrap_err();
        assert!(error.is_outcome_unknown() && error.error_frame().is_some());
        assert!(matches!(cause(&error), Error::LeftOpen), "{error}");
        assert!(!error.is_closed_by_us());
        let error = within(queued).await.unwrap_err();
        assert!(matches!(error, Error::NotSent { .. }), "{error}");
        assert!(peer.rest().await.is_empty());
    };
    let (refused, ()) = tokio::join!(within(refused), broker);
    assert!(refused.unwrap_err().error_frame().is_some());
}

/// RabbitMQ, if a queue is deleted under its consumer.
#[tokio::test]
async fn a_cancelled_subscription_ends_at_once() {
    let (client, mut peer) = pair().await;
    let mut subscription = subscribed(&client, &mut peer).await;
    peer.send(b"ERROR\nmessage:Server cancelled subscription\nsubscription:sub-1\n\n\0\n")
        .await;
    assert!(within(subscription.next()).await.is_none());
    let error = within(client.closed()).await;
    assert_eq!(error.error_frame().unwrap().kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn close_without_error() {
    let (client, mut peer) = pair().await;
    let pending = client.send(message("/a"));
    peer.expect(sent("/a", 1)).await;
    drop(peer);
    let error = within(pending).await.unwrap_err();
    assert!(error.is_outcome_unknown() && error.error_frame().is_none());
    assert!(matches!(cause(&error), Error::Disconnected), "{error}");
    assert!(client.is_closed());
}

#[tokio::test]
async fn frames_that_are_not_stomp() {
    for (bytes, expected) in [
        (&b"MESSAGE\n\xff:x\n\n\0"[..], "not UTF-8"),
        (b"RECEIPT\nreceipt-id:\\x\n\n\0", "undefined escape"),
        (b"RECEIPT\ncontent-length:x\n\n\0", "not a number"),
        (b"RECEIPT\n\n\0", "RECEIPT without receipt-id"),
        (b"MESSAGE\nmessage-id:1\n\n\0", "MESSAGE without"),
        (b"CONNECTED\nversion:1.2\n\n\0", "unexpected frame"),
        (b"HTTP/1.1 400\x1b\r\n\r\n\0", "unexpected frame"),
    ] {
        let (client, mut peer) = pair().await;
        let pending = client.send(message("/a"));
        peer.expect(sent("/a", 1)).await;
        peer.send(bytes).await;
        let error = within(pending).await.unwrap_err();
        assert!(error.is_outcome_unknown());
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.to_string().contains('\u{1b}'));
        peer.rest().await;
    }
}

#[tokio::test]
async fn the_last_handle_dropped_disconnects() {
    let (client, mut peer) = pair().await;
    let subscription = subscribed(&client, &mut peer).await;
    drop(client.send(message("/a")));
    drop(client.clone());
    drop(client);
    peer.expect(sent("/a", 2)).await;
    // Its receipt is waited for: RabbitMQ's receipt for DISCONNECT would not confirm it.
    peer.receipt(2).await;
    peer.expect(b"DISCONNECT\nreceipt:3\n\n\0").await;
    peer.receipt(3).await;
    assert!(peer.rest().await.is_empty());
    assert!(
        subscription
            .unsubscribe()
            .await
            .unwrap_err()
            .is_closed_by_us()
    );
}

#[tokio::test]
async fn abort_closes_at_once() {
    let (client, mut peer) = pair().await;
    let pending = client.send(message("/a"));
    peer.expect(sent("/a", 1)).await;
    client.abort();
    let error = within(pending).await.unwrap_err();
    assert!(error.is_outcome_unknown() && error.is_closed_by_us());
    assert!(within(client.closed()).await.is_closed_by_us());
    assert!(peer.rest().await.is_empty());
    client.abort();
}

#[tokio::test]
async fn disconnect_waits_for_frames_in_flight_and_is_the_last_frame() {
    let (client, mut peer) = pair().await;
    let before = client.send(message("/before"));
    let disconnect = tokio::spawn({
        let client = client.clone();
        async move { client.disconnect().await }
    });
    peer.expect(sent("/before", 1)).await;
    let again = tokio::spawn({
        let client = client.clone();
        async move { client.disconnect().await }
    });
    let after = within(client.send(message("/after"))).await.unwrap_err();
    assert!(matches!(after, Error::NotSent { .. }) && after.is_closed_by_us());
    peer.receipt(1).await;
    within(before).await.unwrap();
    peer.expect("DISCONNECT\nreceipt:2\n\n\0").await;
    peer.receipt(2).await;
    within(again).await.unwrap().unwrap();
    within(disconnect).await.unwrap().unwrap();
    assert!(peer.rest().await.is_empty());
}

/// A frame counts as written from the first byte that the socket accepts.
#[tokio::test]
async fn only_frames_begun_have_an_unknown_fate() {
    let (client, mut peer) = pair().await;
    let mut frame = message("/a");
    frame.body = vec![b'x'; 100_000].into();
    let receipts: Vec<_> = (0..300).map(|_| client.send(frame.clone())).collect();
    // It now writes more than the peer reads.
    let begin = b"SEND\ndestination:/a\nreceipt:1\n";
    peer.expect(begin).await;
    client.abort();
    let mut begun = 0;
    for receipt in receipts {
        let error = within(receipt).await.unwrap_err();
        assert!(error.is_closed_by_us());
        begun += usize::from(error.is_outcome_unknown());
    }
    let bytes = [&begin[..], &peer.rest().await].concat();
    let frames = bytes.windows(5).filter(|bytes| bytes == b"SEND\n");
    let last_is_short = !bytes.ends_with(b"\0") && !bytes.ends_with(b"x");
    let frames = frames.count();
    assert!(
        begun == frames || (last_is_short && begun == frames + 1),
        "{begun} begun, {frames} seen"
    );
    assert!((1..300).contains(&begun));
}

/// Sends more than the sockets' buffers hold, with the receipts 2 to 33, to a broker that does not
/// read; then acknowledges a message without a receipt.
async fn clog(client: &Client, peer: &mut Peer, subscription: &mut Subscription) {
    peer.send(b"MESSAGE\nsubscription:sub-1\ndestination:/s\nmessage-id:1\nack:1\n\n\0")
        .await;
    let delivery = within(subscription.next()).await.unwrap();
    let body = Bytes::from(vec![b'x'; 1 << 20]);
    for _ in 0..32 {
        let frame = SendFrame {
            body: body.clone(),
            ..message("/big")
        };
        drop(client.send(frame));
    }
    client.ack_unconfirmed(&delivery).unwrap();
}

/// An ACK without a receipt has no timeout.
#[tokio::test]
async fn disconnect_ends_even_if_the_broker_does_not_read() {
    let timeout = Duration::from_millis(500);
    for is_dropped in [false, true] {
        let (client, mut peer) = pair_with(|options| options.receipt_timeout(timeout)).await;
        let mut subscription = subscribed(&client, &mut peer).await;
        clog(&client, &mut peer, &mut subscription).await;
        let started = Instant::now();
        if is_dropped {
            drop(client);
        } else {
            let error = within(client.disconnect()).await.unwrap_err();
            assert!(error.is_timeout(), "{error}");
        }
        // The subscription ends with its connection.
        assert!(within(subscription.next()).await.is_none());
        assert!(started.elapsed() < 6 * timeout);
    }
}

/// The body of an expired frame is freed before the broker reads again.
#[tokio::test]
async fn an_expired_frame_frees_its_body() {
    struct Body {
        _held: Arc<()>,
    }
    impl AsRef<[u8]> for Body {
        fn as_ref(&self) -> &[u8] {
            b"x"
        }
    }
    let timeout = Duration::from_millis(500);
    let (client, mut peer) = pair_with(|options| options.receipt_timeout(timeout)).await;
    let mut subscription = subscribed(&client, &mut peer).await;
    clog(&client, &mut peer, &mut subscription).await;
    let held = Arc::new(());
    let frame = SendFrame {
        body: Bytes::from_owner(Body {
            _held: held.clone(),
        }),
        ..message("/given-up")
    };
    let error = within(client.send(frame)).await.unwrap_err();
    assert!(error.is_timeout() && !error.is_outcome_unknown(), "{error}");
    within(async {
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The ACK still waits.
    let mut bytes = Vec::new();
    within(async {
        while !bytes.windows(4).any(|bytes| bytes == b"ACK\n") {
            bytes.drain(..bytes.len().saturating_sub(3));
            peer.stream.read_buf(&mut bytes).await.unwrap();
        }
    })
    .await;
}
