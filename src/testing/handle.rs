//! Passes one message to one callback, for tests of callbacks.

use crate::backend::{AsBackend, Backend};
use crate::broker::Broker;
use crate::broker::destination::Destination;
use crate::callback::Payload;
use crate::callback::kind::Callback;
use crate::callback::{Registry, RegistryError};
use crate::error::BoxError;
use crate::error::Error;
use crate::message::Message;
use crate::message::send_frame;
use crate::stomp::Delivery;
use crate::subscriber::{Attempt, attempt_on};

/// The result of handling a message.
#[derive(Debug)]
#[non_exhaustive]
pub enum Handling {
    /// The callback succeeded, and the inbox has a row for the message.
    Done,
    /// The message was handled before; the callback did not run.
    Duplicate,
    /// The callback discarded the message for this reason.
    Discarded(String),
    /// The callback failed.
    Failed {
        /// The callback's error.
        error: BoxError,
        /// Whether a subscriber would move the message to the dead letters without a retry.
        is_permanent: bool,
    },
    /// The database failed; a subscriber would retry the message.
    Unavailable(BoxError),
}

impl Handling {
    /// Whether the callback succeeded.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Why a message could not be passed to a callback.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// The registry has no callback with this name.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The message is invalid.
    #[error(transparent)]
    Message(#[from] Error),
    /// The callback is external and takes no connection: call its function directly.
    #[error("the callback `{0}` is external and takes no connection: call its function directly")]
    External(String),
}

/// Passes a message to a callback as a subscriber does: inserts the row of the inbox, runs the
/// callback and commits.
///
/// If a transaction is open, such as the test's own, a savepoint replaces the transaction.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use diesel::connection::SimpleConnection;
/// use diesel::{Connection, SqliteConnection};
/// use diesel_outbox::migrations::Migrate;
/// use diesel_outbox::testing::{self, Handling};
/// use diesel_outbox::{BoxError, Json, Message, Meta, Outcome, Registry};
/// use serde_json::json;
///
/// #[derive(serde::Deserialize)]
/// struct Order {
///     id: i32,
///     total: i64,
/// }
///
/// // The callback of the service: bills an order and publishes the bill.
/// fn bill(
///     conn: &mut SqliteConnection,
///     Json(order): Json<Order>,
///     _meta: &Meta,
/// ) -> Result<Outcome, BoxError> {
///     if order.total <= 0 {
///         return Ok(Outcome::Discard("nothing to bill".to_owned()));
///     }
///     conn.batch_execute(&format!("insert into bills values ({})", order.id))?;
///     Message::new("/topic/bills", json!({"order": order.id})).publish(conn)?;
///     Ok(Outcome::Done)
/// }
///
/// let registry = Registry::new().on_json("bill", bill);
/// let mut conn = SqliteConnection::establish(":memory:")?;
/// conn.migrate()?;
/// conn.batch_execute("create table bills (id integer primary key)")?;
///
/// let message = Message::new("/topic/orders", json!({"id": 7, "total": 12}));
/// assert!(testing::handle(&mut conn, &registry, "bill", message)?.is_done());
/// let bills = testing::published_to(&mut conn, "/topic/bills")?;
/// assert_eq!(bills[0].body, json!({"order": 7}));
///
/// let message = Message::new("/topic/orders", json!({"id": 8, "total": 0}));
/// let handling = testing::handle(&mut conn, &registry, "bill", message)?;
/// assert!(matches!(handling, Handling::Discarded(_)));
///
/// let message = Message::new("/topic/orders", "no order");
/// let handling = testing::handle(&mut conn, &registry, "bill", message)?;
/// assert!(matches!(handling, Handling::Failed { is_permanent: true, .. }));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`HandleError`] if the registry has no callback with this name, if the callback is external, or
/// if the message is invalid. The callback's own failure is [`Handling::Failed`].
pub fn handle<C: AsBackend>(
    conn: &mut C,
    registry: &Registry<C::Connection>,
    callback: &str,
    message: Message,
) -> Result<Handling, HandleError>
where
    C::Connection: Backend,
{
    let Callback::Blocking(callback) = registry.get(callback, None)? else {
        return Err(HandleError::External(callback.to_owned()));
    };
    let ready = message.ready().map_err(Error::from)?;
    // The frame as a relay would send it.
    let frame = send_frame::frame(
        ready.destination,
        ready.headers,
        ready.key.as_deref(),
        ready.body.to_string().into(),
        None,
    );
    let delivery = Delivery::from_parts(
        &frame.destination,
        frame.headers.into_iter().collect(),
        frame.body,
    );
    let id_headers = [crate::headers::MSG_ID.to_owned()];
    let queue = Destination::parse(&frame.destination).queue();
    let queue = queue.as_deref().unwrap_or_default();
    let payload = Payload::new(&delivery, &id_headers, "", queue, Broker::Other);
    Ok(
        match attempt_on(conn.as_backend(), &callback, &payload, 0) {
            Attempt::Done => Handling::Done,
            Attempt::Duplicate => Handling::Duplicate,
            Attempt::Discarded(reason) => Handling::Discarded(reason),
            Attempt::Failed {
                error,
                is_permanent,
            } => Handling::Failed {
                error,
                is_permanent,
            },
            Attempt::Contended(error) | Attempt::Unavailable(error) | Attempt::Lost(error) => {
                Handling::Unavailable(error)
            }
            // Only redeliveries lead to these; this is the first delivery.
            Attempt::CrashLimit(_) | Attempt::Suspect | Attempt::NotStarted => {
                Handling::Unavailable("the attempt was not started".into())
            }
        },
    )
}
