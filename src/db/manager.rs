//! How the pool opens a connection, and when it gives one up.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Address;
use crate::backend::Backend;
use crate::config::Secret;

/// A connection that was not used for longer is asked whether it lives before it is used: servers,
/// proxies and firewalls close idle ones.
const FRESH: Duration = Duration::from_secs(1);

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
    setup: Setup,
    generation: Generation,
    connection: PhantomData<fn() -> C>,
}

/// What is said on a new connection, and whether it has to succeed.
#[derive(Debug, Clone)]
struct Setup {
    statement: String,
    is_needed: bool,
}

/// A connection of the pool.
pub(super) struct Slot<C> {
    connection: C,
    generation: u64,
    used: Instant,
    broken: bool,
}

/// Why no connection could be opened, with no password in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(String);

/// The server's errors in English, as far as we may ask for it: Diesel hides the SQLSTATEs. The
/// setting is the superuser's, who may grant it from PostgreSQL 15 on; for others nothing happens.
const POSTGRES: &str = "\
do $$ begin
    perform set_config('lc_messages', 'C', false);
exception when others then null;
end $$";
/// The same for the texts of MySQL and MariaDB, where anybody may.
const MYSQL: &str = "set lc_messages = 'en_US'";

impl<C> Clone for Manager<C> {
    fn clone(&self) -> Self {
        Self {
            url: self.url.clone(),
            setup: self.setup.clone(),
            generation: self.generation.clone(),
            connection: PhantomData,
        }
    }
}

impl<C: Backend> Manager<C> {
    pub(super) fn new(address: &Address, patience: Duration) -> Self {
        let setup = match address {
            // Writers take turns: wait for the other's commit instead of failing at once.
            Address::Sqlite(_) => Setup {
                statement: format!(
                    "pragma busy_timeout = {}",
                    patience.as_millis().clamp(1, 600_000)
                ),
                is_needed: true,
            },
            Address::Postgres(_) => Setup {
                statement: POSTGRES.to_owned(),
                is_needed: false,
            },
            Address::Mysql(_) => Setup {
                statement: MYSQL.to_owned(),
                is_needed: false,
            },
        };
        Self {
            url: address.connection_string().clone(),
            setup,
            generation: Generation::default(),
            connection: PhantomData,
        }
    }

    #[cfg(feature = "postgres")]
    pub(super) fn url(&self) -> &Secret {
        &self.url
    }

    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Opens a connection.
    pub(super) fn open(&self) -> Result<C, ConnectError> {
        let hidden = |text: String| ConnectError(self.url.mask(&text));
        let mut connection =
            C::establish(self.url.expose()).map_err(|error| hidden(error.to_string()))?;
        if let Err(error) = connection.batch_execute(&self.setup.statement)
            && (self.setup.is_needed || connection.ping().is_err())
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

    /// Whether it may be used: it is of the newest generation and was not idle until it died.
    pub(super) fn is_good(&mut self, generation: &Generation) -> bool {
        self.broken = self.generation != generation.current()
            || self.used.elapsed() > FRESH && self.connection.ping().is_err();
        !self.broken
    }

    /// Notes that it was used just now.
    pub(super) fn used(&mut self) {
        self.used = Instant::now();
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
            used: Instant::now(),
            broken: false,
        })
    }

    fn is_valid(&self, slot: &mut Slot<C>) -> Result<(), ConnectError> {
        slot.connection
            .ping()
            .map_err(|error| ConnectError(self.url.mask(&error.to_string())))
    }

    fn has_broken(&self, slot: &mut Slot<C>) -> bool {
        // A panic may have left a transaction open.
        slot.broken
            || slot.generation != self.generation.current()
            || std::thread::panicking()
            || slot.connection.is_broken()
    }
}
