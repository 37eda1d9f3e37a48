//! The client against real brokers. Each test describes their behaviour (RabbitMQ 3.10.8, ActiveMQ
//! 5.17.2).
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod activemq;
mod rabbitmq;
mod refusals;
mod round_trips;
mod test_broker;
mod tls;

use outbox_test_support as support;

use std::time::Duration;

use bytes::Bytes;
use diesel_outbox::stomp::{Broker, Client, Delivery, Error, Options, SendFrame, Subscribe};
use diesel_outbox::stomp::{ErrorKind, Subscription, Version};
use test_broker::TestBroker;
use tokio::time::timeout;

async fn within<F: Future>(future: F) -> F::Output {
    match timeout(Duration::from_secs(30), future).await {
        Ok(output) => output,
        Err(_) => panic!("timed out"),
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

/// Runs each case on each broker, with and without TLS, in each version.
macro_rules! on_each_broker {
    ($cases:tt) => {
        on_each_broker!(@broker rabbitmq, $cases);
        on_each_broker!(@broker rabbitmq_tls, $cases);
        on_each_broker!(@broker activemq, $cases);
        on_each_broker!(@broker activemq_tls, $cases);
        on_each_broker!(@broker loopback, $cases);
    };
    (@broker $broker:ident, $cases:tt) => {
        mod $broker {
            on_each_broker!(@version $broker, v1_0, V1_0, $cases);
            on_each_broker!(@version $broker, v1_1, V1_1, $cases);
            on_each_broker!(@version $broker, v1_2, V1_2, $cases);
        }
    };
    (@version $broker:ident, $module:ident, $version:ident, { $($from:ident::$case:ident),* $(,)? }) => {
        mod $module {
            $(#[tokio::test]
            async fn $case() {
                let version = diesel_outbox::stomp::Version::$version;
                if let Some(broker) = crate::TestBroker::$broker(version) {
                    crate::$from::$case(&broker).await;
                }
            })*
        }
    };
}

mod on {
    on_each_broker!({
        round_trips::a_message_arrives_unchanged,
        round_trips::a_thousand_in_flight,
        round_trips::a_lost_connection_redelivers,
        round_trips::heartbeats_keep_an_idle_connection,
        round_trips::a_nack_requeues_or_dead_letters,
        refusals::a_wrong_password,
        refusals::a_wrong_virtual_host,
        refusals::a_wrong_destination,
    });
}

/// ActiveMQ redelivers a connection's unacknowledged messages only after a pause.
mod on_rabbitmq_alone {
    on_each_broker!(@broker rabbitmq, { round_trips::unacknowledged_messages_are_back_after_disconnect });
    on_each_broker!(@broker rabbitmq_tls, { round_trips::unacknowledged_messages_are_back_after_disconnect });
    on_each_broker!(@broker loopback, { round_trips::unacknowledged_messages_are_back_after_disconnect });
}
