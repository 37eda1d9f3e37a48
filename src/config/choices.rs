//! Settings that are one of a few words.

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LogFormat {
    /// One line of text for each event.
    #[default]
    Text,
    /// One JSON object on a line for each event.
    Json,
}

/// What sends a message to the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeadLetter {
    /// The broker, after NACK. The message is unchanged and does not contain the reason.
    Broker,
    /// The subscriber, with headers that contain the reason.
    #[default]
    Outbox,
    /// Nothing: the message is acknowledged, logged and dropped.
    None,
}

/// What a relay does with a row that has no valid signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum VerifySignatures {
    /// Nothing is verified.
    #[default]
    Off,
    /// The row is logged and sent.
    Warn,
    /// The row is parked. It blocks its ordering key as other parked rows do.
    Require,
}
