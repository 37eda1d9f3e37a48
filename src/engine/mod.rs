//! The loop that runs claims, deliveries and settlements side by side.
//!
//! Each part has its own file: [`claim`] (with [`claim_room`] and [`scan_position`]), [`leases`], [`renewal`],
//! [`backlog`], [`dispatch`], [`circuit_breaker`], [`retry`], [`signatures`], [`outcomes`] and [`settle`].

mod backlog;
mod circuit_breaker;
mod claim;
mod claim_room;
mod database_health;
pub(crate) mod delivery;
mod dispatch;
pub(crate) mod hindrances;
pub(crate) mod hooks;
pub(crate) mod leases;
mod locked_rows;
pub(crate) mod memory;
pub(crate) mod observer;
pub(crate) mod outcomes;
pub(crate) mod renewal;
mod retry;
pub(crate) mod row;
mod run_state;
mod scan_position;
pub(crate) mod settings;
mod settle;
pub(crate) mod signatures;
#[cfg(all(test, feature = "sqlite"))]
mod tests;
pub(crate) mod unknown_stream;
pub(crate) mod wake;

use std::future::{Future, pending};
use std::pin::Pin;

use tokio::time::{Instant, sleep_until};

use crate::backend::Backend;
use crate::db::{Db, DbError};
use crate::metrics::EngineMetrics;
use crate::runtime::shutdown::Shutdown;
use crate::status::LONGEST_TURN;

use backlog::Backlog;
use circuit_breaker::CircuitBreakers;
use claim::{Claim, Claims};
use database_health::DatabaseHealth;
use delivery::Delivery;
use hindrances::Hindrances;
use leases::Leases;
use locked_rows::LockedRows;
use observer::Observer;
use renewal::{Renewal, Renewed};
use run_state::RunState;
use settings::Settings;
use settle::{Settled, Settlement};
use signatures::Warnings;
use wake::Waker;

type Job<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Why an engine ended without being stopped.
#[derive(Debug)]
pub(crate) enum EngineError<E> {
    /// The delivery cannot continue.
    Delivery(E),
    /// The database failed.
    Database(DbError),
}

/// What the engine waits for.
enum Event<E> {
    Stop,
    StopNow,
    Tick,
    Woken,
    Claimed(Claim),
    Settled(Settled),
    Renewed(Renewed),
    Delivery(delivery::Event<E>),
}

/// What an engine uses beside the database and the delivery.
pub(crate) struct EngineParts<O> {
    pub(crate) settings: Settings,
    pub(crate) observer: O,
    pub(crate) waker: Waker,
    /// Whether the engine ends when nothing is due.
    pub(crate) once: bool,
}

/// Claims rows, passes them to a delivery and settles them.
pub(crate) struct Engine<'a, C: Backend, D: Delivery, O: Observer> {
    db: Db<C>,
    delivery: D,
    settings: Settings,
    shutdown: &'a Shutdown,
    waker: Waker,
    run: RunState<EngineError<D::Error>>,
    database: DatabaseHealth,
    claims: Claims,
    leases: Leases,
    renewal: Renewal,
    hindrances: Hindrances,
    locked: LockedRows,
    backlog: Backlog,
    circuits: CircuitBreakers,
    settlement: Settlement,
    signature_warnings: Warnings,
    observer: O,
    metrics: EngineMetrics,
}

impl<'a, C: Backend, D: Delivery, O: Observer> Engine<'a, C, D, O> {
    pub(crate) fn new(
        db: Db<C>,
        delivery: D,
        parts: EngineParts<O>,
        shutdown: &'a Shutdown,
    ) -> Self {
        let EngineParts {
            settings,
            observer,
            waker,
            once,
        } = parts;
        Self {
            db,
            delivery,
            shutdown,
            waker,
            run: RunState::new(once),
            database: DatabaseHealth::new(settings.maximum_backoff, once),
            claims: Claims::new(&settings),
            leases: Leases::default(),
            renewal: Renewal::new(settings.lease),
            hindrances: Hindrances::new(settings.maximum_backoff),
            locked: LockedRows::default(),
            backlog: Backlog::new(settings.one_of_a_key),
            circuits: CircuitBreakers::new(settings.breaker_failures, settings.breaker_pause),
            settlement: Settlement::new(),
            signature_warnings: Warnings::default(),
            observer,
            metrics: EngineMetrics::default(),
            settings,
        }
    }

