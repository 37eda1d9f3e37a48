//! The broker's state without sockets: queues, bindings and subscriptions.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc::UnboundedSender;

use crate::stomp::codec::Frame;
use crate::stomp::{Headers, Version};

use super::destination::{Destination, fits};
use super::faults::Faults;
use super::queue::{Queue, QueuedMessage, Subscriber, arguments, inequivalent};
use super::version;
use super::view::SentMessage;

use refusal::{Refusal, cancelled, missing, no_exchange, parse};
use transaction::{Postponed, Step};

mod delivery;
mod refusal;
mod transaction;

/// A message to a session's writer.
#[derive(Debug)]
pub(super) enum Out {
    Frame(Frame),
    /// Close; nothing follows.
    Close,
}

#[derive(Debug)]
pub(super) struct Connection {
    out: UnboundedSender<Out>,
    version: Version,
    /// Subscriptions by their tags.
    subscriptions: BTreeMap<String, Subscription>,
    last_delivery: u64,
    /// Open transactions.
    transactions: BTreeMap<String, Vec<Postponed>>,
}

#[derive(Debug)]
struct Subscription {
    queue: String,
    ack: Ack,
    /// The prefetch count; 0 means no limit.
    prefetch: usize,
    unacknowledged: BTreeMap<u64, QueuedMessage>,
    /// Set by UNSUBSCRIBE: deliveries stay unacknowledged until the connection ends.
    has_ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ack {
    Auto,
    /// This message and all before it.
    Client,
    Individual,
}

#[derive(Debug, Default)]
pub(super) struct Core {
    pub(super) queues: BTreeMap<String, Queue>,
    /// Patterns of routing keys and the queues bound to them.
    bindings: BTreeSet<(String, String)>,
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) sent: Vec<SentMessage>,
    pub(super) faults: Faults,
    pub(super) logins: u64,
    /// How many messages were deleted with queues of each name.
    pub(super) deleted: BTreeMap<String, usize>,
    last_place: u64,
    last_name: u64,
}

impl Core {
    /// Adds a connection and returns its number.
    pub(super) fn connect(&mut self, out: UnboundedSender<Out>, version: Version) -> u64 {
        self.logins += 1;
        let connection = Connection {
            out,
            version,
            subscriptions: BTreeMap::new(),
            last_delivery: 0,
            transactions: BTreeMap::new(),
        };
        self.connections.insert(self.logins, connection);
        self.logins
    }

    /// Removes a connection and requeues its unacknowledged messages.
    pub(super) fn disconnect(&mut self, number: u64) {
        let Some(connection) = self.connections.remove(&number) else {
            return;
        };
        for (tag, subscription) in connection.subscriptions {
            self.requeue(
                &subscription.queue,
                subscription.unacknowledged.into_values(),
            );
            self.release_queue(&subscription.queue, &(number, tag));
        }
        self.deliver_all();
    }

    /// Closes all connections.
    pub(super) fn cut(&mut self) {
        let numbers: Vec<u64> = self.connections.keys().copied().collect();
        for number in numbers {
            self.close(number);
        }
    }

    fn close(&mut self, number: u64) {
        if let Some(connection) = self.connections.get(&number) {
            let _ = connection.out.send(Out::Close);
        }
        self.disconnect(number);
    }

    fn write(&self, number: u64, frame: Frame) {
        if let Some(connection) = self.connections.get(&number) {
            let _ = connection.out.send(Out::Frame(frame));
        }
    }

