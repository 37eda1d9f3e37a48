//! The queue of a subscription: its name, and the arguments that django-outbox-pattern gives it.

use crate::dead_letters::letter::{dead_letters_of, encoded};
use crate::stomp::{Broker, Client, Connector, Error, ErrorKind, Subscribe, Subscription};

/// A queue, and what it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) destination: String,
    pub(super) name: String,
    pub(super) prefetch: u32,
    pub(super) exclusive: bool,
    /// Further headers, as `name:value`.
    pub(super) headers: Vec<String>,
    /// Those of the queue of dead letters.
    pub(super) dead_letter_headers: Vec<String>,
}

/// Headers by which the broker deletes a queue, or what is in it, by itself: the queue of dead letters
/// takes none of them from the other one.
const DELETE: [&str; 6] = [
    "auto-delete",
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
];

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
    /// RabbitMQ does not understand the destination.
    #[error(
        "RabbitMQ knows no destination `{0}`: it takes /topic/NAME, /queue/NAME, /amq/queue/NAME and \
         /exchange/NAME/KEY, with %2F for a slash in a name (where the broker is ActiveMQ, say so: \
         broker = \"activemq\")"
    )]
    NotForRabbitMq(String),
    /// Two subscriptions of one process have the same queue.
    #[error("two subscriptions have the queue `{0}`: name another one, or use `workers`")]
    Twice(String),
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
            headers: Vec::new(),
            dead_letter_headers: Vec::new(),
        })
    }

    /// Refuses what RabbitMQ would refuse by an ERROR, such as a slash in a name.
    pub(super) fn check_for_rabbitmq(&self) -> Result<(), QueueError> {
        let text = self.destination.as_str();
        let is_name = |name: &str| !name.is_empty() && !name.contains('/');
        let is_known = if let Some(rest) = text.strip_prefix('/') {
            match rest.split_once('/') {
                Some(("topic" | "queue" | "temp-queue" | "reply-queue", name)) => is_name(name),
                Some(("amq", rest)) => rest.strip_prefix("queue/").is_some_and(is_name),
                Some(("exchange", rest)) => rest.split('/').count() <= 2 && !rest.starts_with('/'),
                _ => false,
            }
        } else {
            is_name(text)
        };
        if is_known {
            Ok(())
        } else {
            Err(QueueError::NotForRabbitMq(self.destination.clone()))
        }
    }

    /// Adds headers to those of the subscription, and of the dead letters' queue: of the former those
    /// that let it and its letters be, and the latter.
    pub(super) fn with_headers(self, headers: &[String], of_dead_letters: &[String]) -> Self {
        let is_harmless = |header: &&String| !deletes(header);
        let inherited = headers.iter().filter(is_harmless);
        Self {
            headers: headers.to_vec(),
            dead_letter_headers: inherited.chain(of_dead_letters).cloned().collect(),
            ..self
        }
    }

    /// Those headers of the queue of dead letters by which the broker deletes letters.
    pub(super) fn deleting_headers(&self) -> Vec<&str> {
        let headers = self.dead_letter_headers.iter().map(String::as_str);
        headers.filter(|header| deletes(header)).collect()
    }

    /// Declares the queue of dead letters, and subscribes.
    pub(super) async fn open(
        &self,
        connector: &Connector,
        client: &Client,
    ) -> Result<Subscription, Error> {
        let broker = client.broker();
        if broker != Broker::ActiveMq && !self.declare(connector).await? {
            tracing::warn!(
                queue = dead_letters_of(&self.name),
                "the queue of dead letters was declared with other arguments than ours; it is used as \
                 it is"
            );
        }
        client.subscribe(self.subscribe(broker)).await
    }

    /// Declares the queue of dead letters on a connection of its own: RabbitMQ keeps what it has handed
    /// to a subscription unacknowledged until the connection ends, not until UNSUBSCRIBE. Returns false
    /// if the queue is there with other arguments.
    pub(super) async fn declare(&self, connector: &Connector) -> Result<bool, Error> {
        let client = connector.once().await?;
        let subscription = match client.subscribe(self.declare_dead_letters()).await {
            Err(error) if is_declared_otherwise(&error) => return Ok(false),
            other => other?,
        };
        subscription.unsubscribe().await?;
        client.disconnect().await?;
        Ok(true)
    }

    /// The queue that given-up messages go to.
    pub(super) fn dead_letters(&self, broker: Broker) -> String {
        match broker {
            // Unless its policy for dead letters says otherwise.
            Broker::ActiveMq => "ActiveMQ.DLQ".to_owned(),
            _ => dead_letters_of(&self.name),
        }
    }

    /// Whether the broker puts what is rejected to our queue of dead letters, because we have
    /// declared the queue so.
    pub(super) fn buries(&self, broker: Broker) -> bool {
        broker != Broker::ActiveMq && !self.destination.starts_with("/amq/queue/")
    }

    /// The subscription to the queue itself.
    pub(super) fn subscribe(&self, broker: Broker) -> Subscribe {
        let headers = match broker {
            Broker::ActiveMq => self.activemq_headers(),
            _ => arguments(
                &self.name,
                &dead_letters_of(&self.name),
                self.prefetch,
                self.exclusive,
            ),
        };
        Subscribe {
            destination: self.destination.clone(),
            headers: completed(headers, &self.headers),
        }
    }

    /// ActiveMQ's queues have no arguments. What a durable subscription of a topic collects
    /// belongs to the client's id and the subscription's name.
    fn activemq_headers(&self) -> Vec<(String, String)> {
        let mut headers = vec![("activemq.prefetchSize", self.prefetch.to_string())];
        if self.exclusive {
            headers.push(("activemq.exclusive", "true".to_owned()));
        }
        if let Some(topic) = self.topic() {
            headers.push(("activemq.subscriptionName", topic.to_owned()));
        }
        owned(headers)
    }

    /// The topic's name, where it is one.
    fn topic(&self) -> Option<&str> {
        self.destination.strip_prefix("/topic/")
    }

    /// The id of the client that a durable subscription belongs to: that of the queue.
    pub(super) fn client_id(&self) -> Option<&str> {
        self.topic().map(|_| self.name.as_str())
    }

    /// The headers by which a SEND declares the queue of dead letters like
    /// [`declare_dead_letters`](Self::declare_dead_letters).
    pub(super) fn dead_letter_arguments(&self) -> Vec<(String, String)> {
        let mut headers = self.declare_dead_letters().headers;
        let is_of_subscription =
            |name: &str| matches!(name, "prefetch-count" | "exclusive" | "x-queue-name");
        headers.retain(|(name, _)| !is_of_subscription(name));
        headers
    }

    /// The subscription that declares the queue of dead letters, with the arguments that a Django
    /// service would declare it with.
    pub(super) fn declare_dead_letters(&self) -> Subscribe {
        let name = dead_letters_of(&self.name);
        let next = format!("DLQ.DLQ.{name}");
        Subscribe {
            destination: format!("/queue/{}", encoded(&name)),
            headers: completed(arguments(&name, &next, 1, false), &self.dead_letter_headers),
        }
    }
}

