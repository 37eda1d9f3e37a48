//! A message that was given up, with its story, on its way to the queue of dead letters.

use chrono::{DateTime, SecondsFormat, Utc};

use super::Settings;
use super::engine::note;
use super::job::Job;
use super::queue::dead_letters_address;
use crate::stomp::{Broker, Client, Delivery, SendFrame};

/// Why it was given up.
pub(crate) const ERROR: &str = "outbox-error";
/// How often the callback has failed.
pub(crate) const ATTEMPTS: &str = "outbox-attempts";
/// When it failed first, RFC 3339.
pub(crate) const FIRST: &str = "outbox-first-failure";
/// When it failed last, RFC 3339.
pub(crate) const LAST: &str = "outbox-last-failure";
/// The consumer's name.
pub(crate) const CONSUMER: &str = "outbox-consumer";
/// The queue that it came from.
pub(crate) const QUEUE: &str = "outbox-queue";
/// Where it had been sent.
pub(crate) const DESTINATION: &str = "outbox-destination";

/// What the headers of a story begin with.
const OWN: &str = "outbox-";

/// Longest text of an error: RabbitMQ takes no frame of headers over 128 KiB, and people read it.
const LONGEST: usize = 2_000;

/// Headers that a broker gives a message, or that belong to the frame.
const BROKERS: [&str; 12] = [
    "destination",
    "message-id",
    "subscription",
    "ack",
    "redelivered",
    "content-length",
    "receipt",
    "persistent",
    "expires",
    "expiration",
    "timestamp",
    "priority",
];

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

/// A message's own headers: without those of a broker, of a frame, and of an earlier story.
pub(crate) fn own_headers(delivery: &Delivery) -> Vec<(String, String)> {
    let mut own: Vec<(String, String)> = Vec::new();
    for (name, value) in &delivery.headers {
        let is_own = !BROKERS.contains(&name.as_str())
            && !name.starts_with(OWN)
            && !name.starts_with("x-death")
            && !name.starts_with("x-first-death")
            && !name.starts_with("x-last-death");
        if is_own && !own.iter().any(|(other, _)| other == name) {
            own.push((name.clone(), value.clone()));
        }
    }
    own
}

/// The letter: the message as it came, and its story.
pub(super) fn frame(delivery: &Delivery, story: &Story, broker: Broker) -> SendFrame {
    let mut headers = own_headers(delivery);
    for (name, value) in &story.headers {
        headers.push(((*name).to_owned(), value.clone()));
    }
    headers.push(("persistent".to_owned(), "true".to_owned()));
    SendFrame {
        destination: dead_letters_address(&story.queue, broker),
        headers,
        body: delivery.body.clone(),
        not_after: None,
    }
}

/// Sends the letter, waits for its receipt, and only then acknowledges the message: whatever happens
/// between them, one of the two is there.
pub(super) async fn deliver(client: &Client, letter: SendFrame, delivery: &Delivery) {
    match client.send(letter).await {
        Ok(()) => note(client.ack(delivery).await),
        Err(error) if client.is_closed() => {
            tracing::debug!(error = %error, "the dead letter's fate is unknown; the broker delivers the message again");
        }
        Err(error) => {
            tracing::error!(
                error = %error,
                "the broker does not take the dead letter; the message is left to its own dead letters"
            );
            note(client.nack(delivery, false).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_has_the_messages_own_headers() {
        for (name, is_own) in [
            ("dop-msg-id", true),
            ("key", true),
            ("content-type", true),
            ("message-id", false),
            ("redelivered", false),
            ("x-death", false),
            ("outbox-error", false),
        ] {
            let header = |value: &str| (name.to_owned(), value.to_owned());
            let headers = vec![header("first"), header("second")];
            let delivery = Delivery::by_hand("/queue/a", headers, "{}");
            let own = own_headers(&delivery);
            let expected: &[(String, String)] = if is_own {
                &[(name.to_owned(), "first".to_owned())]
            } else {
                &[]
            };
            assert_eq!(own, expected, "{name}");
        }
    }
}
