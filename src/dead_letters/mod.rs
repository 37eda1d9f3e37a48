//! The queue of dead letters, to be looked at, sent back from, and emptied by hand.
//!
//! STOMP has no way to look at a queue without consuming it, and no sign for its end. So a reading
//! subscribes, sends a marker of its own behind all that is there, and stops at it; what it does not
//! acknowledge goes back when its connection ends.

mod choice;
mod guard;
pub(crate) mod letter;

pub(crate) use choice::{Choice, Found};

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use uuid::Uuid;

use guard::Guard;

use crate::config::Config;
use crate::stomp::defect::listed;
use crate::stomp::{
    self, Broker, Client, Delivery, Error, ErrorKind, SendFrame, Subscribe, Subscription,
};

/// Names the reading that a marker belongs to.
const MARKER: &str = "outbox-marker";
/// The broker drops a marker that nobody came for.
const MARKER_LIFE: Duration = Duration::from_secs(60);
/// Letters on their way back at a time.
const WINDOW: usize = 100;
/// How long letters that were looked at may take to be back in their queue.
const RETURN: Duration = Duration::from_secs(5);
/// Between two looks at whether they are.
const LOOKS: Duration = Duration::from_millis(20);

/// Why the dead letters could not be read or sent back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeadLettersError {
    #[error(
        "there is no queue {0}: nothing that it would hold was given up yet, or it has another name"
    )]
    NoQueue(String),
    #[error(
        "the queue {0} was deleted meanwhile, or its broker is away; the letters that were not sent back \
         before are in the queue of dead letters"
    )]
    QueueGone(String),
    #[error(
        "the end of {queue} was not reached within {after:?}: is there another consumer of it? It \
         takes messages from this one"
    )]
    NoEnd { queue: String, after: Duration },
    #[error(
        "the subscription has ended; what was not acknowledged is in the queue of dead letters: {0}"
    )]
    Lost(#[source] Error),
    #[error("stomp_url: {0}")]
    Url(#[from] stomp::UrlError),
    #[error("the broker: {0}")]
    Broker(#[from] Error),
}

/// A message that was given up.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) id: String,
    delivery: Delivery,
}

impl Letter {
    fn new(delivery: Delivery, id_headers: &[String]) -> Self {
        let id = id_headers
            .iter()
            .find_map(|name| delivery.header(name).filter(|id| !id.is_empty()))
            .unwrap_or(&delivery.message_id)
            .to_owned();
        Self { id, delivery }
    }

    /// Why it was given up, as far as it says so, or as it shows.
    pub(crate) fn error(&self) -> Cow<'_, str> {
        let told = self.delivery.header(letter::ERROR);
        let defects = self.delivery.defects();
        if told.is_none() && !defects.is_empty() {
            return format!("the message cannot be read: {}", listed(defects)).into();
        }
        ["x-first-death-reason", "dlqDeliveryFailureCause"]
            .iter()
            .fold(told, |found, name| {
                found.or_else(|| self.delivery.header(name))
            })
            .unwrap_or("")
            .into()
    }

    /// Whether it is the message as it was sent. One that could not be decoded as a whole, now or when
    /// it was given up, is not to be sent back as another one.
    pub(crate) fn is_whole(&self) -> bool {
        self.delivery.defects().is_empty() && self.delivery.header(letter::DEFECTS).is_none()
    }

    /// What of it could not be decoded.
    pub(crate) fn defects(&self) -> String {
        listed(self.delivery.defects())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.delivery.header(name)
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.delivery.headers.iter()
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.delivery.body
    }

    /// When it was given up, as far as it says so.
    pub(crate) fn last(&self) -> Option<DateTime<Utc>> {
        let time = self.header(letter::LAST)?;
        let time = DateTime::parse_from_rfc3339(time).ok()?;
        Some(time.with_timezone(&Utc))
    }
}

/// Where letters go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the queue that they were given up from.
    Back,
    /// Nowhere.
    Gone,
}

