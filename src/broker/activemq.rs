//! ActiveMQ Classic 5.17: <https://activemq.apache.org/components/classic/documentation/stomp>.

use std::time::Duration;

use chrono::Utc;

use super::destination::Destination;
use super::error_kind::ErrorKind;
use super::protocol::Protocol;
use super::quirks::{Headers, Quirks, SubscriptionNeeds, owned};

/// In 1.0 ActiveMQ reads escape sequences and writes none.
pub(super) const PROTOCOL: Protocol = Protocol {
    reads_escapes_in_1_0: true,
    ..Protocol::SPECIFIED
};

/// The answers of ActiveMQ.
#[derive(Debug)]
pub(super) struct ActiveMq;

impl Quirks for ActiveMq {
    fn name(&self) -> &'static str {
        "ActiveMQ"
    }

    fn accepted_destinations(&self) -> &'static str {
        "/topic/NAME and /queue/NAME"
    }

    /// `/amq/queue/NAME` and `/exchange/NAME` would be names of queues.
    fn knows(&self, destination: Destination<'_>) -> bool {
        match destination {
            Destination::Queue(name) | Destination::Topic(name) => !name.is_empty(),
            Destination::ExistingQueue(_) | Destination::Exchange(..) | Destination::Unknown => {
                false
            }
        }
    }

    fn can_address(&self, _queue: &str) -> bool {
        true
    }

    fn queue_address(&self, queue: &str) -> String {
        format!("/queue/{queue}")
    }

    /// What a durable subscription of a topic collects has no address of its own.
    fn return_address(&self, queue: &str, sent_to: Option<&str>) -> String {
        sent_to.map_or_else(|| self.queue_address(queue), str::to_owned)
    }

    fn has_stable_message_id(&self) -> bool {
        true
    }

    /// The header is missing on a durable topic after a lost connection.
    fn marks_redeliveries_of_topics(&self) -> bool {
        false
    }

    fn accepts_foreign_user_id(&self) -> bool {
        true
    }

    fn max_headers(&self) -> Option<usize> {
        None
    }

    /// In milliseconds since 1970.
    fn expiry(&self, after: Duration) -> (String, String) {
        let now = u128::try_from(Utc::now().timestamp_millis()).unwrap_or(0);
        ("expires".to_owned(), (now + after.as_millis()).to_string())
    }

    /// ActiveMQ's queues have no arguments. What a durable subscription of a topic collects belongs
    /// to the client's id and the subscription's name.
    fn subscription_headers(&self, needs: &SubscriptionNeeds<'_>) -> Headers {
        let mut headers = owned([("activemq.prefetchSize", needs.prefetch.to_string())]);
        if needs.exclusive {
            headers.extend(owned([("activemq.exclusive", "true".to_owned())]));
        }
        if let Some(topic) = needs.topic {
            headers.extend(owned([("activemq.subscriptionName", topic.to_owned())]));
        }
        headers
    }

    fn reader_headers(&self) -> Headers {
        owned([("activemq.prefetchSize", i32::MAX.to_string())])
    }

    fn watcher_headers(&self) -> Option<Headers> {
        None
    }

    fn dead_letter_declaration(&self, _queue: &str) -> Option<(String, Headers)> {
        None
    }

    fn is_queue_argument(&self, _header: &str) -> bool {
        false
    }

    /// Unless `individualDeadLetterStrategy` is set in its policy.
    fn rejected_queue(&self, _queue: &str) -> String {
        "ActiveMQ.DLQ".to_owned()
    }

    fn always_keeps_rejected(&self) -> bool {
        true
    }
}

/// The topic whose messages reach this queue as well:
/// <https://activemq.apache.org/components/classic/documentation/virtual-destinations>.
pub(super) fn virtual_topic(queue: &str) -> Option<&str> {
    let (_, topic) = queue.strip_prefix("Consumer.")?.split_once('.')?;
    topic.starts_with("VirtualTopic.").then_some(topic)
}

/// The subject of an ERROR with these texts, in lower case; `None` if it is none of ActiveMQ's.
pub(super) fn error_kind(message: &str, body: &str) -> Option<ErrorKind> {
    let either = |text: &str| message.contains(text) || body.contains(text);
    let kind = if either("or password is invalid") {
        ErrorKind::RefusedLogin
    } else if message.contains(" already connected from ") {
        ErrorKind::ClientIdInUse
    } else if either("not authorized to") {
        ErrorKind::RefusedDestination
    } else {
        return None;
    };
    Some(kind)
}
