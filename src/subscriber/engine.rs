//! The loop of a subscriber: takes deliveries, hands them to workers, answers the broker.
//!
//! It outlives connections. An attempt that runs when one is lost continues to its commit; its ACK cannot be
//! sent any more, and the redelivery waits in the same lane and then finds the inbox row. What the end of
//! an attempt means is in `outcome`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::acks::Acks;
use super::job::{Job, Taken};
use super::key_lanes::KeyLanes;
use super::monitor::SubscriberMonitor;
use super::settings::Settings;
use super::worker_pool::WorkerPool;
use crate::backend::Backend;
use crate::broker::Broker;
use crate::db::{CLOSE_TIMEOUT, Health};
use crate::metrics::SubscriberMetrics;
use crate::runtime::outage::Outage;
use crate::runtime::process_group::GRACE;
use crate::runtime::shutdown::Shutdown;
use crate::status::LONGEST_TURN;
use crate::stomp::{self, Client, Delivery, Kept, Subscription};

/// How long programs may take to end after `shutdown_timeout`: a little longer than until they are
/// killed.
const PROGRAMS_TIMEOUT: Duration = GRACE.saturating_add(Duration::from_millis(500));

/// Maximum number of messages whose dead letters are not confirmed yet, if that is more than the prefetch.
/// It counts only if the broker ignores the prefetch.
const MAX_UNCONFIRMED: usize = 1_000;

/// Number of returned messages that RabbitMQ's channel hands to a quorum queue before its first confirmation. Those that
/// it still has when the connection ends count as delivered. Measured on RabbitMQ 4.3.6: of 100 that were returned, 67.
const RETURNED_AT_ONCE: usize = 32;

/// How long it gets for the others. Measured on one node: 5 ms are enough for 1,000.
const RETURN_TIME: Duration = Duration::from_millis(200);

/// Why the engine takes no more messages of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The shutdown signal was given.
    Stopped,
    /// The connection or the subscription has ended.
    Lost,
}

/// The state of a subscriber over all its connections.
pub(super) struct Engine<'a, C: Backend> {
    pub(super) settings: &'a Settings,
    pub(super) worker_pool: WorkerPool<C>,
    pub(super) key_lanes: KeyLanes<Job>,
    /// Messages that wait for their next attempt, by its time.
    pub(super) pausing: BTreeMap<(Instant, u64), Taken>,
    pub(super) pauses: u64,
    /// Messages that may have ended a process before: nothing runs beside them.
    pub(super) suspects: VecDeque<Taken>,
    pub(super) acks: Acks,
    pub(super) outage: Outage,
    /// When the database is checked again. The check is not an attempt at a message, because the message
    /// may be the reason for the outage.
    pub(super) next_check: Option<Instant>,
    /// The check that runs.
    pub(super) check: Option<JoinHandle<Health>>,
    /// The number of the connection, from 1.
    pub(super) session: u64,
    /// Messages received on this connection.
    received: usize,
    /// Messages of earlier connections that workers still have.
    pub(super) stale: usize,
    /// Whether a message runs beside which no other may run.
    pub(super) is_alone: bool,
    pub(super) is_stopping: bool,
    /// At a stop, the messages of this connection that do not run, by arrival.
    pub(super) waiting_at_stop: Vec<Delivery>,
    has_warned: bool,
    pub(super) monitor: SubscriberMonitor,
    pub(super) metrics: SubscriberMetrics,
}

impl<'a, C: Backend> Engine<'a, C> {
    pub(super) fn new(
        settings: &'a Settings,
        worker_pool: WorkerPool<C>,
        outage: Outage,
        acks: Acks,
        monitor: SubscriberMonitor,
        metrics: SubscriberMetrics,
    ) -> Self {
        Self {
            settings,
            worker_pool,
            key_lanes: KeyLanes::new(),
            pausing: BTreeMap::new(),
            pauses: 0,
            suspects: VecDeque::new(),
            acks,
            outage,
            next_check: None,
            check: None,
            session: 0,
            received: 0,
            stale: 0,
            is_alone: false,
            is_stopping: false,
            waiting_at_stop: Vec::new(),
            has_warned: false,
            monitor,
            metrics,
        }
    }

    /// Waits for a future; attempts and answers that end meanwhile are processed.
    pub(super) async fn meanwhile<T>(&mut self, wait: impl Future<Output = T>) -> T {
        tokio::pin!(wait);
        loop {
            self.report();
            tokio::select! {
                output = &mut wait => return output,
                () = sleep(LONGEST_TURN) => {}
                Some(lane) = self.acks.next() => self.answered(lane),
                (taken, attempt) = self.worker_pool.next() => self.ended(taken, attempt, None),
            }
        }
    }

