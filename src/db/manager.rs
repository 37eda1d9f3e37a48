//! How the pool opens a connection, and when it gives one up.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Address;
use super::session::{Limits, Session};
use crate::backend::Backend;
use crate::config::Secret;

/// A server may close a connection that is idle for longer, so it is asked before the next use. A round
/// trip before each use would cost more than it finds.
const IDLE: Duration = Duration::from_secs(1);

/// Which connections are still trusted: those of the newest generation. A failover or a network that
/// breaks concerns all that are open.
#[derive(Debug, Clone, Default)]
pub(super) struct Generation(Arc<AtomicU64>);

impl Generation {
    pub(super) fn current(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn end(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Opens connections for r2d2. Diesel's own manager asks only whether a transaction was left in
/// disorder; a connection that the server has closed would come back again and again.
pub(super) struct Manager<C> {
    url: Secret,
    /// The address with the parameters that it lacks.
    complete: Secret,
    session: Session,
    generation: Generation,
    /// Connections that are being opened just now.
    opening: Arc<AtomicUsize>,
    connection: PhantomData<fn() -> C>,
}

/// A connection of the pool.
pub(super) struct Slot<C> {
    connection: C,
    generation: u64,
    broken: bool,
    last_used: Instant,
}

/// Why no connection could be opened, with no password in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(String);

impl<C> Clone for Manager<C> {
    fn clone(&self) -> Self {
        Self {
            url: self.url.clone(),
            complete: self.complete.clone(),
            session: self.session.clone(),
            generation: self.generation.clone(),
            opening: Arc::clone(&self.opening),
            connection: PhantomData,
        }
    }
}

impl<C: Backend> Manager<C> {
    pub(super) fn new(address: &Address, session: Session) -> Self {
        let url = address.connection_string().clone();
        Self {
            complete: Secret::new(session.complete(url.expose())),
            url,
            session,
            generation: Generation::default(),
            opening: Arc::default(),
            connection: PhantomData,
        }
    }

    /// The same for another pool.
    pub(super) fn for_another(&self) -> Self {
        Self {
            opening: Arc::default(),
            ..self.clone()
        }
    }

    /// How many connections are being opened just now.
    pub(super) fn opening(&self) -> usize {
        self.opening.load(Ordering::SeqCst)
    }

    #[cfg(feature = "postgres")]
    pub(super) fn url(&self) -> &Secret {
        &self.url
    }

    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// What limits the time for which connections beside the pool wait.
    pub(super) fn limits(&self) -> &Limits {
        &self.session.limits
    }

    /// Opens a connection, and says this on it, which need not succeed.
    pub(super) fn open_with(&self, limits: &str) -> Result<C, ConnectError> {
        let mut connection = self.open()?;
        if !limits.is_empty()
            && let Err(error) = connection.batch_execute(limits)
            && connection.ping().is_err()
        {
            return Err(ConnectError(self.url.mask(&error.to_string())));
        }
        Ok(connection)
    }

    /// Opens a connection.
    pub(super) fn open(&self) -> Result<C, ConnectError> {
        let hidden = |text: String| ConnectError(self.complete.mask(&self.url.mask(&text)));
        self.opening.fetch_add(1, Ordering::SeqCst);
        let opened = C::establish(self.complete.expose());
        self.opening.fetch_sub(1, Ordering::SeqCst);
        let mut connection = opened.map_err(|error| hidden(error.to_string()))?;
        if let Err(error) = connection.batch_execute(&self.session.setup)
            && (self.session.is_needed || connection.ping().is_err())
        {
            return Err(hidden(error.to_string()));
        }
        Ok(connection)
    }
}

impl<C: Backend> Slot<C> {
    pub(super) fn connection(&mut self) -> &mut C {
        &mut self.connection
    }

    /// Finds out whether the connection is dead or in disorder.
    pub(super) fn look_after_failure(&mut self) -> bool {
        self.broken = self.connection.is_broken() || self.connection.ping().is_err();
        self.broken
    }

    /// Whether it is of the newest generation.
    pub(super) fn is_good(&mut self, generation: &Generation) -> bool {
        self.broken = self.generation != generation.current();
        !self.broken
    }

    /// It is not to be used again.
    pub(super) fn retire(&mut self) {
        self.broken = true;
    }
}

impl<C: Backend> r2d2::ManageConnection for Manager<C> {
    type Connection = Slot<C>;
    type Error = ConnectError;

    fn connect(&self) -> Result<Slot<C>, ConnectError> {
        // Before it is opened: what ends the generation meanwhile ends it too.
        let generation = self.generation.current();
        Ok(Slot {
            connection: self.open()?,
            generation,
            broken: false,
            last_used: Instant::now(),
        })
    }

    fn is_valid(&self, slot: &mut Slot<C>) -> Result<(), ConnectError> {
        // One of an older generation is not used in any case.
        if slot.last_used.elapsed() < IDLE || slot.generation != self.generation.current() {
            return Ok(());
        }
        slot.connection
            .ping()
            .map_err(|error| ConnectError(self.url.mask(&error.to_string())))
    }

    fn has_broken(&self, slot: &mut Slot<C>) -> bool {
        // The pool asks when a connection is given back.
        slot.last_used = Instant::now();
        // A panic may have left a transaction open.
        slot.broken
            || slot.generation != self.generation.current()
            || std::thread::panicking()
            || slot.connection.is_broken()
    }
}
