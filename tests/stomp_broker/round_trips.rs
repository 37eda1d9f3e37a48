//! Behaviour common to all brokers, with and without TLS, in each version.

use super::*;

/// Headers with every character that STOMP escapes arrive unchanged, and so do binary bodies.
/// `subscribe`, `unsubscribe`, `ping` and `disconnect` get their receipts.
pub(crate) async fn a_message_arrives_unchanged(broker: &TestBroker) {
    let client = broker.connect().await;
    let queue = broker.queue();
    let mut subscription = queue.subscribe(&client).await.unwrap();
    let mut theirs = vec![
        header("dop-msg-id", "a:b"),
        header("backslashes", "c:\\c\\\\"),
        header("utf8", "\u{e9}\u{1f980}"),
        header("empty", ""),
    ];
    let is_first = broker.version == Version::V1_0;
    if !(is_first && broker.broker == Broker::ActiveMq) {
        // ActiveMQ writes no escape sequences in 1.0, so these headers cannot be decoded.
        theirs.push(header("x:colon", ":"));
        theirs.push(header("lines", "one\ntwo\r\nthree"));
    }
    if !is_first {
        // RabbitMQ and ActiveMQ remove them in 1.0.
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

/// Each frame gets one receipt, after the publisher confirm.
pub(crate) async fn a_thousand_in_flight(broker: &TestBroker) {
    let client = broker.connect().await;
    let queue = broker.queue();
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

/// Unacknowledged messages are redelivered to another connection. There the old ack id is not
/// written, because RabbitMQ would acknowledge another message.
pub(crate) async fn a_lost_connection_redelivers(broker: &TestBroker) {
    let client = broker.connect().await;
    let queue = broker.queue();
    let mut subscription = queue.subscribe(&client).await.unwrap();
    within(client.send(queue.message(b"1"))).await.unwrap();
    let stale = next(&mut subscription).await;
    client.abort();
    within(client.closed()).await;
    assert!(within(subscription.next()).await.is_none());

    let client = broker.connect().await;
    let mut subscription = queue.subscribe(&client).await.unwrap();
    let again = next(&mut subscription).await;
    assert!(again.is_redelivered());
    let refused = within(client.ack(&stale)).await.unwrap_err();
    assert!(matches!(refused, Error::NotSent { .. }));
    within(client.ack(&again)).await.unwrap();
}

/// An idle connection stays open through heart-beats; RabbitMQ rounds them to whole seconds.
pub(crate) async fn heartbeats_keep_an_idle_connection(broker: &TestBroker) {
    if broker.version == Version::V1_0 && broker.broker == Broker::ActiveMq {
        // STOMP 1.0 has no heart-beats; RabbitMQ has them all the same.
        return;
    }
    let options = broker
        .options()
        .heartbeat(Duration::from_secs(1), Duration::from_secs(1));
    let client = within(Client::connect(&options)).await.unwrap();
    // RabbitMQ closes after 3 intervals, the client after 2.5.
    let ended = timeout(Duration::from_secs(5), client.closed()).await;
    assert!(ended.is_err(), "{ended:?}");
    within(client.ping()).await.unwrap();
    within(client.disconnect()).await.unwrap();
}

/// NACK requeues or dead-letters the message. STOMP 1.0 has no NACK; RabbitMQ has it all the same.
pub(crate) async fn a_nack_requeues_or_dead_letters(broker: &TestBroker) {
    let client = broker.connect().await;
    let queue = broker.queue();
    let mut subscription = queue.subscribe(&client).await.unwrap();
    within(client.send(queue.message(b"1"))).await.unwrap();
    let delivery = next(&mut subscription).await;
    let nack = within(client.nack(&delivery, true)).await;
    if broker.broker == Broker::ActiveMq {
        if broker.version == Version::V1_0 {
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

/// Unacknowledged messages of a connection are in their queue again when `disconnect` returns: the
/// next reader finds all of them. `outbox dead-letters` relies on this.
pub(crate) async fn unacknowledged_messages_are_back_after_disconnect(broker: &TestBroker) {
    const LEFT: usize = 1000;
    let queue = broker.queue();
    let sender = broker.connect().await;
    let receipts: Vec<_> = (0..LEFT)
        .map(|_| sender.send(queue.message(b"left")))
        .collect();
    for receipt in receipts {
        within(receipt).await.unwrap();
    }
    for _ in 0..3 {
        let client = broker.connect().await;
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
