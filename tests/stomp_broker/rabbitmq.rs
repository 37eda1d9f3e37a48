//! Behaviour specific to RabbitMQ.

use super::*;

/// `requeue:true` redelivers the message with `redelivered:true` and a new message-id;
/// `requeue:false` does not redeliver it.
#[tokio::test]
async fn nack() {
    let Some(broker) = TestBroker::rabbitmq(Version::V1_2) else {
        return;
    };
    let client = broker.connect().await;
    let queue = broker.queue();
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

/// RabbitMQ sends ERROR without receipt-id, then the RECEIPT of the refused SUBSCRIBE, then closes.
#[tokio::test]
async fn a_queue_with_other_arguments() {
    let Some(broker) = TestBroker::rabbitmq(Version::V1_2) else {
        return;
    };
    let client = broker.connect().await;
    let mut queue = broker.queue();
    let _subscription = queue.subscribe(&client).await.unwrap();
    queue.arguments[2].1 = "50000".to_owned();

    let other = broker.connect().await;
    let error = queue.subscribe(&other).await.map(drop).unwrap_err();
    let frame = error.error_frame().unwrap();
    assert_eq!(frame.kind(), ErrorKind::DeclaredOtherwise, "{error}");
    assert!(error.is_outcome_unknown() && !error.names_receipt());
    assert!(error.to_string().contains("x-expires"), "{error}");
    assert!(error.to_string().contains("delete it"), "{error}");
    assert!(within(other.closed()).await.error_frame().is_some());

    // SEND declares the queue too.
    let other = broker.connect().await;
    let error = within(other.send(queue.message(b"1"))).await.unwrap_err();
    let kind = error.error_frame().unwrap().kind();
    assert_eq!(kind, ErrorKind::DeclaredOtherwise, "{error}");
    within(client.ping()).await.unwrap();
}

/// RabbitMQ sends ERROR and closes if an exchange does not exist.
#[tokio::test]
async fn a_missing_exchange() {
    let Some(broker) = TestBroker::rabbitmq(Version::V1_2) else {
        return;
    };
    let client = broker.connect().await;
    let queue = broker.queue();
    let error = within(client.send(SendFrame {
        destination: "/exchange/outbox-test-nowhere/x".to_owned(),
        ..queue.message(b"1")
    }))
    .await
    .unwrap_err();
    let kind = error.error_frame().unwrap().kind();
    assert_eq!(kind, ErrorKind::NotFound, "{error}");
}
