//! A queue and its dead letters, before anything is connected.

use std::time::Duration;

use super::DeadLettersError;
use crate::broker::dead_letter_queue;
use crate::broker::destination::Destination;
use crate::config::Config;
use crate::stomp::Options;

/// A queue and the one with its dead letters.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    /// The name of the queue with its dead letters.
    pub(super) dead_letters: String,
    pub(super) options: Options,
    pub(super) id_headers: Vec<String>,
    /// How long to wait for the next message.
    pub(super) patience: Duration,
}

impl Queue {
    /// The dead letters are in `DLQ.<queue>`, unless `dead_letters` names another queue.
    pub(super) fn new(
        config: &Config,
        queue: &str,
        dead_letters: Option<&str>,
    ) -> Result<Self, DeadLettersError> {
        let name = named(queue)?;
        let dead_letters = dead_letters.map(named).transpose()?;
        Ok(Self {
            dead_letters: dead_letters.unwrap_or_else(|| dead_letter_queue(&name)),
            name,
            options: config.stomp_options()?,
            id_headers: config.msg_id_headers.clone(),
            patience: config.receipt_timeout,
        })
    }
}

/// The name of a queue that is given by its name or by a destination.
fn named(queue: &str) -> Result<String, DeadLettersError> {
    if !queue.starts_with('/') {
        return Ok(queue.to_owned());
    }
    let named = Destination::parse(queue).queue();
    named.ok_or_else(|| DeadLettersError::NotAQueue(queue.to_owned()))
}
