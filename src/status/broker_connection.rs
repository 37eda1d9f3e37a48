//! The state of a connection to the broker.

/// Whether a relay or a subscriber is connected to the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokerConnection {
    /// It has not tried to connect.
    #[default]
    NotStarted,
    /// It is connected; a subscriber is also subscribed.
    Connected,
    /// It is not connected and tries to be. The text is the last reason.
    Disconnected(String),
    /// It has ended.
    Stopped,
}
