//! The kind of broker, and everything in which one broker differs from another.
//!
//! Code that needs to know asks [`Broker::quirks`] (destinations, queues, dead letters) or
//! [`Broker::protocol`] (the encoding of frames); nothing outside this module matches on the broker.
//! A quirk is a method of [`Quirks`], and its answers are in `rabbitmq.rs` and `activemq.rs`.
//!
//! This module is at the bottom: it knows texts, names and headers, but no connection, no database
//! and no settings. So `stomp` uses it without a circle: a STOMP client has to know which broker it is connected to
//! before it can encode a frame or explain an ERROR.

mod activemq;
pub(crate) mod destination;
mod error_kind;
mod protocol;
mod quirks;
mod rabbitmq;

pub use error_kind::ErrorKind;
pub(crate) use protocol::Protocol;
pub(crate) use quirks::{Headers, Quirks, SubscriptionNeeds, dead_letter_queue};
#[allow(unused_imports)]
// a build without relay and subscriber sends no rows and no dead letters
pub(crate) use rabbitmq::MAX_FRAME;
#[cfg(feature = "subscriber")]
pub(crate) use rabbitmq::{deletes_messages, refuses_probe};

/// The kind of broker, from the `server` header of CONNECTED (STOMP 1.2, "CONNECTED Frame").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Broker {
    /// RabbitMQ's STOMP plugin: `RabbitMQ/…`.
    RabbitMq,
    /// ActiveMQ Classic: `ActiveMQ/…`. Artemis uses other headers and is [`Broker::Other`].
    ActiveMq,
    /// The in-process broker for tests: `diesel-outbox-loopback/…`.
    Loopback,
    /// Any other broker, or one that sends no `server` header.
    Other,
}

impl Broker {
    /// The broker for which a destination is checked before a connection shows which one it is.
    pub(crate) const ASSUMED: Self = Self::RabbitMq;

    /// The broker with this `server` header.
    pub(crate) fn of(server: &str) -> Self {
        if server.starts_with("RabbitMQ/") {
            Self::RabbitMq
        } else if server.starts_with("ActiveMQ/") {
            Self::ActiveMq
        } else if server.starts_with("diesel-outbox-loopback/") {
            Self::Loopback
        } else {
            Self::Other
        }
    }

    /// What to warn of if nobody has tested this library with the broker.
    pub(crate) fn caveat(self) -> Option<&'static str> {
        (self == Self::Other).then_some(
            "the broker is neither RabbitMQ nor ActiveMQ Classic: it is treated as RabbitMQ, and was not tested",
        )
    }

    /// How the broker treats destinations, queues and dead letters. The loopback broker does what
    /// RabbitMQ does, and an unknown broker is taken for one that does.
    pub(crate) fn quirks(self) -> &'static dyn Quirks {
        match self {
            Self::ActiveMq => &activemq::ActiveMq,
            Self::RabbitMq | Self::Loopback | Self::Other => &rabbitmq::RabbitMq,
        }
    }

    /// Those of these headers, written `name:value`, that look like queue arguments and that the broker ignores.
    #[cfg(feature = "subscriber")]
    pub(crate) fn ignored_arguments(self, headers: &[String]) -> Vec<&str> {
        let headers = headers.iter().map(String::as_str);
        headers
            .filter(|header| self == Self::RabbitMq && rabbitmq::ignores_argument(header))
            .collect()
    }

    /// Headers of a SUBSCRIBE that a stream accepts and any other queue refuses as an invalid argument; `None` if the
    /// broker has no streams. The subscription gets only messages that arrive after it.
    #[cfg(feature = "subscriber")]
    pub(crate) fn stream_probe(self) -> Option<Headers> {
        (self == Self::RabbitMq).then(|| {
            [(rabbitmq::STREAM_OFFSET, "next"), ("prefetch-count", "1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        })
    }

    /// Whether a quorum queue gives up a message after some deliveries by default: on RabbitMQ from 4.0 on, by the
    /// `server` header of CONNECTED.
    #[cfg(feature = "subscriber")]
    pub(crate) fn has_delivery_limit(self, server: &str) -> bool {
        self == Self::RabbitMq && rabbitmq::version(server).is_some_and(|it| it >= (4, 0))
    }

    /// Whether messages that are returned by NACK do not count as delivered on a quorum queue: on RabbitMQ from 4.3 on,
    /// by the `server` header of CONNECTED.
    #[cfg(feature = "subscriber")]
    pub(crate) fn returns_without_count(self, server: &str) -> bool {
        self == Self::RabbitMq && rabbitmq::version(server).is_some_and(|it| it >= (4, 3))
    }

    /// The value of OpenTelemetry's attribute `messaging.system`, if the broker has one.
    pub(crate) fn messaging_system(self) -> Option<&'static str> {
        match self {
            Self::RabbitMq => Some("rabbitmq"),
            Self::ActiveMq => Some("activemq"),
            Self::Loopback | Self::Other => None,
        }
    }

    /// Whether the broker has RabbitMQ's management API. A proxy or a test broker in front of another one does not.
    #[cfg(feature = "cli")]
    pub(crate) fn has_management_api(self) -> bool {
        self == Self::RabbitMq
    }

    /// An address to which a message is sent in vain if no queue has this name: the broker confirms and drops it.
    /// `None` if the broker may keep it.
    #[cfg(any(feature = "cli", feature = "subscriber"))]
    pub(crate) fn dropping_address(self, queue: &str) -> Option<String> {
        let drops = matches!(self, Self::RabbitMq | Self::Loopback);
        drops.then(|| self.quirks().queue_address(queue))
    }

    /// Where the broker's frames deviate from the STOMP specification.
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::RabbitMq | Self::Loopback => rabbitmq::PROTOCOL,
            Self::ActiveMq => activemq::PROTOCOL,
            Self::Other => Protocol::SPECIFIED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_header_names_the_broker() {
        assert_eq!(Broker::of("RabbitMQ/3.10.8"), Broker::RabbitMq);
        assert_eq!(Broker::of("ActiveMQ/5.17.2"), Broker::ActiveMq);
        assert_eq!(Broker::of("ActiveMQ-Artemis/2.30.0"), Broker::Other);
        assert_eq!(Broker::of("diesel-outbox-loopback/1"), Broker::Loopback);
        assert_eq!(Broker::of(""), Broker::Other);
        let system = |server: &str| Broker::of(server).messaging_system();
        assert_eq!(system("RabbitMQ/3.10.8"), Some("rabbitmq"));
        assert_eq!(system("ActiveMQ/5.17.2"), Some("activemq"));
        assert_eq!(system(""), None);
    }

    #[test]
    #[cfg(feature = "subscriber")]
    fn the_server_header_tells_whether_a_nack_counts() {
        let cases = [
            ("RabbitMQ/4.3.6", true),
            ("RabbitMQ/4.10.0", true),
            ("RabbitMQ/5.0", true),
            ("RabbitMQ/4.2.9", false),
            ("RabbitMQ/3.13.7", false),
            ("RabbitMQ/", false),
            ("RabbitMQ/4", false),
            ("", false),
        ];
        for (server, expected) in cases {
            let broker = Broker::of(server);
            assert_eq!(broker.returns_without_count(server), expected, "{server}");
        }
        assert!(!Broker::ActiveMq.returns_without_count("RabbitMQ/4.3.6"));
        let has_limit = |server: &str| Broker::of(server).has_delivery_limit(server);
        assert!(has_limit("RabbitMQ/4.0.5") && !has_limit("RabbitMQ/3.13.7"));
    }
}
