//! RabbitMQ 3.10 to 4.3 with the plugin `rabbitmq_stomp`: <https://www.rabbitmq.com/docs/stomp>.

use std::time::Duration;

use super::destination::{Destination, SLASH, encoded};
use super::error_kind::ErrorKind;
use super::protocol::Protocol;
use super::quirks::{Headers, Quirks, SubscriptionNeeds, dead_letter_queue, owned};

/// RabbitMQ escapes in every version and has NACK in 1.0; of several lengths the last one counts.
pub(super) const PROTOCOL: Protocol = Protocol {
    has_all_escapes: true,
    reads_escapes_in_1_0: true,
    has_nack_in_1_0: true,
    has_last_length: true,
};

/// The maximum length of a frame in bytes from RabbitMQ 4.0 on, unless `stomp.max_frame_size` is set. RabbitMQ
/// closes the connection at a longer one, without an ERROR.
pub(crate) const MAX_FRAME: usize = 4 << 20;

/// Queue arguments by which RabbitMQ deletes a queue, or messages in it, by itself.
#[cfg(feature = "subscriber")]
const DELETING: [&str; 6] = [
    "auto-delete",
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
];

/// A header of SUBSCRIBE that only a stream accepts.
#[cfg(feature = "subscriber")]
pub(super) const STREAM_OFFSET: &str = "x-stream-offset";

/// Headers with the prefix `x-` that mean something in a SUBSCRIBE; RabbitMQ ignores others, such as `x-overflow`
/// (`rabbit_stomp_headers.hrl` of the plugin).
#[cfg(feature = "subscriber")]
const OF_SUBSCRIBE: [&str; 15] = [
    "x-queue-name",
    "x-queue-type",
    "x-priority",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    STREAM_OFFSET,
    "x-stream-filter",
    "x-stream-filter-size-bytes",
];

/// The answers of RabbitMQ.
#[derive(Debug)]
pub(super) struct RabbitMq;

impl Quirks for RabbitMq {
    fn name(&self) -> &'static str {
        "RabbitMQ"
    }

    fn accepted_destinations(&self) -> &'static str {
        "/topic/NAME, /queue/NAME, /amq/queue/NAME and /exchange/NAME/KEY, with %2F for a slash in a \
         name (if the broker is ActiveMQ, set broker = \"activemq\")"
    }

    /// A slash in a name is `%2F`.
    fn knows(&self, destination: Destination<'_>) -> bool {
        let is_name = |name: &str| !name.is_empty() && !name.contains('/');
        match destination {
            Destination::Queue(name)
            | Destination::Topic(name)
            | Destination::ExistingQueue(name) => is_name(name),
            Destination::Exchange(name, key) => {
                is_name(name) && key.is_none_or(|key| !key.contains('/'))
            }
            Destination::Unknown => false,
        }
    }

    /// `%2F` is read as a slash, so no address leads to a queue that has it in its name.
    fn can_address(&self, queue: &str) -> bool {
        !queue.contains(SLASH)
    }

    /// `/queue/NAME` would declare the queue without arguments, which RabbitMQ refuses if the queue
    /// has some.
    fn queue_address(&self, queue: &str) -> String {
        format!("/amq/queue/{}", encoded(queue))
    }

    /// Other queues of the topic do not get the message a second time.
    fn return_address(&self, queue: &str, _sent_to: Option<&str>) -> String {
        self.queue_address(queue)
    }

    fn has_stable_message_id(&self) -> bool {
        false
    }

    fn marks_redeliveries_of_topics(&self) -> bool {
        true
    }

    /// The `user-id` has to be that of the connection:
    /// <https://www.rabbitmq.com/docs/validated-user-id>.
    fn accepts_foreign_user_id(&self) -> bool {
        false
    }

    /// 4.3.6 (<https://github.com/rabbitmq/rabbitmq-server/pull/16106>), unless `max_headers` is set.
    fn max_headers(&self) -> Option<usize> {
        Some(100)
    }

    /// In milliseconds from now.
    fn expiry(&self, after: Duration) -> (String, String) {
        ("expiration".to_owned(), after.as_millis().to_string())
    }

    /// The arguments that django-outbox-pattern gives the queue: other ones would be refused on a
    /// queue that a Django service has declared.
    fn subscription_headers(&self, needs: &SubscriptionNeeds<'_>) -> Headers {
        arguments(needs, dead_letter_queue(needs.queue))
    }

    fn reader_headers(&self) -> Headers {
        Vec::new()
    }

    /// A SEND to a queue that does not exist is confirmed and dropped. A subscription is ended with
    /// its queue. Consumers with a higher priority get the messages.
    fn watcher_headers(&self) -> Option<Headers> {
        Some(owned([
            ("prefetch-count", "1".to_owned()),
            ("x-priority", "-1000".to_owned()),
        ]))
    }

    /// As django-outbox-pattern declares it.
    fn dead_letter_declaration(&self, queue: &str) -> Option<(String, Headers)> {
        let name = dead_letter_queue(queue);
        let needs = SubscriptionNeeds {
            queue: &name,
            prefetch: 1,
            exclusive: false,
            topic: None,
        };
        let headers = arguments(&needs, format!("DLQ.DLQ.{name}"));
        Some((format!("/queue/{}", encoded(&name)), headers))
    }

    fn is_queue_argument(&self, header: &str) -> bool {
        !matches!(header, "prefetch-count" | "exclusive" | "x-queue-name")
    }

    fn rejected_queue(&self, queue: &str) -> String {
        dead_letter_queue(queue)
    }

    /// It drops what is rejected from a queue without a dead-letter exchange.
    fn always_keeps_rejected(&self) -> bool {
        false
    }
}

