//! A message that was given up, with its story, on its way to the queue of dead letters.

use chrono::{DateTime, SecondsFormat, Utc};

use super::Settings;
use super::answers::has_arrived;
use super::job::Job;
use super::patience::Patience;
use crate::dead_letters::letter::{
    ATTEMPTS, CONSUMER, DESTINATION, ERROR, FIRST, LAST, QUEUE, dead_letters_of, existing_queue,
    own_headers,
};
use crate::stomp::{Broker, Client, Delivery, SendFrame};

/// Longest text of an error: RabbitMQ takes no frame of headers over 128 KiB, and people read it.
const LONGEST: usize = 2_000;

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
    letter: SendFrame,
    delivery: &Delivery,
    patience: &Patience,
) -> bool {
    let sent = patience.repeat(client, || client.send(letter.clone()));
    match sent.await {
        Ok(()) => has_arrived(patience.once(client, || client.ack(delivery)).await),
        // The connection is gone, or we are asked to stop.
        Err(error) if client.is_closed() || error.is_timeout() => {
            tracing::debug!(error = %error, "the dead letter's fate is unknown; the broker delivers the message again");
            false
        }
        Err(error) => {
            tracing::error!(
                error = %error,
                "the broker does not take the dead letter; the message is left to its own dead letters"
            );
            let nack = || client.nack(delivery, false);
            has_arrived(patience.once(client, nack).await)
        }
    }
}
