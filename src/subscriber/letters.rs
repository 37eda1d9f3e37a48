//! The way to the queue of dead letters, which is to be there.
//!
//! RabbitMQ drops what is sent or dead-lettered to a queue that is not there, and gives its receipt all
//! the same. It declares a queue at the first frame of a connection that names it with its arguments,
//! and at no later one. So what goes there goes by connections of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::patience::Patience;
use super::queue::{Queue, is_declared_otherwise};
use crate::dead_letters::letter::{dead_letters_of, encoded};
use crate::stomp::{Broker, Client, Connector, Error, SendFrame};

/// Connections at a time.
const CONNECTIONS: usize = 4;
/// So many connections that the broker closes at a letter, without a word, make it one that it does not
/// take.
const CLOSES: u32 = 3;
/// For so long a queue that was declared counts as there where the broker dead-letters: it does so by
/// itself, and can lose what it rejects at the very moment at which somebody deletes the queue.
const THERE: Duration = Duration::from_secs(1);

/// Why a letter is not there.
#[derive(Debug)]
pub(super) enum Unsent {
    /// We are to stop, or the subscription's connection has ended: the message comes again.
    Left(Error),
    /// The broker does not take it.
    Refused(Error),
}

#[derive(Debug, Clone)]
pub(super) struct Letters {
    connector: Arc<Connector>,
    queue: Arc<Queue>,
    connections: Arc<Semaphore>,
    /// When the queue was declared last.
    declared: Arc<Mutex<Option<Instant>>>,
}

impl Letters {
    pub(super) fn new(connector: Connector, queue: &Queue) -> Self {
        Self {
            connector: Arc::new(connector),
            queue: Arc::new(queue.clone()),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            declared: Arc::default(),
        }
    }

    /// Sends a letter to the queue, which the broker declares where it is not there; again until the
    /// receipt comes.
    pub(super) async fn send(
        &self,
        main: &Client,
        letter: &SendFrame,
        patience: &Patience,
    ) -> Result<(), Unsent> {
        // It is never closed.
        let _permit = self.connections.acquire().await;
        let declaring = self.declaring(letter);
        // Somebody has declared it with other arguments: then it is there.
        let is_other = AtomicBool::new(false);
        let closes = AtomicU32::new(0);
        let send = || async {
            let client = self.connector.once().await?;
            // ActiveMQ makes a queue where it is not there.
            let is_plain = client.broker() == Broker::ActiveMq || is_other.load(Ordering::Relaxed);
            let frame = if is_plain { letter } else { &declaring };
            let mut result = client.send(frame.clone()).await;
            if let Err(error) = &result
                && is_declared_otherwise(error)
                && !is_other.swap(true, Ordering::Relaxed)
            {
                let client = self.connector.once().await?;
                result = client.send(letter.clone()).await;
                leave(&client, result.is_ok()).await;
                return result;
            }
            leave(&client, result.is_ok()).await;
            result
        };
        let again = |error: &Error| {
            let is_closed = matches!(error, Error::ConnectionLost { .. });
            if is_closed && error.error_frame().is_none() {
                return closes.fetch_add(1, Ordering::Relaxed) + 1 < CLOSES;
            }
            is_passing(error)
        };
        let sent = patience.insist(main, send, again).await;
        let is_over = closes.load(Ordering::Relaxed) >= CLOSES;
        sent.map_err(|error| match is_passing(&error) && !is_over {
            true => Unsent::Left(error),
            false => Unsent::Refused(error),
        })
    }

    /// Declares the queue where that was not done just now, so that the broker finds it. Whether the
    /// message can be given up now.
    pub(super) async fn are_declared(&self, main: &Client, patience: &Patience) -> bool {
        if !self.queue.buries(main.broker()) {
            return true;
        }
        let mut declared = self.declared.lock().await;
        if declared.is_some_and(|time| time.elapsed() < THERE) {
            return true;
        }
        let declare = || async { self.queue.declare(&self.connector).await.map(drop) };
        // Whatever is in the way: without the queue the message would be gone.
        if let Err(error) = patience.insist(main, declare, |_| true).await {
            tracing::debug!(error = %error, "the queue of dead letters was not declared; the broker delivers the message again");
            return false;
        }
        *declared = Some(Instant::now());
        true
    }

    /// The letter as a frame that declares the queue.
    fn declaring(&self, letter: &SendFrame) -> SendFrame {
        let arguments = self.queue.dead_letter_arguments();
        let is_argument = |name: &String| arguments.iter().any(|(other, _)| other == name);
        let mut headers = letter.headers.clone();
        headers.retain(|(name, _)| !is_argument(name));
        headers.extend(arguments.iter().cloned());
        SendFrame {
            destination: format!("/queue/{}", encoded(&dead_letters_of(&self.queue.name))),
            headers,
            ..letter.clone()
        }
    }
}

/// Takes leave of the broker; one that has not answered is not waited for again.
async fn leave(client: &Client, is_well: bool) {
    if !is_well {
        client.abort();
    } else if let Err(error) = client.disconnect().await {
        tracing::debug!(error = %error, "no orderly farewell");
    }
}

/// Whether another attempt may do better: there was no connection, or no answer in time.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::ErrorFrame(_) => false,
        Error::NotSent { .. } => {
            error.is_timeout() || error.error_frame().is_none() && !error.is_final()
        }
        Error::ConnectionLost { error_frame, .. } => error_frame.is_none(),
        _ => true,
    }
}
