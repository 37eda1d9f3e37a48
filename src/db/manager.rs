//! How the pool opens connections, and when it discards them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Address;
use super::connection::DbConnection;
use super::lender::{BorrowError, Lender};
use super::mask::Mask;
use crate::backend::session::{Limits, Session};
use crate::backend::{Backend, address};
use crate::config::Secret;
use crate::terminal;

/// A server may close a connection that is idle for longer, so it gets a ping before its next use. A ping
/// before each use would cost more than it gains.
const IDLE: Duration = Duration::from_secs(1);

/// The connections that are still trusted: those of the newest generation. A failover or a network
/// failure affects all open connections.
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

/// Where connections come from.
pub(super) enum Source<C: Backend> {
    /// They are opened at an address.
    Address {
        url: Secret,
        /// The address, completed with the missing parameters.
        complete: Secret,
        mask: Mask,
    },
    /// They are borrowed from a pool of the service, whose address is unknown here.
    Pool(Lender<C>),
}

impl<C: Backend> Source<C> {
    pub(super) fn address(address: &Address, session: &Session) -> Self {
        let url = address.connection_string().clone();
        Self::Address {
            complete: Secret::new(session.complete(url.expose())),
            mask: Mask::new(&url),
            url,
        }
    }
}

/// Opens connections for r2d2. Diesel's own manager checks only whether a transaction was left in
/// an invalid state, so the pool would reuse a connection that the server has closed.
pub(super) struct Manager<C: Backend> {
    source: Arc<Source<C>>,
    session: Session,
    generation: Generation,
    /// The number of connections that are being opened.
    opening: Arc<AtomicUsize>,
}

/// A connection of the pool.
pub(super) struct Slot<C: Backend> {
    connection: DbConnection<C>,
    generation: u64,
    newest: Generation,
    broken: bool,
    last_used: Instant,
}

/// Why no connection could be opened, on one line, with advice and without the password.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ConnectError {
    text: String,
    /// Whether only connections in use here are in the way.
    is_busy: bool,
}

impl ConnectError {
    fn new(text: &str, mask: &Mask) -> Self {
        if let Some(advice) = address::advice_about_itself(text) {
            return Self::of_text(advice.to_owned());
        }
        let text = mask.hide(&terminal::one_line(text));
        Self::of_text(match address::advice(&text) {
            Some(advice) => format!("{text}: {advice}"),
            None => text,
        })
    }

    fn of_text(text: String) -> Self {
        Self {
            text,
            is_busy: false,
        }
    }

    /// Whether it waited only for connections that are in use here: nothing is wrong with the database.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy
    }
}

impl From<BorrowError> for ConnectError {
    fn from(error: BorrowError) -> Self {
        Self {
            is_busy: matches!(error, BorrowError::NoPlace { .. }),
            ..Self::new(&error.to_string(), &Mask::default())
        }
    }
}

impl<C: Backend> Clone for Manager<C> {
    fn clone(&self) -> Self {
        Self {
            source: Arc::clone(&self.source),
            session: self.session.clone(),
            generation: self.generation.clone(),
            opening: Arc::clone(&self.opening),
        }
    }
}

impl<C: Backend> Manager<C> {
    pub(super) fn new(source: Source<C>, session: Session) -> Self {
        Self {
            source: Arc::new(source),
            session,
            generation: Generation::default(),
            opening: Arc::default(),
        }
    }

    /// The manager of another pool with the same settings.
    pub(super) fn for_another(&self) -> Self {
        Self {
            opening: Arc::default(),
            ..self.clone()
        }
    }

    /// The number of connections that are being opened.
    pub(super) fn opening(&self) -> usize {
        self.opening.load(Ordering::SeqCst)
    }

    /// The address, if it is known.
    pub(super) fn url(&self) -> Option<&Secret> {
        match &*self.source {
            Source::Address { url, .. } => Some(url),
            Source::Pool(_) => None,
        }
    }

    /// The pool from which connections are borrowed, if they are.
    pub(super) fn lender(&self) -> Option<&Lender<C>> {
        match &*self.source {
            Source::Address { .. } => None,
            Source::Pool(lender) => Some(lender),
        }
    }

    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Limits of the waits on connections beside the pool.
    pub(super) fn limits(&self) -> &Limits {
        &self.session.limits
    }

    /// Opens a connection and runs statements on it, which may fail.
    pub(super) fn open_with(&self, limits: &str) -> Result<DbConnection<C>, ConnectError> {
        let mut connection = self.open()?;
        if !limits.is_empty()
            && let Err(error) = connection.batch_execute(limits)
            && connection.ping().is_err()
        {
            return Err(self.failed(&error.to_string()));
        }
        Ok(connection)
    }

