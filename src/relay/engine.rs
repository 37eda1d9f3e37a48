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

use crate::backend::{Backend, Claimed, Failure, Verdict};
use crate::db::{Db, DbError};
use crate::outage::Outage;
use crate::shutdown::Shutdown;
use crate::stomp::{Client, Connector, Error as StompError};

use super::backlog::Backlog;
use super::outcomes::Outcomes;
use super::row::Row;
use super::suspects::Suspects;
use super::{RelayError, Sent, Settings};

type Job<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A claim: when it was begun, its token, its rows.
type Claim = (Instant, Uuid, Result<Vec<Claimed>, DbError>);
type Confirmation = (Box<Flight>, Result<(), StompError>);

/// How long a second connection has to show that the broker is well.
const WITNESS_PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before another attempt to have one.
const WITNESS_PAUSE: Duration = Duration::from_secs(1);
/// An ERROR that named its row explains a close of the connection that follows so soon.
const EXPLAINS_FOR: Duration = Duration::from_secs(5);
/// Suspect rows kept in mind, for each row of the window.
const SUSPECTS_FOR_EACH: usize = 16;

/// What the engine waits for.
enum Event {
    Stop,
    StopNow,
    Tick,
    Claimed(Instant, Uuid, Result<Vec<Claimed>, DbError>),
    Settled(Outcomes, Result<(), DbError>),
    Connected(Result<Client, StompError>),
    Witness(Result<Client, StompError>),
    Receipt(Box<Flight>, Result<(), StompError>),
    Lost(StompError),
}

/// A row whose receipt is awaited.
struct Flight {
    row: Row,
    /// Whether nothing else was in flight on purpose, with a witness at hand.
    alone: bool,
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
    /// The last claim found nothing while rows of ours were on their way; theirs may be the keys
    /// that the rest waits for.
    wait_for_settled: bool,
    /// Whether rows of ours were on their way when the claim was made.
    claimed_beside_others: bool,
    drained: bool,

    backlog: Backlog,
    in_flight: FuturesUnordered<Job<Confirmation>>,
    /// What is in flight on this connection, for when it is lost.
    flying: BTreeSet<Uuid>,
    one_flies_alone: bool,

    outcomes: Outcomes,
    settling: Option<Job<(Outcomes, Result<(), DbError>)>>,
    settling_sent: usize,
    next_settle: Instant,
    database: Outage,

    stopping_since: Option<Instant>,
    failed_with: Option<RelayError>,
    sent: Sent,
}

