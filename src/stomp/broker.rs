//! Which broker is at the other end.

/// The broker's make, by the `server` header of its CONNECTED (STOMP 1.2, "CONNECTED Frame").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Broker {
    /// RabbitMQ's STOMP plugin: `RabbitMQ/…`.
    RabbitMq,
    /// ActiveMQ Classic: `ActiveMQ/…`. Artemis, which has other headers, is [`Broker::Other`].
    ActiveMq,
    /// The broker for tests inside the process: `diesel-outbox-loopback/…`.
    Loopback,
    /// Any other, or one that does not say.
    Other,
}

impl Broker {
    pub(super) fn of(server: &str) -> Self {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_header_tells() {
        assert_eq!(Broker::of("RabbitMQ/3.10.8"), Broker::RabbitMq);
        assert_eq!(Broker::of("ActiveMQ/5.17.2"), Broker::ActiveMq);
        assert_eq!(Broker::of("ActiveMQ-Artemis/2.30.0"), Broker::Other);
        assert_eq!(Broker::of("diesel-outbox-loopback/1"), Broker::Loopback);
        assert_eq!(Broker::of(""), Broker::Other);
    }
}
