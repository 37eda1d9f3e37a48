//! The loop of a subscriber: takes deliveries, hands them to workers, answers the broker.
//!
//! It outlives connections. What runs when one is lost goes on to its commit; its ACK cannot be sent
//! any more, and the redelivery waits in the same lane and then finds the row of the inbox.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use chrono::Utc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::answers::Answers;
use super::crew::Crew;
use super::inbox::Attempt;
use super::job::{Job, Taken};
use super::lanes::{Lanes, Ticket};
use super::{Handled, Settings};
use crate::backend::Backend;
use crate::db::{FAREWELL, Health};
use crate::outage::Outage;
use crate::process_group::GRACE;
use crate::registry::BoxError;
use crate::shutdown::Shutdown;
use crate::stomp::defect::listed;
use crate::stomp::{Broker, Client, Delivery, Kept, Subscription};

/// How long programs may take to end when they are not waited for any more: a little longer than until
/// they are killed.
const PROGRAMS_END: Duration = GRACE.saturating_add(Duration::from_millis(500));

/// Messages that may wait for the broker to hear that they are given up. With one that heeds the
/// prefetch there are never more than that anyway.
const GIVEN_UP: usize = 1_000;

/// Why the messages of a subscription are no longer taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was asked to stop.
    Stopped,
    /// The connection, or the subscription, is gone.
    Lost,
}

pub(super) struct Engine<'a, C: Backend> {
    settings: &'a Settings,
    crew: Crew<C>,
    lanes: Lanes<Job>,
    /// Those that failed, by the time at which they are tried again.
    pausing: BTreeMap<(Instant, u64), Taken>,
    pauses: u64,
    /// Messages that may have ended a process before: nothing is to run beside them.
    suspects: VecDeque<Taken>,
    /// Answers to the broker whose receipts are still to come, and lanes that wait for them.
    answers: Answers,
    outage: Outage,
    /// When the database is asked again, and the question while it is under way. It is asked by
    /// itself and not by a message, which may be the very reason.
    resume: Option<Instant>,
    asking: Option<JoinHandle<Health>>,
    session: u64,
    /// Messages of earlier connections that workers still have.
    stale: usize,
    is_alone: bool,
    is_stopping: bool,
    has_warned: bool,
    pub(super) handled: Handled,
}

impl<'a, C: Backend> Engine<'a, C> {
    pub(super) fn new(
        settings: &'a Settings,
        crew: Crew<C>,
        outage: Outage,
        answers: Answers,
    ) -> Self {
        Self {
            settings,
            crew,
            lanes: Lanes::new(),
            pausing: BTreeMap::new(),
            pauses: 0,
            suspects: VecDeque::new(),
            answers,
            outage,
            resume: None,
            asking: None,
            session: 0,
            stale: 0,
            is_alone: false,
            is_stopping: false,
            has_warned: false,
            handled: Handled::default(),
        }
    }

    /// Waits for something while what runs comes to its end.
    pub(super) async fn meanwhile<T>(&mut self, wait: impl Future<Output = T>) -> T {
        tokio::pin!(wait);
        loop {
            tokio::select! {
                output = &mut wait => return output,
                Some(lane) = self.answers.next() => self.answered(lane),
                (taken, attempt) = self.crew.next() => self.ended(taken, attempt, None),
            }
        }
    }

