//! A task with an eta in the future: it waits in the outbox, and comes back to its queue when it is due.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::task_message::TaskMessage;
use crate::backend::Backend;
use crate::broker::destination::encoded;
use crate::callback::{Outcome, Payload};
use crate::celery::protocol;
use crate::error::Error;
use crate::message::Message;
use crate::message::dead_letter_headers::{USER_ID, is_own_header};
use crate::{BoxError, Permanent};

/// The id of a task that waited in the outbox, in place of its id in Celery: by that one it was received
/// before, when it was written to the outbox.
pub(crate) const SCHEDULED_ID: &str = "outbox-scheduled-id";

/// Writes the task to the outbox, in the transaction that records the message as received: it is sent to its
/// queue at `eta`, without the header `eta`.
pub(super) fn schedule<C: Backend>(
    conn: &mut C,
    payload: &Payload,
    task: &TaskMessage,
    eta: DateTime<Utc>,
) -> Result<Outcome, BoxError> {
    let id = Uuid::now_v7();
    let headers = payload.headers().iter();
    let own = headers.filter(|(name, _)| {
        is_own_header(name) && ![protocol::ETA, USER_ID].contains(&name.as_str())
    });
    // The queue exists: the message came from it. A SEND to `/queue/NAME` would declare it without arguments.
    let destination = format!("/amq/queue/{}", encoded(payload.queue()));
    let mut message = Message::new(destination, payload.body())
        .headers(own)
        .header(protocol::CONTENT_ENCODING, protocol::UTF_8)
        .header(SCHEDULED_ID, id.to_string())
        .id(id)
        .due_at(eta);
    if let Some(expires) = task.expires() {
        message = message
            .expires_at(expires)
            .header(protocol::EXPIRES, expires.to_rfc3339());
    }
    match message.publish(conn) {
        Ok(_) => {}
        Err(error @ Error::Message(_)) => return Err(Permanent::new(error).into()),
        Err(error) => return Err(error.into()),
    }
    tracing::info!(
        id = payload.msg_id(),
        eta = %eta.to_rfc3339(),
        row = %id,
        "the task waits in the outbox until its eta"
    );
    Ok(Outcome::Done)
}
