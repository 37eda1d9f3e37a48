//! A queue for one round.

use diesel_outbox::stomp::{Client, Options, SendFrame, Subscribe, Subscription};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Runtime;

use crate::broker::Broker;

/// A durable queue. The broker deletes it when its only subscriber, which takes one message, disconnects; a quorum
/// queue one minute later.
pub(crate) struct Queue {
    name: String,
    client: Client,
    subscription: Option<Subscription>,
}

impl Queue {
    pub(crate) fn new(broker: &Broker, runtime: &Runtime) -> Self {
        let name = format!("outbox-bench-{}", uuid::Uuid::new_v4().simple());
        let options = Options::from_url(&broker.url).unwrap();
        let deletion = if broker.has_quorum_queues {
            [("auto-delete", "false"), ("x-expires", "60000")].as_slice()
        } else {
            &[("auto-delete", "true")]
        };
        let headers = [("durable", "true"), ("prefetch-count", "1")]
            .into_iter()
            .chain(deletion.iter().copied())
            .chain(broker.queue_type());
        let subscribe = Subscribe {
            destination: format!("/queue/{name}"),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        };
        let (client, subscription) = runtime.block_on(async {
            let client = Client::connect(&options).await.unwrap();
            let subscription = client.subscribe(subscribe).await.unwrap();
            // The receipt means that the queue exists.
            client.ping().await.unwrap();
            (client, subscription)
        });
        Self {
            name,
            client,
            subscription: Some(subscription),
        }
    }

    /// The destination that does not declare the queue again.
    pub(crate) fn destination(&self) -> String {
        format!("/amq/queue/{}", self.name)
    }

    pub(crate) fn delete(mut self, runtime: &Runtime) {
        let subscription = self.subscription.take().unwrap();
        runtime.block_on(async {
            subscription.unsubscribe().await.unwrap();
            self.client.disconnect().await.unwrap();
        });
    }
}

/// Sends `rows` bodies with `window` in flight, with the client only: the upper bound for a relay.
pub(crate) async fn send_bare(
    url: String,
    destination: String,
    body: impl Into<bytes::Bytes>,
    rows: i64,
    window: usize,
) {
    let options = Options::from_url(&url).unwrap();
    let client = Client::connect(&options).await.unwrap();
    let body = body.into();
    let mut in_flight = FuturesUnordered::new();
    for n in 0..rows {
        let frame = SendFrame::new(destination.as_str(), body.clone())
            .header("content-type", "application/json")
            .header("persistent", "true")
            .header("dop-msg-id", uuid::Uuid::from_u128(n.unsigned_abs().into()))
            .header("dop-msg-destination", &destination)
            .header("dop-msg-type", "Published")
            .header("dop-msg-sent-time", "2026-01-01T00:00:00Z")
            .header("dop-correlation-id", uuid::Uuid::nil());
        in_flight.push(client.send(frame));
        if in_flight.len() >= window {
            in_flight.next().await.unwrap().unwrap();
        }
    }
    while let Some(receipt) = in_flight.next().await {
        receipt.unwrap();
    }
    client.disconnect().await.unwrap();
}
