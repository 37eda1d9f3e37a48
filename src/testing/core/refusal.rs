//! The broker's ERRORs.

use crate::stomp::codec::Frame;
use crate::testing::destination::Destination;
use crate::testing::version;

/// An ERROR, and whether it closes the connection.
pub(super) struct Refusal {
    pub(super) message: &'static str,
    pub(super) body: String,
    pub(super) names_receipt: bool,
    pub(super) closes: bool,
    /// Whether the frame's RECEIPT is sent before the ERROR.
    pub(super) is_late: bool,
}

impl Refusal {
    pub(super) fn fatal(message: &'static str, body: impl Into<String>) -> Self {
        Self {
            message,
            body: body.into(),
            names_receipt: false,
            closes: true,
            is_late: false,
        }
    }

    pub(super) fn harmless(message: &'static str, body: impl Into<String>) -> Self {
        Self {
            closes: false,
            ..Self::fatal(message, body)
        }
    }
}

/// A missing header; the caller quotes its name as RabbitMQ does, in one kind of quote or another.
pub(super) fn missing(message: &'static str, command: &str, header: &str) -> Refusal {
    Refusal::harmless(message, format!("\"{command}\" must include {header}\n"))
}

pub(super) fn parse(destination: &str) -> Result<Destination, Refusal> {
    Destination::parse(destination).ok_or_else(|| {
        Refusal::harmless(
            "Unknown destination",
            format!(
                "'{destination}' is not a valid destination.\nValid destination types are: \
                 /temp-queue, /exchange, /topic, /queue, /amq/queue, /reply-queue/.\n"
            ),
        )
    })
}

pub(super) fn no_exchange(name: &str) -> Refusal {
    Refusal::fatal(
        "not_found",
        format!("NOT_FOUND - no exchange '{name}' in vhost '/'"),
    )
}

/// The ERROR that ends a subscription whose queue was deleted.
pub(super) fn cancelled(subscription: &str) -> Frame {
    let body = format!(
        "The server has canceled a subscription.\nNo more messages will be delivered for \"id='{subscription}'\".\n"
    );
    Frame::new("ERROR")
        .with("message", "Server cancelled subscription")
        .with("content-type", "text/plain")
        .with("version", version::ALL)
        .with("subscription", subscription)
        .with_body(body)
}
