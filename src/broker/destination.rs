//! The kind of a destination: a queue, or a topic or an exchange that queues are bound to.
//!
//! The rule is in docs/brokers.md, "Destinations and queues".

use super::activemq::virtual_topic;

/// The kind of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination<'a> {
    /// `/queue/NAME`, or NAME without a slash at its beginning: the queue of that name.
    Queue(&'a str),
    /// `/amq/queue/NAME` of RabbitMQ: the same queue, without a declaration.
    ExistingQueue(&'a str),
    /// `/topic/NAME`: each subscriber has a queue of its own.
    Topic(&'a str),
    /// `/exchange/NAME/KEY` of RabbitMQ, with or without a key: each subscriber has a queue of its own.
    Exchange(&'a str, Option<&'a str>),
    /// A destination that no broker knows.
    Unknown,
}

impl<'a> Destination<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        if let Some(name) = text.strip_prefix("/queue/") {
            return Self::Queue(name);
        }
        if let Some(name) = text.strip_prefix("/amq/queue/") {
            return Self::ExistingQueue(name);
        }
        if let Some(name) = text.strip_prefix("/topic/") {
            return Self::Topic(name);
        }
        if let Some(rest) = text.strip_prefix("/exchange/") {
            return match rest.split_once('/') {
                Some((name, key)) => Self::Exchange(name, Some(key)),
                None => Self::Exchange(rest, None),
            };
        }
        if text.starts_with('/') {
            return Self::Unknown;
        }
        Self::Queue(text)
    }

    /// The queue's name, if the destination is a queue.
    pub(crate) fn queue(self) -> Option<String> {
        match self {
            Self::Queue(name) | Self::ExistingQueue(name) => Some(decoded(name)),
            Self::Topic(_) | Self::Exchange(..) | Self::Unknown => None,
        }
    }

    /// Whether a message may arrive by both: the same topic, or patterns with a topic in common.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        match (self.pattern(), other.pattern()) {
            (Some(one), Some(other)) => {
                let words = |pattern: &'a str| pattern.split('.').collect::<Vec<_>>();
                have_one_in_common(&words(one), &words(other))
            }
            _ => self == other,
        }
    }

    /// The pattern of topics, if the destination has one.
    fn pattern(self) -> Option<&'a str> {
        match self {
            Self::Topic(name) => Some(name),
            Self::Queue(name) => virtual_topic(name),
            Self::Exchange("amq.topic", key) => Some(key.unwrap_or_default()),
            _ => None,
        }
    }
}

/// A name as RabbitMQ reads it in a destination: `%2F` is its only escape.
pub(crate) fn decoded(name: &str) -> String {
    name.replace(SLASH, "/")
}

/// A queue's name as a part of a destination of RabbitMQ.
pub(crate) fn encoded(name: &str) -> String {
    name.replace('/', SLASH)
}

/// The escape of a slash in a name.
pub(crate) const SLASH: &str = "%2F";

/// Whether a routing key matches both patterns: `*` is one word; `#`, and ActiveMQ's `>`, any number.
fn have_one_in_common(one: &[&str], other: &[&str]) -> bool {
    match (one, other) {
        ([], []) => true,
        (["#" | ">", rest @ ..], words) | (words, ["#" | ">", rest @ ..]) => {
            (0..=words.len()).any(|taken| have_one_in_common(rest, &words[taken..]))
        }
        ([a, one @ ..], [b, other @ ..]) => {
            (a == b || *a == "*" || *b == "*") && have_one_in_common(one, other)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Broker;

    #[test]
    fn each_kind_of_destination_is_known_by_its_beginning() {
        use Destination::*;
        for (text, expected, rabbitmq, activemq) in [
            ("/queue/a", Queue("a"), true, true),
            ("a", Queue("a"), true, true),
            ("/queue/a/b", Queue("a/b"), false, true),
            ("/queue/", Queue(""), false, false),
            ("/amq/queue/a", ExistingQueue("a"), true, false),
            ("/topic/a.b", Topic("a.b"), true, true),
            ("/topic/a/b", Topic("a/b"), false, true),
            ("/topic/a b", Topic("a b"), true, true),
            ("/exchange/e", Exchange("e", None), true, false),
            ("/exchange/e/k.#", Exchange("e", Some("k.#")), true, false),
            ("/exchange/e/", Exchange("e", Some("")), true, false),
            ("/exchange//k", Exchange("", Some("k")), false, false),
            ("/exchange/e/k/l", Exchange("e", Some("k/l")), false, false),
            ("/amq/a", Unknown, false, false),
            ("/a", Unknown, false, false),
            ("/temp-queue/a", Unknown, false, false),
            ("/reply-queue/a", Unknown, false, false),
        ] {
            let destination = Destination::parse(text);
            assert_eq!(destination, expected, "{text}");
            let known = |broker: Broker| broker.quirks().knows(destination);
            assert_eq!(known(Broker::RabbitMq), rabbitmq, "{text}");
            assert_eq!(known(Broker::ActiveMq), activemq, "{text}");
        }
    }

    #[test]
    fn a_queue_is_named_by_what_names_a_queue() {
        for (text, expected) in [
            ("/queue/a", Some("a")),
            ("/queue/a%2Fb", Some("a/b")),
            ("/amq/queue/50%25", Some("50%25")),
            ("a", Some("a")),
            ("/topic/a", None),
            ("/exchange/a/b", None),
        ] {
            let queue = Destination::parse(text).queue();
            assert_eq!(queue.as_deref(), expected, "{text}");
        }
        assert_eq!(encoded("50%/a"), "50%%2Fa");
    }

    #[test]
    fn topics_overlap_where_one_key_fits_both() {
        for (one, other, expected) in [
            ("/topic/a", "/topic/a", true),
            ("/topic/a", "/topic/b", false),
            ("/topic/a.*", "/topic/a.b", true),
            ("/topic/a.*", "/topic/a.b.c", false),
            ("/topic/a.#", "/topic/#.c", true),
            ("/topic/#", "/topic/a.b", true),
            ("/topic/a.>", "/topic/a.b.c", true),
            ("/topic/*.b", "/topic/a.*", true),
            ("/topic/*.b", "/topic/a.c", false),
            ("/exchange/amq.topic/a", "/topic/a", true),
            ("/exchange/e/a", "/exchange/e/a", true),
            ("/exchange/e/a", "/exchange/e/b", false),
            ("/exchange/e/a", "/topic/a", false),
            (
                "/queue/Consumer.a.VirtualTopic.o",
                "/queue/Consumer.b.VirtualTopic.o",
                true,
            ),
            (
                "/queue/Consumer.a.VirtualTopic.o",
                "/queue/Consumer.a.VirtualTopic.p",
                false,
            ),
            (
                "/queue/Consumer.a.VirtualTopic.o",
                "/topic/VirtualTopic.o",
                true,
            ),
            ("/queue/a", "/queue/b", false),
        ] {
            let overlap = |a, b| Destination::parse(a).overlaps(Destination::parse(b));
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
        }
    }
}
