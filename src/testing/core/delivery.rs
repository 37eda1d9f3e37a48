//! Messages handed to subscribers, and what those answer.

use std::collections::VecDeque;

use crate::stomp::frame::Frame;
use crate::testing::queue::Stored;

use super::refusal::Refusal;
use super::{Ack, Core, Out};

#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Done,
    Requeue,
    GiveUp,
}

impl Core {
    /// Hands messages to those who have room for them, in turn.
    pub(super) fn hand_out(&mut self) {
        for queue in self.queues.values_mut() {
            let mut refused = 0;
            while refused < queue.subscribers.len() && !queue.ready.is_empty() {
                let Some(subscriber) = queue.subscribers.pop_front() else {
                    break;
                };
                let (number, id) = &subscriber;
                let connection = self.connections.get_mut(number);
                let room = connection.and_then(|connection| {
                    let subscription = connection.subscriptions.get_mut(id)?;
                    let has_room = subscription.prefetch == 0
                        || subscription.unacknowledged.len() < subscription.prefetch;
                    has_room.then_some((&connection.out, subscription))
                });
                match room {
                    None => refused += 1,
                    Some((out, subscription)) => {
                        if let Some(message) = queue.ready.pop_front() {
                            refused = 0;
                            self.last_tag += 1;
                            let frame = message_frame(&message, *number, id, self.last_tag);
                            let _ = out.send(Out::Frame(frame));
                            if subscription.ack != Ack::Auto {
                                subscription.unacknowledged.insert(self.last_tag, message);
                            }
                        }
                    }
                }
                queue.subscribers.push_back(subscriber);
            }
        }
    }

    pub(super) fn give_back(&mut self, queue: &str, messages: impl Iterator<Item = Stored>) {
        if let Some(queue) = self.queues.get_mut(queue) {
            for mut message in messages {
                message.redelivered = true;
                queue.put_back(message);
            }
        }
    }

    pub(super) fn answer(
        &mut self,
        number: u64,
        frame: &Frame,
        answer: Answer,
    ) -> Result<(), Refusal> {
        let id = frame.header("id").unwrap_or_default();
        let unknown = || {
            Refusal::fatal(
                "Subscription not found",
                format!("Message with id '{id}' has no subscription"),
            )
        };
        let mut parts = id.rsplit("@@");
        let tag: u64 = parts
            .next()
            .and_then(|tag| tag.parse().ok())
            .ok_or_else(unknown)?;
        let connection = self.connections.get_mut(&number).ok_or_else(unknown)?;
        let subscription = connection
            .subscriptions
            .values_mut()
            .find(|subscription| subscription.unacknowledged.contains_key(&tag))
            .filter(|subscription| !subscription.has_ended)
            .ok_or_else(unknown)?;
        let tags: VecDeque<u64> = match subscription.ack {
            Ack::Client => subscription
                .unacknowledged
                .range(..=tag)
                .map(|(tag, _)| *tag)
                .collect(),
            _ => [tag].into(),
        };
        let messages: Vec<Stored> = tags
            .iter()
            .filter_map(|tag| subscription.unacknowledged.remove(tag))
            .collect();
        let queue = subscription.queue.clone();
        match answer {
            Answer::Done => {}
            Answer::Requeue => self.give_back(&queue, messages.into_iter()),
            Answer::GiveUp => self.bury(&queue, messages),
        }
        Ok(())
    }

    /// To the dead letters, where the queue says where those are.
    pub(super) fn bury(&mut self, queue: &str, messages: Vec<Stored>) {
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

fn message_frame(message: &Stored, number: u64, subscription: &str, tag: u64) -> Frame {
    // As RabbitMQ makes them: new at each delivery.
    let id = format!("T_{subscription}@@session-{number}@@{tag}");
    let mut frame = Frame::new("MESSAGE")
        .with("subscription", subscription)
        .with("destination", &message.destination)
        .with("message-id", &id)
        .with("redelivered", message.redelivered.to_string())
        .with("ack", id)
        .with_body(message.body.clone());
    frame.headers.extend(message.headers.iter().cloned());
    frame
}
