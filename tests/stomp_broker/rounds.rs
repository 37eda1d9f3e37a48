//! What works alike on each broker, plain and with TLS, in each version.

use super::*;

/// Headers with every character that STOMP escapes come back as they were, and so do bodies that
/// are no text; `subscribe`, `unsubscribe`, `ping` and `disconnect` have their receipts.
pub(crate) async fn a_message_goes_round(place: &Place) {
    let client = place.connect().await;
    let queue = place.queue();
    let mut subscription = queue.subscribe(&client).await.unwrap();
    let mut theirs = vec![
        header("dop-msg-id", "a:b"),
        header("backslashes", "c:\\c\\\\"),
        header("utf8", "\u{e9}\u{1f980}"),
        header("empty", ""),
    ];
    let is_first = place.version == Version::V1_0;
    if !(is_first && place.broker == Broker::ActiveMq) {
        // It writes no escape sequences there, so that nobody could read these.
        theirs.push(header("x:colon", ":"));
        theirs.push(header("lines", "one\ntwo\r\nthree"));
    }
    if !is_first {
        // RabbitMQ and ActiveMQ take them off there.
        theirs.push(header("spaces", " a "));
    }
    let bodies: [&[u8]; 3] = [b"{\"a\":1}", b"", b"\0\n\xff\0RECEIPT\nreceipt-id:1\n\n\0"];
    for body in bodies {
        let mut message = queue.message(body);
        message.headers.extend(theirs.clone());
        within(client.send(message)).await.unwrap();
        let delivery = next(&mut subscription).await;
        assert_eq!(&delivery.body[..], body);
        assert_eq!(delivery.destination, queue.destination);
        assert!(!delivery.is_redelivered());
        for (name, value) in &theirs {
            assert_eq!(delivery.header(name), Some(value.as_str()), "{name}");
        }
        within(client.ack(&delivery)).await.unwrap();
    }
    within(client.ping()).await.unwrap();
    within(subscription.unsubscribe()).await.unwrap();
    assert!(within(subscription.next()).await.is_none());
    within(client.disconnect()).await.unwrap();
    assert!(client.closed().await.is_closed_by_us());
}

/// One receipt for each, after the publisher confirm.
pub(crate) async fn a_thousand_in_flight(place: &Place) {
    let client = place.connect().await;
    let queue = place.queue();
    let receipts: Vec<_> = (0..1000)
        .map(|number: u32| client.send(queue.message(&number.to_be_bytes())))
        .collect();
    for receipt in receipts {
        within(receipt).await.unwrap();
    }
    let mut subscription = queue.subscribe(&client).await.unwrap();
    let mut acks = Vec::new();
    for number in 0..1000u32 {
        let delivery = next(&mut subscription).await;
        assert_eq!(delivery.body[..], number.to_be_bytes());
        acks.push(client.ack(&delivery));
    }
    for ack in acks {
        within(ack).await.unwrap();
    }
    within(client.disconnect()).await.unwrap();
}

/// What was not acknowledged comes again to another connection; there the old ack id, which
/// RabbitMQ would take for another message's, is not written.
pub(crate) async fn a_lost_connection_redelivers(place: &Place) {
    let client = place.connect().await;
    let queue = place.queue();
    let mut subscription = queue.subscribe(&client).await.unwrap();
    within(client.send(queue.message(b"1"))).await.unwrap();
    let stale = next(&mut subscription).await;
    client.abort();
    within(client.closed()).await;
    assert!(within(subscription.next()).await.is_none());

    let client = place.connect().await;
    let mut subscription = queue.subscribe(&client).await.unwrap();
    let again = next(&mut subscription).await;
    assert!(again.is_redelivered());
    let refused = within(client.ack(&stale)).await.unwrap_err();
    assert!(matches!(refused, Error::NotSent { .. }));
    within(client.ack(&again)).await.unwrap();
}

/// RabbitMQ has heart-beats in whole seconds; a connection with nothing to say lives on them.
pub(crate) async fn heartbeats_keep_an_idle_connection(place: &Place) {
    if place.version == Version::V1_0 && place.broker == Broker::ActiveMq {
        // STOMP 1.0 has none, RabbitMQ has them all the same.
        return;
    }
    let options = place
        .options()
        .heartbeat(Duration::from_secs(1), Duration::from_secs(1));
    let client = within(Client::connect(&options)).await.unwrap();
    // RabbitMQ closes after three intervals, we after two and a half.
    let ended = timeout(Duration::from_secs(5), client.closed()).await;
    assert!(ended.is_err(), "{ended:?}");
    within(client.ping()).await.unwrap();
    within(client.disconnect()).await.unwrap();
}

/// Back to the queue, or given up; STOMP 1.0 has no NACK, RabbitMQ has it all the same.
pub(crate) async fn a_nack_gives_up_or_back(place: &Place) {
    let client = place.connect().await;
    let queue = place.queue();
    let mut subscription = queue.subscribe(&client).await.unwrap();
    within(client.send(queue.message(b"1"))).await.unwrap();
    let delivery = next(&mut subscription).await;
    let nack = within(client.nack(&delivery, true)).await;
    if place.broker == Broker::ActiveMq {
        if place.version == Version::V1_0 {
            let error = nack.unwrap_err();
            assert!(error.to_string().contains("no NACK"), "{error}");
            within(client.ack(&delivery)).await.unwrap();
        } else {
            nack.unwrap();
        }
    } else {
        nack.unwrap();
        let again = next(&mut subscription).await;
        assert!(again.is_redelivered());
        within(client.nack(&again, false)).await.unwrap();
    }
    within(client.send(queue.message(b"2"))).await.unwrap();
    assert_eq!(&next(&mut subscription).await.body[..], b"2");
}

/// What a connection leaves is back in its queue when its `disconnect` is over: the next reading
/// finds all of it. `outbox dead-letters` relies on it.
pub(crate) async fn what_is_left_is_back_after_disconnect(place: &Place) {
    const LEFT: usize = 1000;
    let queue = place.queue();
    let sender = place.connect().await;
    let receipts: Vec<_> = (0..LEFT)
        .map(|_| sender.send(queue.message(b"left")))
        .collect();
    for receipt in receipts {
        within(receipt).await.unwrap();
    }
    for _ in 0..3 {
        let client = place.connect().await;
        let mut subscription = queue.subscribe(&client).await.unwrap();
        within(sender.send(queue.message(b"marker"))).await.unwrap();
        let mut found = 0;
        loop {
            let delivery = next(&mut subscription).await;
            if &delivery.body[..] == b"marker" {
                within(client.ack(&delivery)).await.unwrap();
                break;
            }
            found += 1;
        }
        assert_eq!(found, LEFT);
        within(client.disconnect()).await.unwrap();
    }
}
