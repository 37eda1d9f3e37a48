//! A queue and its messages.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::stomp::Headers;

/// A message in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuedMessage {
    /// The sender's headers.
    pub headers: Vec<(String, String)>,
    /// The destination of the SEND.
    pub destination: String,
    /// The body.
    pub body: Bytes,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// Its position among all messages.
    pub(super) place: u64,
}

impl QueuedMessage {
    /// The value of the first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }
}

/// A connection's number and its subscription's tag.
pub(super) type Subscriber = (u64, String);

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The arguments of its declaration; later declarations must repeat them.
    pub(super) arguments: BTreeMap<String, String>,
    pub(super) ready: VecDeque<QueuedMessage>,
    /// Subscribers, in turn.
    pub(super) subscribers: VecDeque<Subscriber>,
    pub(super) auto_delete: bool,
    /// The only connection that may subscribe.
    pub(super) exclusive: Option<u64>,
}

impl Queue {
    /// Puts a message back at its old position.
    pub(super) fn put_back(&mut self, message: QueuedMessage) {
        let position = self
            .ready
            .iter()
            .position(|other| other.place > message.place)
            .unwrap_or(self.ready.len());
        self.ready.insert(position, message);
    }
}

/// The queue arguments among the headers of a SEND or a SUBSCRIBE.
pub(super) fn arguments(headers: &Headers) -> BTreeMap<String, String> {
    let mut arguments: BTreeMap<String, String> = [("durable", "true"), ("auto-delete", "false")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    for (name, value) in headers.iter() {
        let is_argument = matches!(name, "durable" | "auto-delete")
            || (name.starts_with("x-") && QUEUE_ARGUMENTS.contains(&name));
        if is_argument {
            arguments.insert(name.to_owned(), value.to_owned());
        }
    }
    arguments
}

/// RabbitMQ's names, from <https://www.rabbitmq.com/docs/stomp#queue-properties>.
const QUEUE_ARGUMENTS: [&str; 8] = [
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-max-priority",
];

/// RabbitMQ's text for the first argument that differs.
pub(super) fn inequivalent(
    queue: &str,
    current: &BTreeMap<String, String>,
    received: &BTreeMap<String, String>,
) -> Option<String> {
    let name = current
        .keys()
        .chain(received.keys())
        .find(|name| current.get(*name) != received.get(*name))?;
    let shown = |value: Option<&String>| match value {
        Some(value) => format!("the value '{value}' of type 'longstr'"),
        None => "none".to_owned(),
    };
    Some(format!(
        "PRECONDITION_FAILED - inequivalent arg '{name}' for queue '{queue}' in vhost '/': \
         received {} but current is {}",
        shown(received.get(name)),
        shown(current.get(name))
    ))
}
