//! What the broker says no with.

use crate::testing::destination::Destination;

/// An ERROR, and whether the connection outlives it.
pub(super) struct Refusal {
    pub(super) message: &'static str,
    pub(super) body: String,
    pub(super) names_receipt: bool,
    pub(super) closes: bool,
}

impl Refusal {
    pub(super) fn fatal(message: &'static str, body: impl Into<String>) -> Self {
        Self {
            message,
            body: body.into(),
            names_receipt: false,
            closes: true,
        }
    }

    pub(super) fn harmless(message: &'static str, body: impl Into<String>) -> Self {
        Self {
            closes: false,
            ..Self::fatal(message, body)
        }
    }
}

pub(super) fn parse(destination: &str) -> Result<Destination, Refusal> {
    Destination::parse(destination).ok_or_else(|| {
        Refusal::harmless(
            "Unknown destination",
            format!("'{destination}' is not a valid destination."),
        )
    })
}

pub(super) fn no_exchange(name: &str) -> Refusal {
    Refusal::fatal(
        "not_found",
        format!("NOT_FOUND - no exchange '{name}' in vhost '/'"),
    )
}