    /// Processes a frame of a logged-in connection.
    pub(super) fn take(&mut self, number: u64, frame: Frame) {
        let Some(connection) = self.connections.get(&number) else {
            return;
        };
        let frame = version::read(connection.version, frame);
        let receipt = frame.header("receipt").map(str::to_owned);
        let is_send = frame.command == "SEND";
        let is_last = frame.command == "DISCONNECT";
        match self.handle_frame(number, frame) {
            Ok(()) => {
                if is_send && self.cuts_now() {
                    return self.cut();
                }
                if let Some(id) = receipt
                    && !(is_send && self.faults.withhold_receipts)
                {
                    self.write(number, Frame::new("RECEIPT").with("receipt-id", id));
                }
                if is_last {
                    self.close(number);
                }
                // After the RECEIPT, as RabbitMQ does for a SUBSCRIBE.
                self.deliver_all();
            }
            Err(None) => self.close(number),
            Err(Some(refusal)) => {
                if let Some(id) = receipt.as_ref().filter(|_| refusal.is_late) {
                    self.write(number, Frame::new("RECEIPT").with("receipt-id", id));
                }
                let mut error = Frame::new("ERROR")
                    .with("message", refusal.message)
                    .with("content-type", "text/plain")
                    .with("version", version::ALL)
                    .with_body(refusal.body);
                if let Some(id) = receipt.filter(|_| refusal.names_receipt) {
                    error = error.with("receipt-id", id);
                }
                self.write(number, error);
                if refusal.closes {
                    self.close(number);
                }
            }
        }
    }