    /// Opens a connection and leaves its session with the server's or the service's settings.
    pub(super) fn open_bare(&self) -> Result<DbConnection<C>, ConnectError> {
        self.opening.fetch_add(1, Ordering::SeqCst);
        let opened = match &*self.source {
            Source::Address { complete, .. } => self.establish(complete.expose()),
            Source::Pool(lender) => match lender.borrow() {
                Ok(borrowed) => Ok(DbConnection::Borrowed(borrowed)),
                Err(error) => Err(error.into()),
            },
        };
        self.opening.fetch_sub(1, Ordering::SeqCst);
        let mut connection = opened?;
        let is_ours = matches!(connection, DbConnection::Own(_));
        match connection.avoid_client_defects(is_ours) {
            Ok(()) => Ok(connection),
            Err(error) => Err(self.failed(&error.to_string())),
        }
    }

    fn establish(&self, url: &str) -> Result<DbConnection<C>, ConnectError> {
        let mut connection = C::establish(url).map_err(|error| self.failed(&error.to_string()))?;
        match connection.why_unusable(url) {
            Ok(None) => Ok(DbConnection::Own(connection)),
            Ok(Some(reason)) => Err(self.failed(reason)),
            Err(error) => Err(self.failed(&error.to_string())),
        }
    }

    /// Opens a connection.
    pub(super) fn open(&self) -> Result<DbConnection<C>, ConnectError> {
        let mut connection = self.open_bare()?;
        if let Err(error) = connection.batch_execute(&self.session.setup)
            && (self.session.is_needed || connection.ping().is_err())
        {
            return Err(self.failed(&error.to_string()));
        }
        Ok(connection)
    }

    /// A text from a database client, without the address's password and on one line.
    pub(super) fn masked(&self, text: &str) -> String {
        let text = terminal::one_line(text);
        match &*self.source {
            Source::Address { mask, .. } => mask.hide(&text),
            Source::Pool(_) => text,
        }
    }

    fn failed(&self, text: &str) -> ConnectError {
        let Source::Address { url, mask, .. } = &*self.source else {
            return ConnectError::new(text, &Mask::default());
        };
        match self.session.missing_file(url.expose()) {
            Some(file) => ConnectError::of_text(format!(
                "unable to open database file: there is no file `{}`; check database_url, or make the \
                 file with `outbox migrate`",
                terminal::escaped(&file)
            )),
            None => ConnectError::new(text, mask),
        }
    }
}

impl<C: Backend> Slot<C> {
    pub(super) fn connection(&mut self) -> &mut C {
        &mut self.connection
    }

    /// Checks whether the connection is dead or in an invalid state.
    pub(super) fn look_after_failure(&mut self) -> bool {
        self.broken = self.connection.is_broken() || self.connection.ping().is_err();
        self.broken
    }

    /// Whether the connection is of the newest generation.
    pub(super) fn is_good(&mut self) -> bool {
        self.broken = self.is_old();
        !self.broken
    }

    /// The connection is not used again.
    pub(super) fn retire(&mut self) {
        self.broken = true;
    }

    fn is_old(&self) -> bool {
        self.generation != self.newest.current()
    }
}

impl<C: Backend> Drop for Slot<C> {
    fn drop(&mut self) {
        if self.broken || self.is_old() {
            self.connection.retire();
        }
    }
}

impl<C: Backend> r2d2::ManageConnection for Manager<C> {
    type Connection = Slot<C>;
    type Error = ConnectError;

    fn connect(&self) -> Result<Slot<C>, ConnectError> {
        // Before it is opened: if the generation ends in the meantime, this connection is not trusted.
        let generation = self.generation.current();
        Ok(Slot {
            connection: self.open()?,
            generation,
            newest: self.generation.clone(),
            broken: false,
            last_used: Instant::now(),
        })
    }

    fn is_valid(&self, slot: &mut Slot<C>) -> Result<(), ConnectError> {
        // A connection of an older generation is not used in any case.
        if slot.last_used.elapsed() < IDLE || slot.is_old() {
            return Ok(());
        }
        let alive = slot.connection.ping();
        slot.broken = alive.is_err();
        alive.map_err(|error| self.failed(&error.to_string()))
    }

    fn has_broken(&self, slot: &mut Slot<C>) -> bool {
        // r2d2 calls this when a connection is returned.
        slot.last_used = Instant::now();
        // A panic may have left a transaction open.
        slot.broken |= std::thread::panicking() || slot.connection.is_broken();
        slot.broken || slot.is_old()
    }
}
