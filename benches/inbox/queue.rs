//! A queue with messages, declared as by a subscriber.

use std::time::{Duration, Instant};

use diesel_outbox::stomp::{Client, Options, SendFrame, Subscribe};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::broker::Broker;

/// About 200 bytes.
const BODY: &str = r#"{"id": 1234567, "customer": "ann", "email": "ann@example.org", "address": "12 Long Lane, Old Town", "total": 1250, "currency": "EUR", "items": [1, 2, 3, 4, 5], "note": "leave at the door, please!"}"#;

/// The broker deletes the queue 10 minutes after its last use.
const EXPIRES: (&str, &str) = ("x-expires", "600000");

pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) broker: Broker,
    runtime: Runtime,
}

impl Queue {
    /// A queue with this many messages.
    pub(crate) fn filled(broker: &Broker, messages: usize) -> Self {
        let queue = Self {
            name: format!("outbox-bench-{}", Uuid::new_v4().simple()),
            broker: broker.clone(),
            runtime: Runtime::new().unwrap(),
        };
        queue.runtime.block_on(queue.declare());
        queue.fill(messages);
        queue
    }

    pub(crate) fn topic(&self) -> String {
        format!("/topic/{}", self.name)
    }

    /// The arguments that a queue has only here.
    fn arguments(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        [EXPIRES].into_iter().chain(self.broker.queue_type())
    }

    /// The same as the setting `queue_headers`.
    pub(crate) fn headers(&self) -> String {
        let headers = self
            .arguments()
            .map(|(name, value)| format!("{name}:{value}"));
        headers.collect::<Vec<_>>().join(",")
    }

    async fn declare(&self) {
        let options = Options::from_url(&self.broker.url).unwrap();
        let client = Client::connect(&options).await.unwrap();
        let letters = format!("DLQ.{}", self.name);
        let own = [
            ("durable", "true"),
            ("auto-delete", "false"),
            ("prefetch-count", "1"),
            ("exclusive", "false"),
            ("x-queue-name", &self.name),
            ("x-dead-letter-exchange", ""),
            ("x-dead-letter-routing-key", &letters),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let own = own.into_iter().map(owned);
        let headers = own.chain(self.arguments().map(owned)).collect();
        let subscription = client
            .subscribe(Subscribe {
                destination: self.topic(),
                headers,
            })
            .await
            .unwrap();
        subscription.unsubscribe().await.unwrap();
        client.disconnect().await.unwrap();
    }

    pub(crate) fn fill(&self, messages: usize) {
        let options = Options::from_url(&self.broker.url).unwrap();
        self.runtime.block_on(async {
            let client = Client::connect(&options).await.unwrap();
            let mut in_flight = FuturesUnordered::new();
            for _ in 0..messages {
                let id = Uuid::new_v4();
                let frame = SendFrame::new(format!("/amq/queue/{}", self.name), BODY)
                    .header("content-type", "application/json")
                    .header("persistent", "true")
                    .header("dop-msg-id", id)
                    .header("dop-msg-destination", self.topic())
                    .header("dop-msg-type", "Published")
                    .header("dop-msg-sent-time", "2026-01-01T00:00:00Z")
                    .header("dop-correlation-id", Uuid::nil());
                in_flight.push(client.send(frame));
                if in_flight.len() >= 500 {
                    in_flight.next().await.unwrap().unwrap();
                }
            }
            while let Some(receipt) = in_flight.next().await {
                receipt.unwrap();
            }
            client.disconnect().await.unwrap();
        });
    }

    /// Receives and acknowledges this many messages with the STOMP client.
    pub(crate) fn consume(&self, messages: usize) -> Duration {
        let options = Options::from_url(&self.broker.url).unwrap();
        let destination = format!("/amq/queue/{}", self.name);
        // In a task, like the subscriber's loop.
        let consuming = self.runtime.spawn(async move {
            let began = Instant::now();
            let client = Client::connect(&options).await.unwrap();
            let prefetch = ("prefetch-count".to_owned(), crate::PREFETCH.to_string());
            let subscribe = Subscribe {
                destination,
                headers: vec![prefetch],
            };
            let mut subscription = client.subscribe(subscribe).await.unwrap();
            for _ in 0..messages {
                let delivery = subscription.next().await.unwrap();
                client.ack_unconfirmed(&delivery).unwrap();
            }
            client.disconnect().await.unwrap();
            began.elapsed()
        });
        self.runtime.block_on(consuming).unwrap()
    }
}