/// A queue's dead letters, as one connection sees them.
pub(crate) struct DeadLetters {
    reads: Client,
    /// On this one a receipt does not come behind all the letters.
    writes: Client,
    options: stomp::Options,
    id_headers: Vec<String>,
    patience: Duration,
    queue: String,
    /// The queue of dead letters.
    name: String,
}

impl DeadLetters {
    /// Connects. The letters of `queue` are in `DLQ.<queue>`, unless `from` names another queue.
    pub(crate) async fn connect(
        config: &Config,
        queue: &str,
        from: Option<&str>,
    ) -> Result<Self, DeadLettersError> {
        let options = config.stomp_options()?;
        Ok(Self {
            reads: Client::connect(&options).await?,
            writes: Client::connect(&options).await?,
            options,
            id_headers: config.msg_id_headers.clone(),
            patience: config.receipt_timeout,
            name: from.map_or_else(|| letter::dead_letters_of(queue), str::to_owned),
            queue: queue.to_owned(),
        })
    }

    /// The name of the queue of dead letters.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The same by connections of its own. What one reading leaves comes to the next one only when
    /// its connection has ended.
    pub(crate) async fn again(&self) -> Result<Self, DeadLettersError> {
        Ok(Self {
            reads: Client::connect(&self.options).await?,
            writes: Client::connect(&self.options).await?,
            options: self.options.clone(),
            id_headers: self.id_headers.clone(),
            patience: self.patience,
            queue: self.queue.clone(),
            name: self.name.clone(),
        })
    }

    /// Hands each chosen letter to `see`, and leaves all where they are.
    pub(crate) async fn look(
        &self,
        choice: &Choice,
        mut see: impl FnMut(&Letter),
    ) -> Result<Found, DeadLettersError> {
        let mut reading = self.read(0).await?;
        let mut found = Found::default();
        while let Some(letter) = reading.next().await? {
            if found.add(&letter, choice) {
                see(&letter);
            }
        }
        Ok(found)
    }

    /// Takes the chosen letters away, many at a time, and calls `done` for each. One that is sent back
    /// is acknowledged when the broker has it there: whatever happens between the two, it is in one
    /// of the queues at least. Where so many were `seen` by another reading just now, they may still
    /// be on their way back.
    pub(crate) async fn take_away(
        &self,
        choice: &Choice,
        way: Way,
        seen: usize,
        mut done: impl FnMut(),
    ) -> Result<Found, DeadLettersError> {
        let guard = match way {
            Way::Back => Guard::of(self).await?,
            Way::Gone => None,
        };
        let take = async |letter: Letter| {
            if way == Way::Back {
                self.writes.send(self.returned(&letter)).await?;
            }
            if let Some(guard) = &guard {
                guard.is_there(&self.queue).await?;
            }
            self.reads.ack_unconfirmed(&letter.delivery)?;
            Ok::<_, DeadLettersError>(())
        };
        let mut reading = self.read(seen).await?;
        let mut found = Found::default();
        let mut under_way = FuturesUnordered::new();
        while let Some(letter) = reading.next().await? {
            if !found.add(&letter, choice) {
                continue;
            }
            under_way.push(take(letter));
            while under_way.len() >= WINDOW
                && let Some(outcome) = under_way.next().await
            {
                outcome?;
                done();
            }
        }
        while let Some(outcome) = under_way.next().await {
            outcome?;
            done();
        }
        // The broker has read the ACKs then.
        self.reads.ping().await?;
        Ok(found)
    }

    /// Takes leave of the broker; what was not acknowledged goes back to its queue.
    pub(crate) async fn close(self) {
        for client in [self.reads, self.writes] {
            if let Err(error) = client.disconnect().await {
                tracing::debug!(error = %error, "no orderly farewell");
            }
        }
    }

    fn address(&self, queue: &str) -> String {
        letter::existing_queue(queue, self.writes.broker())
    }