    fn cuts_now(&mut self) -> bool {
        match &mut self.faults.disconnect_after {
            Some(left) if *left <= 1 => {
                self.faults.disconnect_after = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    /// `Err(None)` closes the connection without an ERROR.
    fn handle_frame(&mut self, number: u64, frame: Frame) -> Result<(), Option<Refusal>> {
        if let Some(name) = frame.header("transaction").map(str::to_owned)
            && matches!(frame.command.as_str(), "SEND" | "ACK" | "NACK")
        {
            return self.postpone(number, &name, frame);
        }
        match frame.command.as_str() {
            "SEND" => self.send(number, frame),
            "SUBSCRIBE" => self.subscribe(number, &frame).map_err(Some),
            "UNSUBSCRIBE" => self.unsubscribe(number, &frame).map_err(Some),
            "ACK" | "NACK" => {
                let answered = self.answered(number, &frame)?;
                self.answer(number, &answered).map_err(Some)
            }
            "BEGIN" => self.transaction(number, &frame, Step::Begin),
            "COMMIT" => self.transaction(number, &frame, Step::Commit),
            "ABORT" => self.transaction(number, &frame, Step::Abort),
            "DISCONNECT" => Ok(()),
            "CONNECT" | "STOMP" => Err(None),
            other => Err(Some(Refusal::harmless(
                "Bad command",
                format!("Could not interpret command {other:?}\n"),
            ))),
        }
    }

    // --- sending ---

    fn send(&mut self, number: u64, frame: Frame) -> Result<(), Option<Refusal>> {
        let Some(destination) = frame.header("destination").map(str::to_owned) else {
            return Err(Some(no_destination(&frame)));
        };
        if self.faults.closes_at(&destination, &frame) {
            return Err(None);
        }
        if self.faults.rejected.contains(&destination)
            || self.faults.rejected_once.remove(&destination)
        {
            return Err(Some(Refusal {
                names_receipt: true,
                ..Refusal::harmless("rejected", format!("'{destination}' is rejected on demand"))
            }));
        }
        if frame.header("message-id").is_some() {
            let reason = "'message-id' is not allowed on 'SEND'.\n";
            return Err(Some(Refusal::harmless("Invalid header", reason)));
        }
        let target = parse(&destination)?;
        let queues: Vec<String> = match target {
            Destination::Queue(queue) => {
                self.declare(&queue, arguments(&frame.headers))?;
                vec![queue]
            }
            // The message is lost if the queue does not exist.
            Destination::Existing(queue) => vec![queue],
            Destination::Exchange(name) => return Err(Some(no_exchange(&name))),
            Destination::Topic(key) => {
                let fitting = self.bindings.iter();
                let fitting: BTreeSet<String> = fitting
                    .filter(|(pattern, _)| fits(pattern, &key))
                    .map(|(_, queue)| queue.clone())
                    .collect();
                fitting.into_iter().collect()
            }
        };
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in frame.headers.iter() {
            let is_frames = matches!(name, "destination" | "content-length");
            if !is_frames && !headers.iter().any(|(other, _)| other == name) {
                headers.push((name.to_owned(), value.to_owned()));
            }
        }
        for queue in queues {
            self.store(&queue, headers.clone(), &destination, &frame);
        }
        self.sent.push(SentMessage {
            destination,
            headers: owned(&frame.headers),
            body: frame.body,
            connection: number,
        });
        Ok(())
    }

    fn store(
        &mut self,
        queue: &str,
        headers: Vec<(String, String)>,
        destination: &str,
        frame: &Frame,
    ) {
        self.last_place += 1;
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.ready.push_back(QueuedMessage {
                headers,
                destination: destination.to_owned(),
                body: frame.body.clone(),
                redelivered: false,
                place: self.last_place,
            });
        }
    }

    fn declare(&mut self, name: &str, arguments: BTreeMap<String, String>) -> Result<(), Refusal> {
        if let Some(queue) = self.queues.get(name) {
            return match inequivalent(name, &queue.arguments, &arguments) {
                Some(reason) => Err(Refusal::fatal("precondition_failed", reason)),
                None => Ok(()),
            };
        }
        let queue = Queue {
            auto_delete: arguments
                .get("auto-delete")
                .is_some_and(|value| value == "true"),
            arguments,
            ..Queue::default()
        };
        self.queues.insert(name.to_owned(), queue);
        Ok(())
    }

    fn existing(&self, name: String) -> Result<String, Refusal> {
        if self.queues.contains_key(&name) {
            return Ok(name);
        }
        let reason = format!("NOT_FOUND - no queue '{name}' in vhost '/'");
        Err(Refusal::fatal("not_found", reason))
    }

    // --- receiving ---

    fn subscribe(&mut self, number: u64, frame: &Frame) -> Result<(), Refusal> {
        let destination = frame
            .header("destination")
            .ok_or_else(|| no_destination(frame))?;
        let tag = tag(frame).unwrap_or_default();
        let ack = match frame.header("ack").unwrap_or("auto") {
            "auto" => Ack::Auto,
            "client" => Ack::Client,
            "client-individual" => Ack::Individual,
            _ => return Err(Refusal::harmless("Processing error", "Processing error")),
        };
        let connection = self.connections.get(&number);
        let subscription = connection.and_then(|connection| connection.subscriptions.get(&tag));
        if subscription.is_some_and(|subscription| !subscription.has_ended) {
            return Err(Refusal::fatal(
                "Duplicated subscription identifier",
                format!("A subscription identified by '{tag}' already exists."),
            ));
        }
        let is_true = |name| frame.header(name) == Some("true");
        let named = frame.header("x-queue-name").map(str::to_owned);
        let queue = match parse(destination)? {
            Destination::Existing(queue) => self.existing(queue)?,
            Destination::Exchange(name) => return Err(no_exchange(&name)),
            // RabbitMQ uses `x-queue-name` only in destinations that bind queues.
            Destination::Queue(queue) => {
                self.declare(&queue, arguments(&frame.headers))?;
                queue
            }
            Destination::Topic(pattern) => {
                let queue = match named {
                    Some(queue) => {
                        self.declare(&queue, arguments(&frame.headers))?;
                        queue
                    }
                    None => self.temporary(),
                };
                self.bindings.insert((pattern, queue.clone()));
                queue
            }
        };
        let subscriber: Subscriber = (number, tag.clone());
        if let Some(state) = self.queues.get_mut(&queue) {
            let wants_alone = is_true("exclusive");
            let is_taken = state.exclusive.is_some_and(|owner| owner != number)
                || (wants_alone && !state.subscribers.is_empty());
            if is_taken {
                let reason =
                    format!("ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use");
                return Err(Refusal::fatal("access_refused", reason));
            }
            if wants_alone {
                state.exclusive = Some(number);
            }
            state.subscribers.push_back(subscriber);
        }
        let prefetch = frame
            .header("prefetch-count")
            .and_then(|count| count.parse().ok());
        let subscription = Subscription {
            queue,
            ack,
            prefetch: prefetch.unwrap_or(0),
            unacknowledged: BTreeMap::new(),
            has_ended: false,
        };
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.subscriptions.insert(tag, subscription);
        }
        Ok(())
    }

    fn temporary(&mut self) -> String {
        self.last_name += 1;
        let name = format!("stomp-subscription-{}", self.last_name);
        let queue = Queue {
            auto_delete: true,
            ..Queue::default()
        };
        self.queues.insert(name.clone(), queue);
        name
    }

    fn unsubscribe(&mut self, number: u64, frame: &Frame) -> Result<(), Refusal> {
        let Some(tag) = tag(frame) else {
            return Err(Refusal::harmless(
                "Missing destination or id",
                "UNSUBSCRIBE must include a 'destination' or 'id' header",
            ));
        };
        let connection = self.connections.get_mut(&number);
        let subscription = connection.and_then(|connection| connection.subscriptions.get_mut(&tag));
        let Some(subscription) = subscription.filter(|subscription| !subscription.has_ended) else {
            let meant = match tag.split_at(TAG_OF_ID.len()) {
                (TAG_OF_ID, id) => format!("id='{id}'"),
                (_, destination) => format!("destination='{destination}'"),
            };
            return Err(Refusal::harmless(
                "No subscription found",
                format!(
                    "UNSUBSCRIBE must refer to an existing subscription.\n\
                     Subscription to \"{meant}\" not found.\n"
                ),
            ));
        };
        subscription.has_ended = true;
        let queue = subscription.queue.clone();
        self.release_queue(&queue, &(number, tag));
        Ok(())
    }

    /// Deletes a queue with its messages. Its subscribers receive an ERROR, and their connections
    /// stay open.
    pub(super) fn delete_queue(&mut self, name: &str) {
        let unacknowledged = self.unacknowledged(name);
        let Some(queue) = self.queues.remove(name) else {
            return;
        };
        *self.deleted.entry(name.to_owned()).or_default() += queue.ready.len() + unacknowledged;
        self.bindings.retain(|(_, queue)| queue != name);
        for (number, id) in queue.subscribers {
            let subscription = self
                .connections
                .get_mut(&number)
                .and_then(|connection| connection.subscriptions.get_mut(&id));
            if let Some(subscription) = subscription {
                subscription.has_ended = true;
            }
            self.write(number, cancelled(&id));
        }
    }

    fn release_queue(&mut self, name: &str, subscriber: &Subscriber) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        queue.subscribers.retain(|other| other != subscriber);
        if queue.exclusive == Some(subscriber.0) {
            queue.exclusive = None;
        }
        if queue.auto_delete && queue.subscribers.is_empty() {
            self.queues.remove(name);
            self.bindings.retain(|(_, queue)| queue != name);
        }
    }
}

/// The prefix of a subscription's tag, with and without an id from the client.
const TAG_OF_ID: &str = "T_";
const TAG_OF_DESTINATION: &str = "Q_";

/// The tag of the subscription that a frame names, as it occurs in message ids.
fn tag(frame: &Frame) -> Option<String> {
    let by_id = frame.header("id").map(|id| format!("{TAG_OF_ID}{id}"));
    by_id.or_else(|| {
        let destination = frame.header("destination")?;
        Some(format!("{TAG_OF_DESTINATION}{destination}"))
    })
}

fn no_destination(frame: &Frame) -> Refusal {
    missing(
        "Missing destination",
        &frame.command,
        "a 'destination' header",
    )
}

fn owned(headers: &Headers) -> Vec<(String, String)> {
    let headers = headers.iter();
    headers
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
