//! Wakes relays and executors after the commits of Diesel connections in the same process.

use std::any::TypeId;
use std::sync::atomic::{AtomicBool, Ordering};

use diesel::connection::{Connection, Instrumentation, get_default_instrumentation};
use diesel::r2d2::{CustomizeConnection, NopConnectionCustomizer};

use super::commit_instrumentation::CommitInstrumentation;
use crate::engine::wake::Waker;

/// Wakes a relay or an executor as soon as a connection of the same process has committed a transaction in which it
/// wrote messages or calls.
///
/// [`install`](Self::install) does that for one connection. For a pool, this value is the customizer of the
/// connections:
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use diesel::SqliteConnection;
/// use diesel::r2d2::{ConnectionManager, Pool};
/// use diesel_outbox::config::Config;
/// use diesel_outbox::relay::{OnCommit, Relay};
///
/// let config = Config::builder()
///     .set("database_url", "file::memory:")
///     .set("stomp_url", "stomp://localhost:61613")
///     .build()?;
/// let relay = Relay::<SqliteConnection>::new(&config)?;
/// let pool = Pool::builder()
///     .connection_customizer(Box::new(OnCommit::new(relay.waker())))
///     .build(ConnectionManager::<SqliteConnection>::new("file::memory:"))?;
/// # let _ = pool;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// An executor is woken by its `waker` in the same way: "relay" below means either.
/// A message wakes an executor too, and a call a relay; they find nothing and wait.
///
/// It uses Diesel's [`Instrumentation`]. A commit that neither writes to the outbox nor lets rows be claimed (by
/// [`cancel`](crate::cancel), or by [`admin`](crate::admin): `retry`, `resume_stream` and others) wakes no relay, and neither
/// does a rollback, the release of a savepoint or a COMMIT that the database refuses. A statement outside of a
/// transaction commits by itself. Wake-ups while a relay claims rows are merged into one.
///
/// This is a hint, and no promise rests on it: a row whose commit is not seen is found by the relay's watch of the
/// database (the setting `wake_up`) or by its next poll (`poll_interval`). Not seen are
///
/// - the commits of other processes, and those of the connections of a [`Subscriber`](crate::subscriber::Subscriber) or an
///   executor,
/// - rows that are written to the tables `published` and `outbox_calls` without this crate,
/// - transactions that SQL of your own begins and ends (`batch_execute("BEGIN")`): the relay is woken after the
///   write and not after the commit.
///
/// # An instrumentation of your own
///
/// Diesel's default instrumentation ([`diesel::connection::set_default_instrumentation`]) goes on receiving all
/// events: a new value from the function that was set there. Diesel does not give back an instrumentation that
/// was set for one connection; pass it to [`install_with`](Self::install_with). Calling
/// [`set_instrumentation`](Connection::set_instrumentation) later ends the wake-ups of that connection.
#[derive(Debug)]
pub struct OnCommit<Z = NopConnectionCustomizer> {
    wakers: Vec<Waker>,
    first: Z,
    has_warned: AtomicBool,
}

impl OnCommit {
    /// Creates the customizer of a pool whose connections wake the relay of `waker`.
    #[must_use]
    pub fn new(waker: Waker) -> Self {
        Self {
            wakers: vec![waker],
            first: NopConnectionCustomizer,
            has_warned: AtomicBool::new(false),
        }
    }

    /// Wakes the relay of `waker` after the commits of this connection, from now on. If the connection wakes other
    /// relays already, it wakes all of them.
    ///
    /// Call it while no transaction is open: it does not know what an open one has written.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use diesel::prelude::*;
    /// use diesel_outbox::config::Config;
    /// use diesel_outbox::relay::{OnCommit, Relay};
    ///
    /// # let config = Config::builder()
    /// #     .set("database_url", "file::memory:")
    /// #     .set("stomp_url", "stomp://localhost:61613")
    /// #     .build()?;
    /// let relay = Relay::<SqliteConnection>::new(&config)?;
    /// let mut conn = SqliteConnection::establish("file::memory:")?;
    /// OnCommit::install(&mut conn, relay.waker())?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OnCommitError::OwnInstrumentation`] if an instrumentation was set for this connection. The connection is
    /// left as it was.
    pub fn install<C: Connection>(conn: &mut C, waker: Waker) -> Result<(), OnCommitError> {
        let present = conn.instrumentation();
        if let Some(installed) = present.downcast_mut::<CommitInstrumentation>() {
            installed.add(&waker);
            return Ok(());
        }
        let mut next = None;
        if is_set(present) {
            let default = get_default_instrumentation();
            if default.as_deref().map(type_of) != Some(type_of(present)) {
                return Err(OnCommitError::OwnInstrumentation);
            }
            next = default;
        }
        conn.set_instrumentation(CommitInstrumentation::new(waker, next));
        Ok(())
    }

