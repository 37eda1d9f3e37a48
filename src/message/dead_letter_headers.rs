//! The headers of a dead letter.

use crate::headers;
use crate::stomp::{Broker, Delivery};

/// Why the message could not be handled.
pub(crate) const ERROR: &str = "outbox-error";
/// How many attempts failed.
pub(crate) const ATTEMPTS: &str = "outbox-attempts";
/// When the first attempt failed, RFC 3339.
pub(crate) const FIRST: &str = "outbox-first-failure";
/// When the last attempt failed, RFC 3339.
pub(crate) const LAST: &str = "outbox-last-failure";
/// The consumer's name.
pub(crate) const CONSUMER: &str = "outbox-consumer";
/// The queue that it came from.
pub(crate) const QUEUE: &str = "outbox-queue";
/// The destination that it was sent to.
pub(crate) const DESTINATION: &str = "outbox-destination";

/// The parts of the message that could not be decoded; the dead letter has only the rest.
pub(crate) const DEFECTS: &str = "outbox-defects";

/// The sender's user, which the broker has checked (RabbitMQ's `user-id`).
pub(crate) const USER: &str = "outbox-user-id";

/// The reading that has sent the dead letter again to the end of its queue.
pub(crate) const RENEWAL: &str = "outbox-renewal";

/// The headers that this library adds. Other headers with the prefix `outbox-` are the message's own.
const FAILURE_HEADERS: [&str; 10] = [
    ERROR,
    ATTEMPTS,
    FIRST,
    LAST,
    CONSUMER,
    QUEUE,
    DESTINATION,
    DEFECTS,
    USER,
    RENEWAL,
];

/// Headers that a broker gives a message, besides those of the frame; and an expiry, which would delete a
/// dead letter, and a message that is sent back on purpose.
///
/// RabbitMQ counts the deliveries of a message on a quorum queue in two of them.
const BROKERS: [&str; 6] = [
    "redelivered",
    "persistent",
    "expires",
    "expiration",
    DELIVERY_COUNT,
    "x-acquired-count",
];

/// How often a quorum queue of RabbitMQ has delivered the message in vain.
pub(crate) const DELIVERY_COUNT: &str = "x-delivery-count";

/// RabbitMQ accepts it only from the user that it names, and we may be another one.
pub(crate) const USER_ID: &str = "user-id";

/// Headers by which a SEND to RabbitMQ declares a queue. Our dead letters have them; they are not part of the
/// message.
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

/// A message's own headers: without those of a broker, of a frame, and of an earlier dead letter.
pub(crate) fn own_headers(delivery: &Delivery, broker: Broker) -> Vec<(String, String)> {
    let mut own: Vec<(String, String)> = Vec::new();
    for (name, value) in delivery.headers.iter() {
        let is_own =
            is_own_header(name) && (name != USER_ID || broker.quirks().accepts_foreign_user_id());
        if is_own && !own.iter().any(|(other, _)| other == name) {
            own.push((name.to_owned(), value.to_owned()));
        }
    }
    own
}

/// The headers of a copy of a dead letter for the same queue: all without those of a broker and of a frame.
pub(crate) fn copied_headers(delivery: &Delivery, broker: Broker) -> Vec<(String, String)> {
    let mut kept: Vec<(String, String)> = Vec::new();
    for (name, value) in delivery.headers.iter() {
        let name = match name == USER_ID && !broker.quirks().accepts_foreign_user_id() {
            true => USER,
            false => name,
        };
        let is_of_frame = headers::RESERVED.contains(&name)
            || BROKERS.contains(&name)
            || ARGUMENTS.contains(&name);
        if !is_of_frame && name != RENEWAL && !kept.iter().any(|(other, _)| other == name) {
            kept.push((name.to_owned(), value.to_owned()));
        }
    }
    kept
}

/// Whether a header is a message's own, [`USER_ID`] included.
pub(crate) fn is_own_header(name: &str) -> bool {
    !headers::RESERVED.contains(&name)
        && !BROKERS.contains(&name)
        && !ARGUMENTS.contains(&name)
        && !FAILURE_HEADERS.contains(&name)
        && !name.starts_with("x-death")
        && !name.starts_with("x-first-death")
        && !name.starts_with("x-last-death")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_has_the_messages_own_headers() {
        for (name, is_own) in [
            ("dop-msg-id", true),
            ("key", true),
            ("content-type", true),
            ("message-id", false),
            ("redelivered", false),
            ("x-death", false),
            ("x-delivery-count", false),
            ("x-acquired-count", false),
            ("priority", true),
            ("timestamp", true),
            ("outbox-note", true),
            ("outbox-error", false),
            ("expiration", false),
            ("user-id", false),
            ("x-dead-letter-exchange", false),
        ] {
            let headers = [(name, "first"), (name, "second")].into_iter().collect();
            let delivery = Delivery::from_parts("/queue/a", headers, "{}");
            let own = own_headers(&delivery, Broker::RabbitMq);
            let expected: &[(String, String)] = if is_own {
                &[(name.to_owned(), "first".to_owned())]
            } else {
                &[]
            };
            assert_eq!(own, expected, "{name}");
        }
    }
}
