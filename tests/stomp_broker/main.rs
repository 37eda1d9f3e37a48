//! The client against the brokers themselves. What they did (RabbitMQ 3.10.8, ActiveMQ 5.17.2)
//! stands with each test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod activemq;
mod place;
mod rabbitmq;
mod refusals;
mod rounds;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use diesel_outbox::stomp::{Broker, Client, Delivery, Error, Options, SendFrame, Subscribe};
use diesel_outbox::stomp::{ErrorKind, Subscription, Version};
use place::Place;
use tokio::time::timeout;

async fn within<F: Future>(future: F) -> F::Output {
    match timeout(Duration::from_secs(30), future).await {
        Ok(output) => output,
        Err(_) => panic!("it hangs"),
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

/// Each case on each broker, plain and with TLS, in each version.
macro_rules! on_each_broker {
    ($cases:tt) => {
        on_each_broker!(@place rabbitmq, $cases);
        on_each_broker!(@place rabbitmq_tls, $cases);
        on_each_broker!(@place activemq, $cases);
        on_each_broker!(@place activemq_tls, $cases);
        on_each_broker!(@place loopback, $cases);
    };
    (@place $place:ident, $cases:tt) => {
        mod $place {
            on_each_broker!(@version $place, v1_0, V1_0, $cases);
            on_each_broker!(@version $place, v1_1, V1_1, $cases);
            on_each_broker!(@version $place, v1_2, V1_2, $cases);
        }
    };
    (@version $place:ident, $module:ident, $version:ident, { $($from:ident::$case:ident),* $(,)? }) => {
        mod $module {
            $(#[tokio::test]
            async fn $case() {
                let version = diesel_outbox::stomp::Version::$version;
                if let Some(place) = crate::Place::$place(version) {
                    crate::$from::$case(&place).await;
                }
            })*
        }
    };
}

mod on {
    on_each_broker!({
        rounds::a_message_goes_round,
        rounds::a_thousand_in_flight,
        rounds::a_lost_connection_redelivers,
        rounds::heartbeats_keep_an_idle_connection,
        rounds::a_nack_gives_up_or_back,
        refusals::a_wrong_password,
        refusals::a_wrong_virtual_host,
        refusals::a_wrong_destination,
    });
}

/// ActiveMQ hands what a connection leaves over again only after a pause of its own.
mod on_rabbitmq_alone {
    on_each_broker!(@place rabbitmq, { rounds::what_is_left_is_back_after_disconnect });
    on_each_broker!(@place rabbitmq_tls, { rounds::what_is_left_is_back_after_disconnect });
    on_each_broker!(@place loopback, { rounds::what_is_left_is_back_after_disconnect });
}
