//! Deliveries to subscribers and their answers.

use std::collections::VecDeque;

use crate::stomp::Version;
use crate::stomp::codec::Frame;
use crate::testing::queue::QueuedMessage;
use crate::testing::version;

use super::refusal::{Refusal, missing};
use super::{Ack, Connection, Core, Out, TAG_OF_ID};

/// A delivery, and its answer.
#[derive(Debug)]
pub(super) struct Answered {
    tag: String,
    delivery: u64,
    answer: Answer,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Done,
    Requeue,
    Reject,
}

impl Core {
    /// Delivers messages, in turn, to subscriptions that have room for them.
    pub(super) fn deliver_all(&mut self) {
        for queue in self.queues.values_mut() {
            let mut refused = 0;
            while refused < queue.subscribers.len() && !queue.ready.is_empty() {
                let Some(subscriber) = queue.subscribers.pop_front() else {
                    break;
                };
                let (number, tag) = &subscriber;
                let connection = self.connections.get_mut(number);
                let is_taken = connection
                    .is_some_and(|connection| connection.deliver(*number, tag, &mut queue.ready));
                refused = if is_taken { 0 } else { refused + 1 };
                queue.subscribers.push_back(subscriber);
            }
        }
    }

    pub(super) fn requeue(&mut self, queue: &str, messages: impl Iterator<Item = QueuedMessage>) {
        if let Some(queue) = self.queues.get_mut(queue) {
            for mut message in messages {
                message.redelivered = true;
                queue.put_back(message);
            }
        }
    }

    /// The delivery that an ACK or NACK names, and what it is answered with.
    pub(super) fn answered(&self, number: u64, frame: &Frame) -> Result<Answered, Option<Refusal>> {
        let connection = self.connections.get(&number).ok_or(None)?;
        // The id contains the subscription's tag; RabbitMQ ignores the header `subscription`.
        let name = version::ack_header(connection.version);
        let id = frame.header(name).ok_or_else(|| {
            let header = format!("the \"{name}\" header");
            missing("Missing header", &frame.command, &header)
        })?;
        let parts: Vec<&str> = id.split("@@").collect();
        let (tag, delivery) = match parts[..] {
            [tag, _, delivery] => (tag, delivery.parse::<u64>().ok()),
            _ => ("", None),
        };
        let delivery = delivery.ok_or_else(|| {
            let header = format!("a valid \"{name}\" header");
            missing("Invalid header", &frame.command, &header)
        })?;
        connection
            .subscriptions
            .get(tag)
            .filter(|subscription| !subscription.has_ended)
            .ok_or_else(|| {
                Refusal::harmless(
                    "Subscription not found",
                    format!("Message with id {id:?} has no subscription"),
                )
            })?;
        let answer = match (frame.command.as_str(), frame.header("requeue")) {
            ("ACK", _) => Answer::Done,
            (_, Some("false")) => Answer::Reject,
            _ => Answer::Requeue,
        };
        Ok(Answered {
            tag: tag.to_owned(),
            delivery,
            answer,
        })
    }

    /// Answers a delivery, whose subscription may have ended since its frame arrived.
    pub(super) fn answer(&mut self, number: u64, answered: &Answered) -> Result<(), Refusal> {
        let delivery = answered.delivery;
        let connection = self.connections.get_mut(&number);
        let subscriptions = connection.map(|connection| &mut connection.subscriptions);
        let Some(subscription) = subscriptions.and_then(|all| all.get_mut(&answered.tag)) else {
            return Ok(());
        };
        if !subscription.unacknowledged.contains_key(&delivery) {
            return Err(Refusal {
                is_late: true,
                ..Refusal::fatal(
                    "precondition_failed",
                    format!("PRECONDITION_FAILED - unknown delivery tag {delivery}"),
                )
            });
        }
        let deliveries: Vec<u64> = match subscription.ack {
            Ack::Client => subscription
                .unacknowledged
                .range(..=delivery)
                .map(|(delivery, _)| *delivery)
                .collect(),
            _ => vec![delivery],
        };
        let messages: Vec<QueuedMessage> = deliveries
            .iter()
            .filter_map(|delivery| subscription.unacknowledged.remove(delivery))
            .collect();
        let queue = subscription.queue.clone();
        match answered.answer {
            Answer::Done => {}
            Answer::Requeue => self.requeue(&queue, messages.into_iter()),
            Answer::Reject => self.dead_letter(&queue, messages),
        }
        Ok(())
    }