    /// Works until it is stopped, or, if it runs once, until nothing is due.
    pub(crate) async fn run(mut self) -> Result<(), EngineError<D::Error>> {
        let (holder, table) = (self.leases.holder(), self.settings.table.name);
        tracing::info!(%holder, table, "claiming rows under this name");
        loop {
            let began = Instant::now();
            if self.run.is_stopping() {
                self.release_backlog();
            } else {
                self.delivery.open();
            }
            self.claim();
            self.dispatch();
            self.settle();
            self.renew();
            let in_flight = self.delivery.in_flight();
            self.observer.load(in_flight, self.backlog.len());
            self.metrics.in_flight(in_flight);
            if self.is_done() {
                break;
            }
            match self.next_event(began).await {
                Event::Stop => self.stop(),
                Event::StopNow => {
                    tracing::warn!(
                        in_flight = self.delivery.in_flight(),
                        "not all rows could be settled in time; their leases end by themselves"
                    );
                    break;
                }
                Event::Tick => {}
                // The pause of an outage is not shortened.
                Event::Woken if self.database.is_unreachable() => {}
                Event::Woken => self.claims.wake(),
                Event::Claimed(claim) => self.claimed(claim),
                Event::Settled(settled) => self.settled(settled),
                Event::Renewed(renewed) => self.renewed(renewed),
                Event::Delivery(event) => match event {
                    delivery::Event::Ended(row, outcome) => self.ended(&row, outcome),
                    delivery::Event::Changed => {}
                    delivery::Event::Failed(error) => self.fail(EngineError::Delivery(error)),
                },
            }
        }
        self.close().await;
        match self.run.into_error() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Waits for the next event. What was due when this turn of the loop `began` was examined and waits for
    /// another event; a moment that has passed since then is an event at once.
    async fn next_event(&mut self, began: Instant) -> Event<D::Error> {
        let is_stopping = self.run.is_stopping();
        let stop_deadline = self.run.stop_deadline(self.settings.shutdown_timeout);
        let wake = [self.claims.next()]
            .into_iter()
            .chain(self.settlement.moments())
            .chain(self.circuits.next_probe())
            .chain(self.renewal.next())
            // Without work the loop still shows that it turns.
            .chain([began + LONGEST_TURN])
            .filter(|moment| *moment > began)
            .min();
        tokio::select! {
            () = self.shutdown.requested(), if !is_stopping => Event::Stop,
            event = self.delivery.event() => Event::Delivery(event),
            claim = job(&mut self.claims.running) => Event::Claimed(claim),
            settled = job(&mut self.settlement.running) => Event::Settled(settled),
            renewed = job(&mut self.renewal.running) => Event::Renewed(renewed),
            () = moment(wake) => Event::Tick,
            () = self.waker.woken() => Event::Woken,
            () = moment(stop_deadline) => Event::StopNow,
        }
    }

    /// Whether there are rows of this relay whose outcome the database does not have.
    fn is_outstanding(&self) -> bool {
        !self.backlog.is_empty()
            || self.delivery.in_flight() > 0
            || self.settlement.is_outstanding()
    }

    fn is_done(&self) -> bool {
        (self.run.is_stopping() || (self.run.is_once() && self.claims.is_drained()))
            && !self.claims.is_running()
            && !self.is_outstanding()
    }

    fn stop(&mut self) {
        self.run.stop();
        self.delivery.stop();
    }

    fn fail(&mut self, error: EngineError<D::Error>) {
        self.run.fail(error);
        self.delivery.stop();
    }

    async fn close(&mut self) {
        self.delivery.close().await;
        let locked = self.settlement.postponed_rows();
        if locked > 0 {
            tracing::warn!(
                rows = locked,
                "another database session keeps rows locked: their outcomes are not recorded, and those \
                 that were sent will be sent again"
            );
        }
        self.observer.finish().await;
    }
}

/// The result of a job, which then leaves its slot. Waits for ever if there is none. Safe to cancel.
async fn job<T>(slot: &mut Option<Job<T>>) -> T {
    let Some(job) = slot else {
        return pending().await;
    };
    let result = job.await;
    *slot = None;
    result
}

async fn moment(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
