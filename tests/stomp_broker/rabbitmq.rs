//! What RabbitMQ does in its own way.

use tokio::time::Instant;
use url::Url;

use super::*;

/// `requeue:true` delivers it again with `redelivered:true` and another message-id;
/// `requeue:false` does not.
#[tokio::test]
async fn nack() {
    let Some(place) = Place::rabbitmq() else {
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

/// ERROR with "Bad CONNECT"; a password with a backslash and a colon is read as it is meant, or
/// there would be no answer at all.
#[tokio::test]
async fn refused_login() {
    let Some(place) = Place::rabbitmq() else {
        return;
    };
    let mut url = Url::parse(&place.url).unwrap();
    for password in ["wrong", "wr:o\\ng", "wr\\cong"] {
        url.set_password(Some(&password.replace('\\', "%5C")))
            .unwrap();
        let options = Options::from_url(url.as_str()).unwrap();
        let error = within(Client::connect(&options)).await.unwrap_err();
        assert!(error.is_refused_login(), "{error}");
        assert_eq!(error.error_frame().unwrap().kind(), ErrorKind::RefusedLogin);
        assert!(!error.to_string().contains(url.username()), "{error}");
    }
}

#[tokio::test]
async fn refused_virtual_host() {
    let Some(place) = Place::rabbitmq() else {
        return;
    };
    let mut url = Url::parse(&place.url).unwrap();
    url.set_path(&format!("/{}", uuid::Uuid::new_v4()));
    let options = Options::from_url(url.as_str()).unwrap();
    let error = within(Client::connect(&options)).await.unwrap_err();
    assert!(error.is_refused_login(), "{error}");
    let kind = error.error_frame().unwrap().kind();
    assert_eq!(kind, ErrorKind::RefusedVirtualHost, "{error}");
}

/// ERROR without receipt-id, then the RECEIPT of the very SUBSCRIBE that it refuses, then close.
#[tokio::test]
async fn a_queue_with_other_arguments() {
    let Some(place) = Place::rabbitmq() else {
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

/// ERROR without receipt-id, for SEND as for SUBSCRIBE, and the connection stays open: receipts
/// of the frames around it come, then the client closes it.
#[tokio::test]
async fn a_bad_destination() {
    let Some(place) = Place::rabbitmq() else {
        return;
    };
    let client = place.connect().await;
    let queue = place.queue();
    let before = client.send(queue.message(b"1"));
    let bad = client.send(SendFrame {
        destination: "/nonsense/x".to_owned(),
        ..queue.message(b"2")
    });
    let after = client.send(queue.message(b"3"));
    let started = Instant::now();
    within(before).await.unwrap();
    within(after).await.unwrap();
    let error = within(bad).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
    let frame = error.error_frame().unwrap();
    assert_eq!(frame.kind(), ErrorKind::RefusedDestination, "{error}");
    assert_eq!(frame.receipt_id, None);
    assert!(error.is_fate_unknown() && !error.names_receipt());
}

/// ERROR, then close, for an exchange that does not exist.
#[tokio::test]
async fn a_missing_exchange() {
    let Some(place) = Place::rabbitmq() else {
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
