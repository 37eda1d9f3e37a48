//! The dead-letter queue: declared, and written to.
//!
//! RabbitMQ drops what is sent or dead-lettered to a queue that does not exist, and sends its receipt
//! nevertheless. It declares a queue only at the first frame of a connection that names it with its
//! arguments. So dead letters are sent on connections of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use uuid::Uuid;

use super::queue::{Queue, declare, is_declared_otherwise};
use super::retry_send::RetrySend;
use crate::broker::dead_letter_queue;
use crate::stomp::{Broker, Client, Connector, Error, ErrorKind, SendFrame};

/// Maximum number of connections at a time.
const CONNECTIONS: usize = 4;
/// A dead letter at which the broker has closed this many connections for no known reason counts as refused.
const MAX_CLOSES: u32 = 3;
/// How many connections must be closed at a frame for no queue before the frame itself counts as refused.
const PROBES: usize = 2;
/// For this long a declared queue counts as existing when the broker itself dead-letters. It can still lose
/// a rejected message if the queue is deleted at that moment.
const DECLARATION_VALID: Duration = Duration::from_secs(1);

/// Why a dead letter was not sent.
#[derive(Debug)]
pub(super) enum Unsent {
    /// The shutdown signal was given, or the subscription's connection has ended: the message is
    /// redelivered.
    Interrupted(Error),
    /// The broker refuses it.
    Refused(Error),
}

/// What keeps a message whose dead letter was refused.
#[derive(Debug)]
pub(super) enum AfterRefusal {
    /// The broker moves it if it is rejected.
    Reject,
    /// Without this many of its headers the dead letter may be accepted.
    Shorten(usize),
    /// The dead letter may be accepted later.
    Wait,
}

/// The dead-letter queue of a subscription. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct DeadLetterQueue {
    connector: Arc<Connector>,
    queue: Arc<Queue>,
    /// The name of the dead-letter queue.
    name: Arc<str>,
    connections: Arc<Semaphore>,
    /// When the queue was last declared.
    declared: Arc<Mutex<Option<Instant>>>,
}

impl DeadLetterQueue {
    pub(super) fn new(connector: Connector, queue: &Queue) -> Self {
        Self {
            connector: Arc::new(connector),
            name: dead_letter_queue(&queue.name).into(),
            queue: Arc::new(queue.clone()),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            declared: Arc::default(),
        }
    }

    /// Sends a dead letter to the queue, which the broker declares if it does not exist; again until the
    /// receipt arrives.
    pub(super) async fn send(
        &self,
        main: &Client,
        frame: &SendFrame,
        retry_send: &RetrySend,
    ) -> Result<(), Unsent> {
        // The semaphore is never closed.
        let _permit = self.connections.acquire().await;
        // Whether the queue exists with other arguments.
        let is_other = AtomicBool::new(false);
        let closes = AtomicU32::new(0);
        let send = || async {
            let client = self.connector.connect_once().await?;
            let declaring = match is_other.load(Ordering::Relaxed) {
                true => None,
                false => self.declaring(frame, client.broker()),
            };
            let mut result = client
                .send(declaring.unwrap_or_else(|| frame.clone()))
                .await;
            if let Err(error) = &result
                && is_declared_otherwise(error)
                && !is_other.swap(true, Ordering::Relaxed)
            {
                let client = self.connector.connect_once().await?;
                result = client.send(frame.clone()).await;
                disconnect(&client, result.is_ok()).await;
                return result;
            }
            disconnect(&client, result.is_ok()).await;
            result
        };
        let again = |error: &Error| {
            if is_unexplained(error) {
                return closes.fetch_add(1, Ordering::Relaxed) + 1 < MAX_CLOSES;
            }
            is_temporary(error)
        };
        let sent = retry_send.send_until(main, send, again).await;
        sent.map_err(|error| {
            let is_refused = match is_unexplained(&error) {
                true => closes.load(Ordering::Relaxed) >= MAX_CLOSES,
                false => !is_temporary(&error),
            };
            match is_refused {
                true => Unsent::Refused(error),
                false => Unsent::Interrupted(error),
            }
        })
    }

    /// The name of the queue.
    pub(super) fn queue(&self) -> &str {
        &self.name
    }

    /// What keeps the message after its dead letter was refused for this reason. RabbitMQ drops what is rejected
    /// from a queue that we have not declared. And it closes the connection without an ERROR if a queue does not
    /// take the dead letter (`x-overflow: reject-publish`), and drops what it dead-letters to such a queue; or if the
    /// dead letter has too many headers or is too long.
    pub(super) async fn after_refusal(
        &self,
        frame: &SendFrame,
        broker: Broker,
        error: &Error,
    ) -> AfterRefusal {
        let always_keeps = broker.quirks().always_keeps_rejected();
        let takes_rejected = always_keeps || self.queue.is_declared_with_dead_letters(broker);
        let is_closed_without_error = matches!(
            error,
            Error::ConnectionLost {
                error_frame: None,
                ..
            }
        );
        // Rejected, the message would go to a queue that does not exist.
        if is_about_number_of_queues(error) {
            return AfterRefusal::Wait;
        }
        let excess = self.excess_headers(frame, broker);
        match excess.filter(|_| is_closed_without_error) {
            Some(_) if takes_rejected => AfterRefusal::Reject,
            // One more header says what was left out.
            Some(excess) => AfterRefusal::Shorten(excess + 1),
            None if !takes_rejected => AfterRefusal::Wait,
            None if !is_closed_without_error || always_keeps => AfterRefusal::Reject,
            None if self.is_refused_for_any_queue(frame, broker).await => AfterRefusal::Reject,
            None => AfterRefusal::Wait,
        }
    }