    /// Handles the subscription's messages until it ends or `shutdown` is wished for.
    pub(super) async fn consume(
        &mut self,
        client: &Client,
        subscription: &mut Subscription,
        shutdown: &Shutdown,
    ) -> Ended {
        self.session += 1;
        self.stale = self.crew.running();
        let stop = shutdown.wished();
        tokio::pin!(stop);
        let ended = loop {
            self.dispatch(client);
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = &mut stop => break Ended::Stopped,
                // Before the workers, who may always have something.
                Some(lane) = self.answers.next() => self.answered(lane),
                (taken, attempt) = self.crew.next() => self.ended(taken, attempt, Some(client)),
                health = answer(&mut self.asking) => self.asked(&health),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.wake(),
                // A broker that heeds no prefetch is not to fill the memory.
                delivery = subscription.next_kept(), if self.has_room() => match delivery {
                    Some(delivery) => self.take(delivery, client),
                    None => break Ended::Lost,
                },
                // The subscription does not tell while it is not asked.
                _ = client.closed(), if !self.has_room() => break Ended::Lost,
            }
        };
        // What does not run is delivered again.
        self.lanes.clear();
        let idle = std::mem::take(&mut self.pausing).into_values();
        for taken in idle.chain(std::mem::take(&mut self.suspects)) {
            self.lanes.free(&taken.ticket);
        }
        ended
    }

    /// Lets what runs come to its end; false where that takes longer than it may.
    pub(super) async fn finish(&mut self, client: Option<&Client>) -> bool {
        self.is_stopping = true;
        self.crew.stop();
        let limit = self.settings.shutdown_timeout;
        match limit {
            None => self.finish_all(client).await,
            Some(limit) if timeout(limit, self.finish_all(client)).await.is_err() => {
                tracing::warn!(
                    running = self.crew.running(),
                    after = ?limit,
                    "callbacks did not finish in time; their messages are left to be delivered again"
                );
                // Before the broker gives their messages to others.
                if self.crew.end_programs() {
                    let _ = timeout(PROGRAMS_END, self.finish_all(client)).await;
                }
                return false;
            }
            Some(_) => {}
        }
        true
    }

    async fn finish_all(&mut self, client: Option<&Client>) {
        while self.crew.running() > 0 {
            let (taken, attempt) = self.crew.next().await;
            self.ended(taken, attempt, client);
        }
    }

    /// Takes back what is counted of messages: the process lives, and leaves by its own will.
    pub(super) async fn settle(&mut self) {
        let count = self.crew.count().clone();
        let db = count.db().clone();
        let settled = db.apart(move || count.settle_all());
        if !matches!(timeout(FAREWELL, settled).await, Ok(Ok(()))) {
            tracing::debug!("the database did not answer the farewell");
        }
    }

    /// Waits for the broker's receipts, and leaves it.
    pub(super) async fn take_leave(&mut self, client: &Client, subscription: &mut Subscription) {
        let answers = &mut self.answers;
        let farewell = async {
            while_dropping(subscription, async {
                while answers.next().await.is_some() {}
            })
            .await;
            // RabbitMQ answers an ACK after UNSUBSCRIBE with ERROR, so this comes last.
            let receipt = subscription.unsubscribe();
            while_dropping(subscription, receipt).await?;
            while_dropping(subscription, client.disconnect()).await
        };
        match timeout(FAREWELL, farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = %error, "no orderly farewell"),
            Err(_) => tracing::debug!("the broker did not answer the farewell"),
        }
    }

    fn take(&mut self, delivery: (Delivery, Kept), client: &Client) {
        let job = Job::new(delivery, self.settings, self.session);
        if !self.has_warned && job.payload.id_header() == "message-id" {
            // ActiveMQ's is stable.
            if client.broker() != Broker::ActiveMq {
                tracing::warn!(
                    looked_for = self.settings.id_headers.join(", "),
                    "messages come without an id of their writer's: the broker's message-id changes \
                     with every redelivery, so duplicates cannot be told apart"
                );
            }
            self.has_warned = true;
        }
        let lane = job.lane(self.settings).to_owned();
        self.lanes.add(&lane, job);
    }

    /// Whether fewer messages of this connection are held than the broker was asked to hand over.
    /// Those that are given up count apart: with a broker that heeds nothing the receipts that they
    /// wait for may be behind messages that were not taken.
    fn has_room(&self) -> bool {
        let most = self.settings.queue.prefetch as usize;
        let waiting = self.lanes.waiting() + self.pausing.len() + self.suspects.len();
        let held = waiting + self.crew.running() - self.stale;
        held < most && self.answers.waiting() < most.max(GIVEN_UP)
    }

    fn next_wake(&self) -> Option<Instant> {
        let pause = self.pausing.keys().next().map(|(time, _)| *time);
        [self.resume, pause].into_iter().flatten().min()
    }

    fn wake(&mut self) {
        let now = Instant::now();
        if self.resume.is_some_and(|time| time <= now) {
            self.resume = None;
            let db = self.crew.count().db().clone();
            self.asking = Some(tokio::spawn(async move { db.ask().await }));
        }
        while let Some(first) = self.pausing.first_entry() {
            if first.key().0 > now {
                return;
            }
            let taken = first.remove();
            self.lanes.put_back(taken.ticket, taken.job);
        }
    }

    /// The database was asked whether it is back.
    fn asked(&mut self, health: &Health) {
        match health {
            Health::Well | Health::Busy => self.database_is_there(),
            Health::Away(error) if self.outage.is_on() => {
                self.resume = Some(Instant::now() + self.outage.noticed(error));
            }
            // A message that ran on has had its effect meanwhile.
            Health::Away(_) => {}
        }
    }

    fn database_is_there(&mut self) {
        self.outage.over();
        self.resume = None;
    }

    /// Starts what may run; nothing while the database is away.
    fn dispatch(&mut self, client: &Client) {
        while !self.outage.is_on() && !self.is_alone {
            if self.crew.running() >= self.crew.room(self.settings.workers) {
                return;
            }
            if let Some(suspect) = self.suspects.pop_front() {
                if self.crew.running() == 0 {
                    self.is_alone = true;
                    self.crew.start(Taken {
                        is_alone: true,
                        ..suspect
                    });
                } else {
                    self.suspects.push_front(suspect);
                }
                return;
            }
            let Some((ticket, job)) = self.lanes.next() else {
                return;
            };
            let is_alone = self.settings.workers == 1;
            let taken = Taken {
                ticket,
                job,
                is_alone,
            };
            if taken.job.delivery.defects().is_empty() {
                self.crew.start(taken);
            } else {
                self.give_up_unread(taken, client);
            }
        }
    }

    /// An attempt has ended: the message is answered, or tried again, or left to be delivered again.
    fn ended(&mut self, mut taken: Taken, attempt: Attempt, client: Option<&Client>) {
        self.is_alone = false;
        let is_stale = taken.job.session != self.session;
        if is_stale {
            self.stale = self.stale.saturating_sub(1);
        }
        // Through another connection nothing can be said of it.
        let client = client.filter(|_| !is_stale);
        let id = taken.job.payload.msg_id();
        if !matches!(attempt, Attempt::Unavailable(_)) {
            self.database_is_there();
        }
        match attempt {
            Attempt::Done => {
                tracing::debug!(id, "done");
                self.handled.done += 1;
                self.acknowledge(&taken, client);
            }
            Attempt::Duplicate => {
                tracing::info!(id, "received before; acknowledged without a second effect");
                self.handled.duplicates += 1;
                self.acknowledge(&taken, client);
            }
            Attempt::Discarded(reason) => {
                if client.is_some() {
                    tracing::warn!(id, reason, "discarded; it goes to the dead letters");
                    self.handled.discarded += 1;
                }
                return self.give_up(taken, &format!("discarded: {reason}"), client);
            }
            Attempt::Failed {
                error,
                is_permanent,
            } => {
                taken.job.course.failed();
                let failures = taken.job.course.failures;
                let error = chain(&error);
                if is_permanent || failures >= self.settings.attempts {
                    if client.is_some() {
                        tracing::error!(
                            id,
                            attempts = failures,
                            error,
                            "given up; it goes to the dead letters"
                        );
                        self.handled.dead += 1;
                    }
                    return self.give_up(taken, &error, client);
                } else {
                    tracing::warn!(
                        id,
                        attempt = failures,
                        error,
                        "the callback failed; it is called again"
                    );
                    let pause = taken.job.course.pause(self.settings);
                    return self.pause(taken, pause, client);
                }
            }
            Attempt::Deadly(times) => {
                let reason = format!(
                    "it came again and was begun {times} times by processes that did not come to its end"
                );
                if client.is_some() {
                    tracing::error!(
                        id,
                        times,
                        "given up without being run once more; it goes to the dead letters"
                    );
                    self.handled.dead += 1;
                }
                return self.give_up(taken, &reason, client);
            }
            Attempt::Suspect => {
                if client.is_some() && !self.is_stopping {
                    self.suspects.push_back(taken);
                    return;
                }
            }
            Attempt::NotBegun => {}
            Attempt::Hindered(error) => {
                let error = chain(&error);
                match taken.job.course.hindered(std::time::Instant::now()) {
                    Some(time) => tracing::warn!(
                        id,
                        error,
                        since = %(Utc::now() - time),
                        "others have been in the way for long; it is tried until they are not"
                    ),
                    None => {
                        tracing::debug!(id, error, "others were in the way; it is tried again");
                    }
                }
                let pause = taken.job.course.short_pause();
                return self.pause(taken, pause, client);
            }
            Attempt::Lost(error) => {
                tracing::warn!(
                    id,
                    error = chain(&error),
                    "the database failed this message and works for others; it is tried again"
                );
                let pause = taken.job.course.lost(self.settings);
                return self.pause(taken, pause, client);
            }
            Attempt::Unavailable(error) => {
                if self.resume.is_none() && self.asking.is_none() {
                    self.resume = Some(Instant::now() + self.outage.noticed(error.as_ref()));
                }
                return self.pause(taken, Duration::ZERO, client);
            }
        }
        self.lanes.free(&taken.ticket);
    }

    /// Tries it again later; where its connection is gone, or we stop, it is delivered again.
    fn pause(&mut self, taken: Taken, pause: Duration, client: Option<&Client>) {
        if client.is_none() || self.is_stopping {
            self.lanes.free(&taken.ticket);
            return;
        }
        self.pauses += 1;
        self.pausing
            .insert((Instant::now() + pause, self.pauses), taken);
    }

    fn acknowledge(&mut self, taken: &Taken, client: Option<&Client>) {
        if let Some(client) = client {
            // Before we leave, the broker is to have it.
            let is_confirmed = self.is_stopping;
            self.answers
                .acknowledge(client, &taken.job.delivery, is_confirmed);
        }
    }

    /// The message goes to the dead letters, or what takes their place.
    fn give_up(&mut self, taken: Taken, reason: &str, client: Option<&Client>) {
        match client {
            None => self.lanes.free(&taken.ticket),
            Some(client) => {
                let count = self.crew.count().clone();
                self.answers
                    .give_up(client, taken, reason, self.settings, count);
            }
        }
    }

    /// The same for one that could not be decoded as a whole: no callback is to take it for what its
    /// sender has sent.
    fn give_up_unread(&mut self, taken: Taken, client: &Client) {
        let defects = listed(taken.job.delivery.defects());
        let reason = format!("the message cannot be read: {defects}");
        tracing::error!(
            id = taken.job.payload.msg_id(),
            defects,
            "a message that cannot be read is given up without being run; it goes to the dead letters"
        );
        self.handled.dead += 1;
        self.give_up(taken, &reason, Some(client));
    }

    fn answered(&mut self, lane: Option<Ticket>) {
        if let Some(ticket) = lane {
            self.lanes.free(&ticket);
        }
    }
}

/// The answer to a question that is under way; never if there is none.
async fn answer(asking: &mut Option<JoinHandle<Health>>) -> Health {
    let Some(question) = asking else {
        return std::future::pending().await;
    };
    let answer = question.await;
    *asking = None;
    answer.unwrap_or_else(|unfinished| Health::Away(unfinished.into()))
}

/// Waits for a receipt, which may be behind messages that nobody will take.
async fn while_dropping<T>(subscription: &mut Subscription, wait: impl Future<Output = T>) -> T {
    tokio::pin!(wait);
    loop {
        tokio::select! {
            output = &mut wait => return output,
            delivery = subscription.next() => if delivery.is_none() {
                return wait.await;
            },
        }
    }
}

/// An error and its causes, in one line.
fn chain(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
