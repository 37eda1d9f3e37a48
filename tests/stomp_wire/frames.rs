//! The bytes of each frame.

use bytes::Bytes;
use diesel_outbox::stomp::{Client, Delivery, SendFrame, Subscribe, Subscription};
use tokio::time::Instant;

use crate::{Peer, message, not_sent, pair, sent, within};

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// A subscription, and its first delivery with this ack id.
async fn delivery(client: &Client, peer: &mut Peer, ack: &str) -> (Subscription, Delivery) {
    let subscribe = Subscribe {
        destination: "/queue/a".to_owned(),
        headers: vec![
            header("prefetch-count", "2"),
            header("x-dead-letter-exchange", ""),
        ],
    };
    let broker = async {
        peer.expect(
            b"SUBSCRIBE\ndestination:/queue/a\nid:sub-1\nack:client-individual\nreceipt:1\n\
              prefetch-count:2\nx-dead-letter-exchange:\n\n\0",
        )
        .await;
        peer.receipt(1).await;
        let message = format!(
            "MESSAGE\nsubscription:sub-1\ndestination:/queue/a\nmessage-id:m\\c1\nack:{ack}\n\
             redelivered:true\nx:1\nx:2\ncontent-length:3\n\na\0b\0\n"
        );
        peer.send(message).await;
    };
    let (subscription, ()) = tokio::join!(within(client.subscribe(subscribe)), broker);
    let mut subscription = subscription.unwrap();
    let delivery = within(subscription.next()).await.unwrap();
    (subscription, delivery)
}

#[tokio::test]
async fn send() {
    let (client, mut peer) = pair().await;
    let receipt = client.send(SendFrame {
        destination: "/queue/a:b".to_owned(),
        headers: vec![
            header("persistent", "true"),
            header("x:y", "a\\b\r\nc\u{e9}"),
            header("empty", ""),
        ],
        body: Bytes::from_static(b"{\0}\xff"),
        not_after: None,
    });
    peer.expect(
        b"SEND\ndestination:/queue/a\\cb\nreceipt:1\npersistent:true\nx\\cy:a\\\\b\\r\\nc\xc3\xa9\n\
          empty:\ncontent-length:4\n\n{\0}\xff\0",
    )
    .await;
    peer.receipt(1).await;
    within(receipt).await.unwrap();

    // Frames keep the order of the calls; an empty body has a length too.
    drop(client.send(message("/queue/1")));
    let last = client.send(message("/queue/2"));
    peer.expect(sent("/queue/1", 2) + &sent("/queue/2", 3))
        .await;
    peer.receipt(3).await;
    within(last).await.unwrap();
}

#[tokio::test]
async fn frames_that_stomp_cannot_carry_are_not_written() {
    let (client, mut peer) = pair().await;
    let with = |name: &str, value: &str| SendFrame {
        headers: vec![header(name, value)],
        ..message("/queue/a")
    };
    for (frame, reason) in [
        (message("/queue/\0"), "header \"destination\" holds a NUL"),
        (with("x", "a\0"), "header \"x\" holds a NUL"),
        (with("x\0", "a"), "header \"x\\0\" holds a NUL"),
        (with("", "a"), "a header has an empty name"),
        (with("receipt", "7"), "the header \"receipt\" cannot be set"),
        (with("content-length", "7"), "the header \"content-length\""),
        (with("destination", "x"), "the header \"destination\""),
        (with("message-id", "x"), "the header \"message-id\""),
        (with("transaction", "x"), "the header \"transaction\""),
    ] {
        let error = not_sent(client.send(frame).await);
        assert!(error.starts_with(reason), "{error}");
    }
    for (destination, headers) in [
        ("/queue/\0", Vec::new()),
        ("/queue/a", vec![header("id", "theirs")]),
        ("/queue/a", vec![header("ack", "auto")]),
        ("/queue/a", vec![header("receipt", "theirs")]),
    ] {
        let subscribe = Subscribe {
            destination: destination.to_owned(),
            headers,
        };
        not_sent(client.subscribe(subscribe).await.map(drop));
    }

    let late = SendFrame {
        not_after: Some(Instant::now()),
        ..message("/queue/late")
    };
    let late = client.send(late);
    let next = client.send(message("/queue/next"));
    peer.expect(sent("/queue/next", 2)).await;
    peer.receipt(2).await;
    within(next).await.unwrap();
    assert!(not_sent(within(late).await).starts_with("its deadline passed"));
}

