//! The loop that keeps claims, the window and settlements going side by side.

use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use crate::backend::{self, Backend, RowKey};
use crate::db::{Db, DbError};
use crate::outage::Outage;
use crate::shutdown::Shutdown;
use crate::stomp::{Client, Connector, Error as StompError};

use super::backlog::Backlog;
use super::breaker::{Breaker, Probe};
use super::holdings::{Holdings, Lease};
use super::hooks::{Hooks, Teller};
use super::locked_rows::LockedRows;
use super::memory::Memory;
use super::outcomes::{Outcomes, Unsettled};
use super::progress::Progress;
use super::reach::{Look, Reach};
use super::suspects::Suspects;
use super::wake::Waker;
use super::{RelayError, Sent, Settings};

use flight::Flight;

mod books;
mod flight;
mod link;

type Job<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A claim, and what it was for.
struct Claim {
    lease: Lease,
    /// Tokens of which the rest is given back with it.
    given_back: Vec<Uuid>,
    /// The destination that is tried by it, where it is a probe.
    probe: Option<Probe>,
    result: Result<(backend::Claim, Look), DbError>,
}

type Confirmation = (Box<Flight>, Result<(), StompError>);

/// How long a second connection has to show that the broker is well.
const WITNESS_PATIENCE: Duration = Duration::from_secs(5);
/// How long receipts are gathered at most while there is more to send.
const GATHERS: Duration = Duration::from_millis(5);
/// Suspect rows kept in mind, for each row of the window.
const SUSPECTS_FOR_EACH: usize = 16;

/// What the engine waits for.
enum Event {
    Stop,
    StopNow,
    Tick,
    Woken,
    Claimed(Claim),
    Settled(Outcomes, Result<Unsettled, DbError>),
    Connected(Result<Client, StompError>),
    Witness(Result<Client, StompError>),
    Receipt(Box<Flight>, Result<(), StompError>),
    Lost(StompError),
}

pub(super) struct Engine<'a, C: Backend> {
    db: Db<C>,
    connector: Arc<Connector>,
    settings: Settings,
    shutdown: &'a Shutdown,
    once: bool,

    client: Option<Client>,
    connecting: Option<Job<Result<Client, StompError>>>,
    was_connected: bool,
    /// Whether a receipt has come on this connection; until then one row at a time is sent.
    is_warm: bool,
    explained_until: Option<Instant>,

    witness: Option<Client>,
    summoning: Option<Job<Result<Client, StompError>>>,
    suspects: Suspects,

    claiming: Option<Job<Claim>>,
    next_claim: Instant,
    /// Whether the last claim was a probe.
    was_probe: bool,
    reach: Reach,
    /// Whether there was news since the last claim was begun.
    woken: bool,
    /// The last claim found nothing while rows of ours were on their way; theirs may be the keys
    /// that the rest waits for.
    wait_for_settled: bool,
    /// Whether rows of ours were on their way when the claim was made.
    claimed_beside_others: bool,
    drained: bool,
    /// Bytes of the messages in memory.
    memory: Memory,
    /// Bytes of a row, on average over the last claim.
    mean_size: Option<usize>,
    /// The next row is larger than the room that there was for it: it goes when there is nothing
    /// else.
    wait_for_memory: bool,
    locked: LockedRows,

    holdings: Holdings,
    backlog: Backlog,
    breaker: Breaker,
    in_flight: FuturesUnordered<Job<Confirmation>>,
    /// What is in flight on this connection, for when it is lost.
    flying: BTreeSet<RowKey>,
    one_flies_alone: bool,

    outcomes: Outcomes,
    /// Of rows that another session has locked.
    held_back: Outcomes,
    next_try: Instant,
    settling: Option<Job<(Outcomes, Result<Unsettled, DbError>)>>,
    settling_sent: usize,
    next_settle: Instant,
    /// Until then receipts are gathered, so that fewer transactions settle more rows.
    gathers_until: Instant,
    database: Outage,

    stopping_since: Option<Instant>,
    failed_with: Option<RelayError>,
    progress: Progress,
    teller: Teller,
    waker: Waker,
}

impl<'a, C: Backend> Engine<'a, C> {
    pub(super) fn new(
        db: Db<C>,
        connector: Connector,
        settings: Settings,
        hooks: Hooks,
        shutdown: &'a Shutdown,
        once: bool,
    ) -> Self {
        Self {
            db,
            connector: Arc::new(connector),
            shutdown,
            once,
            client: None,
            connecting: None,
            was_connected: false,
            is_warm: false,
            explained_until: None,
            witness: None,
            summoning: None,
            suspects: Suspects::new(settings.window.saturating_mul(SUSPECTS_FOR_EACH)),
            claiming: None,
            next_claim: Instant::now(),
            was_probe: false,
            reach: Reach::new(),
            woken: false,
            wait_for_settled: false,
            claimed_beside_others: false,
            drained: false,
            // The rest is the hooks', and for what is read twice.
            memory: Memory::new(settings.memory_limit / 8 * 5),
            mean_size: None,
            wait_for_memory: false,
            locked: LockedRows::default(),
            holdings: Holdings::default(),
            backlog: Backlog::default(),
            breaker: Breaker::new(settings.breaker_failures, settings.breaker_pause),
            in_flight: FuturesUnordered::new(),
            flying: BTreeSet::new(),
            one_flies_alone: false,
            outcomes: Outcomes::default(),
            held_back: Outcomes::default(),
            next_try: Instant::now(),
            settling: None,
            settling_sent: 0,
            next_settle: Instant::now(),
            gathers_until: Instant::now(),
            database: Outage::new("the database", settings.maximum_backoff),
            stopping_since: None,
            failed_with: None,
            progress: Progress::default(),
            teller: hooks.start(settings.memory_limit / 4),
            waker: Waker::default(),
            settings,
        }
    }

