//! A new row of `outbox_calls`, before it is inserted.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use super::lifecycle::CALLS;
use super::moments::{never, storable};
use crate::calls::encoding::Stored;
use crate::error::{Error, MessageError};
use crate::headers::{self, Headers};
use crate::schema::{Document, Id, Moment, outbox_calls};
use crate::signing::{Fields, Keys};

/// A new row of `outbox_calls`.
#[doc(hidden)]
#[derive(Debug, Insertable)]
#[diesel(table_name = outbox_calls, treat_none_as_default_value = false)]
pub struct NewCallRow {
    id: Id,
    name: String,
    args: Option<Document>,
    payload: Option<Vec<u8>>,
    encoding: &'static str,
    headers: Document<Headers>,
    expires_at: Moment,
    stream: Option<String>,
    key: Option<String>,
    due_at: Moment,
    lease_token: Option<Id>,
    signature: Option<String>,
}

impl NewCallRow {
    #[allow(clippy::too_many_arguments)] // the columns, in their order
    pub(crate) fn new(
        id: Uuid,
        name: &str,
        stored: Stored,
        encoding: &'static str,
        headers: Headers,
        expires_at: Option<DateTime<Utc>>,
        stream: Option<String>,
        key: Option<String>,
        due_at: Option<DateTime<Utc>>,
    ) -> Self {
        let (args, payload) = match stored {
            Stored::Args(args) => (Some(Document(args)), None),
            Stored::Payload(bytes) => (None, Some(bytes)),
        };
        Self {
            id: Id(id),
            name: name.to_owned(),
            args,
            payload,
            encoding,
            headers: Document(headers),
            expires_at: Moment(expires_at.map_or_else(never, storable)),
            stream,
            key,
            // Not the writer's time: its clock must never delay a row.
            due_at: Moment(due_at.map_or(DateTime::UNIX_EPOCH, storable)),
            lease_token: None,
            signature: None,
        }
    }

    /// Puts the row under a lease that ends at this moment by the database's clock. Call it after
    /// [`sign`](Self::sign): the end of a lease is not signed.
    #[cfg(feature = "calls")]
    pub(crate) fn lease(&mut self, token: Uuid, until: DateTime<Utc>) {
        self.lease_token = Some(Id(token));
        self.due_at = Moment(until);
    }

    #[cfg(feature = "calls")]
    pub(crate) fn id(&self) -> Uuid {
        self.id.0
    }

    #[cfg(feature = "calls")]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the call is due as soon as it is written.
    #[cfg(feature = "calls")]
    pub(crate) fn is_due_at_once(&self) -> bool {
        self.due_at.0 <= DateTime::UNIX_EPOCH
    }

    /// Signs the row. Sets `has_long_number` if its JSON has a number that MySQL may change.
    pub(crate) fn sign(mut self, keys: &Keys, has_long_number: &mut bool) -> Result<Self, Error> {
        let args = self.args.as_ref().map(|args| args.0.to_string());
        let headers = headers::to_text(&self.headers.0);
        let fields = Fields {
            table: CALLS.name,
            id: self.id.0,
            target: &self.name,
            json: args.as_deref(),
            encoded: self
                .payload
                .as_deref()
                .map(|payload| (self.encoding, payload)),
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
