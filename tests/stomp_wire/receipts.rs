//! Receipts, and ERRORs that name them.

use std::time::Duration;

use bytes::Bytes;
use diesel_outbox::stomp::{Error, ErrorKind, SendFrame, Subscribe};

use crate::{message, not_sent, pair, pair_with, sent, within};

#[tokio::test]
async fn receipts_come_in_any_order() {
    let (client, mut peer) = pair().await;
    let mut receipts: Vec<_> = (1..=3).map(|_| client.send(message("/a"))).collect();
    for id in 1..=3 {
        peer.expect(sent("/a", id)).await;
    }
    for id in [3, 1, 2] {
        peer.receipt(id).await;
        within(&mut receipts[id as usize - 1]).await.unwrap();
    }
    // A receipt may be polled again.
    within(&mut receipts[0]).await.unwrap();
}

#[tokio::test]
async fn a_missing_receipt_times_out_and_the_connection_stays_open() {
    let (client, mut peer) =
        pair_with(|options| options.receipt_timeout(Duration::from_millis(500))).await;
    let lost = within(client.send(message("/lost"))).await.unwrap_err();
    assert!(matches!(lost, Error::ReceiptTimeout { .. }));
    assert!(lost.is_outcome_unknown() && lost.is_timeout() && !lost.names_receipt());

    peer.expect(sent("/lost", 1)).await;
    peer.receipt(1).await; // Late: the frame has failed already.
    let next = client.send(message("/next"));
    peer.expect(sent("/next", 2)).await;
    peer.receipt(2).await;
    within(next).await.unwrap();

    // The same for a late ERROR.
    let lost = within(client.send(message("/lost"))).await;
    assert!(lost.unwrap_err().is_timeout());
    peer.expect(sent("/lost", 3)).await;
    peer.send(b"ERROR\nreceipt-id:3\nmessage:no\n\n\0\n").await;
    let next = client.send(message("/next"));
    peer.expect(sent("/next", 4)).await;
    peer.receipt(4).await;
    within(next).await.unwrap();
}

#[tokio::test]
async fn an_error_that_names_a_receipt_is_that_frames_own() {
    let (client, mut peer) = pair().await;
    let bad = client.send(message("/bad"));
    let good = client.send(message("/good"));
    peer.expect(sent("/bad", 1) + &sent("/good", 2)).await;
    peer.send(b"ERROR\nreceipt-id:1\nmessage:Unknown destination\n\nsay\nwhy\0\n")
        .await;
    let error = within(bad).await.unwrap_err();
    assert!(error.names_receipt() && !error.is_outcome_unknown());
    let frame = error.error_frame().unwrap();
    assert_eq!(frame.kind(), ErrorKind::RefusedDestination);
    assert_eq!(frame.receipt_id.as_deref(), Some("1"));
    assert_eq!(
        error.to_string(),
        "the broker refused the frame: Unknown destination: say why"
    );
    peer.receipt(2).await;
    within(good).await.unwrap();

    // A refused SUBSCRIBE leaves no subscription.
    let broker = async {
        peer.expect(
            b"SUBSCRIBE\ndestination:/bad\nid:sub-1\nack:client-individual\nreceipt:3\n\n\0",
        )
        .await;
        peer.send(b"ERROR\nreceipt-id:3\nmessage:no\n\n\0\n").await;
    };
    let subscribe = Subscribe {
        destination: "/bad".to_owned(),
        ..Subscribe::default()
    };
    let (subscribed, ()) = tokio::join!(within(client.subscribe(subscribe)), broker);
    assert!(subscribed.unwrap_err().names_receipt());
    let ping = client.ping();
    peer.expect(
        b"BEGIN\ntransaction:ping-2\nreceipt:4.begin\n\n\0\
          ABORT\ntransaction:ping-2\nreceipt:4\n\n\0",
    )
    .await;
    peer.send(b"ERROR\nreceipt-id:4.begin\nmessage:no\n\n\0\n")
        .await;
    assert!(within(ping).await.unwrap_err().names_receipt());
}

/// RabbitMQ does this under a memory alarm.
#[tokio::test]
async fn a_broker_that_stops_reading_is_still_read() {
    let (client, mut peer) =
        pair_with(|options| options.receipt_timeout(Duration::from_secs(2))).await;
    // More than the sockets' buffers hold, and the same again.
    let body = Bytes::from(vec![b'x'; 1 << 20]);
    let mut receipts: Vec<_> = (0..64)
        .map(|_| {
            client.send(SendFrame {
                body: body.clone(),
                ..message("/big")
            })
        })
        .collect();
    // The broker confirms the first without having read it.
    peer.receipt(1).await;
    within(&mut receipts[0]).await.unwrap();

    let mut written = 1;
    for receipt in receipts.drain(1..) {
        let error = within(receipt).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        if error.is_outcome_unknown() {
            written += 1;
        } else {
            assert!(not_sent(Err(error)).contains("the broker does not read"));
        }
    }
    assert!(written < 64, "the rest is not written");

    // When the broker reads again: the frames that were begun, complete, and then new ones.
    let next = client.send(message("/next"));
    for id in 1..=written {
        peer.expect(format!(
            "SEND\ndestination:/big\nreceipt:{id}\ncontent-length:{}\n\n",
            body.len()
        ))
        .await;
        peer.expect(&body).await;
        peer.expect(b"\0").await;
    }
    peer.expect(sent("/next", 65)).await;
    peer.receipt(65).await;
    within(next).await.unwrap();
}

/// The broker cannot have the frame, so neither a RECEIPT nor an ERROR for it counts.
#[tokio::test]
async fn answers_to_unwritten_frames_do_not_count() {
    let (client, mut peer) = pair().await;
    let body = Bytes::from(vec![b'x'; 1 << 20]);
    let mut receipts: Vec<_> = (0..32)
        .map(|_| {
            client.send(SendFrame {
                body: body.clone(),
                ..message("/big")
            })
        })
        .collect();
    peer.receipt(32).await;
    peer.receipt(1).await;
    within(&mut receipts[0]).await.unwrap();
    peer.send(b"ERROR\nreceipt-id:32\nmessage:no\n\n\0\n").await;
    let last = within(receipts.pop().unwrap()).await;
    // The ERROR is about another frame: it ends the connection.
    let frame = last.as_ref().unwrap_err().error_frame();
    assert_eq!(frame.unwrap().message, "no");
    assert!(not_sent(last).contains("after the error no"));
}