    async fn read(&self, seen: usize) -> Result<Reading<'_>, DeadLettersError> {
        let mut headers = Vec::new();
        if self.reads.broker() == Broker::ActiveMq {
            // All of them are to come without an ACK in between.
            headers.push(("activemq.prefetchSize".to_owned(), i32::MAX.to_string()));
        }
        let subscribe = Subscribe {
            destination: self.address(&self.name),
            headers,
        };
        let subscribed = self.reads.subscribe(subscribe).await;
        let subscription = subscribed.map_err(|error| no_queue(error, &self.name))?;
        let reading = Reading {
            letters: self,
            subscription,
            marker: Uuid::new_v4().to_string(),
            expected: seen,
            until: Instant::now() + RETURN,
        };
        self.mark(&reading.marker).await?;
        Ok(reading)
    }

    /// Sends a marker behind what is there.
    async fn mark(&self, marker: &str) -> Result<(), DeadLettersError> {
        let life = MARKER_LIFE.as_millis();
        let frame = SendFrame::new(self.address(&self.name), "")
            .header(MARKER, marker)
            .header("persistent", "false");
        let frame = match self.writes.broker() {
            Broker::ActiveMq => {
                let now = u128::try_from(Utc::now().timestamp_millis()).unwrap_or(0);
                frame.header("expires", (now + life).to_string())
            }
            _ => frame.header("expiration", life.to_string()),
        };
        Ok(self.writes.send(frame).await?)
    }

    /// A letter as the message that it was.
    fn returned(&self, letter: &Letter) -> SendFrame {
        let was_sent_to = ["original-destination", letter::DESTINATION];
        let topic = was_sent_to.iter().find_map(|name| letter.header(name));
        let destination = match (self.writes.broker(), topic) {
            // What a durable subscription collects there has no address of its own.
            (Broker::ActiveMq, Some(topic)) => topic.to_owned(),
            _ => self.address(&self.queue),
        };
        let mut headers = letter::own_headers(&letter.delivery);
        headers.push(("persistent".to_owned(), "true".to_owned()));
        SendFrame {
            destination,
            headers,
            body: letter.delivery.body.clone(),
            not_after: None,
        }
    }
}

/// A pass over the letters that were there when it began.
struct Reading<'a> {
    letters: &'a DeadLetters,
    subscription: Subscription,
    marker: String,
    /// Letters that are to come still, as far as another reading saw them.
    expected: usize,
    /// When those are no longer waited for.
    until: Instant,
}

impl Reading<'_> {
    async fn next(&mut self) -> Result<Option<Letter>, DeadLettersError> {
        let letters = self.letters;
        loop {
            let delivery = tokio::time::timeout(letters.patience, self.subscription.next())
                .await
                .map_err(|_| DeadLettersError::NoEnd {
                    queue: letters.name.clone(),
                    after: letters.patience,
                })?;
            let Some(delivery) = delivery else {
                return Err(DeadLettersError::Lost(self.why_ended().await));
            };
            let Some(marker) = delivery.header(MARKER) else {
                self.expected = self.expected.saturating_sub(1);
                return Ok(Some(Letter::new(delivery, &letters.id_headers)));
            };
            let is_ours = marker == self.marker;
            letters.reads.ack_unconfirmed(&delivery)?;
            if !is_ours {
                continue;
            }
            if self.expected == 0 || Instant::now() >= self.until {
                return Ok(None);
            }
            tokio::time::sleep(LOOKS).await;
            letters.mark(&self.marker).await?;
        }
    }
}

impl Reading<'_> {
    /// An ERROR ends a subscription before it ends the connection.
    async fn why_ended(&self) -> Error {
        let reads = &self.letters.reads;
        match tokio::time::timeout(self.letters.patience, reads.closed()).await {
            Ok(error) => error,
            Err(_) => Error::Closed,
        }
    }
}

fn no_queue(error: Error, queue: &str) -> DeadLettersError {
    let is_missing = error
        .error_frame()
        .is_some_and(|frame| frame.kind() == ErrorKind::NotFound);
    if is_missing {
        DeadLettersError::NoQueue(queue.to_owned())
    } else {
        error.into()
    }
}

/// A time as people read it.
pub(crate) fn show_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