fn arguments(needs: &SubscriptionNeeds<'_>, dead_letters: String) -> Headers {
    owned([
        ("durable", "true".to_owned()),
        ("auto-delete", "false".to_owned()),
        ("prefetch-count", needs.prefetch.to_string()),
        ("exclusive", needs.exclusive.to_string()),
        ("x-queue-name", needs.queue.to_owned()),
        ("x-dead-letter-exchange", String::new()),
        ("x-dead-letter-routing-key", dead_letters),
    ])
}

/// Whether the broker deletes messages because of this queue argument, written `name:value`.
/// ActiveMQ's queues have no arguments.
#[cfg(feature = "subscriber")]
pub(crate) fn deletes_messages(header: &str) -> bool {
    header.split_once(':').is_some_and(|(name, value)| {
        DELETING.contains(&name) && (name, value) != ("auto-delete", "false")
    })
}

/// Whether an ERROR says that the queue is no stream and so refuses [`STREAM_OFFSET`]. RabbitMQ has declared the queue
/// before.
#[cfg(feature = "subscriber")]
pub(crate) fn refuses_probe(kind: ErrorKind, body: &str) -> bool {
    kind == ErrorKind::InvalidArgument && body.contains(STREAM_OFFSET)
}

/// The version in a `server` header, such as `RabbitMQ/4.3.6`, without its last number.
#[cfg(feature = "subscriber")]
pub(super) fn version(server: &str) -> Option<(u32, u32)> {
    let mut numbers = server.strip_prefix("RabbitMQ/")?.split('.');
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

/// Whether RabbitMQ ignores this header of a SUBSCRIBE, written `name:value`, which looks like a queue argument.
#[cfg(feature = "subscriber")]
pub(super) fn ignores_argument(header: &str) -> bool {
    let name = header.split(':').next().unwrap_or_default();
    name.starts_with("x-") && !OF_SUBSCRIBE.contains(&name)
}

/// The subject of an ERROR with these texts, in lower case; `None` if it is none of RabbitMQ's.
pub(super) fn error_kind(message: &str, body: &str) -> Option<ErrorKind> {
    let kind = if body.starts_with("virtual host") {
        ErrorKind::RefusedVirtualHost
    } else if body.starts_with("access refused for user")
        || body.contains("non-loopback access denied")
        || body.contains("missing login or passcode")
    {
        ErrorKind::RefusedLogin
    } else if body.contains("is larger than configured max size") {
        ErrorKind::MessageTooLarge
    } else if message == "precondition_failed" {
        failed_precondition(body)?
    } else if message == "processing error" {
        ErrorKind::Internal
    } else if message == "not_found" {
        ErrorKind::NotFound
    } else if message == "server cancelled subscription" {
        ErrorKind::Cancelled
    } else if matches!(
        message,
        "unknown destination" | "invalid destination" | "access_refused"
    ) || message.contains("is not a valid destination")
        || body.contains("is not a valid destination")
    {
        ErrorKind::RefusedDestination
    } else {
        return None;
    };
    Some(kind)
}

/// The subject of an ERROR `precondition_failed`, by the beginning of its text: names that users choose follow later.
fn failed_precondition(body: &str) -> Option<ErrorKind> {
    let reason = body.strip_prefix("precondition_failed - ").unwrap_or(body);
    if reason.starts_with("inequivalent arg ") {
        Some(ErrorKind::DeclaredOtherwise)
    } else if reason.starts_with("invalid arg ") {
        Some(ErrorKind::InvalidArgument)
    } else if reason.starts_with("cannot declare queue ") && reason.contains(": queue limit in ") {
        Some(ErrorKind::TooManyQueues)
    } else if reason.starts_with("unknown delivery tag")
        || reason.starts_with("delivery acknowledgement")
    {
        None
    } else {
        Some(ErrorKind::PreconditionFailed)
    }
}