    /// Moves messages to the dead-letter queue, if this queue has one.
    pub(super) fn dead_letter(&mut self, queue: &str, messages: Vec<QueuedMessage>) {
        let Some(arguments) = self.queues.get(queue).map(|queue| &queue.arguments) else {
            return;
        };
        if arguments.get("x-dead-letter-exchange").map(String::as_str) != Some("") {
            return;
        }
        let target = arguments.get("x-dead-letter-routing-key").cloned();
        let Some(target) = target.and_then(|target| self.queues.get_mut(&target)) else {
            return;
        };
        for mut message in messages {
            self.last_place += 1;
            message.place = self.last_place;
            message.redelivered = false;
            for (name, value) in [
                ("x-first-death-queue", queue),
                ("x-first-death-reason", "rejected"),
            ] {
                if message.header(name).is_none() {
                    message.headers.push((name.to_owned(), value.to_owned()));
                }
            }
            target.ready.push_back(message);
        }
    }

    pub(in crate::testing) fn unacknowledged(&self, queue: &str) -> usize {
        self.connections
            .values()
            .flat_map(|connection| connection.subscriptions.values())
            .filter(|subscription| subscription.queue == queue)
            .map(|subscription| subscription.unacknowledged.len())
            .sum()
    }
}

impl Connection {
    /// Delivers the first message if this subscription has room for it.
    fn deliver(&mut self, number: u64, tag: &str, ready: &mut VecDeque<QueuedMessage>) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(tag) else {
            return false;
        };
        let has_room =
            subscription.prefetch == 0 || subscription.unacknowledged.len() < subscription.prefetch;
        let Some(message) = has_room.then(|| ready.pop_front()).flatten() else {
            return false;
        };
        self.last_delivery += 1;
        // As with RabbitMQ: new at each delivery.
        let id = format!("{tag}@@session-{number}@@{}", self.last_delivery);
        let mut frame = Frame::new("MESSAGE");
        if let Some(id) = tag.strip_prefix(TAG_OF_ID) {
            frame = frame.with("subscription", id);
        }
        frame = frame
            .with("destination", &message.destination)
            .with("message-id", &id)
            .with("redelivered", message.redelivered.to_string());
        let is_acknowledged = subscription.ack != Ack::Auto;
        if is_acknowledged && self.version == Version::V1_2 {
            frame = frame.with("ack", id);
        }
        frame.headers.extend(passed_on(&message));
        let _ = self
            .out
            .send(Out::Frame(frame.with_body(message.body.clone())));
        if is_acknowledged {
            subscription
                .unacknowledged
                .insert(self.last_delivery, message);
        }
        true
    }
}

/// The sender's headers in RabbitMQ's order: in reverse, then the properties that AMQP defines. A
/// `persistent` that is not true is left out.
fn passed_on(message: &QueuedMessage) -> impl Iterator<Item = (String, String)> {
    let property = |name: &str| PROPERTIES.iter().position(|property| *property == name);
    let own = message
        .headers
        .iter()
        .rev()
        .filter(move |(name, _)| property(name).is_none());
    let properties = PROPERTIES.iter().filter_map(|property| {
        let mut headers = message.headers.iter();
        headers.find(|(name, value)| name == property && (name != "persistent" || value == "true"))
    });
    own.chain(properties).cloned()
}

const PROPERTIES: [&str; 11] = [
    "app-id",
    "type",
    "timestamp",
    "amqp-message-id",
    "expiration",
    "reply-to",
    "correlation-id",
    "priority",
    "persistent",
    "content-encoding",
    "content-type",
];
