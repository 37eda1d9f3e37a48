//! A message on its way into the outbox.

use serde::Serialize;

use crate::error::MessageError;

/// A message for the outbox.
#[derive(Debug)]
pub struct Message {
    destination: String,
    version: Option<String>,
    body: Result<serde_json::Value, MessageError>,
    key: Option<String>,
}

impl Message {
    /// A message with `body` for `destination`.
    pub fn new(destination: impl Into<String>, body: impl Serialize) -> Self {
        Self {
            destination: destination.into(),
            version: None,
            body: serde_json::to_value(body).map_err(MessageError::Body),
            key: None,
        }
    }

    /// Appends `.version` to the destination and fills the column `version`.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        let version = version.into();
        self.destination = format!("{}.{version}", self.destination);
        self.version = Some(version);
        self
    }

    /// Sets the ordering key; `None` promises no order.
    #[must_use]
    pub fn key(mut self, key: impl Into<Option<String>>) -> Self {
        self.key = key.into();
        self
    }

    /// Where it goes, the version appended.
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// The body, unless it could not be turned into JSON.
    pub fn body(&self) -> Option<&serde_json::Value> {
        self.body.as_ref().ok()
    }

    /// The ordering key.
    pub fn ordering_key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}