    /// Whether the broker closes the connection at this frame also if no queue gets it, as it does at a frame that is
    /// longer than its limit. So the queue is not the reason.
    async fn is_refused_for_any_queue(&self, frame: &SendFrame, broker: Broker) -> bool {
        // As long as the address of the queue, so that the frame is not shorter.
        let unknown = format!("{:-<1$}", Uuid::new_v4(), self.name.len());
        let Some(destination) = broker.dropping_address(&unknown) else {
            return false;
        };
        let declaring = self.declaring(frame, broker);
        let probe = SendFrame {
            destination,
            ..declaring.unwrap_or_else(|| frame.clone())
        };
        // One connection may have ended for a reason of its own.
        for _ in 0..PROBES {
            let Ok(client) = self.connector.connect_once().await else {
                return false;
            };
            let sent = client.send(probe.clone()).await;
            disconnect(&client, sent.is_ok()).await;
            if !matches!(
                sent,
                Err(Error::ConnectionLost {
                    error_frame: None,
                    ..
                })
            ) {
                return false;
            }
        }
        true
    }

    /// Declares the queue if that was not done just now, so that the broker finds it. Returns whether the
    /// message can be rejected now.
    pub(super) async fn is_declared(&self, main: &Client, retry_send: &RetrySend) -> bool {
        let broker = main.broker();
        if !self.queue.is_declared_with_dead_letters(broker) {
            return true;
        }
        let Some(declaration) = self.queue.dead_letter_declaration(broker) else {
            return true;
        };
        let mut declared = self.declared.lock().await;
        if declared.is_some_and(|time| time.elapsed() < DECLARATION_VALID) {
            return true;
        }
        let declare = || async {
            let declared = declare(&self.connector, declaration.clone()).await;
            declared.map(drop)
        };
        // For any error: without the queue the message would be lost.
        let has_told = AtomicBool::new(false);
        let again = |error: &Error| {
            if error.error_frame().is_some() && !has_told.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    error = %error,
                    queue = %self.name,
                    "the broker does not declare the dead-letter queue, without which it would drop the message: the message \
                     is kept, messages behind it wait, and the queue is declared again until the broker does it"
                );
            }
            true
        };
        if let Err(error) = retry_send.send_until(main, declare, again).await {
            tracing::debug!(error = %error, "could not declare the dead-letter queue; the broker redelivers the message");
            return false;
        }
        *declared = Some(Instant::now());
        true
    }

    /// By how many headers the dead letter exceeds the broker's limit, together with those that declare the queue.
    fn excess_headers(&self, frame: &SendFrame, broker: Broker) -> Option<usize> {
        let most = broker.quirks().max_headers()?;
        let declaring = self.declaring(frame, broker);
        let count = declaring.as_ref().unwrap_or(frame).header_count();
        (count > most).then(|| count - most)
    }

    /// The dead letter as a frame that declares its queue; `None` if this broker needs none.
    fn declaring(&self, frame: &SendFrame, broker: Broker) -> Option<SendFrame> {
        let (destination, arguments) = self.queue.dead_letter_arguments(broker)?;
        let is_argument = |name: &String| arguments.iter().any(|(other, _)| other == name);
        let mut headers = frame.headers.clone();
        headers.retain(|(name, _)| !is_argument(name));
        headers.extend(arguments.iter().cloned());
        Some(SendFrame {
            destination,
            headers,
            ..frame.clone()
        })
    }
}

/// Disconnects; a broker that has not answered is not waited for again.
async fn disconnect(client: &Client, is_well: bool) {
    if !is_well {
        client.abort();
    } else if let Err(error) = client.disconnect().await {
        tracing::debug!(error = %error, "could not disconnect in an orderly way");
    }
}

/// Whether the broker has ended the connection, or sent an ERROR, without a reason that is known: it may be about the
/// message, the queue, or the broker itself.
fn is_unexplained(error: &Error) -> bool {
    let frame = match error {
        Error::ErrorFrame(frame) => Some(frame),
        Error::ConnectionLost { error_frame, .. } => error_frame.as_ref(),
        _ => return false,
    };
    frame.is_none_or(|frame| matches!(frame.kind(), ErrorKind::Internal | ErrorKind::Other))
}

/// Whether the dead-letter queue does not exist, because there may be no further queue.
fn is_about_number_of_queues(error: &Error) -> bool {
    error
        .error_frame()
        .is_some_and(|frame| frame.kind() == ErrorKind::TooManyQueues)
}

/// Whether another attempt may succeed: there was no connection, or no answer in time.
fn is_temporary(error: &Error) -> bool {
    match error {
        Error::ErrorFrame(_) => false,
        Error::NotSent { .. } => {
            error.is_timeout() || error.error_frame().is_none() && !error.is_final()
        }
        Error::ConnectionLost { error_frame, .. } => error_frame.is_none(),
        _ => true,
    }
}
