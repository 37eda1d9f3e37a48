//! A dead letter: the message with headers that say why it is one, on its way to `DLQ.<queue>`.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

use super::acks::is_answered;
use super::dead_letter_queue::{AfterRefusal, DeadLetterQueue, Unsent};
use super::job::Job;
use super::retry_send::RetrySend;
use super::settings::Settings;
use crate::broker::dead_letter_queue;
use crate::message::dead_letter_headers::{
    ATTEMPTS, CONSUMER, DEFECTS, DESTINATION, ERROR, FIRST, LAST, QUEUE, USER, USER_ID,
    is_own_header, own_headers,
};
use crate::runtime::outage::Outage;
use crate::stomp::defect::listed;
use crate::stomp::{Broker, Client, Delivery, Error, Kept, SendFrame};

/// Maximum length of an error's text, in characters: RabbitMQ accepts at most 128 KiB of headers.
const LONGEST: usize = 2_000;

/// Maximum number of own headers of a message that could not be decoded as a whole, and of their bytes.
const MOST_HEADERS: usize = 500;
const LONGEST_HEADERS: usize = 32 * 1024;

/// Longest pause before a refused dead letter is sent again: there may be room for it meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why a message became a dead letter, as headers.
#[derive(Debug, Clone)]
pub(super) struct FailureHistory {
    queue: String,
    headers: Vec<(&'static str, String)>,
}

impl FailureHistory {
    pub(super) fn new(reason: &str, job: &Job, settings: &Settings) -> Self {
        let reason: String = reason
            .chars()
            .filter(|character| *character != '\0')
            .take(LONGEST)
            .collect();
        let time = |time: Option<DateTime<Utc>>| {
            let time = time.unwrap_or_else(Utc::now);
            time.to_rfc3339_opts(SecondsFormat::Millis, true)
        };
        let retries = &job.retries;
        Self {
            queue: settings.queue.name.clone(),
            headers: vec![
                (ERROR, reason),
                (ATTEMPTS, retries.failures.to_string()),
                (FIRST, time(retries.first)),
                (LAST, time(retries.last)),
                (CONSUMER, settings.consumer.clone()),
                (QUEUE, settings.queue.name.clone()),
                (DESTINATION, job.delivery.destination.clone()),
            ],
        }
    }
}

/// The dead letter: the message as it was received, with its history.
pub(super) fn frame(delivery: &Delivery, history: &FailureHistory, broker: Broker) -> SendFrame {
    let mut headers = own_headers(delivery, broker);
    if let Some(user) = delivery.header(USER_ID)
        && !broker.quirks().accepts_foreign_user_id()
    {
        headers.push((USER.to_owned(), user.to_owned()));
    }
    if !delivery.defects().is_empty() {
        // A faulty sender may have made them too long to be sent.
        keep_headers(&mut headers, MOST_HEADERS);
        let mut left = LONGEST_HEADERS;
        headers.retain(|(name, value)| {
            let is_fit = !name.contains('\0') && !value.contains('\0');
            let length = name.len() + value.len();
            let is_kept = is_fit && length <= left;
            left -= if is_kept { length } else { 0 };
            is_kept
        });
        headers.push((DEFECTS.to_owned(), listed(delivery.defects())));
    }
    for (name, value) in &history.headers {
        headers.push(((*name).to_owned(), value.clone()));
    }
    headers.push(("persistent".to_owned(), "true".to_owned()));
    SendFrame {
        destination: broker
            .quirks()
            .queue_address(&dead_letter_queue(&history.queue)),
        headers,
        body: delivery.body.clone(),
        not_after: None,
    }
}

/// Keeps at most so many of these headers: first those by which a receiver recognises and reads the message.
fn keep_headers(headers: &mut Vec<(String, String)>, most: usize) {
    let is_needed = |name: &str| {
        name.starts_with("dop-") || matches!(name, "cap-msg-id" | "content-type" | "key")
    };
    if headers.len() > most {
        headers.sort_by_key(|(name, _)| !is_needed(name));
        headers.truncate(most);
    }
}

/// Leaves out this many of the message's own headers, and says so in the dead letter.
fn shorten(frame: &mut SendFrame, excess: usize) {
    let (mut own, mut others): (Vec<_>, Vec<_>) = std::mem::take(&mut frame.headers)
        .into_iter()
        .partition(|(name, _)| is_own_header(name));
    let count = own.len();
    keep_headers(&mut own, count.saturating_sub(excess));
    let omitted = format!("{} of {count} headers are left out", count - own.len());
    match others.iter_mut().find(|(name, _)| name == DEFECTS) {
        Some((_, defects)) => *defects = format!("{defects}; {omitted}"),
        None => others.push((DEFECTS.to_owned(), omitted)),
    }
    own.append(&mut others);
    frame.headers = own;
}

/// Sends the dead letter, waits for its receipt, and only then acknowledges the message, so that one of the
/// two always exists. If the broker does not respond, it retries; also if the broker refuses the dead
/// letter and would lose a rejected message. Returns whether the broker has the answer.
///
/// If the dead letter has more headers than the broker accepts, or is too long, the message is rejected, and the broker
/// moves it whole. A queue of others has no dead letters: then some headers are left out.
pub(super) async fn deliver(
    client: &Client,
    queue: &DeadLetterQueue,
    (mut frame, kept): (SendFrame, Option<Kept>),
    delivery: &Delivery,
    retry_send: &RetrySend,
) -> bool {
    let mut refusals = Refusals::new(retry_send);
    let broker = client.broker();
    loop {
        match queue.send(client, &frame, retry_send).await {
            Ok(()) => break,
            Err(Unsent::Interrupted(error) | Unsent::Refused(error)) if client.is_closed() => {
                return is_unknown(&error);
            }
            // The shutdown signal was given.
            Err(Unsent::Interrupted(error)) => return is_unknown(&error),
            Err(Unsent::Refused(error)) => {
                match queue.after_refusal(&frame, broker, &error).await {
                    AfterRefusal::Reject => {
                        let (headers, bytes) = (frame.header_count(), frame.length());
                        drop((frame, kept));
                        if !queue.is_declared(client, retry_send).await {
                            return false;
                        }
                        tracing::error!(
                            error = %error,
                            headers,
                            bytes,
                            "the broker refuses the dead letter; the message is rejected instead, and the broker dead-letters it"
                        );
                        let nack = || client.nack(delivery, false);
                        return is_answered(client, retry_send.once(client, nack)).await;
                    }
                    AfterRefusal::Shorten(excess) => {
                        tracing::warn!(
                            headers = frame.header_count(),
                            excess,
                            "the dead letter has more headers than the broker accepts; it is sent without some of them"
                        );
                        shorten(&mut frame, excess);
                    }
                    AfterRefusal::Wait => {
                        if !refusals.passed(client, queue.queue(), &error).await {
                            return is_unknown(&error);
                        }
                    }
                }
            }
        }
    }
    // While the receipt is awaited, the message must not count as received.
    drop((frame, kept));
    is_answered(client, retry_send.once(client, || client.ack(delivery))).await
}

/// The pauses while the broker refuses a dead letter that must not be lost.
struct Refusals<'a> {
    retry_send: &'a RetrySend,
    outage: Outage,
    has_warned: bool,
}

impl<'a> Refusals<'a> {
    fn new(retry_send: &'a RetrySend) -> Self {
        Self {
            retry_send,
            outage: retry_send.outage(LONGEST_PAUSE),
            has_warned: false,
        }
    }

    /// Waits for the next attempt. Returns false if there is none, because of a shutdown or because the
    /// connection has ended.
    async fn passed(&mut self, client: &Client, queue: &str, error: &Error) -> bool {
        let pause = self.outage.pause();
        if std::mem::replace(&mut self.has_warned, true) {
            tracing::debug!(error = %error, queue, pause = ?pause, "the dead letter is refused again");
        } else {
            tracing::error!(
                error = %error,
                queue,
                "the broker refuses the dead letter, and would drop the message if it were rejected: the \
                 message is kept, messages behind it wait, and the dead letter is sent again until the \
                 broker accepts it; check whether the queue is full and whether we may write to it"
            );
        }
        self.retry_send.wait(client, pause).await.is_ok()
    }
}

fn is_unknown(error: &Error) -> bool {
    tracing::debug!(error = %error, "unknown whether the dead letter arrived; the broker redelivers the message");
    false
}
