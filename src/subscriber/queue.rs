//! The queue of a subscription: its name, and the arguments that django-outbox-pattern gives it.

use crate::stomp::{Broker, Subscribe};

/// A queue, and what it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) destination: String,
    pub(super) name: String,
    pub(super) prefetch: u32,
    pub(super) exclusive: bool,
}

/// Why nothing can be subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The destination is empty.
    #[error("the destination is empty; name one, such as /topic/orders")]
    NoDestination,
    /// The destination or the queue's name cannot be sent.
    #[error("{0} is longer than 255 characters or holds a control character")]
    Unusable(&'static str),
    /// The destination ends with a slash, and no queue was named.
    #[error("the destination `{0}` has no last part to name the queue by: name the queue")]
    NoQueue(String),
}

impl Queue {
    /// Without a name the queue takes the last segment of the destination.
    pub(super) fn new(
        destination: &str,
        name: Option<&str>,
        prefetch: u32,
        exclusive: bool,
    ) -> Result<Self, QueueError> {
        let destination = destination.trim();
        if destination.is_empty() {
            return Err(QueueError::NoDestination);
        }
        let name = name.unwrap_or_else(|| destination.rsplit('/').next().unwrap_or(destination));
        if name.is_empty() {
            return Err(QueueError::NoQueue(destination.to_owned()));
        }
        for (what, text) in [("the destination", destination), ("the queue's name", name)] {
            if text.chars().count() > 255 || text.chars().any(char::is_control) {
                return Err(QueueError::Unusable(what));
            }
        }
        Ok(Self {
            destination: destination.to_owned(),
            name: name.to_owned(),
            prefetch,
            exclusive,
        })
    }

    /// The queue that given-up messages go to.
    pub(super) fn dead_letters(&self) -> String {
        format!("DLQ.{}", self.name)
    }

    /// The subscription to the queue itself.
    pub(super) fn subscribe(&self, broker: Broker) -> Subscribe {
        let arguments = arguments(
            &self.name,
            &self.dead_letters(),
            self.prefetch,
            self.exclusive,
        );
        subscription(&self.destination, arguments, broker)
    }

    /// The subscription that declares the queue of dead letters, with the arguments that a Django
    /// service would declare it with.
    pub(super) fn declare_dead_letters(&self, broker: Broker) -> Subscribe {
        let name = self.dead_letters();
        let next = format!("DLQ.DLQ.{name}");
        subscription(
            &format!("/queue/{name}"),
            arguments(&name, &next, 1, false),
            broker,
        )
    }
}

fn subscription(destination: &str, arguments: Vec<(String, String)>, broker: Broker) -> Subscribe {
    let headers = match broker {
        // It has no such arguments.
        Broker::ActiveMq => Vec::new(),
        _ => arguments,
    };
    Subscribe {
        destination: destination.to_owned(),
        headers,
    }
}

fn arguments(
    queue: &str,
    dead_letters: &str,
    prefetch: u32,
    exclusive: bool,
) -> Vec<(String, String)> {
    [
        ("durable", "true".to_owned()),
        ("auto-delete", "false".to_owned()),
        ("prefetch-count", prefetch.to_string()),
        ("exclusive", exclusive.to_string()),
        ("x-queue-name", queue.to_owned()),
        ("x-dead-letter-exchange", String::new()),
        ("x-dead-letter-routing-key", dead_letters.to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_named_after_the_destination() {
        let queue = Queue::new("/topic/orders.v1", None, 2, false).unwrap();
        assert_eq!(queue.name, "orders.v1");
        let subscribe = queue.subscribe(Broker::RabbitMq);
        let header = |name: &str| {
            let found = subscribe.headers.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(header("x-queue-name"), Some("orders.v1"));
        assert_eq!(header("x-dead-letter-exchange"), Some(""));
        assert_eq!(header("x-dead-letter-routing-key"), Some("DLQ.orders.v1"));
        let dead = queue.declare_dead_letters(Broker::RabbitMq);
        assert_eq!(dead.destination, "/queue/DLQ.orders.v1");
        assert!(dead.headers.contains(&(
            "x-dead-letter-routing-key".to_owned(),
            "DLQ.DLQ.DLQ.orders.v1".to_owned()
        )));
        assert!(queue.subscribe(Broker::ActiveMq).headers.is_empty());
    }

    #[test]
    fn what_cannot_be_subscribed_to_says_why() {
        let new = |destination: &str, name| Queue::new(destination, name, 1, false).unwrap_err();
        assert_eq!(new(" ", None), QueueError::NoDestination);
        assert!(matches!(new("/topic/", None), QueueError::NoQueue(_)));
        assert!(matches!(new("/topic/a\0", None), QueueError::Unusable(_)));
        let long = "q".repeat(256);
        assert!(matches!(
            new("/topic/a", Some(&long)),
            QueueError::Unusable(_)
        ));
    }
}
