//! Listens to the queues of dead letters.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, channel};

use diesel_outbox::stomp::{Broker, Client, Delivery, Options, Subscribe};

use crate::place::Place;

impl Place {
    /// Listens to the dead-letter queue.
    pub(crate) fn dead_letters(&self) -> Receiver<Delivery> {
        let options = Options::from_url(self.broker_url()).unwrap();
        let name = self.name.clone();
        let (sender, receiver) = channel();
        self.runtime.spawn(async move {
            loop {
                let client = Client::connect(&options).await.unwrap();
                let kind = match client.broker() {
                    Broker::ActiveMq => "queue",
                    _ => "amq/queue",
                };
                let subscribe = Subscribe {
                    destination: format!("/{kind}/DLQ.{name}"),
                    headers: Vec::new(),
                };
                // It does not exist before the subscriber has declared it.
                let Ok(mut subscription) = client.subscribe(subscribe).await else {
                    continue;
                };
                while let Some(delivery) = subscription.next().await {
                    let _ = client.ack(&delivery).await;
                    if sender.send(delivery).is_err() {
                        return;
                    }
                }
            }
        });
        receiver
    }

    /// Listens to the queue to which the broker itself moves dead letters.
    pub(crate) fn letters_of_the_broker(&self) -> Receiver<Delivery> {
        let options = Options::from_url(self.broker_url()).unwrap();
        let (name, topic) = (self.name.clone(), self.topic());
        let (sender, receiver) = channel();
        self.runtime.spawn(async move {
            let mut seen = BTreeSet::new();
            loop {
                let client = Client::connect(&options).await.unwrap();
                let is_shared = client.broker() == Broker::ActiveMq;
                let subscribe = if is_shared {
                    // All tests share it: it may only be browsed.
                    Subscribe {
                        destination: "/queue/ActiveMQ.DLQ".to_owned(),
                        headers: vec![("browser".to_owned(), "true".to_owned())],
                    }
                } else {
                    Subscribe {
                        destination: format!("/amq/queue/DLQ.{name}"),
                        headers: Vec::new(),
                    }
                };
                // It does not exist before the subscriber has declared it.
                let Ok(mut subscription) = client.subscribe(subscribe).await else {
                    continue;
                };
                while let Some(delivery) = subscription.next().await {
                    if is_shared {
                        if delivery.header("browser") == Some("end") {
                            break;
                        }
                        let is_ours = delivery.header("original-destination") == Some(&topic);
                        if !is_ours || !seen.insert(delivery.message_id.clone()) {
                            continue;
                        }
                    } else {
                        let _ = client.ack(&delivery).await;
                    }
                    if sender.send(delivery).is_err() {
                        return;
                    }
                }
                client.abort();
            }
        });
        receiver
    }
}
