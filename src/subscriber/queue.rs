//! The queue of a subscription: its name and the headers of its SUBSCRIBE.

use super::queue_error::QueueError;
use crate::broker::destination::{Destination, decoded};
use crate::broker::{
    Headers, SubscriptionNeeds, dead_letter_queue, deletes_messages, refuses_probe,
};
use crate::config::{Config, DeadLetter};
use crate::stomp::{Broker, Client, Connector, Error, ErrorKind, Subscribe, Subscription};

/// Messages that the broker may deliver ahead, for each worker.
const PREFETCH_FOR_EACH: u32 = 2;

/// A queue and the destination that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) destination: String,
    pub(crate) name: String,
    pub(crate) prefetch: u32,
    pub(crate) exclusive: bool,
    /// Further headers, as `name:value`.
    pub(crate) headers: Vec<String>,
    /// Further headers of the dead-letter queue, as `name:value`.
    pub(crate) dead_letter_headers: Vec<String>,
}

impl Queue {
    /// The queue of a subscription with these settings, if the broker knows it.
    pub(crate) fn of(
        config: &Config,
        destination: &str,
        name: Option<&str>,
    ) -> Result<Self, QueueError> {
        let workers = u32::try_from(config.workers).unwrap_or(u32::MAX);
        let prefetch = config
            .prefetch_count
            .unwrap_or(workers.saturating_mul(PREFETCH_FOR_EACH));
        let queue = Self::new(destination, name, prefetch, config.exclusive)?
            .with_headers(&config.queue_headers, &config.dead_letter_headers);
        queue.check_for(config.broker.unwrap_or(Broker::ASSUMED))?;
        Ok(queue)
    }

    /// Why one process cannot have both subscriptions, with these values of the setting `consumer`.
    pub(crate) fn conflict_with(
        &self,
        consumer: &str,
        other: &Self,
        consumer_of_other: &str,
    ) -> Option<QueueError> {
        if self.name == other.name {
            return Some(QueueError::Twice(self.name.clone()));
        }
        // Messages of both have their effect in only one of them.
        (consumer == consumer_of_other && self.kind().overlaps(other.kind()))
            .then(|| QueueError::OneEffect(self.destination.clone(), other.destination.clone()))
    }

    /// The queue of a destination. If the destination is not a queue itself, the queue has the given name, or
    /// that of the destination's last segment.
    pub(crate) fn new(
        destination: &str,
        name: Option<&str>,
        prefetch: u32,
        exclusive: bool,
    ) -> Result<Self, QueueError> {
        let destination = destination.trim();
        if destination.is_empty() {
            return Err(QueueError::NoDestination);
        }
        let own = Destination::parse(destination).queue();
        let last = || destination.rsplit('/').next().unwrap_or(destination);
        let name = match (own, name) {
            (Some(own), Some(given)) if own != decoded(given) => {
                return Err(QueueError::OtherName {
                    destination: destination.to_owned(),
                    own,
                    given: given.to_owned(),
                });
            }
            (Some(own), _) => own,
            (None, given) => given.unwrap_or_else(last).to_owned(),
        };
        if name.is_empty() {
            return Err(QueueError::NoQueue(destination.to_owned()));
        }
        for (what, text) in [
            ("the destination", destination),
            ("the queue's name", name.as_str()),
        ] {
            if text.chars().count() > 255 || text.chars().any(char::is_control) {
                return Err(QueueError::Unusable(what));
            }
        }
        Ok(Self {
            destination: destination.to_owned(),
            name,
            prefetch,
            exclusive,
            headers: Vec::new(),
            dead_letter_headers: Vec::new(),
        })
    }

    /// Refuses what this broker does not understand, such as a slash in a name on RabbitMQ.
    pub(crate) fn check_for(&self, broker: Broker) -> Result<(), QueueError> {
        let quirks = broker.quirks();
        if !quirks.knows(self.kind()) {
            return Err(QueueError::UnknownDestination {
                destination: self.destination.clone(),
                broker: quirks.name(),
                accepted: quirks.accepted_destinations(),
            });
        }
        // Only a name that was given, or that follows from a topic.
        if !quirks.can_address(&self.name) {
            return Err(QueueError::Escape(self.name.clone()));
        }
        Ok(())
    }