    /// Handles the subscription's messages until it ends or `shutdown` is requested.
    pub(super) async fn consume(
        &mut self,
        client: &Client,
        subscription: &mut Subscription,
        shutdown: &Shutdown,
    ) -> Ended {
        self.session += 1;
        self.received = 0;
        self.stale = self.worker_pool.running();
        let stop = shutdown.requested();
        tokio::pin!(stop);
        let ended = loop {
            self.dispatch(client);
            self.report();
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = &mut stop => break Ended::Stopped,
                // Before the workers, which may always have a result.
                Some(lane) = self.acks.next() => self.answered(lane),
                (taken, attempt) = self.worker_pool.next() => self.ended(taken, attempt, Some(client)),
                health = result(&mut self.check) => self.checked(&health),
                () = sleep_until(wake) => self.wake(),
                // A broker that ignores the prefetch must not fill the memory.
                delivery = subscription.next_kept(), if self.has_room() => match delivery {
                    Some(delivery) => self.take(delivery, client),
                    None => break Ended::Lost,
                },
                // While the subscription is not polled, it does not report its end.
                _ = client.closed(), if !self.has_room() => break Ended::Lost,
            }
        };
        // Messages that do not run are redelivered.
        let mut waiting = self.key_lanes.drain();
        let idle = std::mem::take(&mut self.pausing).into_values();
        for taken in idle.chain(std::mem::take(&mut self.suspects)) {
            self.key_lanes.free(&taken.ticket);
            waiting.push(taken.job);
        }
        waiting.sort_by_key(|job| job.arrived);
        if ended == Ended::Stopped {
            let own = waiting.iter().filter(|job| job.session == self.session);
            self.waiting_at_stop = own.map(|job| job.delivery.stub()).collect();
        }
        ended
    }

    /// Waits for the running attempts. Returns false if they take longer than `shutdown_timeout`.
    pub(super) async fn finish(&mut self, client: Option<&Client>) -> bool {
        self.is_stopping = true;
        // It may take longer than a turn.
        self.monitor.finishing();
        self.worker_pool.stop();
        let limit = self.settings.shutdown_timeout;
        match limit {
            None => self.finish_all(client).await,
            Some(limit) if timeout(limit, self.finish_all(client)).await.is_err() => {
                tracing::warn!(
                    running = self.worker_pool.running(),
                    after = ?limit,
                    "callbacks did not finish in time; the broker redelivers their messages"
                );
                // Before the broker delivers their messages to others.
                if self.worker_pool.end_programs() {
                    let _ = timeout(PROGRAMS_TIMEOUT, self.finish_all(client)).await;
                }
                return false;
            }
            Some(_) => {}
        }
        true
    }

    async fn finish_all(&mut self, client: Option<&Client>) {
        while self.worker_pool.running() > 0 {
            let (taken, attempt) = self.worker_pool.next().await;
            self.ended(taken, attempt, client);
        }
    }

    /// Takes back the crash counts of this process: it ends in an orderly way.
    pub(super) async fn settle(&mut self) {
        let crash_count = self.worker_pool.crash_count().clone();
        let db = crash_count.db().clone();
        let settled = db.on_thread(move || crash_count.take_back_all());
        if !matches!(timeout(CLOSE_TIMEOUT, settled).await, Ok(Ok(()))) {
            tracing::debug!("the database did not answer at the stop; crash counts remain");
        }
    }

    /// Waits for the broker's receipts, unsubscribes and disconnects.
    pub(super) async fn disconnect(&mut self, client: &Client, subscription: &mut Subscription) {
        let acks = &mut self.acks;
        let waiting = &mut self.waiting_at_stop;
        let closing = async {
            let answered = async { while acks.next().await.is_some() {} };
            while_dropping(subscription, answered, waiting).await;
            // RabbitMQ answers an ACK after UNSUBSCRIBE with ERROR, so this comes last.
            unsubscribe(client, subscription, waiting).await?;
            while_dropping(subscription, client.disconnect(), waiting).await
        };
        match timeout(CLOSE_TIMEOUT, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = %error, "could not disconnect in an orderly way")
            }
            Err(_) => tracing::debug!("the broker did not answer at the disconnect"),
        }
    }

    fn take(&mut self, delivery: (Delivery, Kept), client: &Client) {
        let broker = client.broker();
        let may_be_redelivery = self.may_be_redelivery(broker);
        self.received += 1;
        self.metrics.received();
        let job = Job::new(
            delivery,
            self.settings,
            self.session,
            may_be_redelivery,
            broker,
        );
        if !self.has_warned && job.payload.id_header() == "message-id" {
            if !client.broker().quirks().has_stable_message_id() {
                tracing::warn!(
                    looked_for = self.settings.id_headers.join(", "),
                    "messages have no id from their sender, and the broker's message-id changes with every \
                     redelivery: duplicates cannot be recognised"
                );
            }
            self.has_warned = true;
        }
        let lane = job.lane(self.settings).to_owned();
        self.key_lanes.add(&lane, job);
    }

    /// Whether the next message may be a redelivery without the header `redelivered`. After a lost
    /// connection the messages that the subscriber had come first, and they are at most the prefetch.
    fn may_be_redelivery(&self, broker: Broker) -> bool {
        let queue = &self.settings.queue;
        !broker.quirks().marks_redeliveries_of_topics()
            && queue.topic().is_some()
            && self.received < queue.prefetch as usize
    }

    /// Whether the subscriber has fewer messages of this connection than the prefetch. Messages on their
    /// way to the dead letters count by themselves: if the broker ignores the prefetch, their receipts may
    /// be behind messages that were not read.
    fn has_room(&self) -> bool {
        let most = self.settings.queue.prefetch as usize;
        self.unfinished() - self.stale < most && self.acks.waiting() < most.max(MAX_UNCONFIRMED)
    }

    /// Messages that the subscriber has, those of earlier connections included.
    fn unfinished(&self) -> usize {
        let waiting = self.key_lanes.waiting() + self.pausing.len() + self.suspects.len();
        waiting + self.worker_pool.running()
    }

    fn report(&mut self) {
        let running = self.worker_pool.running();
        self.monitor.load(self.unfinished(), running);
        self.metrics.running(running);
    }

    /// When something is due. Without work the loop still shows that it turns.
    fn next_wake(&self) -> Instant {
        let pause = self.pausing.keys().next().map(|(time, _)| *time);
        let due = [self.next_check, pause].into_iter().flatten();
        due.fold(Instant::now() + LONGEST_TURN, Instant::min)
    }

    /// Does what is due: the check of the database, and the next attempts.
    fn wake(&mut self) {
        let now = Instant::now();
        if self.next_check.is_some_and(|time| time <= now) {
            self.next_check = None;
            let db = self.worker_pool.crash_count().db().clone();
            self.check = Some(tokio::spawn(async move { db.ask().await }));
        }
        while let Some(first) = self.pausing.first_entry() {
            if first.key().0 > now {
                return;
            }
            let taken = first.remove();
            self.key_lanes.put_back(taken.ticket, taken.job);
        }
    }

    /// Processes the result of a check of the database.
    fn checked(&mut self, health: &Health) {
        match health {
            Health::Healthy | Health::Busy => self.database_works(),
            Health::Unreachable(error) if self.outage.is_on() => {
                self.next_check = Some(Instant::now() + self.outage.pause_after(error));
            }
            // A message that was still running has had its effect meanwhile.
            Health::Unreachable(_) => {}
        }
    }

    /// The database works: the outage, if there was one, is over.
    pub(super) fn database_works(&mut self) {
        self.outage.over();
        self.next_check = None;
    }

    /// Hands messages to workers; none during an outage of the database.
    fn dispatch(&mut self, client: &Client) {
        while !self.outage.is_on() && !self.is_alone {
            if self.worker_pool.running() >= self.worker_pool.room(self.settings.workers) {
                return;
            }
            if let Some(suspect) = self.suspects.pop_front() {
                if self.worker_pool.running() == 0 {
                    self.is_alone = true;
                    self.worker_pool.start(Taken {
                        is_alone: true,
                        ..suspect
                    });
                } else {
                    self.suspects.push_front(suspect);
                }
                return;
            }
            let Some((ticket, job)) = self.key_lanes.next() else {
                return;
            };
            let is_alone = self.settings.workers == 1;
            let taken = Taken {
                ticket,
                job,
                is_alone,
            };
            if taken.job.delivery.defects().is_empty() {
                self.worker_pool.start(taken);
            } else {
                self.move_unreadable(taken, client);
            }
        }
    }
}

