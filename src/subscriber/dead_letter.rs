//! A message that was given up, with its story, on its way to the queue of dead letters.

use chrono::{DateTime, SecondsFormat, Utc};

use super::Settings;
use super::answers::is_heard;
use super::job::Job;
use super::letters::{Letters, Unsent};
use super::patience::Patience;
use crate::dead_letters::letter::{
    ATTEMPTS, CONSUMER, DEFECTS, DESTINATION, ERROR, FIRST, LAST, QUEUE, dead_letters_of,
    existing_queue, own_headers,
};
use crate::stomp::defect::listed;
use crate::stomp::{Broker, Client, Delivery, Error, Kept, SendFrame};

/// Longest text of an error: RabbitMQ takes no frame of headers over 128 KiB, and people read it.
const LONGEST: usize = 2_000;

/// Most own headers of a message that could not be decoded as a whole, and most bytes of them.
const MOST_HEADERS: usize = 500;
const LONGEST_HEADERS: usize = 32 * 1024;

/// What became of a message.
#[derive(Debug, Clone)]
pub(super) struct Story {
    queue: String,
    headers: Vec<(&'static str, String)>,
}

impl Story {
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
        let course = &job.course;
        Self {
            queue: settings.queue.name.clone(),
            headers: vec![
                (ERROR, reason),
                (ATTEMPTS, course.failures.to_string()),
                (FIRST, time(course.first)),
                (LAST, time(course.last)),
                (CONSUMER, settings.consumer.clone()),
                (QUEUE, settings.queue.name.clone()),
                (DESTINATION, job.delivery.destination.clone()),
            ],
        }
    }
}

/// The letter: the message as it came, and its story.
pub(super) fn frame(delivery: &Delivery, story: &Story, broker: Broker) -> SendFrame {
    let mut headers = own_headers(delivery);
    if !delivery.defects().is_empty() {
        // Whoever is to blame for that may have made them too long to be sent.
        headers.truncate(MOST_HEADERS);
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
    for (name, value) in &story.headers {
        headers.push(((*name).to_owned(), value.clone()));
    }
    headers.push(("persistent".to_owned(), "true".to_owned()));
    SendFrame {
        destination: existing_queue(&dead_letters_of(&story.queue), broker),
        headers,
        body: delivery.body.clone(),
        not_after: None,
    }
}

/// Sends the letter, waits for its receipt, and only then acknowledges the message: whatever happens
/// between them, one of the two is there. A broker that stands still is waited for. Whether the broker
/// knows.
pub(super) async fn deliver(
    client: &Client,
    letters: &Letters,
    (letter, kept): (SendFrame, Option<Kept>),
    delivery: &Delivery,
    patience: &Patience,
) -> bool {
    let sent = letters.send(client, &letter, patience).await;
    // What waits for a receipt must not keep it from being read.
    drop((letter, kept));
    match sent {
        Ok(()) => is_heard(client, patience.once(client, || client.ack(delivery))).await,
        Err(Unsent::Left(error) | Unsent::Refused(error)) if client.is_closed() => {
            is_unknown(&error)
        }
        // We are asked to stop.
        Err(Unsent::Left(error)) => is_unknown(&error),
        Err(Unsent::Refused(error)) => {
            tracing::error!(
                error = %error,
                "the broker does not take the dead letter; the message is left to its own dead letters"
            );
            if !letters.are_declared(client, patience).await {
                return false;
            }
            let nack = || client.nack(delivery, false);
            is_heard(client, patience.once(client, nack)).await
        }
    }
}

fn is_unknown(error: &Error) -> bool {
    tracing::debug!(error = %error, "the dead letter's fate is unknown; the broker delivers the message again");
    false
}
