//! What a dead letter says of itself, and where it lies.

use crate::stomp::{Broker, Delivery};

/// What the name of a queue of dead letters begins with.
const PREFIX: &str = "DLQ.";

/// Why it was given up.
pub(crate) const ERROR: &str = "outbox-error";
/// How often the callback has failed.
pub(crate) const ATTEMPTS: &str = "outbox-attempts";
/// When it failed first, RFC 3339.
pub(crate) const FIRST: &str = "outbox-first-failure";
/// When it failed last, RFC 3339.
pub(crate) const LAST: &str = "outbox-last-failure";
/// The consumer's name.
pub(crate) const CONSUMER: &str = "outbox-consumer";
/// The queue that it came from.
pub(crate) const QUEUE: &str = "outbox-queue";
/// Where it had been sent.
pub(crate) const DESTINATION: &str = "outbox-destination";

/// What of the message could not be decoded: the letter has the rest only.
pub(crate) const DEFECTS: &str = "outbox-defects";

/// What the headers of a story begin with.
const OWN: &str = "outbox-";

/// Headers that a broker gives a message, or that belong to the frame.
const BROKERS: [&str; 12] = [
    "destination",
    "message-id",
    "subscription",
    "ack",
    "redelivered",
    "content-length",
    "receipt",
    "persistent",
    "expires",
    "expiration",
    "timestamp",
    "priority",
];

/// Headers by which a SEND to RabbitMQ declares a queue. They are in a letter of ours, and no part of
/// the message.
const ARGUMENTS: [&str; 11] = [
    "durable",
    "auto-delete",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-max-priority",
    "x-queue-type",
];

/// The name of a queue's dead letters.
pub(crate) fn dead_letters_of(queue: &str) -> String {
    format!("{PREFIX}{queue}")
}

/// The address of a queue that is there. On RabbitMQ one that takes no arguments, which would have
/// to be those that the queue was declared with.
pub(crate) fn existing_queue(queue: &str, broker: Broker) -> String {
    match broker {
        Broker::ActiveMq => format!("/queue/{queue}"),
        _ => format!("/amq/queue/{}", encoded(queue)),
    }
}

/// A queue's name as a segment of RabbitMQ's destinations.
pub(crate) fn encoded(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

/// A message's own headers: without those of a broker, of a frame, and of an earlier story.
pub(crate) fn own_headers(delivery: &Delivery) -> Vec<(String, String)> {
    let mut own: Vec<(String, String)> = Vec::new();
    for (name, value) in delivery.headers.iter() {
        let is_own = !BROKERS.contains(&name)
            && !ARGUMENTS.contains(&name)
            && !name.starts_with(OWN)
            && !name.starts_with("x-death")
            && !name.starts_with("x-first-death")
            && !name.starts_with("x-last-death");
        if is_own && !own.iter().any(|(other, _)| other == name) {
            own.push((name.to_owned(), value.to_owned()));
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_has_the_messages_own_headers() {
        for (name, is_own) in [
            ("dop-msg-id", true),
            ("key", true),
            ("content-type", true),
            ("message-id", false),
            ("redelivered", false),
            ("x-death", false),
            ("outbox-error", false),
            ("x-dead-letter-exchange", false),
        ] {
            let headers = [(name, "first"), (name, "second")].into_iter().collect();
            let delivery = Delivery::by_hand("/queue/a", headers, "{}");
            let own = own_headers(&delivery);
            let expected: &[(String, String)] = if is_own {
                &[(name.to_owned(), "first".to_owned())]
            } else {
                &[]
            };
            assert_eq!(own, expected, "{name}");
        }
    }
}