    /// Like [`install`](Self::install), with an instrumentation of your own, which receives all events of the
    /// connection. It replaces the present one.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// # use diesel::prelude::*;
    /// # use diesel_outbox::config::Config;
    /// # use diesel_outbox::relay::{OnCommit, Relay};
    /// use diesel::connection::InstrumentationEvent;
    ///
    /// # let config = Config::builder()
    /// #     .set("database_url", "file::memory:")
    /// #     .set("stomp_url", "stomp://localhost:61613")
    /// #     .build()?;
    /// # let relay = Relay::<SqliteConnection>::new(&config)?;
    /// # let mut conn = SqliteConnection::establish("file::memory:")?;
    /// OnCommit::install_with(&mut conn, relay.waker(), |event: InstrumentationEvent<'_>| {
    ///     println!("{event:?}");
    /// });
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn install_with<C: Connection>(
        conn: &mut C,
        waker: Waker,
        instrumentation: impl Instrumentation,
    ) {
        let next = Box::new(instrumentation);
        let present = conn.instrumentation();
        if let Some(installed) = present.downcast_mut::<CommitInstrumentation>() {
            installed.add(&waker);
            installed.pass_on_to(next);
        } else {
            conn.set_instrumentation(CommitInstrumentation::new(waker, Some(next)));
        }
    }
}

impl<Z> OnCommit<Z> {
    /// Wakes the relay of `waker` as well.
    #[must_use]
    pub fn and(mut self, waker: Waker) -> Self {
        self.wakers.push(waker);
        self
    }

    /// Customizes each connection with `customizer` first: a pool of r2d2 takes one customizer only. Replaces an
    /// earlier one.
    ///
    /// Do not set an instrumentation in it, but call [`install_with`](OnCommit::install_with) there.
    #[must_use]
    pub fn after<Y>(self, customizer: Y) -> OnCommit<Y> {
        OnCommit {
            wakers: self.wakers,
            first: customizer,
            has_warned: self.has_warned,
        }
    }
}

/// If a connection has an instrumentation of its own, it wakes nobody; that is logged once at WARN.
impl<C, E, Z> CustomizeConnection<C, E> for OnCommit<Z>
where
    C: Connection,
    E: 'static,
    Z: CustomizeConnection<C, E>,
{
    fn on_acquire(&self, conn: &mut C) -> Result<(), E> {
        self.first.on_acquire(conn)?;
        for waker in &self.wakers {
            if let Err(error) = OnCommit::install(conn, waker.clone())
                && !self.has_warned.swap(true, Ordering::Relaxed)
            {
                tracing::warn!(
                    error = %error,
                    "commits of a connection of the pool do not wake the relay or the executor; it finds rows by its watch \
                     or its poll"
                );
            }
        }
        Ok(())
    }

    fn on_release(&self, conn: C) {
        self.first.on_release(conn);
    }
}

/// Why the commits of a connection do not wake a relay or an executor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnCommitError {
    /// Diesel does not give back an instrumentation that was set for one connection, so it would be lost.
    #[error(
        "the connection has an instrumentation of its own; pass that to `OnCommit::install_with`"
    )]
    OwnInstrumentation,
}

fn type_of(instrumentation: &dyn Instrumentation) -> TypeId {
    instrumentation.as_any().type_id()
}

/// Whether a connection has an instrumentation. If it has none, Diesel returns a private type without size, which
/// is a field of the connection. One that is set is in a `Box`, and if its type has no size, the address of
/// that is its alignment ([`std::ptr::dangling`]).
fn is_set(instrumentation: &dyn Instrumentation) -> bool {
    let address = std::ptr::from_ref(instrumentation).cast::<()>().addr();
    size_of_val(instrumentation) > 0 || address == align_of_val(instrumentation)
}

#[cfg(test)]
mod tests;