    /// What its destination names.
    pub(crate) fn kind(&self) -> Destination<'_> {
        Destination::parse(&self.destination)
    }

    /// Adds the headers of the settings. The dead-letter queue gets its own, and those of the queue by which
    /// the broker deletes no messages.
    pub(crate) fn with_headers(self, headers: &[String], of_dead_letters: &[String]) -> Self {
        let is_harmless = |header: &&String| !deletes_messages(header);
        let inherited = headers.iter().filter(is_harmless);
        Self {
            headers: headers.to_vec(),
            dead_letter_headers: inherited.chain(of_dead_letters).cloned().collect(),
            ..self
        }
    }

    /// The headers of the dead-letter queue by which the broker deletes dead letters.
    pub(crate) fn deleting_headers(&self) -> Vec<&str> {
        let headers = self.dead_letter_headers.iter().map(String::as_str);
        headers.filter(|header| deletes_messages(header)).collect()
    }

    /// Declares the dead-letter queue, and subscribes.
    pub(super) async fn open(
        &self,
        connector: &Connector,
        client: &Client,
    ) -> Result<Subscription, Error> {
        let broker = client.broker();
        if let Some(declaration) = self.dead_letter_declaration(broker)
            && !declare(connector, declaration).await?
        {
            tracing::warn!(
                queue = dead_letter_queue(&self.name),
                "the dead-letter queue exists with other arguments than ours; it is used as it is"
            );
        }
        client.subscribe(self.subscribe(broker)).await
    }

    /// Whether it is a stream. Only a queue that others have declared can be one: a stream cannot have the arguments of
    /// ours. Asked on a connection of its own, which the broker closes if the queue is none.
    pub(super) async fn is_stream(
        &self,
        connector: &Connector,
        broker: Broker,
    ) -> Result<bool, Error> {
        let Some(headers) = broker.stream_probe() else {
            return Ok(false);
        };
        if !matches!(self.kind(), Destination::ExistingQueue(_)) {
            return Ok(false);
        }
        let client = connector.connect_once().await?;
        let probe = Subscribe {
            destination: self.destination.clone(),
            headers,
        };
        let probed = client.subscribe(probe).await;
        client.abort();
        match probed {
            Ok(_) => Ok(true),
            // The error of another kind is that of the subscription itself.
            Err(error) if error.error_frame().is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The queue that messages without another attempt go to.
    pub(crate) fn dead_letters(&self, broker: Broker, by: DeadLetter) -> String {
        match by {
            DeadLetter::None => "none".to_owned(),
            DeadLetter::Broker => broker.quirks().rejected_queue(&self.name),
            DeadLetter::Outbox => dead_letter_queue(&self.name),
        }
    }

    /// Whether the broker moves rejected messages to our dead-letter queue, because we have declared
    /// the queue so.
    pub(crate) fn is_declared_with_dead_letters(&self, broker: Broker) -> bool {
        !matches!(self.kind(), Destination::ExistingQueue(_))
            && self.dead_letter_declaration(broker).is_some()
    }

    /// The subscription to the queue itself.
    pub(crate) fn subscribe(&self, broker: Broker) -> Subscribe {
        let headers = broker.quirks().subscription_headers(&SubscriptionNeeds {
            queue: &self.name,
            prefetch: self.prefetch,
            exclusive: self.exclusive,
            topic: self.topic(),
        });
        Subscribe {
            destination: self.destination.clone(),
            headers: with_further(headers, &self.headers),
        }
    }

    /// The topic's name, if the destination is a topic.
    pub(crate) fn topic(&self) -> Option<&str> {
        match self.kind() {
            Destination::Topic(name) => Some(name),
            _ => None,
        }
    }

    /// The client id that a durable subscription belongs to: the queue's name. It is in CONNECT, before
    /// the broker is known; RabbitMQ ignores it.
    pub(crate) fn client_id(&self) -> Option<&str> {
        self.topic().map(|_| self.name.as_str())
    }

    /// The subscription that declares the dead-letter queue; `None` if this broker needs none.
    pub(crate) fn dead_letter_declaration(&self, broker: Broker) -> Option<Subscribe> {
        let declaration = broker.quirks().dead_letter_declaration(&self.name);
        declaration.map(|(destination, headers)| Subscribe {
            destination,
            headers: with_further(headers, &self.dead_letter_headers),
        })
    }

    /// The address and the headers by which a SEND declares the dead-letter queue like
    /// [`dead_letter_declaration`](Self::dead_letter_declaration).
    pub(crate) fn dead_letter_arguments(&self, broker: Broker) -> Option<(String, Headers)> {
        let mut declaration = self.dead_letter_declaration(broker)?;
        let quirks = broker.quirks();
        let headers = &mut declaration.headers;
        headers.retain(|(name, _)| quirks.is_queue_argument(name));
        Some((declaration.destination, declaration.headers))
    }
}

/// Declares a dead-letter queue on a connection of its own: RabbitMQ keeps messages that it has
/// delivered to a subscription unacknowledged until the connection ends, not until UNSUBSCRIBE.
/// Returns false if the queue exists with other arguments.
///
/// If a quorum queue has a delivery limit by default, no dead letter is delivered, because the queue counts each delivery
/// and drops a message at the limit: the SUBSCRIBE has an argument that RabbitMQ refuses after it has declared the queue.
pub(super) async fn declare(
    connector: &Connector,
    mut declaration: Subscribe,
) -> Result<bool, Error> {
    let client = connector.connect_once().await?;
    if client.broker().has_delivery_limit(client.server()) {
        let refused = client.broker().stream_probe().unwrap_or_default();
        declaration.headers = completed(refused, declaration.headers);
    }
    let subscription = match client.subscribe(declaration).await {
        Err(error) if is_declared_otherwise(&error) => return Ok(false),
        Err(error) if is_probe_refused(&error) => return Ok(true),
        other => other?,
    };
    // The receipt of SUBSCRIBE has declared the queue. If somebody deletes it now, RabbitMQ answers UNSUBSCRIBE with an
    // ERROR; the next dead letter declares the queue again.
    match subscription.unsubscribe().await {
        Ok(()) => drop(client.disconnect().await),
        Err(error) => {
            tracing::debug!(error = %error, "could not unsubscribe from the dead-letter queue")
        }
    }
    Ok(true)
}

/// Adds headers of the settings.
fn with_further(headers: Headers, further: &[String]) -> Headers {
    let further = further.iter().filter_map(|header| header.split_once(':'));
    let further = further.map(|(name, value)| (name.to_owned(), value.to_owned()));
    completed(headers, further.collect())
}

/// Adds headers, which replace those of the same name.
fn completed(mut headers: Headers, further: Headers) -> Headers {
    for (name, value) in further {
        headers.retain(|(other, _)| *other != name);
        headers.push((name, value));
    }
    headers
}

/// Whether the broker has declared the queue, and refuses only to deliver from it.
fn is_probe_refused(error: &Error) -> bool {
    error
        .error_frame()
        .is_some_and(|frame| refuses_probe(frame.kind(), &frame.body))
}

/// Whether the broker refuses the declaration because the queue exists with other arguments.
pub(super) fn is_declared_otherwise(error: &Error) -> bool {
    error
        .error_frame()
        .is_some_and(|frame| frame.kind() == ErrorKind::DeclaredOtherwise)
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
        let dead = queue.dead_letter_declaration(Broker::RabbitMq).unwrap();
        assert_eq!(dead.destination, "/queue/DLQ.orders.v1");
        assert!(dead.headers.contains(&(
            "x-dead-letter-routing-key".to_owned(),
            "DLQ.DLQ.DLQ.orders.v1".to_owned()
        )));
    }

    #[test]
    fn headers_of_the_settings_apply_to_both_queues_unless_they_delete_dead_letters() {
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
            queue.dead_letter_declaration(Broker::RabbitMq).unwrap(),
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
        let dead = queue.dead_letter_declaration(Broker::RabbitMq).unwrap();
        assert_eq!(values(&dead, "x-expires"), ["9"]);
        assert_eq!(values(&dead, "x-queue-type"), ["classic"]);
        assert_eq!(queue.deleting_headers(), ["x-expires:9"]);
    }

    /// Exactly as before, because a Django service may have declared it.
    #[test]
    fn without_settings_the_dead_letters_are_declared_as_ever() {
        let queue = Queue::new("/topic/a", None, 2, false).unwrap();
        let declaration = queue.dead_letter_declaration(Broker::RabbitMq);
        let shown: Vec<String> = declaration
            .unwrap()
            .headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        let expected = "durable:true auto-delete:false prefetch-count:1 exclusive:false \
            x-queue-name:DLQ.a x-dead-letter-exchange: x-dead-letter-routing-key:DLQ.DLQ.DLQ.a";
        assert_eq!(shown.join(" "), expected);
        let (destination, arguments) = queue.dead_letter_arguments(Broker::RabbitMq).unwrap();
        assert_eq!(destination, "/queue/DLQ.a");
        assert_eq!(
            arguments,
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
        let headers = |destination: &str, name, exclusive| {
            let queue = Queue::new(destination, name, 7, exclusive).unwrap();
            let id = queue.client_id().map(str::to_owned);
            (id, queue.subscribe(Broker::ActiveMq).headers)
        };
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let prefetch = header("activemq.prefetchSize", "7");
        let durable = header("activemq.subscriptionName", "orders.v1");
        let exclusive = header("activemq.exclusive", "true");
        assert_eq!(
            headers("/topic/orders.v1", Some("billing"), false),
            (Some("billing".to_owned()), vec![prefetch.clone(), durable])
        );
        assert_eq!(
            headers("/queue/orders", None, true),
            (None, vec![prefetch, exclusive])
        );
    }

    #[test]
    fn a_destination_that_is_a_queue_takes_no_other_name() {
        let name = |destination: &str, given| {
            let queue = Queue::new(destination, given, 1, false)?;
            Ok::<_, QueueError>(queue.name)
        };
        for destination in ["/queue/mail", "/amq/queue/mail", "mail"] {
            assert_eq!(name(destination, None).unwrap(), "mail");
            assert_eq!(name(destination, Some("mail")).unwrap(), "mail");
            let error = name(destination, Some("billing2")).unwrap_err();
            let advice = "subscribe to a topic: `/topic/mail billing2`";
            assert!(error.to_string().contains(advice), "{error}");
        }
        assert_eq!(name("/queue/a%2Fb", None).unwrap(), "a/b");
        assert_eq!(name("/queue/a%2Fb", Some("a%2Fb")).unwrap(), "a/b");
        for destination in ["/topic/mail", "/exchange/e/mail"] {
            assert_eq!(name(destination, None).unwrap(), "mail");
            assert_eq!(name(destination, Some("billing2")).unwrap(), "billing2");
        }
    }

    #[test]
    fn what_a_broker_does_not_know_says_what_it_knows() {
        let check = |destination: &str, broker| {
            let queue = Queue::new(destination, None, 1, false).unwrap();
            queue.check_for(broker)
        };
        let (rabbitmq, activemq) = (Broker::RabbitMq, Broker::ActiveMq);
        for destination in ["/topic/a/b", "/queue/a/b", "/orders/x", "/temp-queue/x"] {
            let refused = check(destination, rabbitmq).unwrap_err().to_string();
            let expected = format!("RabbitMQ does not know the destination `{destination}`: use ");
            assert!(refused.starts_with(&expected), "{refused}");
            assert!(refused.contains("/exchange/NAME/KEY"), "{refused}");
        }
        for destination in ["/amq/queue/a", "/exchange/amq.topic/a", "/orders/x"] {
            let refused = check(destination, activemq).unwrap_err().to_string();
            assert_eq!(
                refused,
                format!(
                    "ActiveMQ does not know the destination `{destination}`: use /topic/NAME and \
                     /queue/NAME"
                )
            );
        }
        let escape = Err(QueueError::Escape("a%2Fb".to_owned()));
        assert_eq!(check("/topic/a%2Fb", rabbitmq), escape);
        assert_eq!(check("/topic/a%2Fb", activemq), Ok(()));
        assert_eq!(check("/queue/a%2Fb", rabbitmq), Ok(()));
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
