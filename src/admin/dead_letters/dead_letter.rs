//! A message that a subscriber could not handle.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use crate::message::dead_letter_headers as names;
use crate::stomp::Delivery;
use crate::stomp::defect::listed;

/// A message that a subscriber could not handle.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    id: String,
    pub(super) delivery: Delivery,
}

impl DeadLetter {
    pub(super) fn new(delivery: Delivery, id_headers: &[String]) -> Self {
        let id = id_headers
            .iter()
            .find_map(|name| delivery.header(name).filter(|id| !id.is_empty()))
            .unwrap_or(&delivery.message_id)
            .to_owned();
        Self { id, delivery }
    }

    /// The message's id: the first of the headers of the setting `msg_id_headers` that it has.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Why the message could not be handled; empty if that is unknown. A broker that moved the message to the
    /// queue itself gives at most a short reason.
    #[must_use]
    pub fn error(&self) -> Cow<'_, str> {
        let stated = self.header(names::ERROR);
        if stated.is_none() && !self.is_complete_now() {
            return format!("the message cannot be read: {}", self.defects()).into();
        }
        ["x-first-death-reason", "dlqDeliveryFailureCause"]
            .iter()
            .fold(stated, |found, name| found.or_else(|| self.header(name)))
            .unwrap_or("")
            .into()
    }

    /// Whether a subscriber has stated why it could not be handled, and when.
    #[must_use]
    pub fn has_reason(&self) -> bool {
        self.header(names::ERROR).is_some()
    }

    /// How many attempts to handle it failed, if a subscriber has stated that.
    #[must_use]
    pub fn attempts(&self) -> Option<u32> {
        self.header(names::ATTEMPTS)?.parse().ok()
    }

    /// When the last attempt failed, if a subscriber has stated that.
    #[must_use]
    pub fn failed_at(&self) -> Option<DateTime<Utc>> {
        let time = self.header(names::LAST)?;
        let time = DateTime::parse_from_rfc3339(time).ok()?;
        Some(time.with_timezone(&Utc))
    }

    /// The destination that it was sent to, if a subscriber has stated that.
    #[must_use]
    pub fn destination(&self) -> Option<&str> {
        self.header(names::DESTINATION)
    }

    /// Whether this is the message as it was sent. One that could not be decoded completely, now or by the
    /// subscriber, is not sent back, because it would be another message.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete_now() && self.header(names::DEFECTS).is_none()
    }

    fn is_complete_now(&self) -> bool {
        self.delivery.defects().is_empty()
    }

    /// What of it could not be decoded now, in one line; empty if nothing.
    #[must_use]
    pub fn defects(&self) -> String {
        listed(self.delivery.defects())
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.delivery.header(name)
    }

    /// The headers in their order, those of the broker and of the subscriber included.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.delivery.headers.iter()
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.delivery.body
    }
}
