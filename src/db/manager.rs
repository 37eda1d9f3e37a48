//! How the pool opens a connection, and when it gives one up.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::Address;
use crate::backend::Backend;
use crate::config::Secret;

/// A server may close a connection that is idle for longer, so it is asked before the next use. A round
/// trip before each use would cost more than it finds.
const IDLE: Duration = Duration::from_secs(1);

/// Opens connections for r2d2. Diesel's own manager asks only whether a transaction was left in
/// disorder; a connection that the server has closed would come back again and again.
pub(super) struct Manager<C> {
    url: Secret,
    setup: Option<String>,
    connection: PhantomData<fn() -> C>,
}

/// A connection of the pool.
pub(super) struct Slot<C> {
    connection: C,
    broken: bool,
    last_used: Instant,
}

/// Why no connection could be opened, with no password in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ConnectError(String);

impl<C: Backend> Manager<C> {
    pub(super) fn new(address: &Address, patience: Duration) -> Self {
        let setup = match address {
            // Writers take turns: wait for the other's commit instead of failing at once.
            Address::Sqlite(_) => Some(format!(
                "pragma busy_timeout = {}",
                patience.as_millis().clamp(1, 600_000)
            )),
            Address::Postgres(_) | Address::Mysql(_) => None,
        };
        Self {
            url: address.connection_string().clone(),
            setup,
            connection: PhantomData,
        }
    }
}

impl<C: Backend> Manager<C> {
    #[cfg(feature = "postgres")]
    pub(super) fn url(&self) -> &Secret {
        &self.url
    }

    /// Opens a connection; the error has no password in it.
    pub(super) fn open(&self) -> Result<C, String> {
        let hidden = |text: String| self.url.mask(&text);
        let mut connection =
            C::establish(self.url.expose()).map_err(|error| hidden(error.to_string()))?;
        if let Some(setup) = &self.setup {
            connection
                .batch_execute(setup)
                .map_err(|error| hidden(error.to_string()))?;
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
}

impl<C: Backend> r2d2::ManageConnection for Manager<C> {
    type Connection = Slot<C>;
    type Error = ConnectError;

    fn connect(&self) -> Result<Slot<C>, ConnectError> {
        let connection = self.open().map_err(ConnectError)?;
        Ok(Slot {
            connection,
            broken: false,
            last_used: Instant::now(),
        })
    }

    fn is_valid(&self, slot: &mut Slot<C>) -> Result<(), ConnectError> {
        if slot.last_used.elapsed() < IDLE {
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
        slot.broken || std::thread::panicking() || slot.connection.is_broken()
    }
}