#[tokio::test]
async fn subscribe_ack_nack_unsubscribe_disconnect() {
    let (client, mut peer) = pair().await;
    let (mut subscription, delivery) = delivery(&client, &mut peer, "s\\c1").await;
    assert_eq!(subscription.id(), "sub-1");
    assert_eq!(delivery.destination, "/queue/a");
    assert_eq!(delivery.message_id, "m:1");
    assert_eq!(delivery.header("x"), Some("1"));
    assert_eq!(delivery.header("y"), None);
    assert_eq!(&delivery.body[..], b"a\0b");
    assert!(delivery.is_redelivered());

    let ack = client.ack(&delivery);
    let dead = client.nack(&delivery, false);
    let again = client.nack(&delivery, true);
    peer.expect(
        b"ACK\nid:s\\c1\nreceipt:2\n\n\0\
          NACK\nid:s\\c1\nreceipt:3\nrequeue:false\n\n\0\
          NACK\nid:s\\c1\nreceipt:4\nrequeue:true\n\n\0",
    )
    .await;
    for id in 2..5 {
        peer.receipt(id).await;
    }
    let (ack, dead, again) = within(async { tokio::join!(ack, dead, again) }).await;
    ack.and(dead).and(again).unwrap();

    let unsubscribed = subscription.unsubscribe();
    peer.expect(b"UNSUBSCRIBE\nid:sub-1\nreceipt:5\n\n\0").await;
    // It was received before.
    peer.send(b"MESSAGE\nsubscription:sub-1\ndestination:/queue/a\nmessage-id:2\nack:2\n\n\0\n")
        .await;
    peer.receipt(5).await;
    within(unsubscribed).await.unwrap();
    assert_eq!(within(subscription.next()).await.unwrap().message_id, "2");
    assert!(within(subscription.next()).await.is_none());

    let broker = async {
        peer.expect(b"DISCONNECT\nreceipt:6\n\n\0").await;
        peer.receipt(6).await;
        assert!(peer.rest().await.is_empty());
    };
    let (disconnected, ()) = tokio::join!(within(client.disconnect()), broker);
    disconnected.unwrap();
    assert!(client.is_closed() && client.closed().await.is_closed_by_us());
    client.disconnect().await.unwrap();
    let error = client.send(message("/queue/a")).await.unwrap_err();
    assert!(
        error.is_closed_by_us() && !error.is_outcome_unknown(),
        "{error}"
    );
}

#[tokio::test]
async fn ping_is_an_empty_transaction() {
    let (client, mut peer) = pair().await;
    let ping = client.ping();
    peer.expect(
        b"BEGIN\ntransaction:ping-1\nreceipt:1.begin\n\n\0\
          ABORT\ntransaction:ping-1\nreceipt:1\n\n\0",
    )
    .await;
    peer.send(b"RECEIPT\nreceipt-id:1.begin\n\n\0\n").await;
    peer.receipt(1).await;
    within(ping).await.unwrap();
}

/// RabbitMQ ignores the session in an ack id, so it would acknowledge another message.
#[tokio::test]
async fn a_delivery_of_another_connection_is_not_acknowledged() {
    let (first, mut peer) = pair().await;
    let (_subscription, stale) = delivery(&first, &mut peer, "1").await;
    let (second, mut peer) = pair().await;
    for receipt in [second.ack(&stale), second.nack(&stale, true)] {
        assert_eq!(
            not_sent(receipt.await),
            "the delivery belongs to another connection"
        );
    }
    let next = second.send(message("/queue/next"));
    peer.expect(sent("/queue/next", 1)).await;
    peer.receipt(1).await;
    within(next).await.unwrap();
}

#[tokio::test]
async fn a_dropped_subscription_is_not_forwarded_to() {
    let (client, mut peer) = pair().await;
    let (subscription, delivery) = delivery(&client, &mut peer, "1").await;
    drop(subscription);
    for _ in 0..2 {
        peer.send(b"MESSAGE\nsubscription:sub-1\ndestination:/a\nmessage-id:2\nack:2\n\n\0\n")
            .await;
    }
    let ack = client.ack(&delivery);
    peer.expect(b"ACK\nid:1\nreceipt:2\n\n\0").await;
    peer.receipt(2).await;
    within(ack).await.unwrap();
}

#[tokio::test]
async fn a_message_without_an_ack_id_cannot_be_acknowledged() {
    let (client, mut peer) = pair().await;
    let (mut subscription, _) = delivery(&client, &mut peer, "1").await;
    peer.send(b"MESSAGE\nsubscription:sub-1\ndestination:/a\nmessage-id:2\n\n\0\n")
        .await;
    let delivery = within(subscription.next()).await.unwrap();
    assert_eq!(
        not_sent(client.ack(&delivery).await),
        "the delivery has no ack id"
    );
}
