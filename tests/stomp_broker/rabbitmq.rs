//! What RabbitMQ does in its own way.

use super::*;

/// `requeue:true` delivers it again with `redelivered:true` and another message-id;
/// `requeue:false` does not.
#[tokio::test]
async fn nack() {
    let Some(place) = Place::rabbitmq(Version::V1_2) else {
        return;
    };
    let client = place.connect().await;
    let queue = place.queue();
    let mut subscription = queue.subscribe(&client).await.unwrap();
    within(client.send(queue.message(b"1"))).await.unwrap();
    let first = next(&mut subscription).await;
    assert!(!first.is_redelivered());
    within(client.nack(&first, true)).await.unwrap();
    let second = next(&mut subscription).await;
    assert!(second.is_redelivered());
    assert_ne!(first.message_id, second.message_id);
    within(client.nack(&second, false)).await.unwrap();
    within(client.send(queue.message(b"2"))).await.unwrap();
    let third = next(&mut subscription).await;
    assert_eq!(&third.body[..], b"2");
    within(client.ack(&third)).await.unwrap();
}

/// ERROR without receipt-id, then the RECEIPT of the very SUBSCRIBE that it refuses, then close.
#[tokio::test]
async fn a_queue_with_other_arguments() {
    let Some(place) = Place::rabbitmq(Version::V1_2) else {
        return;
    };
    let client = place.connect().await;
    let mut queue = place.queue();
    let _subscription = queue.subscribe(&client).await.unwrap();
    queue.arguments[2].1 = "50000".to_owned();

    let other = place.connect().await;
    let error = queue.subscribe(&other).await.map(drop).unwrap_err();
    let frame = error.error_frame().unwrap();
    assert_eq!(frame.kind(), ErrorKind::PreconditionFailed, "{error}");
    assert!(error.is_fate_unknown() && !error.names_receipt());
    assert!(error.to_string().contains("x-expires"), "{error}");
    assert!(error.to_string().contains("delete it"), "{error}");
    assert!(within(other.closed()).await.error_frame().is_some());

    // SEND declares the queue too.
    let other = place.connect().await;
    let error = within(other.send(queue.message(b"1"))).await.unwrap_err();
    let kind = error.error_frame().unwrap().kind();
    assert_eq!(kind, ErrorKind::PreconditionFailed, "{error}");
    within(client.ping()).await.unwrap();
}

/// ERROR, then close, for an exchange that does not exist.
#[tokio::test]
async fn a_missing_exchange() {
    let Some(place) = Place::rabbitmq(Version::V1_2) else {
        return;
    };
    let client = place.connect().await;
    let queue = place.queue();
    let error = within(client.send(SendFrame {
        destination: "/exchange/outbox-test-nowhere/x".to_owned(),
        ..queue.message(b"1")
    }))
    .await
    .unwrap_err();
    let kind = error.error_frame().unwrap().kind();
    assert_eq!(kind, ErrorKind::NotFound, "{error}");
}
