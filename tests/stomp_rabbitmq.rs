//! The client against a real RabbitMQ. What it did (3.10.8) stands with each test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

use std::time::Duration;

use bytes::Bytes;
use diesel_outbox::stomp::{
    Broker, Client, Delivery, Error, ErrorKind, Options, SendFrame, Subscribe, Subscription,
};
use tokio::time::{Instant, timeout};
use url::Url;

async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future)
        .await
        .expect("it hangs")
}

fn url() -> Option<Url> {
    match std::env::var("OUTBOX_TEST_RABBITMQ") {
        Ok(url) => Some(Url::parse(&url).unwrap()),
        Err(_) if std::env::var_os("OUTBOX_TEST_REQUIRE_ALL").is_some() => {
            panic!("OUTBOX_TEST_RABBITMQ is not set")
        }
        Err(_) => {
            eprintln!("left out: RabbitMQ (set OUTBOX_TEST_RABBITMQ, or run make test)");
            None
        }
    }
}

fn options() -> Option<Options> {
    Some(Options::from_url(url()?.as_str()).unwrap())
}

async fn connect() -> Option<Client> {
    let options = options()?;
    let client = within(Client::connect(&options)).await.unwrap();
    assert_eq!(client.broker(), Broker::RabbitMq, "{}", client.server());
    Some(client)
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// A queue of this test's own, which RabbitMQ removes by itself. Both SEND and SUBSCRIBE declare
/// it, so both carry its arguments.
struct Queue {
    destination: String,
    arguments: Vec<(String, String)>,
}

impl Queue {
    fn new() -> Self {
        Self {
            destination: format!("/queue/outbox-test-{}", uuid::Uuid::new_v4()),
            arguments: vec![
                header("durable", "true"),
                header("auto-delete", "false"),
                header("x-expires", "60000"),
            ],
        }
    }

    fn message(&self, body: &[u8]) -> SendFrame {
        let mut headers = vec![header("persistent", "true")];
        headers.extend(self.arguments.clone());
        SendFrame {
            destination: self.destination.clone(),
            headers,
            body: Bytes::copy_from_slice(body),
            not_after: None,
        }
    }

    async fn subscribe(&self, client: &Client) -> Result<Subscription, Error> {
        within(client.subscribe(Subscribe {
            destination: self.destination.clone(),
            headers: self.arguments.clone(),
        }))
        .await
    }
}

async fn next(subscription: &mut Subscription) -> Delivery {
    within(subscription.next()).await.unwrap()
}

/// Headers with every character that STOMP escapes come back as they were, and so do bodies that
/// are no text; `subscribe`, `unsubscribe`, `ping` and `disconnect` have their receipts.
#[tokio::test]
async fn a_message_goes_round() {
    let Some(client) = connect().await else {
        return;
    };
    let queue = Queue::new();
    let mut subscription = queue.subscribe(&client).await.unwrap();
    let theirs = [
        header("dop-msg-id", "a:b"),
        header("x:colon", "c:\\c\\\\"),
        header("lines", "one\ntwo\r\nthree"),
        header("utf8", "\u{e9}\u{1f980}"),
        header("empty", ""),
        header("spaces", " a "),
    ];
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
#[tokio::test]
async fn a_thousand_in_flight() {
    let Some(client) = connect().await else {
        return;
    };
    let queue = Queue::new();
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

/// `requeue:true` delivers it again with `redelivered:true` and another message-id;
/// `requeue:false` does not.
#[tokio::test]
async fn nack() {
    let Some(client) = connect().await else {
        return;
    };
    let queue = Queue::new();
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

/// What was not acknowledged comes again to another connection; there the old ack id, which
/// RabbitMQ would take for another message's, is not written.
#[tokio::test]
async fn a_lost_connection_redelivers() {
    let Some(client) = connect().await else {
        return;
    };
    let queue = Queue::new();
    let mut subscription = queue.subscribe(&client).await.unwrap();
    within(client.send(queue.message(b"1"))).await.unwrap();
    let stale = next(&mut subscription).await;
    client.abort();
    within(client.closed()).await;
    assert!(within(subscription.next()).await.is_none());

    let client = connect().await.unwrap();
    let mut subscription = queue.subscribe(&client).await.unwrap();
    let again = next(&mut subscription).await;
    assert!(again.is_redelivered());
    let refused = within(client.ack(&stale)).await.unwrap_err();
    assert!(matches!(refused, Error::NotSent { .. }));
    within(client.ack(&again)).await.unwrap();
}

/// ERROR with "Bad CONNECT"; a password with a backslash and a colon is read as it is meant, or
/// there would be no answer at all.
#[tokio::test]
async fn refused_login() {
    let Some(mut url) = url() else { return };
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
    let Some(mut url) = url() else { return };
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
    let Some(client) = connect().await else {
        return;
    };
    let mut queue = Queue::new();
    let _subscription = queue.subscribe(&client).await.unwrap();
    queue.arguments[2].1 = "50000".to_owned();

    let other = connect().await.unwrap();
    let error = queue.subscribe(&other).await.map(drop).unwrap_err();
    let frame = error.error_frame().unwrap();
    assert_eq!(frame.kind(), ErrorKind::PreconditionFailed, "{error}");
    assert!(error.is_fate_unknown() && !error.names_receipt());
    assert!(error.to_string().contains("x-expires"), "{error}");
    assert!(error.to_string().contains("delete it"), "{error}");
    assert!(within(other.closed()).await.error_frame().is_some());

    // SEND declares the queue too.
    let other = connect().await.unwrap();
    let error = within(other.send(queue.message(b"1"))).await.unwrap_err();
    let kind = error.error_frame().unwrap().kind();
    assert_eq!(kind, ErrorKind::PreconditionFailed, "{error}");
    within(client.ping()).await.unwrap();
}

/// ERROR without receipt-id, for SEND as for SUBSCRIBE, and the connection stays open: receipts
/// of the frames around it come, then the client closes it.
#[tokio::test]
async fn a_bad_destination() {
    let Some(client) = connect().await else {
        return;
    };
    let queue = Queue::new();
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
    let Some(client) = connect().await else {
        return;
    };
    let queue = Queue::new();
    let error = within(client.send(SendFrame {
        destination: "/exchange/outbox-test-nowhere/x".to_owned(),
        ..queue.message(b"1")
    }))
    .await
    .unwrap_err();
    let kind = error.error_frame().unwrap().kind();
    assert_eq!(kind, ErrorKind::NotFound, "{error}");
}

/// RabbitMQ has heart-beats in whole seconds; a connection with nothing to say lives on them.
#[tokio::test]
async fn heartbeats_keep_an_idle_connection() {
    let Some(options) = options() else { return };
    let options = options.heartbeat(Duration::from_secs(1), Duration::from_secs(1));
    let client = within(Client::connect(&options)).await.unwrap();
    // RabbitMQ closes after three intervals, we after two and a half.
    let ended = timeout(Duration::from_secs(5), client.closed()).await;
    assert!(ended.is_err(), "{ended:?}");
    within(client.ping()).await.unwrap();
    within(client.disconnect()).await.unwrap();
}