impl<'a, C: Backend> Engine<'a, C> {
    pub(super) fn new(
        db: Db<C>,
        connector: Connector,
        settings: Settings,
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
            wait_for_settled: false,
            claimed_beside_others: false,
            drained: false,
            backlog: Backlog::default(),
            in_flight: FuturesUnordered::new(),
            flying: BTreeSet::new(),
            one_flies_alone: false,
            outcomes: Outcomes::default(),
            settling: None,
            settling_sent: 0,
            next_settle: Instant::now(),
            database: Outage::new("the database", settings.maximum_backoff),
            stopping_since: None,
            failed_with: None,
            sent: Sent::default(),
            settings,
        }
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
                Event::Claimed(began, token, rows) => self.claimed(began, token, rows),
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
            None => Ok(self.sent),
        }
    }

    async fn next_event(&mut self) -> Event {
        let now = Instant::now();
        let is_stopping = self.stopping_since.is_some();
        let last_call = self
            .stopping_since
            .and_then(|since| Some(since + self.settings.shutdown_timeout?));
        let wake = [self.next_claim, self.next_settle]
            .into_iter()
            .filter(|moment| *moment > now)
            .min();
        tokio::select! {
            () = self.shutdown.wished(), if !is_stopping => Event::Stop,
            Some((flight, result)) = self.in_flight.next() => Event::Receipt(flight, result),
            (began, token, rows) = job(&mut self.claiming) => Event::Claimed(began, token, rows),
            (outcomes, result) = job(&mut self.settling) => Event::Settled(outcomes, result),
            result = job(&mut self.connecting) => Event::Connected(result),
            result = job(&mut self.summoning) => Event::Witness(result),
            error = lost(self.client.as_ref()) => Event::Lost(error),
            () = moment(wake) => Event::Tick,
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

    // --- the broker -----------------------------------------------------------------------------

    fn connect(&mut self) {
        if self.client.is_some() || self.connecting.is_some() || self.stopping_since.is_some() {
            return;
        }
        let connector = Arc::clone(&self.connector);
        let (once, was_connected) = (self.once, self.was_connected);
        self.connecting = Some(Box::pin(async move {
            // A refused login is a mistake at the start, and an event in the broker's life later.
            let give_up = |error: &StompError| once || (!was_connected && error.is_refused_login());
            connector.connect(give_up).await
        }));
    }

    fn connected(&mut self, result: Result<Client, StompError>) {
        match result {
            Ok(client) => {
                if self.was_connected {
                    tracing::debug!(broker = client.server(), "connected again");
                } else {
                    tracing::info!(broker = client.server(), "connected");
                }
                self.client = Some(client);
                self.was_connected = true;
                self.is_warm = false;
                self.explained_until = None;
            }
            Err(error) => self.fail(RelayError::Broker(error)),
        }
    }

    /// The connection is gone. The receipts that were awaited have failed or are about to.
    fn lost(&mut self, error: &StompError) {
        self.client = None;
        let flying = std::mem::take(&mut self.flying);
        let is_explained = self
            .explained_until
            .is_some_and(|until| Instant::now() < until);
        if is_explained || error.is_closed_by_us() || error.is_silence() || flying.is_empty() {
            return;
        }
        tracing::info!(
            in_flight = flying.len(),
            error = %error,
            "the broker closed the connection; what was in flight is sent again, one at a time"
        );
        self.suspects.suspect(flying);
    }

    fn summon_witness(&mut self) {
        if self.summoning.is_some() || self.stopping_since.is_some() {
            return;
        }
        let connector = Arc::clone(&self.connector);
        self.summoning = Some(Box::pin(async move {
            let witness = connector.once().await;
            if witness.is_err() {
                tokio::time::sleep(WITNESS_PAUSE).await;
            }
            witness
        }));
    }

    async fn is_broker_well(&mut self) -> bool {
        let Some(witness) = &self.witness else {
            return false;
        };
        let is_well = matches!(timeout(WITNESS_PATIENCE, witness.ping()).await, Ok(Ok(())));
        if is_well {
            self.connector.is_well();
        } else {
            self.witness = None;
        }
        is_well
    }

    // --- rows in ----------------------------------------------------------------------------------

    fn claim(&mut self) {
        let is_wanted = self.backlog.len() <= self.settings.chunk_size / 2
            && Instant::now() >= self.next_claim
            && !(self.wait_for_settled && self.is_outstanding());
        // Without a connection a claim would only keep rows from other relays.
        let is_possible = self.client.is_some()
            && self.claiming.is_none()
            && self.stopping_since.is_none()
            && !(self.once && self.drained);
        if !is_wanted || !is_possible {
            return;
        }
        self.wait_for_settled = false;
        self.claimed_beside_others = self.is_outstanding();
        let db = self.db.clone();
        let (lease, limit) = (self.settings.lease, self.settings.chunk_size);
        self.claiming = Some(Box::pin(async move {
            let token = Uuid::new_v4();
            // Read before the claim, so that our lease never ends after the database's.
            let began = Instant::now();
            let rows = db.run(move |conn| conn.claim(token, lease, limit)).await;
            (began, token, rows)
        }));
    }

    fn claimed(&mut self, began: Instant, token: Uuid, rows: Result<Vec<Claimed>, DbError>) {
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return self.database_failed(error),
        };
        self.database.over();
        if rows.is_empty() {
            if self.claimed_beside_others {
                self.wait_for_settled = true;
            } else {
                self.drained = true;
                self.next_claim = Instant::now() + self.settings.poll_interval;
            }
            return;
        }
        tracing::debug!(rows = rows.len(), "claimed");
        let deadline = began + self.settings.lease;
        for claimed in rows {
            let expired = claimed.expired;
            let row = Row {
                claimed,
                token,
                deadline,
            };
            if expired {
                self.park(&row, Verdict::Expire, "expired".to_owned());
            } else {
                self.backlog.extend([row]);
            }
        }
    }

    fn database_failed(&mut self, error: DbError) {
        if self.once {
            return self.fail(RelayError::Database(error));
        }
        let pause = self.database.noticed(&error);
        self.next_claim = Instant::now() + pause;
    }

    // --- rows out ---------------------------------------------------------------------------------

    fn send(&mut self) {
        loop {
            let window = if self.is_warm {
                self.settings.window
            } else {
                1
            };
            let unsettled = self.outcomes.sent_count() + self.settling_sent;
            // The second bound is that of duplicates after this process is killed.
            if self.in_flight.len() >= window
                || self.in_flight.len() + unsettled >= 2 * self.settings.window
                || self.stopping_since.is_some()
                || self.one_flies_alone
            {
                return;
            }
            let Some(client) = self.client.clone().filter(|client| !client.is_closed()) else {
                return;
            };
            let Some(row) = self.backlog.next() else {
                return;
            };
            let alone = self.suspects.contains(row.id());
            if alone && (!self.in_flight.is_empty() || self.witness.is_none()) {
                self.backlog.put_back(row);
                if self.witness.is_none() {
                    self.summon_witness();
                }
                return;
            }
            let frame = match row.frame() {
                Ok(frame) => frame,
                Err(reason) => {
                    self.backlog.landed(&row);
                    self.park(&row, Verdict::Park, reason);
                    continue;
                }
            };
            self.flying.insert(row.id());
            self.one_flies_alone = alone;
            let receipt = client.send(frame);
            let flight = Box::new(Flight { row, alone });
            self.in_flight
                .push(Box::pin(async move { (flight, receipt.await) }));
        }
    }

    /// A receipt has come, or will not come any more.
    async fn landed(&mut self, flight: Flight, result: Result<(), StompError>) {
        let Flight { row, alone } = &flight;
        self.backlog.landed(row);
        if *alone {
            self.one_flies_alone = false;
        }
        if let Err(error) = &result {
            // The receipts may fail before the connection is seen to be lost.
            if error.is_fate_unknown() && self.client.as_ref().is_some_and(Client::is_closed) {
                self.lost(error);
            }
        }
        self.flying.remove(&row.id());
        let error = match result {
            Ok(()) => {
                tracing::debug!(id = %row.id(), seq = row.claimed.seq, "sent");
                if !self.is_warm {
                    self.is_warm = true;
                    self.connector.is_well();
                }
                self.suspects.clear(row.id());
                if self.witness.is_some() && !self.suspects.is_any() {
                    self.witness = None;
                }
                self.sent.sent += 1;
                return self.outcomes.sent(row);
            }
            Err(error) => error,
        };
        if error.names_receipt() {
            self.explained_until = Some(Instant::now() + EXPLAINS_FOR);
            return self.own_failure(row, &error.to_string());
        }
        if error.is_timeout() {
            if let Some(client) = self.client.take() {
                tracing::warn!(
                    after = ?self.settings.receipt_timeout,
                    in_flight = self.in_flight.len() + 1,
                    "no receipt in time: the connection is given up, and the rows are sent again"
                );
                client.abort();
                self.flying.clear();
            }
            return self.outcomes.released(row);
        }
        if !error.is_fate_unknown() {
            // It never left: the lease has ended, or the connection was gone before.
            return self.outcomes.released(row);
        }
        if *alone && !error.is_closed_by_us() && !error.is_silence() && self.is_broker_well().await
        {
            tracing::info!(id = %row.id(), error = %error, "closed with this row alone in flight");
            if self.suspects.convict(row.id()) {
                let reason = format!("the broker closes the connection at this message: {error}");
                return self.own_failure(row, &reason);
            }
        }
        self.outcomes.released(row);
    }

    fn own_failure(&mut self, row: &Row, reason: &str) {
        self.sent.failed += 1;
        let verdict = self.settings.retry.verdict(row.claimed.retry);
        if verdict == Verdict::Park {
            return self.park(row, verdict, reason.to_owned());
        }
        tracing::warn!(
            id = %row.id(),
            destination = row.claimed.destination,
            attempt = row.claimed.retry.saturating_add(1),
            reason,
            "not sent; it is tried again"
        );
        self.record(row, verdict, reason.to_owned());
    }

    fn park(&mut self, row: &Row, verdict: Verdict, reason: String) {
        tracing::warn!(
            id = %row.id(),
            destination = row.claimed.destination,
            reason,
            "parked; `outbox retry` sends it again"
        );
        self.sent.parked += 1;
        self.suspects.clear(row.id());
        self.record(row, verdict, reason);
    }

    fn record(&mut self, row: &Row, verdict: Verdict, reason: String) {
        // The later rows of its key wait for it, unless it is out of the way.
        if let Some(key) = row.key().filter(|_| verdict != Verdict::Expire) {
            for later in self.backlog.withdraw(key) {
                self.outcomes.released(&later);
            }
        }
        let failure = Failure {
            id: row.id(),
            verdict,
            reason,
        };
        self.outcomes.failed(row, failure);
    }

    // --- the database is told -----------------------------------------------------------------------

    /// Gives back what was not sent.
    fn give_back(&mut self) {
        for row in self.backlog.drain() {
            self.outcomes.released(&row);
        }
    }

    fn settle(&mut self) {
        // Without a connection rows only keep others from sending them.
        if self.client.is_none() && !self.backlog.is_empty() {
            self.give_back();
        }
        if self.outcomes.is_empty() || self.settling.is_some() || Instant::now() < self.next_settle
        {
            return;
        }
        let db = self.db.clone();
        let outcomes = std::mem::take(&mut self.outcomes);
        self.settling_sent = outcomes.sent_count();
        self.settling = Some(Box::pin(async move {
            let shared = Arc::new(outcomes);
            let told = Arc::clone(&shared);
            let result = db.run(move |conn| told.settle(conn)).await;
            (Arc::unwrap_or_clone(shared), result)
        }));
    }

    fn settled(&mut self, mut outcomes: Outcomes, result: Result<(), DbError>) {
        self.settling_sent = 0;
        match result {
            Ok(()) => self.database.over(),
            Err(error) => {
                // What the broker said stays known until the database has it.
                outcomes.append(std::mem::take(&mut self.outcomes));
                self.outcomes = outcomes;
                let pause = self.database.noticed(&error);
                self.next_settle = Instant::now() + pause;
                self.next_claim = self.next_claim.max(self.next_settle);
                if self.once {
                    self.fail(RelayError::Database(error));
                    self.outcomes = Outcomes::default();
                }
            }
        }
    }

    async fn farewell(&mut self) {
        if let Some(client) = self.client.take() {
            let _ = timeout(WITNESS_PATIENCE, client.disconnect()).await;
        }
        tracing::info!(
            sent = self.sent.sent,
            failed = self.sent.failed,
            parked = self.sent.parked,
            "the relay has stopped"
        );
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
