//! A new row of the outbox, before it is inserted.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::lifecycle::PUBLISHED;
use super::moments::{never, storable};
use crate::error::{Error, MessageError};
use crate::headers::{self, Headers};
use crate::schema::{Document, Id, Moment, published};
use crate::signing::{Fields, Keys};

/// A new row of the outbox.
#[doc(hidden)]
#[derive(Debug, Insertable)]
#[diesel(table_name = published, treat_none_as_default_value = false)]
pub struct NewPublished {
    id: Id,
    version: Option<String>,
    destination: String,
    body: Document,
    headers: Document<Headers>,
    expires_at: Moment,
    stream: Option<String>,
    key: Option<String>,
    due_at: Moment,
    signature: Option<String>,
}

impl NewPublished {
    #[allow(clippy::too_many_arguments)] // the columns, in their order
    pub(crate) fn new(
        id: Uuid,
        version: Option<String>,
        destination: String,
        body: Value,
        headers: Headers,
        expires_at: Option<DateTime<Utc>>,
        stream: Option<String>,
        key: Option<String>,
        due_at: Option<DateTime<Utc>>,
    ) -> Self {
        Self {
            id: Id(id),
            version,
            destination,
            body: Document(body),
            headers: Document(headers),
            expires_at: Moment(expires_at.map_or_else(never, storable)),
            stream,
            key,
            // Not the writer's time: its clock must never delay a row.
            due_at: Moment(due_at.map_or(DateTime::UNIX_EPOCH, storable)),
            signature: None,
        }
    }

    /// Signs the row. Sets `has_long_number` if its JSON has a number that MySQL may change.
    pub(crate) fn sign(mut self, keys: &Keys, has_long_number: &mut bool) -> Result<Self, Error> {
        let (body, headers) = (self.body.0.to_string(), headers::to_text(&self.headers.0));
        let fields = Fields {
            table: PUBLISHED.name,
            id: self.id.0,
            target: &self.destination,
            json: Some(&body),
            encoded: None,
            headers: &headers,
            stream: self.stream.as_deref(),
            key: self.key.as_deref(),
        };
        let due = Some(self.due_at.0).filter(|due| *due > DateTime::UNIX_EPOCH);
        let signed = keys.sign(&fields, due);
        let signed = signed.map_err(|reason| MessageError::Unsignable(reason.to_string()))?;
        *has_long_number |= signed.has_long_number;
        self.signature = Some(signed.text);
        Ok(self)
    }
}
