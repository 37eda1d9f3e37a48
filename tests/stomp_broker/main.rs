//! The client against the brokers themselves. What they did (RabbitMQ 3.10.8, ActiveMQ 5.17.2)
//! stands with each test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod activemq;
mod rabbitmq;

use std::time::Duration;

use bytes::Bytes;
use diesel_outbox::stomp::{Broker, Client, Delivery, Error, Options, SendFrame, Subscribe};
use diesel_outbox::stomp::{ErrorKind, Subscription};
use tokio::time::timeout;

async fn within<F: Future>(future: F) -> F::Output {
    match timeout(Duration::from_secs(30), future).await {
        Ok(output) => output,
        Err(_) => panic!("it hangs"),
    }
}

/// A broker of the tests.
#[derive(Clone)]
struct Place {
    url: String,
    broker: Broker,
}

impl Place {
    fn rabbitmq() -> Option<Self> {
        Some(Self {
            url: support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ")?,
            broker: Broker::RabbitMq,
        })
    }

    fn activemq() -> Option<Self> {
        Some(Self {
            url: support::server("OUTBOX_TEST_ACTIVEMQ", "ActiveMQ")?,
            broker: Broker::ActiveMq,
        })
    }

    fn options(&self) -> Options {
        Options::from_url(&self.url).unwrap()
    }

    async fn connect(&self) -> Client {
        let client = within(Client::connect(&self.options())).await.unwrap();
        assert_eq!(client.broker(), self.broker, "{}", client.server());
        client
    }

    /// A queue of the test's own. RabbitMQ removes it by itself; there both SEND and SUBSCRIBE
    /// declare it, so both carry its arguments.
    fn queue(&self) -> Queue {
        let arguments = match self.broker {
            Broker::RabbitMq => vec![
                header("durable", "true"),
                header("auto-delete", "false"),
                header("x-expires", "60000"),
            ],
            _ => vec![header("activemq.prefetchSize", "2000")],
        };
        Queue {
            destination: format!("/queue/outbox-test-{}", uuid::Uuid::new_v4()),
            arguments,
        }
    }
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

struct Queue {
    destination: String,
    arguments: Vec<(String, String)>,
}

impl Queue {
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

macro_rules! on_each_broker {
    ($($case:ident),* $(,)?) => {
        on_each_broker!(@ on_rabbitmq, rabbitmq; $($case),*);
        on_each_broker!(@ on_activemq, activemq; $($case),*);
    };
    (@ $module:ident, $place:ident; $($case:ident),*) => {
        mod $module {
            $(#[tokio::test]
            async fn $case() {
                if let Some(place) = crate::Place::$place() {
                    crate::$case(&place).await;
                }
            })*
        }
    };
}

on_each_broker!(
    a_message_goes_round,
    a_thousand_in_flight,
    a_lost_connection_redelivers,
    heartbeats_keep_an_idle_connection,
);

/// Headers with every character that STOMP escapes come back as they were, and so do bodies that
/// are no text; `subscribe`, `unsubscribe`, `ping` and `disconnect` have their receipts.
async fn a_message_goes_round(place: &Place) {
    let client = place.connect().await;
    let queue = place.queue();
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
async fn a_thousand_in_flight(place: &Place) {
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
async fn a_lost_connection_redelivers(place: &Place) {
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
async fn heartbeats_keep_an_idle_connection(place: &Place) {
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