/// The result of the check that runs; pending if none runs.
async fn result(check: &mut Option<JoinHandle<Health>>) -> Health {
    let Some(running) = check else {
        return std::future::pending().await;
    };
    let health = running.await;
    *check = None;
    health.unwrap_or_else(|unfinished| Health::Unreachable(unfinished.into()))
}

/// Waits for a receipt; drops the messages before it, which the broker redelivers, into `dropped`.
async fn while_dropping<T>(
    subscription: &mut Subscription,
    wait: impl Future<Output = T>,
    dropped: &mut Vec<Delivery>,
) -> T {
    tokio::pin!(wait);
    loop {
        tokio::select! {
            output = &mut wait => return output,
            delivery = subscription.next() => match delivery {
                Some(delivery) => dropped.push(delivery.stub()),
                None => return wait.await,
            },
        }
    }
}

/// Unsubscribes. Messages that do not run are returned by NACK if they then do not count as delivered: at its delivery
/// limit a quorum queue gives up a message.
async fn unsubscribe(
    client: &Client,
    subscription: &mut Subscription,
    waiting: &mut Vec<Delivery>,
) -> Result<(), stomp::Error> {
    while let Some(Some(delivery)) = subscription.next().now_or_never() {
        waiting.push(delivery.stub());
    }
    if waiting.is_empty() || !client.broker().returns_without_count(client.server()) {
        let receipt = subscription.unsubscribe();
        return while_dropping(subscription, receipt, waiting).await;
    }
    let receipt = subscription.unsubscribe_and_return(waiting);
    let returned = waiting.len();
    while_dropping(subscription, receipt, waiting).await?;
    if returned > RETURNED_AT_ONCE {
        sleep(RETURN_TIME).await;
    }
    Ok(())
}