/// The settings' headers take the place of those of the same name.
fn completed(mut headers: Vec<(String, String)>, further: &[String]) -> Vec<(String, String)> {
    for (name, value) in further.iter().filter_map(|header| header.split_once(':')) {
        headers.retain(|(other, _)| other != name);
        headers.push((name.to_owned(), value.to_owned()));
    }
    headers
}

/// Whether the broker deletes letters because of this `name:value`.
fn deletes(header: &str) -> bool {
    header.split_once(':').is_some_and(|(name, value)| {
        DELETE.contains(&name) && (name, value) != ("auto-delete", "false")
    })
}

/// Whether the broker refuses a queue's arguments, because it has the queue with other ones.
pub(super) fn is_declared_otherwise(error: &Error) -> bool {
    error
        .error_frame()
        .is_some_and(|frame| frame.kind() == ErrorKind::PreconditionFailed)
}

fn arguments(
    queue: &str,
    dead_letters: &str,
    prefetch: u32,
    exclusive: bool,
) -> Vec<(String, String)> {
    owned(vec![
        ("durable", "true".to_owned()),
        ("auto-delete", "false".to_owned()),
        ("prefetch-count", prefetch.to_string()),
        ("exclusive", exclusive.to_string()),
        ("x-queue-name", queue.to_owned()),
        ("x-dead-letter-exchange", String::new()),
        ("x-dead-letter-routing-key", dead_letters.to_owned()),
    ])
}