    pub(super) fn woken_by(self, waker: Waker) -> Self {
        Self { waker, ..self }
    }

    pub(super) fn counted_by(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    pub(super) async fn run(mut self) -> Result<Sent, RelayError> {
        loop {
            if self.stopping_since.is_some() {
                self.give_back();
            }
            self.connect();
            self.claim();
            self.send();
            self.settle();
            if self.is_done() {
                break;
            }
            match self.next_event().await {
                Event::Stop => self.stop(),
                Event::StopNow => {
                    tracing::warn!(
                        in_flight = self.in_flight.len(),
                        "not all could be settled in time; the leases will end by themselves"
                    );
                    break;
                }
                Event::Tick => {}
                // Not before the end of an outage's pause.
                Event::Woken if self.database.is_on() => {}
                Event::Woken => {
                    self.woken = true;
                    self.next_claim = Instant::now();
                }
                Event::Claimed(claim) => self.claimed(claim),
                Event::Settled(outcomes, result) => self.settled(outcomes, result),
                Event::Connected(result) => self.connected(result),
                Event::Witness(result) => self.witness = result.ok(),
                Event::Receipt(flight, result) => self.landed(*flight, result).await,
                Event::Lost(error) => self.lost(&error),
            }
        }
        self.farewell().await;
        match self.failed_with.take() {
            Some(error) => Err(error),
            None => Ok(self.progress.so_far()),
        }
    }

    async fn next_event(&mut self) -> Event {
        let now = Instant::now();
        let is_stopping = self.stopping_since.is_some();
        let last_call = self
            .stopping_since
            .and_then(|since| Some(since + self.settings.shutdown_timeout?));
        let wake = [self.next_claim, self.next_settle, self.gathers_until]
            .into_iter()
            .chain(self.breaker.next_probe())
            .chain((!self.held_back.is_empty()).then_some(self.next_try))
            .filter(|moment| *moment > now)
            .min();
        tokio::select! {
            () = self.shutdown.wished(), if !is_stopping => Event::Stop,
            Some((flight, result)) = self.in_flight.next() => Event::Receipt(flight, result),
            claim = job(&mut self.claiming) => Event::Claimed(claim),
            (outcomes, result) = job(&mut self.settling) => Event::Settled(outcomes, result),
            result = job(&mut self.connecting) => Event::Connected(result),
            result = job(&mut self.summoning) => Event::Witness(result),
            error = lost(self.client.as_ref()) => Event::Lost(error),
            () = moment(wake) => Event::Tick,
            () = self.waker.woken() => Event::Woken,
            () = moment(last_call) => Event::StopNow,
        }
    }

    /// Rows of ours whose fate the database does not know yet.
    fn is_outstanding(&self) -> bool {
        !self.backlog.is_empty()
            || !self.in_flight.is_empty()
            || !self.outcomes.is_empty()
            || self.settling.is_some()
    }

    fn is_done(&self) -> bool {
        (self.stopping_since.is_some() || (self.once && self.drained))
            && self.claiming.is_none()
            && !self.is_outstanding()
    }

    fn stop(&mut self) {
        self.stopping_since.get_or_insert_with(Instant::now);
        self.connecting = None;
        self.summoning = None;
    }

    fn fail(&mut self, error: RelayError) {
        self.failed_with.get_or_insert(error);
        self.stop();
    }

    async fn farewell(&mut self) {
        if let Some(client) = self.client.take() {
            let _ = timeout(WITNESS_PATIENCE, client.disconnect()).await;
        }
        self.teller.finish().await;
        let held_back = self.held_back.rows().count();
        if held_back > 0 {
            tracing::warn!(
                rows = held_back,
                "another database session keeps rows locked: what became of them is not recorded, \
                 and those that were sent will be sent again"
            );
        }
        let Sent {
            sent,
            failed,
            parked,
        } = self.progress.so_far();
        tracing::info!(sent, failed, parked, "the relay has stopped");
    }
}

/// The outcome of a job, which leaves its slot; never where there is none.
async fn job<T>(slot: &mut Option<Job<T>>) -> T {
    let Some(job) = slot else {
        return pending().await;
    };
    let outcome = job.await;
    *slot = None;
    outcome
}

async fn lost(client: Option<&Client>) -> StompError {
    match client {
        Some(client) => client.closed().await,
        None => pending().await,
    }
}

async fn moment(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
