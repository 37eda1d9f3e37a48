//! Destinations as RabbitMQ interprets them.

/// The target of a SEND or the source of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// A queue that is created if it does not exist.
    Queue(String),
    /// A queue that must exist.
    Existing(String),
    /// A routing key; in a SUBSCRIBE, a pattern.
    Topic(String),
    /// An exchange that does not exist.
    Exchange(String),
}

impl Destination {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("/queue/") {
            return named(name).map(Self::Queue);
        }
        if let Some(name) = text.strip_prefix("/amq/queue/") {
            return named(name).map(Self::Existing);
        }
        if let Some(name) = text.strip_prefix("/topic/") {
            return named(name).map(Self::Topic);
        }
        if let Some(rest) = text.strip_prefix("/exchange/") {
            return match rest.split_once('/') {
                Some(("amq.topic", key)) => named(key).map(Self::Topic),
                Some((name, _)) => named(name).map(Self::Exchange),
                None => named(rest).map(Self::Exchange),
            };
        }
        if text.starts_with('/') {
            return None;
        }
        // Without a slash, RabbitMQ takes the text as a queue's name.
        named(text).map(Self::Queue)
    }
}

/// RabbitMQ knows no other escape in a destination.
fn named(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.replace("%2F", "/"))
}

/// Whether a routing key matches a pattern: `*` matches one word, `#` any number of words.
pub(super) fn fits(pattern: &str, key: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let key: Vec<&str> = key.split('.').collect();
    // reached[n]: the pattern so far matches the first n words.
    let mut reached = vec![false; key.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; key.len() + 1];
        let mut any = false;
        for n in 0..=key.len() {
            any |= reached[n];
            next[n] = match part {
                "#" => any,
                "*" => n > 0 && reached[n - 1],
                word => n > 0 && reached[n - 1] && key[n - 1] == word,
            };
        }
        reached = next;
    }
    reached[key.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_a_topic_exchange() {
        for (pattern, key, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("#.c", "a.b.c", true),
            ("#", "", true),
            ("a.#.c", "a.c", true),
            ("a.#.c", "a.b.b", false),
        ] {
            assert_eq!(fits(pattern, key), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn destinations_are_those_of_rabbitmq() {
        use Destination::*;
        for (text, expected) in [
            ("/queue/a/b", Some(Queue("a/b".to_owned()))),
            ("bad", Some(Queue("bad".to_owned()))),
            ("/queue/a%2Fb%25", Some(Queue("a/b%25".to_owned()))),
            ("/topic/a.b", Some(Topic("a.b".to_owned()))),
            ("/exchange/amq.topic/a", Some(Topic("a".to_owned()))),
            ("/exchange/x/a", Some(Exchange("x".to_owned()))),
            ("/amq/queue/a", Some(Existing("a".to_owned()))),
            ("/nothing/a", None),
            ("/queue/", None),
        ] {
            assert_eq!(Destination::parse(text), expected, "{text}");
        }
    }
}