fn owned(headers: Vec<(&str, String)>) -> Vec<(String, String)> {
    let owned = |(name, value): (&str, String)| (name.to_owned(), value);
    headers.into_iter().map(owned).collect()
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
        let dead = queue.declare_dead_letters();
        assert_eq!(dead.destination, "/queue/DLQ.orders.v1");
        assert!(dead.headers.contains(&(
            "x-dead-letter-routing-key".to_owned(),
            "DLQ.DLQ.DLQ.orders.v1".to_owned()
        )));
    }

    #[test]
    fn headers_of_the_settings_come_to_both_queues_unless_they_delete_letters() {
        let texts =
            |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| (*text).into()).collect() };
        let headers = texts(&["auto-delete:true", "x-queue-type:quorum", "x-expires:1000"]);
        let values = |subscribe: &Subscribe, name: &str| -> Vec<String> {
            let found = subscribe.headers.iter().filter(|(other, _)| other == name);
            found.map(|(_, value)| value.clone()).collect()
        };
        let queue = Queue::new("/topic/a", None, 2, false).unwrap();
        let queue = queue.with_headers(&headers, &[]);
        let (own, dead) = (
            queue.subscribe(Broker::RabbitMq),
            queue.declare_dead_letters(),
        );
        assert_eq!(values(&own, "auto-delete"), ["true"]);
        assert_eq!(values(&own, "x-expires"), ["1000"]);
        assert_eq!(values(&dead, "auto-delete"), ["false"]);
        assert!(values(&dead, "x-expires").is_empty());
        for subscribe in [&own, &dead] {
            assert_eq!(values(subscribe, "x-queue-type"), ["quorum"]);
            assert_eq!(values(subscribe, "durable"), ["true"]);
        }
        assert!(queue.deleting_headers().is_empty());
        let queue = queue.with_headers(&headers, &texts(&["x-expires:9", "x-queue-type:classic"]));
        let dead = queue.declare_dead_letters();
        assert_eq!(values(&dead, "x-expires"), ["9"]);
        assert_eq!(values(&dead, "x-queue-type"), ["classic"]);
        assert_eq!(queue.deleting_headers(), ["x-expires:9"]);
    }

    /// To the letter what it was, as a Django service may have declared it.
    #[test]
    fn without_settings_the_dead_letters_are_declared_as_ever() {
        let queue = Queue::new("/topic/a", None, 2, false).unwrap();
        let shown: Vec<String> = queue
            .declare_dead_letters()
            .headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        let expected = "durable:true auto-delete:false prefetch-count:1 exclusive:false \
            x-queue-name:DLQ.a x-dead-letter-exchange: x-dead-letter-routing-key:DLQ.DLQ.DLQ.a";
        assert_eq!(shown.join(" "), expected);
        assert_eq!(
            queue.dead_letter_arguments(),
            [
                ("durable", "true"),
                ("auto-delete", "false"),
                ("x-dead-letter-exchange", ""),
                ("x-dead-letter-routing-key", "DLQ.DLQ.DLQ.a")
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn activemq_has_words_of_its_own() {
        let headers = |destination: &str, exclusive| {
            let queue = Queue::new(destination, Some("billing"), 7, exclusive).unwrap();
            let id = queue.client_id().map(str::to_owned);
            (id, queue.subscribe(Broker::ActiveMq).headers)
        };
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let prefetch = header("activemq.prefetchSize", "7");
        let durable = header("activemq.subscriptionName", "orders.v1");
        let exclusive = header("activemq.exclusive", "true");
        assert_eq!(
            headers("/topic/orders.v1", false),
            (Some("billing".to_owned()), vec![prefetch.clone(), durable])
        );
        assert_eq!(
            headers("/queue/orders", true),
            (None, vec![prefetch, exclusive])
        );
    }

    #[test]
    fn what_cannot_be_subscribed_to_says_why() {
        let new = |destination: &str, name| Queue::new(destination, name, 1, false).unwrap_err();
        assert_eq!(new(" ", None), QueueError::NoDestination);
        assert!(matches!(new("/topic/", None), QueueError::NoQueue(_)));
        assert!(matches!(new("/topic/a\0", None), QueueError::Unusable(_)));
        for (destination, is_good) in [
            ("/topic/orders.v1", true),
            ("/topic/a%2Fb", true),
            ("/topic/a b", true),
            ("orders", true),
            ("/amq/queue/orders", true),
            ("/exchange/amq.topic/a.#", true),
            ("/exchange/amq.topic", true),
            ("/topic/a/b", false),
            ("/queue/a/b", false),
            ("/amq/orders", false),
            ("/orders/x", false),
            ("/orders", false),
            ("/exchange/a/b/c", false),
        ] {
            let queue = Queue::new(destination, Some("q"), 1, false).unwrap();
            assert_eq!(queue.check_for_rabbitmq().is_ok(), is_good, "{destination}");
        }
        let long = "q".repeat(256);
        assert!(matches!(
            new("/topic/a", Some(&long)),
            QueueError::Unusable(_)
        ));
    }
}
