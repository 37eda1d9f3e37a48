//! One message through one callback, for tests of callbacks.

use crate::backend::{AsBackend, Backend};
use crate::error::Error;
use crate::message::Message;
use crate::outgoing;
use crate::payload::Payload;
use crate::registry::{BoxError, Callback, Registry, RegistryError};
use crate::stomp::Delivery;
use crate::subscriber::{Attempt, attempt_on};

/// How a message was handled.
#[derive(Debug)]
#[non_exhaustive]
pub enum Handling {
    /// It had its effect, and the inbox has its row.
    Done,
    /// It had had its effect before.
    Duplicate,
    /// The callback discarded it, for this reason.
    Discarded(String),
    /// The callback failed.
    Failed {
        /// Its error.
        error: BoxError,
        /// Whether it would not be tried again.
        is_permanent: bool,
    },
    /// The database failed; the message would be tried again.
    Unavailable(BoxError),
}

impl Handling {
    /// Whether the message had its effect.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Why a message could not be handed to a callback.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// No callback has this name.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The message is invalid.
    #[error(transparent)]
    Message(#[from] Error),
    /// The callback is asynchronous, and holds no connection: call it by itself.
    #[error("the callback `{0}` works on no connection: call it by itself")]
    External(String),
}

/// Hands a message to a callback, as a subscriber would: the row of the inbox, the callback, the
/// commit. Where a transaction is open, a test's own, it is a savepoint of that.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use diesel::{Connection, SqliteConnection};
/// use diesel_outbox::migrations::Migrate;
/// use diesel_outbox::testing::{self, Handling};
/// use diesel_outbox::{BoxError, Message, Outcome, Payload, Registry};
///
/// fn greet(conn: &mut SqliteConnection, payload: &Payload) -> Result<Outcome, BoxError> {
///     let name: String = payload.json()?;
///     Message::new("/queue/mail", format!("hello, {name}")).publish(conn)?;
///     Ok(Outcome::Done)
/// }
///
/// let registry = Registry::new().on("greet", greet);
/// let mut conn = SqliteConnection::establish(":memory:")?;
/// conn.migrate()?;
/// let message = Message::new("/topic/people", "ann");
/// assert!(testing::handle(&mut conn, &registry, "greet", message)?.is_done());
/// assert_eq!(testing::published(&mut conn)?[0].body, "hello, ann");
///
/// let message = Message::new("/topic/people", 7);
/// let handling = testing::handle(&mut conn, &registry, "greet", message)?;
/// assert!(matches!(handling, Handling::Failed { is_permanent: true, .. }));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// When there is no such callback on a connection, or the message is invalid.
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
    // As it would come over the wire.
    let frame = outgoing::frame(
        ready.destination,
        ready.headers,
        ready.key.as_deref(),
        ready.body.to_string().into(),
        None,
    );
    let delivery = Delivery::by_hand(
        &frame.destination,
        frame.headers.into_iter().collect(),
        frame.body,
    );
    let id_headers = [crate::headers::MSG_ID.to_owned()];
    let payload = Payload::new(&delivery, &id_headers, "");
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
            Attempt::Hindered(error) | Attempt::Unavailable(error) | Attempt::Lost(error) => {
                Handling::Unavailable(error)
            }
            // These come of counting deliveries, which this one is not.
            Attempt::Deadly(_) | Attempt::Suspect | Attempt::NotBegun => {
                Handling::Unavailable("it was not begun".into())
            }
        },
    )
}
